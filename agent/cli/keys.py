"""``alignatt keys``: every configuration key with its default, bounds and meaning; makes docs/configuration.md too."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from agent.cli.options import Subparsers, add_command
from agent.config import AgentConfig
from agent.keys import Key, keys_of
from agent.plugins import POLICIES, RECOGNISERS, load_class

HEAD = """\
# Configuration

Every key, made by `alignatt keys --markdown` from the code; a test compares. A configuration is a YAML file that
simulstream itself can read. Later ones win: the defaults below; a preset (`--preset ende-low`, by default chosen by
languages, `--regime` and `--profile`) or a file (`--config FILE`); `--src-lang`, `--tgt-lang`; `--set key=value …`. An
unknown key, a wrong type or a value out of bounds is an error that names what is valid.

`asr.recogniser` and `policy.name` choose a class, ours by name or your own as `package.module:Class`
([extending.md](extending.md)); the other keys of the group are that class's.
"""


def add_parsers(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "keys", run, "every configuration key: default, bounds, meaning")
    parser.add_argument("words", nargs="*", metavar="WORD", help="only keys whose name or meaning has all these words")
    parser.add_argument("--markdown", action="store_true", help="print the page docs/configuration.md")


def run(args: argparse.Namespace) -> int:
    """Print, exit code 0."""
    if args.markdown:
        print(page(), end="")
        return 0
    for title, keys in groups().items():
        for key in keys:
            if all(word.lower() in f"{key.name} {key.meaning}".lower() for word in args.words):
                bounds = f"; {key.bounds}" if key.bounds else ""
                print(f"{key.name}  ({_shown(key.default)}{bounds}{f'; {title}' if '=' in title else ''})")
                print(f"    {key.meaning}")
    return 0


def groups() -> Mapping[str, list[Key]]:
    """Keys by heading: those of every configuration, then those of each recogniser and policy."""
    found = {"Everywhere": list(keys_of(AgentConfig))}
    for setting, known in (("asr.recogniser", RECOGNISERS), ("policy.name", POLICIES)):
        for name in known:
            cls = load_class(name, known, object, setting)
            found[f"{setting}={name}"] = list(keys_of(cls, f"{setting.partition('.')[0]}."))
    return found


def page() -> str:
    """docs/configuration.md."""
    return HEAD + "".join(f"\n## {title}\n\n" + "\n".join(_table(keys)) + "\n" for title, keys in groups().items())


def _table(keys: list[Key]) -> Iterator[str]:
    if not keys:
        yield "No keys."
        return
    yield from ("| key | default | meaning |", "|---|---|---|")
    for key in keys:
        meaning = f"{key.meaning.rstrip('.')} ({key.bounds})" if key.bounds else key.meaning.rstrip(".")
        cells = (f"`{key.name}`", f"`{_shown(key.default)}`", meaning.replace("``", "`").replace("|", "\\|"))
        yield f"| {' | '.join(cells)} |"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return str(default) or "empty"
