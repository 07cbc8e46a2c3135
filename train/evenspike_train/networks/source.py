"""Source: a class of a user's own Python file, named as `FILE.py:CLASS`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.lowering.exits import exits


def names_a_source(name: str) -> bool:
    """Whether a network is named by file and class."""
    return ".py:" in name


def file_of(name: str) -> Path:
    """The file that `FILE.py:CLASS` names."""
    return Path(name.rpartition(":")[0]).resolve()


def construct(name: str, offered: Mapping[str, Any] | None = None) -> nn.Module:
    """The module that `FILE.py:CLASS` names, freshly made.

    CLASS may be any callable that returns a module. Of what is offered it gets what its parameters
    name. The file is run, as `python FILE.py` would run it, but not as `__main__`.

    Raises EvenspikeError, with the line of the file, where it cannot be made.
    """
    file, _, attribute = name.rpartition(":")
    path = file_of(name)
    if not path.is_file():
        raise EvenspikeError(f"{name}: {file} is no file")
    found = getattr(_load(path, name), attribute, None)
    if not callable(found):
        raise EvenspikeError(f"{name}: {file} has no class or function {attribute!r}")
    accepted = _parameters(found)
    arguments = {key: value for key, value in (offered or {}).items() if key in accepted}
    try:
        made = found(**arguments)
    except (Exception, SystemExit) as error:
        raise EvenspikeError(f"{name}: cannot be made: {reason(error, path)}") from error
    if not isinstance(made, nn.Module):
        raise EvenspikeError(f"{name}: is a {type(made).__name__}, no torch.nn.Module")
    return made


def _parameters(found: Any) -> Collection[str]:
    """Names of what a callable takes; none where it does not say."""
    try:
        return inspect.signature(found).parameters
    except (TypeError, ValueError):
        return ()


def _load(path: Path, name: str) -> Any:
    """The file as a module; its folder is where it imports its neighbours from."""
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"{path.stem}_{digest}", path)
    if spec is None or spec.loader is None:
        raise EvenspikeError(f"{name}: {path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent)
    sys.modules[spec.name] = module  # dataclasses and pickles of the file look it up
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise EvenspikeError(f"{name}: does not run: {reason(error, path)}") from error
    finally:
        sys.path.remove(folder)
    return module


def reason(error: BaseException, path: Path) -> str:
    """The error's kind and first line, and the line of the file in which it came up."""
    said, line = next(iter(str(error).splitlines()), ""), None
    if isinstance(error, SystemExit):
        said = exits(error)
    if isinstance(error, SyntaxError):
        said, line = error.msg, error.lineno
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" ({path.name}:{line})" if line else ""
    return f"{type(error).__name__}: {said}{where}"
