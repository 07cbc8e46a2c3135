"""From a training run to the RTL: train a small network, export it, prove it on three simulators.

    python examples/from_training_to_rtl.py [RECIPE [DATA]]

RECIPE is the name of a shipped recipe or a .toml file (default: vgg16-tiny, a minute on one core),
DATA the folder with its data set, where the system does not have it. It needs the extras,
pip install -e '.[train,hw,cosim]', and a C++ compiler that builds the RTL's simulator once.
"""

import sys

import evenspike as es

recipe = sys.argv[1] if len(sys.argv) > 1 else "vgg16-tiny"
data = sys.argv[2] if len(sys.argv) > 2 else None

trained = es.train(recipe, "build/examples/run", data=data, say=print)
print(trained.program)
print(f"{trained.file}: {trained.accuracy:.1f} % of the test images, in integers")

packed = es.pack(trained.program)
run = es.cosim(packed, es.images(2))
print(run)
print(f"the RTL took {run.rtl.cycles:,} cycles; {run.rtl.differences} of its images differ")
