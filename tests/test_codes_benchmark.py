"""The benchmark of 4-bit codes says what it measures."""

from __future__ import annotations

import re

import pytest

from benchmarks import codes


def test_codes_save_words_of_the_small_ticket(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["codes", "--model", "vgg16-small"])
    assert codes.main() == 0
    lines = capsys.readouterr().out.splitlines()
    shares = [float(re.search(r"([\d.]+) of 16 bits", line)[1]) for line in lines]  # type: ignore[index]
    assert len(lines) == 3 + len(codes.FORMATS)
    assert shares[0] == 1 > shares[1] > shares[2]
    # What is built: counted from the weights, and as the stream has it, with biases and counts.
    assert shares[3] == pytest.approx(shares[2], abs=0.01)
