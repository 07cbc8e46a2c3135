"""The pages for people, and the Python in them and in the docstrings."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md"]
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
PACKAGES = ("evenspike", "core", "train", "sim", "hw")

FENCED = re.compile(r"^```python(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
OURS = re.compile(r"^(?:import|from) evenspike.*\n", re.MULTILINE)
INDENTED = re.compile(r"(?:\A|(?<=\n\n))(?: {4}.*\n|\n(?= {4}))+", re.MULTILINE)


def blocks(text: str) -> list[str]:
    """The blocks of Python in a text, in their order.

    They are fenced as ```python, or indented by four and begin with an import or a prompt. Of one
    that needs what a test has not (```python with a board) our imports alone are left.
    """
    found = []
    for match in FENCED.finditer(text):
        needs, block = match.groups()
        found.append((match.start(), "".join(OURS.findall(block)) if needs else block))
    for match in INDENTED.finditer(text + "\n"):
        block = textwrap.dedent(match[0])
        if block.startswith(("import ", "from ", ">>> ")):
            found.append((match.start(), block))
    return [block for _, block in sorted(found)]


def sources() -> Iterator[tuple[str, list[str]]]:
    """Every page and module that has blocks, and these."""
    for page in PAGES:
        if found := blocks((ROOT / page).read_text(encoding="utf-8")):
            yield page, found
    for path in sorted(p for folder in PACKAGES for p in (ROOT / folder).rglob("*.py")):
        docstrings = [
            ast.get_docstring(node) or ""
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        ]
        if found := [block for text in docstrings for block in blocks(text)]:
            yield path.relative_to(ROOT).as_posix(), found
