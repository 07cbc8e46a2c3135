"""Report: one JSON, and its views for a browser, a repository and a terminal.

The JSON is the source (`docs/report.md` defines its keys). Markdown, HTML and the terminal's table
are functions of it and of nothing else; it is checked before anything is written.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evenspike.report import html as report_html
from evenspike.report import markdown as report_markdown
from evenspike.report.html import Picture
from evenspike.report.schema import Report, check, plain
from evenspike.report.terminal import Summary
from evenspike_core.errors import EvenspikeError

JSON_FILE, MARKDOWN_FILE, HTML_FILE = "report.json", "report.md", "report.html"
TRACE_FILE = "trace.json"


def summary(report: Report) -> Summary:
    """The report for a terminal, to be printed by rich.

    Raises EvenspikeError for a report that is incomplete or does not add up.
    """
    checked = plain(report)
    check(checked)
    return Summary(checked)


def check_folder(folder: Path) -> None:
    """Create the folder if there is none, and make sure that a file can be written to it.

    To be called before a long run too. Raises EvenspikeError naming the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise _unwritable(folder, error) from error


def write(
    report: Report,
    folder: Path,
    images: Sequence[Picture] | None = None,
    trace: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write report.json, report.md, report.html and, with a trace, trace.json.

    All are rendered before the first is written, and each replaces its predecessor as a whole. The
    trace of an earlier report in the folder does not stay beside a report without one.

    Parameters
    ----------
    report: the JSON; numpy numbers and arrays are taken as numbers and lists.
    images: (pixels, label or None, prediction) of the first of `predictions`, in their order, with
        the same labels and predictions; uint8 [H, W] or [C, H, W] with 1 or 3 channels.
    trace: as `perfetto` returns it.

    Returns
    -------
    The files, report.json first.

    Raises EvenspikeError for a report that is incomplete or does not add up, a picture that is no
    picture, and a folder that cannot be written to.
    """
    checked = plain(report)
    check(checked)
    _check_images(checked, images or ())
    others = [HTML_FILE, JSON_FILE] + ([TRACE_FILE] if trace is not None else [])
    contents = {
        JSON_FILE: dump(checked),
        MARKDOWN_FILE: report_markdown.render(checked, others),
        HTML_FILE: report_html.render(checked, images or (), trace=trace is not None),
    }
    if trace is not None:
        contents[TRACE_FILE] = json.dumps(plain(trace, "trace"), separators=(",", ":"))
    files = write_files(contents, folder)
    if trace is None:
        (folder / TRACE_FILE).unlink(missing_ok=True)
    return files


def write_files(contents: Mapping[str, str], folder: Path) -> list[Path]:
    """Write texts under their names, each as a whole, and none of them where one cannot be.

    Raises EvenspikeError for a folder that cannot be written to.
    """
    check_folder(folder)
    _replace(folder, contents)
    return [folder / name for name in contents]


def write_json(content: Report, path: Path) -> None:
    """Write one JSON file as a whole; raises EvenspikeError where it cannot be written."""
    check_folder(path.parent)
    if path.is_dir():
        raise EvenspikeError(f"{path}: cannot be written: Is a directory")
    write_files({path.name: dump(plain(content))}, path.parent)


def dump(value: Any) -> str:
    """The text of a JSON file: one key a line, lists of numbers or texts on one line."""
    return _dump(value) + "\n"


def _check_images(report: Report, images: Sequence[Picture]) -> None:
    """The pictures show what the JSON says."""
    predictions = report["predictions"]
    if len(images) > len(predictions):
        raise EvenspikeError(f"report: {len(images)} pictures, but {len(predictions)} predictions")
    for index, ((_, label, prediction), known) in enumerate(zip(images, predictions, strict=False)):
        if (label, prediction) != (known["label"], known["prediction"]):
            raise EvenspikeError(
                f"report: picture {index} has label {label} and prediction {prediction}, "
                f"predictions[{index}] has {known['label']} and {known['prediction']}"
            )


def _replace(folder: Path, contents: Mapping[str, str]) -> None:
    """Write every file under a temporary name, then rename all: a full disk changes nothing."""
    written: dict[str, str] = {}
    try:
        for name, text in contents.items():
            handle, written[name] = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(written[name], 0o644)
        for name in contents:
            os.replace(written[name], folder / name)
            del written[name]
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        for temporary in written.values():
            Path(temporary).unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> EvenspikeError:
    return EvenspikeError(f"{folder}: the report cannot be written there: {error.strerror}")


def _dump(value: Any, indent: str = "") -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{json.dumps(key)}: {_dump(item, inner)}" for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        lines = [_dump(item, inner) for item in value]
    else:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    left, right = ("{", "}") if isinstance(value, dict) else ("[", "]")
    return f"{left}\n{inner}" + f",\n{inner}".join(lines) + f"\n{indent}{right}"
