"""``alignatt score DIR`` and ``alignatt compare DIR…``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from agent.errors import UserError


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands; each sets ``run``, a callable from the parsed arguments to the exit code."""
    score = subparsers.add_parser(
        "score",
        help="score a run folder: BLEU, chrF, LongYAAL, RTF, WER",
        description="Score a run folder's simulstream log with OmniSTEval; writes scores.json and scores.tsv there.",
    )
    score.add_argument("folder", type=Path, metavar="DIR", help="output folder of a simulstream run")
    score.add_argument(
        "--segments",
        type=Path,
        metavar="YAML",
        help="reference segmentation (default: audio-segments.yaml in the references folder, else the demo talks)",
    )
    score.add_argument(
        "--references",
        type=Path,
        metavar="FOLDER",
        help="folder with ref.<lang>.txt and ref.en.txt (default: that of the segmentation, else the demo talks)",
    )
    score.add_argument("--lang", metavar="CODE", help="target language (default: target_lang of the run's config.yaml)")
    score.add_argument("--talks", default="", metavar="A,B", help="score only these talks of the segmentation")
    score.add_argument(
        "--offline",
        type=Path,
        metavar="DIR",
        help="run of the same talks with policy.name=offline (default: offline/ in or beside DIR, or <pair>-offline/)",
    )
    score.add_argument("--comet", action="store_true", help="add XCOMET-XL (also COMET=1); needs `make comet-env`")
    score.add_argument("--quiet", action="store_true", help="write the files, print no table")
    score.set_defaults(run=run_score)

    compare = subparsers.add_parser(
        "compare",
        help="table of several scored runs",
        description="Print one table of scored runs, fastest first, and a paired bootstrap of their differences.",
    )
    compare.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="run folders with a scores.json")
    compare.add_argument(
        "--baseline", type=Path, metavar="DIR", help="run the others are tested against (default: first)"
    )
    compare.add_argument(
        "--resample",
        choices=("talks", "segments", "none"),
        help="unit of the bootstrap (default: talks from 10 talks on, else segments); none: only the table",
    )
    compare.add_argument("--resamples", type=int, default=2000, metavar="N", help="number of resamples (default: 2000)")
    compare.set_defaults(run=run_compare)


def run_score(args: argparse.Namespace) -> int:
    """Score, print, exit code 0. A missed regime is a result, not an error."""
    from eval import table
    from eval.score import Options, score

    options = Options(
        segments=args.segments,
        references=args.references,
        language=args.lang,
        talks=tuple(name.strip() for name in args.talks.split(",") if name.strip()),
        offline=args.offline,
        comet=args.comet or os.environ.get("COMET") == "1",
    )
    scores, remarks = score(args.folder, options)
    for remark in remarks:
        print(f"warning: {remark}", file=sys.stderr)
    if not args.quiet:
        tree = dataclasses.asdict(scores)
        rows = [table.row(args.folder.resolve().name, tree)]
        rows += [table.offline_row(tree["offline"])] if tree["offline"] else []
        table.show(rows, [scores.signature])
    return 0


def run_compare(args: argparse.Namespace) -> int:
    """Print the comparison, exit code 0. Runs that cannot be tested against each other still have their table."""
    from eval.compare import open_runs, paired_test, show, show_test

    if args.resamples < 100:
        raise UserError(f"--resamples {args.resamples} is too few for an interval: give at least 100.")
    runs = open_runs(args.folders)
    show(runs)
    if args.resample == "none" or (len(runs) == 1 and not args.resample):
        return 0
    try:
        show_test(paired_test(runs, args.baseline or args.folders[0], args.resample, args.resamples))
    except UserError as error:
        if args.resample or args.baseline:
            raise
        print(f"warning: no paired test. {error}", file=sys.stderr)
    return 0
