"""The command line: `evenspike sim`, `cosim`, `compare`, `train`, `export`, `import`, `synth`, ...

One file a verb: it parses, calls a flow of `evenspike.flows`, and prints. Each flow is imported
when its verb is called: `sim` never loads torch. Exit status 0: done; 1: the model differs from the
reference, or the RTL from the model, or a run of a sweep has failed; 2: bad input, in one line;
130: interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from evenspike import __version__
from evenspike.cli import (
    bitstream,
    compare,
    cosim,
    export,
    finetune,
    imports,
    power,
    report,
    reproduce,
    results,
    sim,
    sweep,
    synth,
    tables,
    terminal,
    traces,
    train,
    verilog,
)
from evenspike.cli.parser import Parser
from evenspike_core.errors import EvenspikeError

VERBS = (
    sim,
    cosim,
    compare,
    train,
    finetune,
    sweep,
    results,
    tables,
    reproduce,
    traces,
    export,
    imports,
    synth,
    power,
    bitstream,
    verilog,
    report,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the console script's entry point."""
    terminal.prepare()
    arguments, unknown = parser().parse_known_args(argv)
    if unknown:
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads it has seen enough
        terminal.discard_stdout()
        return 0
    except ModuleNotFoundError as error:
        extras, package = getattr(arguments, "extras", ""), (error.name or "").partition(".")[0]
        if not extras or package.startswith("evenspike"):
            raise
        return _fail(f"this needs {package}: pip install -e '.[{extras}]'")
    except (EvenspikeError, OSError) as error:
        # An OSError that no verb has named: a path too long or not to be read, a full disk.
        return _fail(str(error))
    except KeyboardInterrupt:
        again = getattr(arguments, "again", "")
        _fail(f"interrupted{'; ' * bool(again)}{again}")
        return 130
    return status


def _fail(text: str) -> int:
    print("evenspike:", *text.splitlines(), file=sys.stderr)
    return 2


def parser() -> Parser:
    """The parser of all verbs."""
    whole = Parser(prog="evenspike", description=__doc__)
    whole.add_argument("--version", action="version", version=f"evenspike {__version__}")
    verbs = whole.add_subparsers(required=True, metavar="VERB")
    for verb in VERBS:
        name = getattr(verb, "NAME", verb.__name__.rpartition(".")[2])
        summary = (verb.__doc__ or "").partition(": ")[2].splitlines()[0].rstrip(".")
        one = verbs.add_parser(name, help=summary, description=verb.__doc__)
        verb.options(one)
        one.set_defaults(run=verb.run, parser=one)
    return whole
