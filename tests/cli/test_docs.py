"""The documentation: links lead somewhere, commands are understood, keys exist, and the README stays short."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path

import pytest
from test_help import PAGES as HELP
from test_help import parse

from agent.config import AgentConfig
from agent.keys import keys_of
from agent.paths import PROJECT
from agent.plugins import POLICIES, RECOGNISERS, load_class

README = PROJECT / "README.md"
PAGES = [README, PROJECT / "CONTRIBUTING.md", PROJECT / "vllm_rows/README.md", *sorted((PROJECT / "docs").glob("*.md"))]
FILES, LOG = PROJECT / "docs/files.md", PROJECT / "docs/log.md"
"""Its commands and keys are those of the time."""
MAX_README_BYTES = 9000
SEVERAL = re.compile(r"(eval-en(de|it|zh)-(low|high)|calibrate-en(de|it|zh))$")
"""Targets that the Makefile makes by a pattern."""
COMMAND = re.compile(r"(?:[A-Z]+=\S* )*((?:simulstream|alignatt|make|python -m) \S.*)")
OF_EXAMPLES = {"policy.hold_words", "policy.min_probability", "policy.words", "asr.text", "asr.word_s"}
"""Keys of the classes that docs/extending.md shows."""


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(path: Path) -> Iterator[str]:
    """The commands of the code blocks of a page, each on one line."""
    for block in re.findall(r"^```\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if match := COMMAND.match(line):
                yield match[1]


@pytest.mark.parametrize("page", [*PAGES, PROJECT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not re.match(r"https?://", link):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    for command in commands(page):
        words = [word for word in shlex.split(command, comments=True) if word != "…"]
        if words[0] == "make":
            words = [word for word in words if "=" not in word and not SEVERAL.match(word)]
        parse(words)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in (FILES, LOG)], ids=lambda page: page.name)
def test_what_sentences_name_exists(page: Path) -> None:
    """Files, commands and keys."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:agent|bench|demo|docs|eval|heads|tests|vllm_rows)/[\w./]+)`", text):
        assert (PROJECT / name).exists() or (page.parent / name).exists(), name
    programs = {page.prog for page in HELP}
    for words in (code.split() for code in re.findall(r"`(alignatt [a-z]+[^`]*)`", text)):
        assert f"{words[0]} {words[1].rstrip(':')}" in programs, words
    known = {key.name for key in keys_of(AgentConfig)} | {"policy.name", "asr.recogniser"} | OF_EXAMPLES
    for group, names in (("policy.", POLICIES), ("asr.", RECOGNISERS)):
        known |= {key.name for name in names for key in keys_of(load_class(name, names, object, group), group)}
    for key in re.findall(r"(?<=[`\s{])(?:asr|mt|policy|session)(?:\.[a-z]\w+)+", text):
        assert key in known | {name.rpartition(".")[0] for name in known}, key


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= MAX_README_BYTES


def test_every_file_is_listed_with_what_it_says_of_itself() -> None:
    assert FILES.read_text(encoding="utf-8") == run_path(str(FILES.with_suffix(".py")))["page"]()
