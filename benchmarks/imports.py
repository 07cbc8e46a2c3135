"""How long a network of the papers' width takes to come in, with its proof.

    python -m benchmarks.imports [NETWORK ...]

NETWORK is vgg16 or resnet19, untrained, on two images of noise. `follow` runs it and finds its
layers, `prove` makes integers of them and compares them with it, layer by layer. `differ` is the
share of its spikes that the worst layer's integers change, `off` how far a drive is at most, of the
threshold or of its filter's largest drive.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import torch

from evenspike_train import networks
from evenspike_train.export.programs import follow, to_program
from evenspike_train.networks import NetworkConfig

NETWORKS = ("vgg16", "resnet19")


def main(arguments: Sequence[str]) -> int:
    """Time each network once."""
    print(f"{'network':9} {'follow':>8} {'prove':>8} {'differ':>9} {'off':>8}")
    for name in arguments or NETWORKS:
        torch.manual_seed(5)
        model = networks.build(NetworkConfig(name)).eval()
        begun = time.perf_counter()
        network = follow(model)
        followed = time.perf_counter()
        _, proof = to_program(network, may_be_silent=True)
        proved = time.perf_counter()
        differ = max(one.different for one in proof.layers)
        off = max(one.coarse for one in proof.layers)
        seconds = f"{followed - begun:6.1f} s {proved - followed:6.1f} s"
        print(f"{name:9} {seconds} {differ:9.4%} {off:8.2g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
