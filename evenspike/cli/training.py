"""`evenspike train` and `evenspike export`: the training package behind the command line."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from evenspike_core.errors import EvenspikeError

RUNS = Path("runs")


def train(arguments: argparse.Namespace) -> int:
    """Train a recipe, going on with what is in its folder; export what came out, if it can be."""
    from evenspike.cli.measure import measure
    from evenspike_train.recipes import derive
    from evenspike_train.runs import command, distributed

    names = [name for name in (arguments.recipe, arguments.file) if name is not None]
    if len(names) != 1:
        raise EvenspikeError(f"train: {len(names)} recipes given; one is needed")
    given = {field.name: getattr(arguments, field.name) for field in fields(derive.Changes)}
    changes = derive.Changes(**given)
    name = Path(names[0]).stem + changes.suffix
    arguments.folder = arguments.folder or RUNS / name
    command.train(
        names[0],
        arguments.folder,
        arguments.data,
        arguments.threads,
        arguments.device,
        changes,
        measure,
    )
    if not distributed.leads():
        return 0
    reason = command.unexportable(arguments.folder)
    if reason:
        print(f"{arguments.folder}: trained; it gives no Program: {reason}")
        return 0
    arguments.out, arguments.notes = None, ""
    return export(arguments)


def export(arguments: argparse.Namespace) -> int:
    """Write the Program and the card of a finished run."""
    from evenspike_train.runs import command

    if not arguments.folder.is_dir():
        raise EvenspikeError(f"{arguments.folder}: no such run")
    out = arguments.out or arguments.folder
    program, path = command.export(arguments.folder, out, arguments.data, notes=arguments.notes)
    scores = program.provenance
    print(f"{path}: {scores['integer_test_accuracy']:.2f} % on the test set, integers")
    return 0
