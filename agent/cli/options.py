"""What several commands share: how a page of help is made, and the options that name a configuration."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from agent.cli.examples import EXAMPLES
from agent.config import AgentConfig, from_namespace
from agent.run import settings as run_settings
from agent.run.settings import Settings

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
COMPLETION = """\
completion with the Tab key, in bash and zsh:
  eval "$(register-python-argcomplete simulstream alignatt)"

"""


class HelpFormatter(argparse.HelpFormatter):
    """Wraps descriptions, leaves what has lines as it is, and lists commands without a line above them."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        return text.partition("\n")[2] if isinstance(action, argparse._SubParsersAction) else text


def page(parser: argparse.ArgumentParser, before: str = "") -> argparse.ArgumentParser:
    """The parser, whose help ends with ``before`` and its examples. No option may be shortened."""
    lines = EXAMPLES[parser.prog].strip().splitlines()
    parser.epilog = f"{before}examples:\n" + "\n".join(f"  {line}" for line in lines)
    parser.formatter_class, parser.allow_abbrev = HelpFormatter, False
    return parser


def add_command(
    subparsers: Subparsers, name: str, run: Callable[[argparse.Namespace], int], summary: str, description: str = ""
) -> argparse.ArgumentParser:
    """A sub-command. ``run``: from the parsed arguments to the exit code."""
    parser = add_group(subparsers, name, summary, description)
    parser.set_defaults(run=run)
    return parser


def add_group(subparsers: Subparsers, name: str, summary: str, description: str = "") -> argparse.ArgumentParser:
    """A sub-command that has sub-commands."""
    description = description or f"{summary[0].upper()}{summary[1:]}."
    return page(subparsers.add_parser(name, help=summary, description=description))


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """The options that name a configuration; `settings` and `configuration` read them."""
    add = parser.add_argument
    add("--src-lang", metavar="CODE", help="language spoken (default: en)")
    add("--tgt-lang", metavar="CODE", help="language wanted, e.g. de, it, zh, fr (default: de)")
    add("--preset", metavar="NAME", help="shipped configuration (default: {src}{tgt}-low)")
    add("--profile", metavar="NAME", help="demo (embedded models); full ones: a40, a100-40, h100, cpu")
    add("--config", type=Path, metavar="FILE", help="configuration YAML instead of a preset")
    add("--regime", choices=("low", "high"), help="latency regime of the default preset")
    add("--set", nargs="+", action="append", metavar="KEY=VALUE", help="change keys, e.g. policy.margin_words=1")


def settings(args: argparse.Namespace) -> Settings:
    """What the options name; ``args`` may also name another ``agent``."""
    typed = run_settings.Options(
        agent=getattr(args, "agent", None),
        preset=args.preset,
        profile=args.profile,
        config=args.config,
        regime=args.regime,
        source_lang=args.src_lang,
        target_lang=args.tgt_lang,
        assignments=tuple(text for group in args.set or () for text in group),
    )
    return run_settings.resolve(typed)


def configuration(args: argparse.Namespace) -> AgentConfig:
    """The configuration of our own agent that the options name."""
    return from_namespace(settings(args).tree)


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """The type of an option that is a whole number from ``low`` (to ``high``)."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
            to = "" if high is None else f" to {high}"
            raise argparse.ArgumentTypeError(f"must be a whole number from {low}{to}, not '{text}'")
        return int(text)

    return read
