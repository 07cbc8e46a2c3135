"""Files of the RTL by name, and edits of them that put a fault in."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "hw" / "evenspike_hw"
FILES = {path.stem: path for path in sorted((PACKAGE / "rtl").rglob("*.py"))}


def edited(name: str, old: str, new: str) -> str:
    """The text of a file with `new` in the place of `old`.

    Raises ValueError if `old` is not there exactly once: then the edit has to be written anew.
    """
    text = FILES[name].read_text()
    if text.count(old) != 1:
        raise ValueError(f"{name}.py has {text.count(old)} times {old!r}")
    return text.replace(old, new)
