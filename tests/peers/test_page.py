"""The page about other people's networks: its program runs as it stands, up to the RTL."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

pytest.importorskip("snntorch")

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


def test_the_program_on_the_page_goes_from_snntorch_to_the_cycles_of_the_rtl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = re.findall(r"```python with snnTorch\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(text, str(PAGE), "exec"), {"__name__": "__main__"})  # noqa: S102
    assert "0 of 4 examples get another class" in said.getvalue()
    assert "bit-exact" in said.getvalue()
