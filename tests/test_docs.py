"""The pages for people say what is there, and their Python runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import evenspike
from tests.helpers.pages import PAGES, ROOT, blocks, sources

RUN = """
import doctest, json, sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))
names = {"__name__": "__main__"}
for block in json.load(sys.stdin):
    if block.startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(block, names, "block", None, 0)
        if doctest.DocTestRunner().run(test, clear_globs=False).failed:
            sys.exit(1)
        names.update(test.globs)
    else:
        exec(compile(block, "block", "exec"), names)
"""


def run(found: list[str], folder: Path, *without: str) -> subprocess.CompletedProcess[str]:
    """Run blocks one after another in an empty folder, without some packages; what one defines,
    the next one has.
    """
    command = [sys.executable, "-c", RUN, *without]
    return subprocess.run(
        command, cwd=folder, input=json.dumps(found), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("found", [pytest.param(found, id=name) for name, found in sources()])
def test_python_of_a_page_runs(found: list[str], tmp_path: Path) -> None:
    done = run(found, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_python_of_the_readme_needs_no_extras(tmp_path: Path) -> None:
    first = blocks((ROOT / "README.md").read_text(encoding="utf-8"))[0]
    done = run([first], tmp_path, "torch", "amaranth", "cocotb", "pandas")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("True\n")


def test_blocks_are_found_and_run(tmp_path: Path) -> None:
    text = (
        "A page.\n\n```python\nx = 1\n```\n\nand\n\n    make sim\n\nor\n\n    import math\n\n"
        "    y = math.ceil(x / 2)\n\nso\n\n    >>> x + y\n    2\n\n"
        "```python with wings\nimport wings\nimport evenspike\nwings.up()\n```\n"
    )
    found = blocks(text)
    assert found == [
        "x = 1\n",
        "import math\n\ny = math.ceil(x / 2)\n",
        ">>> x + y\n2\n",
        "import evenspike\n",
    ]
    assert run(found, tmp_path).returncode == 0
    assert run([found[0], ">>> x\n2\n"], tmp_path).returncode == 1
    assert run(["import nowhere"], tmp_path).returncode == 1


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+?)(?:#[^)]*)?\)", text)
    places = [(ROOT / page).parent / link for link in links if "://" not in link]
    folders = "evenspike|core|train|sim|hw|tests|benchmarks|docs|bitstreams|examples"
    places += [ROOT / path for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", text)]
    assert [str(place) for place in places if not place.exists()] == []


def test_every_word_of_the_glossary_has_a_place() -> None:
    entries = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").split("\n- **")[1:]
    assert len(entries) > 30
    assert [entry for entry in entries if not re.search(r"`[a-z]+/[\w./]+\.(py|md)`", entry)] == []


def test_the_citation_is_that_of_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^([a-z-]+): (.+)$", text, re.MULTILINE))
    assert fields["version"] == evenspike.__version__
    assert fields["license"] == "Apache-2.0"


def test_api_pages_need_no_network_and_know_no_machine(tmp_path: Path) -> None:
    pytest.importorskip("pdoc")
    script = str(ROOT / "docs" / "generate_api.py")
    command = [sys.executable, script, str(tmp_path), "evenspike_sim.energy"]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "evenspike_sim" / "energy.html").exists()
    for page in (path.read_text() for path in tmp_path.rglob("*.*")):
        assert str(ROOT) not in page
        assert set(re.findall(r'(?:src|href)="(https?:[^"]*)"', page)) <= {"https://pdoc.dev"}
