"""``alignatt submission build`` and ``alignatt submission check``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.options import Subparsers, add_command, add_group
from agent.errors import UserError

if TYPE_CHECKING:
    from eval.submission.check import Finding

EXIT_FAILED = 1
"""A check found something; 2 would say that the check could not be made."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command with its two actions."""
    submission = add_group(subparsers, "submission", "pack runs for the simultaneous track, and check the tarball")
    actions = submission.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    add = add_command(actions, "build", run_build, "pack scored runs into a tarball").add_argument
    add("runs", type=Path, nargs="+", metavar="DIR", help="one run for each direction and regime")
    add("--team", required=True, help="letters, digits and hyphens")
    add("--track", default="no-context", help="no-context (default) or context")
    add("--contact", required=True, metavar="EMAIL")
    add("--output", type=Path, default=Path("out/submission"), metavar="DIR")
    add(
        "--wheel",
        type=Path,
        nargs="+",
        default=[],
        help="wheels of this package and vllm_rows (default: of this checkout)",
    )
    description = "Check a tarball. Exit code 1 when something is wrong, each finding with the name of its check."
    add = add_command(actions, "check", run_check, "everything a reviewer would look at", description).add_argument
    add("tarball", type=Path)
    add("--segments", type=Path, metavar="YAML", help="dev segmentation (default: the demo talks')")
    add("--references", type=Path, metavar="DIR", help="dev references (default: beside the segmentation)")
    add("--audio", type=Path, metavar="DIR", help="dev audio (default: the references folder)")
    add("--serve-s", type=float, default=20.0, metavar="S", help="audio sent to the server (0: no server)")
    add("--soak-h", type=float, default=0.0, metavar="H", help="hours of the soak, 2.5 for the track")


def run_build(args: argparse.Namespace) -> int:
    """Write the tarball, exit code 0."""
    from eval.submission.build import build

    path = build(args.runs, args.team, args.track, args.contact, args.output, args.wheel)
    print(f"{path} ({path.stat().st_size / 2**20:.1f} MiB)")
    print(f"Check it: alignatt submission check {path}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Print every finding; exit code 0 when all passed, else 1."""
    from eval.score import locate

    segments, references = locate(args.segments, args.references)
    if not args.tarball.is_file():
        raise UserError(f"No tarball {args.tarball}: make one with `alignatt submission build`.")
    failed = n_checks = 0
    with tempfile.TemporaryDirectory(prefix="submission-") as scratch:
        for finding in _findings(args, Path(scratch), segments, references):
            n_checks += 1
            failed += bool(finding.error)
            print(
                f"{'FAILED' if finding.error else 'ok':<6}  {finding.check}: {finding.error or finding.detail}",
                flush=True,
            )
    print(f"{n_checks} checks, {failed} failed", file=sys.stderr)
    return EXIT_FAILED if failed else 0


def _findings(args: argparse.Namespace, scratch: Path, segments: Path, references: Path) -> Iterator[Finding]:
    """Those of the files; then, when nothing is wrong with them, those of the server and the soak."""
    from agent.run.talks import find_talks
    from eval.submission import contents
    from eval.submission.check import Finding, Package, check, unpack
    from eval.submission.server import check_started

    try:
        root = unpack(args.tarball, scratch)
    except UserError as error:
        yield Finding("tarball", "", str(error))
        return
    found = list(check(root, segments, references))
    yield from found
    if any(finding.error for finding in found) or (args.serve_s <= 0 and args.soak_h <= 0):
        return
    package = Package(root, contents.parse(root / contents.DESCRIPTION), segments, references)
    wanted = package.submission.entries[0].talks
    talks = [talk for talk in find_talks([args.audio or references]) if talk.stem in wanted]
    if not talks:
        raise UserError(f"{args.audio or references} has no audio of {', '.join(wanted[:3])}…: give --audio DIR.")
    yield from check_started(package, talks, args.serve_s, args.soak_h)
