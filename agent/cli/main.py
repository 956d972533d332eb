"""The two commands: ``simulstream`` (run or serve an agent) and ``alignatt`` (score, calibrate, build).

Both say what is wrong with an input in one line and exit with code 2.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from agent import __version__
from agent.cli import doctor, evaluation, heads, keys, models
from agent.cli.options import COMPLETION, add_configuration, page, settings, whole
from agent.errors import EXIT_USER_ERROR, UserError

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def simulstream(argv: Sequence[str] | None = None) -> int:
    """Console script ``simulstream``; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded("simulstream", lambda: _simulstream(arguments))


def alignatt(argv: Sequence[str] | None = None) -> int:
    """Console script ``alignatt``; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)

    def command() -> int:
        args = completed(alignatt_parser()).parse_args(arguments)
        return int(args.run(args) or 0)

    return guarded("alignatt", command)


def completed(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, after it has answered a shell that asks how a line could go on (then the process ends)."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        if parser.prog == "simulstream" and os.environ["COMP_LINE"].split()[1:2] == ["serve"]:
            os.environ["_ARGCOMPLETE"] = "2"  # which word of the line the options come after
            parser = serve_parser()
        elif parser.prog == "simulstream":
            parser.add_argument("command", choices=("serve",))
        argcomplete.autocomplete(parser)
    return parser


def guarded(name: str, command: Callable[[], int]) -> int:
    """Run a command: errors of the user in one line, interruptions and closed pipes quietly."""
    try:
        with _terminate_as_interrupt():
            code = command()
            sys.stdout.flush()
            return code
    except UserError as error:
        print(f"{name}: {' '.join(str(error).split())}", *error.hints, sep="\n", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
            raise
        print(f"{name}: {error.strerror}: {error.filename or 'output'}", file=sys.stderr)
        return EXIT_USER_ERROR


def _simulstream(arguments: list[str]) -> int:
    command = ["simulstream", *arguments]
    if arguments[:1] == ["serve"]:
        return _serve(serve_parser().parse_args(arguments[1:]), command)
    parser = completed(run_parser())
    if not arguments:
        parser.print_help()
        return 0
    return _run(parser.parse_args(arguments), command)


def run_parser() -> argparse.ArgumentParser:
    """Options of an inference run."""
    usage = "simulstream [options]\n       simulstream serve [options]"
    description = "Translate talks simultaneously with simulstream's inference, or serve clients."
    parser = page(argparse.ArgumentParser("simulstream", usage, description), COMPLETION)
    parser.add_argument(
        "--source",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="audio or video file, text file with one path per line, or folder (default: the first demo talk)",
    )
    parser.add_argument("--watch", action="store_true", help="show heard, accepted and held words as they come")
    parser.add_argument("--real-time", action="store_true", help="do not run ahead of the speaker's pace")
    parser.add_argument(
        "--dry-run", action="store_true", help="print models, memory plan, prompt and heads; load and write nothing"
    )
    parser.add_argument("--quiet", action="store_true", help="print progress only, no summary and no next step")
    _add_agent(parser, "log, configuration, trace and manifest")
    return parser


def serve_parser() -> argparse.ArgumentParser:
    """Options of ``simulstream serve``."""
    description = "Start simulstream's WebSocket or HTTP server."
    parser = page(argparse.ArgumentParser("simulstream serve", description=description))
    parser.add_argument("--protocol", choices=("websocket", "http"), default="websocket")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (0.0.0.0: every interface)")
    parser.add_argument("--port", type=whole(0, 65_535), default=8080, help="0 takes a free one (default: 8080)")
    parser.add_argument("--pool-size", type=whole(1), default=1, metavar="N", help="clients at once (default: 1)")
    _add_agent(parser, "simulstream's log of all clients (websocket only)")
    return parser


def _add_agent(parser: argparse.ArgumentParser, kept: str) -> None:
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"new folder for {kept}")
    parser.add_argument("--force", action="store_true", help="replace the run that DIR holds")
    parser.add_argument("--agent", metavar="CLASS", help="speech processor class (default: agent.AlignAttAgent)")
    add_configuration(parser)
    parser.add_argument("--verbose", action="store_true", help="show the logs of simulstream and the agent")
    parser.add_argument("--version", action="version", version=__version__)


def alignatt_parser() -> argparse.ArgumentParser:
    """All commands of ``alignatt``."""
    description = "Score, compare and report runs; calibrate heads; fetch weights."
    parser = page(argparse.ArgumentParser("alignatt", description=description), COMPLETION)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", required=True)
    for module in (evaluation, heads, models, keys, doctor):
        module.add_parsers(subparsers)
    return parser


def _run(args: argparse.Namespace, command: Sequence[str]) -> int:
    from agent.run import folder as run_folder
    from agent.run import missing
    from agent.run.inference import Request, run
    from agent.run.talks import find_talks

    quiet_logs(args.verbose)
    chosen = settings(args)
    if args.dry_run:
        from agent.cli.plan import show

        return show(chosen)
    missing.check(chosen)
    if args.output:
        run_folder.check(args.output, args.force)
    demo = not args.source
    sources = find_talks(args.source) if args.source else [first_demo_talk()]
    if demo:
        print(f"Demo talk {sources[0].name}. Your own audio: simulstream --agent {chosen.agent} --source FILE")
    watch = args.watch or demo or args.output is None
    result = run(Request(chosen, sources, args.output, args.force, watch, args.real_time, command))
    if args.quiet:
        return 0
    talks = "1 talk" if result.n_talks == 1 else f"{result.n_talks} talks"
    print(
        f"{talks}, {result.audio_s:.1f} s of audio, {result.computation_s:.1f} s of computation "
        f"(RTF {result.rtf:.2f}), agent loaded in {result.model_loading_s:.1f} s"
    )
    if args.output:
        print(f"Log: {args.output / run_folder.LOG}")
        print(f"Score it: alignatt score {args.output}")
    else:
        print("Nothing was written; add --output DIR to keep the log.")
    return 0


def _serve(args: argparse.Namespace, command: Sequence[str]) -> int:
    from agent.run import missing
    from agent.run.serve import Endpoint, serve

    quiet_logs(args.verbose)
    chosen = settings(args)
    missing.check(chosen)
    endpoint = Endpoint(args.protocol, args.host, args.port, args.pool_size)
    return serve(chosen, endpoint, args.output, args.force, command)


def first_demo_talk() -> Path:
    """The shipped talk that is translated when no source is given."""
    from agent.paths import PROJECT
    from agent.run.talks import AUDIO_SUFFIXES

    folder = PROJECT / "demo" / "talks"
    talks = sorted(path for path in folder.glob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not talks:
        raise UserError("There is no demo talk here; give audio with --source FILE.")
    return talks[0]


def quiet_logs(verbose: bool) -> None:
    """Keep logs off the terminal below warnings. To be called before simulstream sets up logging at import."""
    logging.basicConfig(
        format="%(asctime)s | %(levelname)s | %(name)s | %(message)s",
        level=logging.INFO if verbose else logging.WARNING,
    )


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (a batch system, ``docker stop``) clears up like Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
