"""The benchmark of the two memory formats, and what a run takes."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("torch")

from benchmarks import memory_format


def test_both_orders_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["memory_format", "lenet5-mnist-short"])
    monkeypatch.setattr(memory_format, "STEPS", 1)
    assert memory_format.main() == 0
    (line,) = capsys.readouterr().out.splitlines()
    said = r"lenet5-mnist-short: (\d+) ms in the usual order, (\d+) ms with channels last, ratio"
    found = re.match(said, line)
    assert found
    assert all(int(number) > 0 for number in found.groups())
