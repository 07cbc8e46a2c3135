"""The front door: its names, that they come when they are used, and what they need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import evenspike as es

SOURCE = Path(es.__file__)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_names_are_written_alike() -> None:
    """For the type checker, for `import *` and for the import itself."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == es._PLACE
    assert sorted(es.__all__) == sorted([*es._PLACE, "__version__"])


@pytest.mark.parametrize("name", sorted(es._PLACE))
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(es, name)
    assert value.__doc__
    assert len(value.__doc__) > 30
    assert name in dir(es)


def test_importing_it_imports_nothing() -> None:
    code = (
        "import sys; import evenspike; "
        "print([n for n in ('numpy', 'numba', 'torch', 'amaranth', 'rich') if n in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"


def test_a_simulation_needs_neither_torch_nor_amaranth() -> None:
    code = (
        "import sys; sys.modules.update(torch=None, amaranth=None, pandas=None)\n"
        "import evenspike as es\n"
        "r = es.simulate(es.pack(es.load('vgg16-small')), es.images(1))\n"
        "print(r.bit_exact)"
    )
    done = python(code)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize(
    ("name", "package", "extras"),
    [
        ("cosim", "amaranth", "hw,cosim"),
        ("power", "amaranth", "hw,cosim"),
        ("train", "torch", "train"),
        ("import_network", "torch", "train"),
        ("synth", "amaranth", "hw"),
    ],
)
def test_what_is_missing_says_how_to_get_it(name: str, package: str, extras: str) -> None:
    code = (
        f"import sys; sys.modules.update({package}=None)\n"
        "import evenspike as es\n"
        f"try:\n    es.{name}\nexcept es.EvenspikeError as error:\n    print(error)"
    )
    done = python(code)
    assert f"{name} needs {package}: pip install -e '.[{extras}" in done.stdout, done.stderr


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'wings'"):
        es.wings  # noqa: B018 - the access is what is tested
