"""The files of a report: all of them or none, and in a folder that can be written to."""

from __future__ import annotations

import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from evenspike.report import pages as report
from evenspike_core.errors import EvenspikeError
from evenspike_core.trace import Span, perfetto
from tests.helpers.synthetic_report import synthetic_pictures, synthetic_report


def test_the_files(tmp_path: Path) -> None:
    data = synthetic_report()
    trace = perfetto([Span("APU", "broadcast", 0, 9, {"layer": "conv2"})])
    folder = tmp_path / "a" / "b"
    files = report.write(data, folder, synthetic_pictures(data), trace)
    names = ["report.json", "report.md", "report.html", "trace.json"]
    assert [file.name for file in files] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert json.loads(files[0].read_text(encoding="utf-8")) == data
    assert json.loads(files[3].read_text(encoding="utf-8")) == trace
    assert "[trace.json](trace.json)" in files[1].read_text(encoding="utf-8")
    assert 'href="trace.json"' in files[2].read_text(encoding="utf-8")
    assert {file.stat().st_mode & 0o777 for file in files} == {0o644}


def test_an_old_trace_does_not_stay(tmp_path: Path) -> None:
    data = synthetic_report()
    report.write(data, tmp_path, trace=perfetto([]))
    files = report.write(data, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert "trace.json" not in files[1].read_text(encoding="utf-8")
    assert 'href="trace.json"' not in files[2].read_text(encoding="utf-8")


def test_a_file_in_the_way(tmp_path: Path) -> None:
    blocked = tmp_path / "out"
    blocked.write_text("mine", encoding="utf-8")
    for folder in (blocked, blocked / "deeper"):
        with pytest.raises(EvenspikeError, match=re.escape(f"{folder}: the report cannot")):
            report.check_folder(folder)
        with pytest.raises(EvenspikeError, match=re.escape(str(folder))):
            report.write(synthetic_report(), folder)
    assert blocked.read_text(encoding="utf-8") == "mine"


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    report.check_folder(tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(EvenspikeError, match=r"cannot be written there: Permission denied"):
        report.check_folder(tmp_path)
    with pytest.raises(EvenspikeError, match=re.escape(str(tmp_path))):
        report.write(synthetic_report(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = report.write(synthetic_report(1), tmp_path)
    before = [file.read_bytes() for file in files]
    make, calls = tempfile.mkstemp, iter(range(9))

    def full(*args: Any, **kwargs: Any) -> tuple[int, str]:
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        return make(*args, **kwargs)

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(EvenspikeError, match="No space left on device"):
        report.write(synthetic_report(2), tmp_path)
    assert [file.read_bytes() for file in files] == before
    assert len(list(tmp_path.iterdir())) == 3


def test_pictures_that_are_none(tmp_path: Path) -> None:
    data = synthetic_report()
    pictures = synthetic_pictures(data)
    _, label, prediction = pictures[0]
    for pixels in (np.zeros((2, 4, 4), np.uint8), np.zeros((4, 4), np.float32)):
        with pytest.raises(EvenspikeError, match=r"picture: .* not uint8 \[H, W\]"):
            report.write(data, tmp_path / "out", [(pixels, label, prediction)])  # type: ignore[list-item]
    other = [(pictures[0][0], label, prediction + 1)]
    with pytest.raises(EvenspikeError, match="report: picture 0 has label"):
        report.write(data, tmp_path / "out", other)
    with pytest.raises(EvenspikeError, match="report: 11 pictures, but 10 predictions"):
        report.write(data, tmp_path / "out", [*pictures, pictures[0]])
    assert not (tmp_path / "out").exists()


def test_the_summary_is_checked() -> None:
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(report.summary(synthetic_report()))
    assert "Bit-exact: all 11,223,344 spike bits" in console.export_text()
    data = synthetic_report()
    del data["totals"]["busy"]
    with pytest.raises(EvenspikeError, match=r"report\.totals\.busy is missing"):
        report.summary(data)
