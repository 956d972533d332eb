"""``make bench``, or ``python -m eval.bench [part …]``: measure, print, and write docs/benchmarks."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.errors import UserError
from agent.paths import PROJECT
from eval.bench.parts import PARTS, Options, run
from eval.bench.result import Result, shown, write, write_page


def show(result: Result) -> None:
    """Print a result."""
    table = Table(title=result.title)
    for column in result.columns:
        table.add_column(column)
    for row in result.rows:
        table.add_row(*map(shown, row))
    Console(width=140).print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--talks", nargs="+", type=Path, default=sorted((PROJECT / "demo/talks").glob("*.flac")))
    parser.add_argument("--presets", nargs="+", default=Options.presets)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    options = Options(tuple(arguments.talks), presets=tuple(arguments.presets))
    for name in arguments.parts or PARTS:
        try:
            result = run(name, options)
        except UserError as error:
            if arguments.parts:
                parser.error(str(error))
            print(f"{name} is left out. {error}")
            continue
        show(result)
        write(result, arguments.output)
        write_page(arguments.output, PARTS)


if __name__ == "__main__":
    main()
