"""The package as a user gets it: what the wheel holds, and what it can do without the extras."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import evenspike
from tests.helpers import lock

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "evenspike": ROOT / "evenspike",
    "evenspike_core": ROOT / "core" / "evenspike_core",
    "evenspike_hw": ROOT / "hw" / "evenspike_hw",
    "evenspike_sim": ROOT / "sim" / "evenspike_sim",
    "evenspike_train": ROOT / "train" / "evenspike_train",
}
DATA = [
    ("evenspike_core", "images/*"),
    ("evenspike_sim", "*.toml"),
    ("evenspike_hw", "engine/*.cpp"),
    ("evenspike_train", "kernels/*.c"),
    ("evenspike_train", "checkpoints/*.md"),
    ("evenspike_train", "checkpoints/*.safetensors"),
    ("evenspike_train", "recipes/*.toml"),
]


def tree(package: str, pattern: str) -> dict[str, bytes]:
    """Files of a package in the tree, by the name that they have in a wheel."""
    folder = FOLDERS[package]
    found = (path for path in folder.glob(pattern) if path.is_file())
    return {f"{package}/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in found}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, built from a copy of the tree and without the network."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("evenspike", "core", "hw", "sim", "train"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    wheels = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*pip, "-w", str(wheels), str(source)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = wheels.iterdir()
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run_without_extras(site: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code on the unpacked wheel, in a Python where importing torch or amaranth fails."""
    blocked = "import sys; sys.modules.update(torch=None, amaranth=None)\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + code, *arguments],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("package", "pattern"), DATA)
def test_wheel_holds_data_files(installed: Path, package: str, pattern: str) -> None:
    expected = tree(package, pattern)
    assert expected, f"the tree has no {package}/{pattern}"
    for name, content in expected.items():
        assert (installed / name).is_file(), f"{name} is missing in the wheel"
        assert (installed / name).read_bytes() == content


def test_wheel_holds_every_module_and_nothing_else(installed: Path) -> None:
    modules = {name for package in FOLDERS for name in tree(package, "**/*.py")}
    assert {p.relative_to(installed).as_posix() for p in installed.rglob("*.py")} == modules
    top = {path.name for path in installed.iterdir()}
    assert top == {*FOLDERS, f"evenspike-{evenspike.__version__}.dist-info"}


@pytest.mark.parametrize(
    "module",
    [
        "evenspike",
        "evenspike.cli",
        "evenspike.flows.compare",
        "evenspike.flows.explore",
        "evenspike.flows.simulate",
        "evenspike_sim",
    ],
)
def test_imports_without_extras(installed: Path, module: str) -> None:
    done = run_without_extras(installed, f"import {module} as it; print(it.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed))


def test_console_script_helps(installed: Path) -> None:
    scripts = configparser.ConfigParser()
    scripts.read(next(installed.glob("*.dist-info")) / "entry_points.txt")
    module, function = scripts["console_scripts"]["evenspike"].split(":")
    code = f"from {module} import {function}; sys.exit({function}())"
    done = run_without_extras(installed, code, "--help")
    assert done.returncode == 0, done.stderr
    assert "sim" in done.stdout


def test_changelog_has_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert evenspike.__version__ in headings


LOCKED = [one for one in lock.requirements() if not one.name.startswith(lock.CUDA)]


@pytest.mark.parametrize("requirement", sorted(map(str, LOCKED)))
def test_the_lock_has_what_is_required(requirement: str) -> None:
    asked = Requirement(requirement)
    locked = lock.locked()[canonicalize_name(asked.name)]
    (exact,) = locked.specifier
    assert asked.specifier.contains(exact.version, prereleases=True)
    assert locked.marker == asked.marker


def test_the_lock_has_names_and_versions_alone() -> None:
    first, *lines = lock.LOCK.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# make lock, Python ")
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(names)
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*(; .+)?", line)
        assert not line.startswith(lock.CUDA)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (("joblib==", "joblib==9"), "joblib is locked as joblib==9"),
        (("joblib==", "nothing=="), "joblib is not locked"),
        (("joblib==", "nothing=="), "nothing is locked, but not needed"),
    ],
)
def test_a_difference_between_lock_and_environment_is_named(
    edit: tuple[str, str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "requirements.lock"
    place.write_text(lock.text().replace(*edit))
    monkeypatch.setattr(lock, "LOCK", place)
    assert any(line.startswith(says) for line in lock.differences())
