"""Proofs by k-induction, and for each a seeded bug that it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("amaranth")

from amaranth.hdl import Elaboratable

from evenspike_core.arch import Arch
from tests.helpers.formal.bank import BankSums
from tests.helpers.formal.credits import Credits, Places
from tests.helpers.formal.fifo import FifoOrder
from tests.helpers.formal.halves import GivenUp, HandOver
from tests.helpers.formal.lanes import LaneOrder
from tests.helpers.formal.prove import missing, prove, source
from tests.helpers.formal.streams import HoldingRegister, Requests

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"proofs need {missing()}")

SMALL = Arch(pes=2, timesteps=1, accumulators=4, chunk_blocks=2, slots=2, stream_depth=3)

Spec = Callable[[ModuleType], Elaboratable]
PROOFS: dict[str, tuple[str, Spec]] = {
    **{f"fifo of {n}": ("fifo", partial(FifoOrder, depth=n)) for n in (1, 2, 3, 7, 8)},
    "holding register": ("unpacker", partial(HoldingRegister, arch=SMALL)),
    "requests": ("port", partial(Requests, arch=SMALL)),
    "hand-over": ("loader", partial(HandOver, arch=SMALL)),
    "hand-over in lanes": ("loader", partial(HandOver, arch=replace(SMALL, pes=4, port_bits=128))),
    "given up": ("sequencer", partial(GivenUp, arch=SMALL)),
    **{
        f"places of {n}": ("filter", partial(Places, arch=replace(SMALL, fifo_depth=n)))
        for n in (1, 2, 5)
    },
    **{
        f"credits of {n}": ("matcher", partial(Credits, arch=replace(SMALL, match_depth=n)))
        for n in (1, 2, 5)
    },
    **{
        f"lane of {n}": ("lanes", partial(LaneOrder, arch=replace(SMALL, lane_depth=n)))
        for n in (8, 16)
    },
    "bank": ("bank", partial(BankSums, arch=SMALL)),
}

BUGS = {
    "fifo of 1": ("level != self.depth", "(level != self.depth) | self.r.ready"),
    "fifo of 2": ("Mux(is_recent, recent, read.data)", "read.data"),
    "fifo of 3": ("Mux(place == self.depth - 1, 0, place + 1)", "place + 1"),
    "fifo of 7": ("Mux(pop, level == 1, level == 0)", "(level == 0)"),
    "fifo of 8": ("self.w.ready.eq(level != self.depth)", "self.w.ready.eq(1)"),
    "holding register": ("ready.eq(~full | (beside", "ready.eq(~full | self.completes | (beside"),
    "requests": ("(left != 0) & (credits_ != 0)", "(left != 0)"),
    "hand-over": ("contexts.valid & ~occupied.bit_select(half, 1)", "contexts.valid"),
    "hand-over in lanes": ("words_taken & some & (target", "words_taken & (target"),
    "given up": ("freed.eq(freed + early)", "freed.eq(freed + 1)"),
    "places of 1": ("dropped.eq(valid & ~meets)", "dropped.eq(valid)"),
    "places of 2": ("full.eq(after == depth)", "full.eq(places == depth)"),
    "places of 5": (" - popped - dropped", " - popped"),
    "credits of 1": ("misses.eq(valid & ~matches)", "misses.eq(valid)"),
    "credits of 2": ("credit.eq(after != 0)", "credit.eq(left != 0)"),
    "lane of 8": ("after <= depth - WAYS * (IN_FLIGHT + 1)", "after <= depth - WAYS * IN_FLIGHT"),
    "lane of 16": ("takes_first = opens & first.enable", "takes_first = first.enable"),
    "bank": ("overtakes.eq(adds & (", "overtakes.eq(adds & reads & ("),
    "credits of 5": ("+ misses + self.taken", "+ (misses | self.taken)"),
}


@pytest.mark.parametrize("name", PROOFS)
def test_proof(name: str, tmp_path: Path) -> None:
    module, specification = PROOFS[name]
    assert prove(specification(source(module)), tmp_path) == "PASS"


@pytest.mark.parametrize("name", BUGS)
def test_seeded_bug(name: str, tmp_path: Path) -> None:
    module, specification = PROOFS[name]
    assert prove(specification(source(module, *BUGS[name])), tmp_path, depth=16) == "FAIL"
