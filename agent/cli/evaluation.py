"""``alignatt score DIR``, ``compare DIR…``, ``report DIR…``, ``sweep SPEC`` and ``devset FOLDER``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from agent.cli.options import Subparsers, add_command, whole
from agent.cli.submission import add_parser as add_submission
from agent.errors import UserError
from agent.run.folder import REPORT


def add_parsers(subparsers: Subparsers) -> None:
    """Add the commands."""
    _add_score(subparsers)
    _add_compare(subparsers)
    _add_report(subparsers)
    _add_sweep(subparsers)
    add_submission(subparsers)
    _add_devset(subparsers)


def _add_score(subparsers: Subparsers) -> None:
    description = "Score a simulstream or SimulEval log with OmniSTEval; writes scores.json, .tsv and segments.json."
    summary = "score a run folder: BLEU, chrF, LongYAAL, RTF, WER"
    score = add_command(subparsers, "score", run_score, summary, description)
    add = score.add_argument
    add("run_path", type=Path, metavar="DIR|LOG", help="output folder of a run, or any system's log file")
    add("--output", type=Path, metavar="DIR", help="folder for the scores (needed for a log file)")
    _add_references(score)
    add("--lang", metavar="CODE", help="target language (default: target_lang of the run's config.yaml)")
    add(
        "--offline",
        type=Path,
        metavar="DIR",
        help="run of the same talks with policy.name=offline (default: offline/ in or beside DIR, or <pair>-offline/)",
    )
    add(
        "--legacy-longyaal",
        action="store_true",
        help="show CU-LongYAAL as OmniSTEval printed it before 0.1.10 as well, for tables published in 2026",
    )
    add(
        "--damaged-references",
        choices=("refuse", "repair", "keep"),
        default="refuse",
        help="what to do with references whose quotes a spreadsheet doubled (default: refuse)",
    )
    add(
        "--cumulative-elapsed",
        action="store_true",
        help="elapsed times of the SimulEval log add up over the recording (OmniSTEval: --fix_simuleval_emission_ca)",
    )
    add("--comet", action="store_true", help="add XCOMET-XL (also COMET=1); needs: make comet-env")
    add(
        "--comet-model",
        metavar="NAME",
        help="another COMET model, repository or folder, implies --comet (also COMET_MODEL=NAME)",
    )
    add("--quiet", action="store_true", help="write the files, print no table")


def _add_references(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--segments",
        type=Path,
        metavar="YAML",
        help="reference segmentation (default: audio-segments.yaml in the references folder, else the demo talks)",
    )
    add(
        "--references",
        type=Path,
        metavar="FOLDER",
        help="folder with ref.<lang>.txt and ref.en.txt (default: that of the segmentation, else the demo talks)",
    )
    add("--talks", default="", metavar="A,B", help="only these talks of the segmentation")


def _add_compare(subparsers: Subparsers) -> None:
    description = (
        "Print one table of scored runs, fastest first, and a paired bootstrap of their differences. Runs that cannot "
        "be compared with the baseline are left out of the bootstrap and named."
    )
    summary = "table of several scored runs"
    add = add_command(subparsers, "compare", run_compare, summary, description).add_argument
    add("folders", type=Path, nargs="+", metavar="DIR", help="run folders that have been scored")
    add("--baseline", type=Path, metavar="DIR", help="run the others are tested against (default: first)")
    add(
        "--resample",
        choices=("talks", "segments", "none"),
        help="unit of the bootstrap (default: talks from 10 talks on, else segments); none: only the table",
    )
    add("--examples", type=whole(1), default=0, metavar="N", help="print the first N sentences, as said and as wanted")


def _add_report(subparsers: Subparsers) -> None:
    description = "Write one self-contained HTML page about scored runs, and its plots as SVG and PNG beside it."
    summary = "scored runs as one HTML page with a replay of every talk"
    report = add_command(subparsers, "report", run_report, summary, description)
    add = report.add_argument
    add("folders", type=Path, nargs="+", metavar="DIR", help="run folders that have been scored")
    add("-o", "--output", type=Path, default=Path(REPORT), metavar="HTML")
    add("--title", default="", help="heading of the page")
    add("--audio-folder", type=Path, metavar="DIR", help="where the talks' audio lies if it has moved")
    audio = report.add_mutually_exclusive_group()
    audio.add_argument(
        "--audio", dest="audio", action="store_true", default=None, help="put in more than an hour of it"
    )
    audio.add_argument("--no-audio", dest="audio", action="store_false", help="leave the audio out of the page")


def _add_sweep(subparsers: Subparsers) -> None:
    description = "Do every cell of a specification that has no result yet, then print front and winners."
    summary = "many settings on the same recognised words; here, on Ray, or as a Slurm array"
    add = add_command(subparsers, "sweep", run_sweep, summary, description).add_argument
    add("spec", type=Path, metavar="YAML", help="specification (docs/sweep.md)")
    add("--output", type=Path, metavar="DIR", help="folder for recordings, runs and results")
    add("--workers", type=int, default=1, metavar="N", help="cells at once (default: 1)")
    add("--gpus-per-cell", type=float, default=0.0, metavar="G", help="GPUs of each cell (default: 0)")
    add("--cpus-per-cell", type=float, default=1.0, metavar="C", help="for Ray and Slurm (default: 1)")
    add(
        "--alone",
        action="store_true",
        help="each cell has its device to itself: keep CA, RTF; share no drafts (slower)",
    )
    add("--ray", nargs="?", const="local", default="", metavar="ADDRESS", help="Ray cluster (default: one made here)")
    add("--slurm", action="store_true", help="write job lists and array scripts instead of running")
    add("--sbatch", nargs="+", default=[], metavar="OPTION", help="with --slurm, e.g. --sbatch partition=gpu")


def _add_devset(subparsers: Subparsers) -> None:
    description = "Make a test set from a folder of recordings (WAV, MP4, …), segmentation and references."
    summary = "a downloaded test set, converted, checked and repaired"
    add = add_command(subparsers, "devset", run_devset, summary, description).add_argument
    add("folder", type=Path, metavar="FOLDER", help="what was downloaded")
    add("--segments", type=Path, metavar="YAML", help="segmentation (default: the one in FOLDER)")
    add("--output", type=Path, default=Path("out/devset"), metavar="DIR")
    add("--force", action="store_true", help="replace a set made before")


def run_score(args: argparse.Namespace) -> int:
    """Score, print, exit code 0. A missed regime is a result, not an error."""
    from eval import table
    from eval.score import Options, find_log, score

    is_log = args.run_path.is_file()
    if is_log and args.output is None:
        raise UserError(f"{args.run_path} is a log file: name a folder for its scores with --output.")
    options = Options(
        segments=args.segments,
        references=args.references,
        language=args.lang,
        talks=_names(args.talks),
        offline=args.offline,
        comet=_comet_model(args),
        log=args.run_path if is_log else find_log(args.run_path) if args.output else None,
        damaged=args.damaged_references,
        cumulative_elapsed=args.cumulative_elapsed,
    )
    folder = args.output or args.run_path
    began = time.monotonic()
    scores, remarks = score(folder, options)
    took_s = time.monotonic() - began
    for remark in remarks:
        print(f"warning: {remark}", file=sys.stderr)
    if not args.quiet:
        tree = dataclasses.asdict(scores)
        rows = [table.row(folder.resolve().name, tree, args.legacy_longyaal)]
        rows += [table.offline_row(tree["offline"])] if tree["offline"] else []
        table.show(rows, [scores.signature])
        if scores.comet:
            judged = scores.comet
            memory = f", {judged.gpu_peak_mib} MiB of its memory" if judged.gpu_peak_mib else ""
            print(f"COMET: {judged.model}, {judged.seconds:.0f} s on {judged.device}{memory}, {judged.peak_mib} MiB")
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
        print(f"scored in {took_s:.1f} s, {peak_mib:.0f} MiB at most")
    return 0


def run_compare(args: argparse.Namespace) -> int:
    """Print the comparison, exit code 0. Runs that cannot be tested against the baseline are named."""
    from eval.compare import open_runs, paired_test, show, show_examples, show_test

    runs = open_runs(args.folders)
    show(runs)
    if args.resample != "none" and (len(runs) > 1 or args.resample):
        found, left_out = paired_test(runs, args.baseline or args.folders[0], args.resample)
        if len(found.scores) > 1 or args.resample:
            show_test(found)
        for name, why in left_out.items():
            print(f"Not compared with {found.baseline}: {name}: {why}")
    if args.examples:
        show_examples(runs, args.examples)
    return 0


def run_report(args: argparse.Namespace) -> int:
    """Write the page, exit code 0."""
    from eval.report.build import Options, report

    files, remarks = report(args.folders, args.output, Options(args.title, args.audio, args.audio_folder))
    for remark in remarks:
        print(f"warning: {remark}", file=sys.stderr)
    print(f"{files[0]} ({files[0].stat().st_size / 2**20:.1f} MiB), {len(files) - 1} plot files beside it")
    return 0


def run_sweep(args: argparse.Namespace) -> int:
    """Run or write the jobs, exit code 0."""
    from eval.sweep import run, summary
    from eval.sweep.spec import read_spec

    if args.workers < 1 or args.gpus_per_cell < 0 or args.cpus_per_cell <= 0:
        raise UserError("--workers wants at least 1, --gpus-per-cell at least 0, --cpus-per-cell more than 0.")
    if args.alone and args.gpus_per_cell < 1 and (args.workers > 1 or args.ray):
        raise UserError("--alone wants one cell per device: give --gpus-per-cell 1, or --workers 1 without --ray.")
    sweep = read_spec(args.spec, args.output)
    resources = run.Resources(args.workers, args.gpus_per_cell, args.cpus_per_cell, args.ray, args.alone)
    print(f"{len(sweep.records)} recordings, {len(sweep.cells)} cells, results in {sweep.output / 'results'}")
    if args.slurm:
        options = [f"--{option.lstrip('-')}" for option in args.sbatch]
        for path in run.write_slurm(sweep, resources, options):
            print(path)
        return 0
    print(f"{run.run(sweep, resources)} jobs done, the others were done before")
    results = summary.read_results(sweep)
    summary.show(sweep, results)
    if find_spec("matplotlib"):
        print("\n" + "\n".join(str(path) for path in summary.draw(sweep, results) if path.suffix == ".svg"))
    return 0


def run_devset(args: argparse.Namespace) -> int:
    """Make a set, exit code 0."""
    from eval.inputs import devset

    made = devset.make(args.folder, args.output, args.segments, args.force)
    languages = ", ".join(name.split(".")[1] for name in made["files"] if name.startswith("ref."))
    print(f"{args.output}: {len(made['talks'])} talks, {made['audio_s'] / 3600:.2f} h, references in {languages}")
    for language, lines in made["repaired"].items():
        print(f"ref.{language}.txt: quotes of {len(lines)} lines repaired (a spreadsheet had doubled them)")
    if made["known"]:
        differ = f", but these files differ: {', '.join(made['differ'])}" if made["differ"] else ""
        print(f"This is the {made['known']}{differ}.")
    return 0


def _comet_model(args: argparse.Namespace) -> str:
    """The COMET model that options and environment ask for, empty for none."""
    from eval.scoring.comet import MODEL

    if args.comet_model:
        return str(args.comet_model)
    wanted = args.comet or os.environ.get("COMET") == "1"
    return os.environ.get("COMET_MODEL") or MODEL if wanted else ""


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())
