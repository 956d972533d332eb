"""Every page of help: its examples are commands that parse, it has no markup, and the shell can complete it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import __version__
from agent.cli.main import alignatt, alignatt_parser, run_parser, serve_parser, simulstream
from agent.paths import PROJECT


def pages(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its sub-commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from pages(child)


PAGES = [run_parser(), serve_parser(), *pages(alignatt_parser())]


def parse(words: list[str]) -> None:
    """SystemExit unless the command line can be understood. Other programs' lines have to name what is there."""
    if words[0] == "alignatt":
        alignatt_parser().parse_args(words[1:])
    elif words[:2] == ["simulstream", "serve"]:
        serve_parser().parse_args(words[2:])
    elif words[0] == "simulstream":
        run_parser().parse_args(words[1:])
    elif words[0] == "make":
        targets = re.findall(r"^[\w-]+(?=:)", (PROJECT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    else:
        assert words[:2] == ["python", "-m"]
        assert (PROJECT / f"{words[2].replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.prog.replace(" ", "-"))
def test_a_page_ends_with_examples_that_parse(page: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = page.format_help()
    assert "`" not in text
    _, heading, end = text.rpartition("\nexamples:\n")
    assert heading
    commands = [line for line in end.splitlines() if re.match(r"  \S", line)]
    assert 1 <= len(commands) <= 3
    for command in commands:
        parse(shlex.split(command))
    assert any(command.startswith(f"  {page.prog}") for command in commands)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(simulstream, []), (simulstream, ["serve"]), (alignatt, [])],
    ids=["run", "serve", "eval"],
)
def test_version(command: object, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command([*arguments, "--version"])  # type: ignore[operator]
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("simulstream s", {"serve"}),
        ("simulstream --pr", {"--preset", "--profile"}),
        ("simulstream serve --protocol ", {"websocket", "http"}),
        ("alignatt heads c", {"calibrate", "check"}),
    ],
)
def test_the_shell_completes(line: str, offered: set[str], tmp_path: Path) -> None:
    """As bash asks: the answer comes on descriptor 8."""
    name = line.split()[0]
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n"}
    script = f"'{Path(sys.executable).with_name(name)}' 8>answer 9>/dev/null"
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env={**os.environ, **asked}, check=True)
    assert set((tmp_path / "answer").read_text().split()) == offered
