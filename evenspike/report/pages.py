"""Report: one JSON, and its views for a browser, a repository, a terminal and a notebook.

The JSON is the source (`docs/report.md` defines its keys). Markdown, HTML and the terminal's table
are functions of it and of nothing else; it is checked before anything is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike.report import html as report_html
from evenspike.report import markdown as report_markdown
from evenspike.report.html import Picture
from evenspike.report.schema import Content, check
from evenspike.report.terminal import Summary
from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import discard, dump, plain, write_files

JSON_FILE, MARKDOWN_FILE, HTML_FILE = "report.json", "report.md", "report.html"
TRACE_FILE = "trace.json"


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """A run's report: complete, adding up, and ready to be shown or saved.

    Parameters
    ----------
    content: the JSON; numpy numbers and arrays are taken as numbers and lists.
    pictures: (pixels, label or None, prediction) of the first of `predictions`, in their order,
        with the same labels and predictions; uint8 [H, W] or [C, H, W] with 1 or 3 channels.
    trace: the timeline, as `perfetto` returns it, or None.

    Raises EvenspikeError for a content that is incomplete or does not add up, and for pictures that
    are not those of its predictions.
    """

    content: Content
    pictures: Sequence[Picture] = ()
    trace: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        checked = plain(self.content)
        check(checked)
        _check_pictures(checked, self.pictures)
        object.__setattr__(self, "content", checked)

    def __repr__(self) -> str:
        content = self.content
        return (
            f"<Report of {content['model']} on {content['arch']['preset']}: "
            f"{content['totals']['cycles']:,.0f} cycles an image>"
        )

    @staticmethod
    def load(folder: Path | str) -> Report:
        """The report that a folder holds, with its trace if there is one, without its pictures.

        Raises EvenspikeError for a file that cannot be read, or that is no report of this version.
        """
        path, trace = Path(folder) / JSON_FILE, Path(folder) / TRACE_FILE
        content = read_json(path, "report", dict)
        if "version" not in content:
            raise EvenspikeError(f"{path}: a report of an older version: run it again")
        timeline = read_json(trace, "timeline", dict) if trace.is_file() else None
        try:
            report = Report(content, (), timeline)
            report._rendered()
        except EvenspikeError as error:
            raise EvenspikeError(f"{path}: {error}") from error
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
            # Values that no run gives, but whose sums agree: there is nothing to draw them with.
            raise EvenspikeError(f"{path}: not a readable report: {error!r}") from error
        return report

    def save(self, folder: Path | str) -> list[Path]:
        """Write report.json, report.md, report.html and, with a trace, trace.json.

        All are rendered before the first is written, and each replaces its predecessor as a whole.
        The trace of an earlier report in the folder does not stay beside a report without one.

        Returns
        -------
        The files, report.json first.

        Raises EvenspikeError for a folder that cannot be written to, and a picture that is none.
        """
        files = write_files(self._rendered(), Path(folder))
        if self.trace is None:
            discard(Path(folder) / TRACE_FILE)
        return files

    def to_dict(self) -> dict[str, Any]:
        """The JSON, as a copy that may be changed."""
        copy: dict[str, Any] = json.loads(json.dumps(self.content))
        return copy

    def summary(self) -> Summary:
        """The report for a terminal, to be printed by rich."""
        return Summary(self.content)

    def _repr_html_(self) -> str:
        return report_html.fragment(self.content)

    def _rendered(self) -> dict[str, str]:
        """The text of each file, by its name."""
        content, traced = self.content, self.trace is not None
        others = [HTML_FILE, JSON_FILE] + ([TRACE_FILE] if traced else [])
        files = {
            JSON_FILE: dump(content),
            MARKDOWN_FILE: report_markdown.render(content, others),
            HTML_FILE: report_html.render(content, self.pictures, trace=traced),
        }
        if self.trace is not None:
            files[TRACE_FILE] = json.dumps(plain(self.trace, "trace"), separators=(",", ":"))
        return files


def _check_pictures(report: Content, pictures: Sequence[Picture]) -> None:
    """Check that the pictures show what the JSON says."""
    predictions = report["predictions"]
    if len(pictures) > len(predictions):
        raise EvenspikeError(
            f"report: {len(pictures)} pictures, but {len(predictions)} predictions"
        )
    pairs = zip(pictures, predictions, strict=False)
    for index, ((_, label, prediction), known) in enumerate(pairs):
        if (label, prediction) != (known["label"], known["prediction"]):
            raise EvenspikeError(
                f"report: picture {index} has label {label} and prediction {prediction}, "
                f"predictions[{index}] has {known['label']} and {known['prediction']}"
            )
