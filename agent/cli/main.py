"""The two commands: ``simulstream`` (run or serve an agent) and ``alignatt`` (score, calibrate, build).

Both say what is wrong with an input in one line and exit with code 2.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from agent import __version__
from agent.errors import EXIT_USER_ERROR, UserError

if TYPE_CHECKING:
    from agent.run.settings import Options

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
COMMAND_MODULES = ("agent.cli.evaluation", "agent.cli.heads", "demo.command", "agent.cli.models", "agent.cli.doctor")
"""Modules that add sub-commands to ``alignatt``: each has ``add_parsers(subparsers)``."""

EXAMPLES = """\
examples:
  simulstream --agent agent.AlignAttAgent
      translate the first demo talk and watch it
  simulstream --agent agent.AlignAttAgent --source talk.mp4 --tgt-lang it --watch
  simulstream --agent agent.AlignAttAgent --source talks.txt --preset ende-low --output runs/ende-low
  simulstream --agent agent.AlignAttAgent --source talks/ --set policy.margin_words=1 --output runs/margin-1
  simulstream --agent agent.AlignAttAgent --preset ende-low --profile a40 --dry-run
      what the full models would be: weights, memory, prompt, heads
  simulstream serve --protocol websocket --port 8080 --preset ende-low
      serve clients (simulstream serve --help)
"""


def simulstream(argv: Sequence[str] | None = None) -> int:
    """Console script ``simulstream``; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded("simulstream", lambda: _simulstream(arguments))


def alignatt(argv: Sequence[str] | None = None) -> int:
    """Console script ``alignatt``; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded("alignatt", lambda: _alignatt(arguments))


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
    if arguments[:1] == ["serve"]:
        return _serve(serve_parser().parse_args(arguments[1:]), ["simulstream", *arguments])
    parser = run_parser()
    if not arguments:
        parser.print_help()
        return 0
    return _run(parser.parse_args(arguments), ["simulstream", *arguments])


def _alignatt(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("alignatt", description="Score, calibrate and build around the AlignAtt agent.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMAND_MODULES:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).add_parsers(subparsers)
    args = parser.parse_args(arguments)
    code = args.run(args)
    return int(code or 0)


def run_parser() -> argparse.ArgumentParser:
    """Options of an inference run."""
    parser = argparse.ArgumentParser(
        "simulstream",
        description="Translate talks simultaneously with simulstream's inference.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--source",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="audio or video file, text file with one path per line, or folder (default: the first demo talk)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="new folder for log, configuration, trace and manifest"
    )
    parser.add_argument("--force", action="store_true", help="replace the run that DIR holds")
    parser.add_argument("--watch", action="store_true", help="show heard, accepted and held words as they come")
    parser.add_argument("--real-time", action="store_true", help="do not run ahead of the speaker's pace")
    parser.add_argument(
        "--dry-run", action="store_true", help="print models, memory plan, prompt and heads; load and write nothing"
    )
    _add_agent_options(parser)
    return parser


def serve_parser() -> argparse.ArgumentParser:
    """Options of ``simulstream serve``."""
    parser = argparse.ArgumentParser(
        "simulstream serve", description="Start simulstream's WebSocket or HTTP server.", allow_abbrev=False
    )
    parser.add_argument("--protocol", choices=("websocket", "http"), default="websocket")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (0.0.0.0: every interface)")
    parser.add_argument("--port", type=_port, default=8080, help="0 takes a free one (default: 8080)")
    parser.add_argument("--pool-size", type=_count, default=1, metavar="N", help="clients served at once (default: 1)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="new folder for simulstream's log of all clients (websocket only)"
    )
    parser.add_argument("--force", action="store_true", help="replace the log that DIR holds")
    _add_agent_options(parser)
    return parser


def _add_agent_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", metavar="CLASS", help="speech processor class (default: agent.AlignAttAgent)")
    parser.add_argument("--src-lang", metavar="CODE", help="language spoken (default: en)")
    parser.add_argument("--tgt-lang", metavar="CODE", help="language wanted: de, it, zh (default: de)")
    parser.add_argument("--preset", metavar="NAME", help="shipped configuration (default: {src}{tgt}-low)")
    parser.add_argument("--profile", metavar="NAME", help="demo (embedded models); full ones: a40, a100-40, h100, cpu")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration YAML instead of a preset")
    parser.add_argument("--regime", choices=("low", "high"), help="latency regime of the default preset")
    parser.add_argument(
        "--set", nargs="+", action="append", metavar="KEY=VALUE", help="change keys, e.g. policy.margin_words=1"
    )
    parser.add_argument("--verbose", action="store_true", help="show the logs of simulstream and the agent")


def _run(args: argparse.Namespace, command: Sequence[str]) -> int:
    from agent.run import folder as run_folder
    from agent.run import missing
    from agent.run.settings import resolve
    from agent.run.talks import find_talks

    quiet_logs(args.verbose)
    settings = resolve(_options(args))
    if args.dry_run:
        from agent.cli.plan import show

        return show(settings)
    missing.check(settings)
    if args.output:
        run_folder.check(args.output, args.force)
    demo = not args.source
    sources = find_talks(args.source) if args.source else [first_demo_talk()]

    from agent.run.inference import Request, run

    if demo:
        print(f"Demo talk {sources[0].name}. Your own audio: simulstream --agent {settings.agent} --source FILE")
    watch = args.watch or demo or args.output is None
    result = run(Request(settings, sources, args.output, args.force, watch, args.real_time, command))
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
    from agent.run.settings import resolve

    quiet_logs(args.verbose)
    endpoint = Endpoint(args.protocol, args.host, args.port, args.pool_size)
    settings = resolve(_options(args))
    missing.check(settings)
    return serve(settings, endpoint, args.output, args.force, command)


def _options(args: argparse.Namespace) -> Options:
    from agent.run.settings import Options, assignments_of

    return Options(
        agent=args.agent,
        preset=args.preset,
        profile=args.profile,
        config=args.config,
        regime=args.regime,
        source_lang=args.src_lang,
        target_lang=args.tgt_lang,
        assignments=assignments_of(args.set),
    )


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


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not '{text}'")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number from 1, not '{text}'")
    return int(text)
