"""``make bench``, or ``python -m bench [part …]``: measure, print, and write docs/benchmarks."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from agent.errors import UserError
from agent.paths import PROJECT
from bench.parts import GPU_PARTS, PARTS, Options, run
from bench.result import table, write, write_page


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--talks", nargs="+", type=Path, default=sorted((PROJECT / "demo/talks").glob("*.flac")))
    parser.add_argument("--presets", nargs="+", default=Options.presets)
    parser.add_argument("--gpu", action="store_true", help="the vLLM parts on a GPU; output: docs/benchmarks/gpu")
    parser.add_argument("--output", type=Path, help="default: docs/benchmarks")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if arguments.gpu and not torch.cuda.is_available():
        parser.error("there is no GPU here that torch can use; without --gpu the parts run on the CPU")
    output = arguments.output or Path("docs/benchmarks", *(["gpu"] if arguments.gpu else []))
    options = Options(tuple(arguments.talks), presets=tuple(arguments.presets))
    for name in arguments.parts or (GPU_PARTS if arguments.gpu else PARTS):
        try:
            result = run(name, options)
        except UserError as error:
            if arguments.parts:
                parser.error(str(error))
            print(f"{name} is left out. {error}")
            continue
        print("\n".join([result.title, *table(result.columns, result.rows)]))
        write(result, output)
        write_page(output, PARTS)


if __name__ == "__main__":
    main()
