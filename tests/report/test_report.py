"""The files of a report: all of them or none, and in a folder that can be written to."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from evenspike.report.pages import Report
from evenspike_core.errors import EvenspikeError
from evenspike_core.trace import Span, perfetto
from tests.helpers.synthetic_report import synthetic_pictures, synthetic_report


def test_the_files(tmp_path: Path) -> None:
    data = synthetic_report()
    trace = perfetto([Span("APU", "broadcast", 0, 9, {"layer": "conv2"})])
    folder = tmp_path / "a" / "b"
    files = Report(data, synthetic_pictures(data), trace).save(folder)
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
    Report(data, trace=perfetto([])).save(tmp_path)
    files = Report(data).save(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert "trace.json" not in files[1].read_text(encoding="utf-8")
    assert 'href="trace.json"' not in files[2].read_text(encoding="utf-8")


def test_pictures_that_are_none(tmp_path: Path) -> None:
    data = synthetic_report()
    pictures = synthetic_pictures(data)
    _, label, prediction = pictures[0]
    for pixels in (np.zeros((2, 4, 4), np.uint8), np.zeros((4, 4), np.float32)):
        with pytest.raises(EvenspikeError, match=r"picture: .* not uint8 \[H, W\]"):
            Report(data, [(pixels, label, prediction)]).save(tmp_path / "out")  # type: ignore[list-item]
    with pytest.raises(EvenspikeError, match="report: picture 0 has label"):
        Report(data, [(pictures[0][0], label, prediction + 1)])
    with pytest.raises(EvenspikeError, match="report: 11 pictures, but 10 predictions"):
        Report(data, [*pictures, pictures[0]])
    assert not (tmp_path / "out").exists()


def test_a_report_is_a_value(tmp_path: Path) -> None:
    data = synthetic_report()
    one = Report(data, trace=perfetto([]))
    copy = one.to_dict()
    assert copy == data
    copy["totals"]["cycles"] = data["totals"]["cycles"] = 0
    assert one.to_dict()["totals"]["cycles"] > 0
    assert repr(one) == "<Report of vgg9-fmnist on packed: 524,900 cycles an image>"
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(one.summary())
    assert "Bit-exact: all 11,223,344 spike bits" in console.export_text()
    files = one.save(tmp_path)
    before = [file.read_bytes() for file in files]
    again = Report.load(tmp_path)
    assert again.to_dict() == one.to_dict()
    assert [file.read_bytes() for file in again.save(tmp_path)] == before
    del data["totals"]["busy"]
    with pytest.raises(EvenspikeError, match=r"report\.totals\.busy is missing"):
        Report(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable report: Expecting property name"),
        ("[]", "not a readable report: it is a list, not an object"),
        ("[" * 100_000, "not a readable report"),
        ('{"model": "vgg16"}', "a report of an older version: run it again"),
        ('{"version": "1", "model": 3}', "report.model is 3, not text"),
    ],
)
def test_a_file_that_is_no_report(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(EvenspikeError, match=re.escape(f"{path}: cannot be read")):
        Report.load(tmp_path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvenspikeError, match=f"^{re.escape(str(path))}: {re.escape(message)}"):
        Report.load(tmp_path)


def test_values_that_cannot_be_drawn(tmp_path: Path) -> None:
    data = synthetic_report()
    data["classes"] = 7
    (tmp_path / "report.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(EvenspikeError, match=r"report\.json: not a readable report: TypeError"):
        Report.load(tmp_path)
