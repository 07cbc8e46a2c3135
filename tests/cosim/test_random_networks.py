"""Random networks on the RTL: a few hundred; `make cosim-random N=...` runs more."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from tests.cosim.random_networks import ARCHS, cases, difference, image_of, report

NETWORKS = int(os.environ.get("EVENSPIKE_COSIM_NETWORKS", "60"))
"""Of each Arch."""


@pytest.mark.parametrize("arch", ARCHS)
def test_the_rtl_agrees_with_model_and_reference(arch: str, tmp_path: Path) -> None:
    possible = (
        (case, program)
        for case in cases(7, arch)
        if image_of(case, program := case.program()) is not None
    )
    for case, program in islice(possible, NETWORKS):
        if difference(case, program):
            pytest.fail(report(case, program, tmp_path))
