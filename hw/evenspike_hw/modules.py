"""Modules: those of a design in RTLIL that are the same become one.

Amaranth writes a module for every instance, sixteen times the PE. Whoever reads the design then,
Yosys, Verilator or a person, has sixteen times the work.
"""

from __future__ import annotations

import re

MODULE = re.compile(
    r"^(?P<attributes>(?:attribute [^\n]*\n)*)module (?P<name>\\\S+)$(?P<body>.*?)^end$",
    re.MULTILINE | re.DOTALL,
)
"""A module of RTLIL."""

_INSTANCE = re.compile(r"^(\s*cell )(\\\S+)( )", re.MULTILINE)


def merge(text: str) -> tuple[str, set[str]]:
    """The text with equal modules merged, and the names of the modules that are left.

    Two are equal if their text is, but for the names of modules in them that are equal. The first
    of them stays.
    """
    bodies = {m["name"]: m["body"] for m in MODULE.finditer(text)}
    first: dict[str, str] = {}  # body -> the module that stands for all with it
    instead: dict[str, str] = {}

    def canonical(name: str) -> str:
        if name not in instead:
            body = _INSTANCE.sub(
                lambda m: m[1] + (canonical(m[2]) if m[2] in bodies else m[2]) + m[3], bodies[name]
            )
            instead[name] = first.setdefault(body, name)
            bodies[name] = body
        return instead[name]

    for name in list(bodies):
        canonical(name)

    def keep(match: re.Match[str]) -> str:
        name = match["name"]
        if instead[name] != name:
            return ""
        return f"{match['attributes']}module {name}{bodies[name]}end"

    return MODULE.sub(keep, text), {name for name in instead if instead[name] == name}
