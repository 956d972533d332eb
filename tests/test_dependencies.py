"""Tests import only what the ``dev`` extra brings."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from agent.paths import PROJECT

TESTS = PROJECT / "tests"
OURS = {"agent", "heads", "eval", "demo", "bench", "vllm_rows", *(path.stem for path in TESTS.rglob("*.py"))}
ELSEWHERE = {"vllm", "comet", "pytorch_lightning"}
"""What tests import that ``make vllm`` and ``make comet-env`` bring."""


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names(requirements: list[str]) -> set[str]:
    """Normalised names of distributions; those that belong to an extra are left out."""
    plain = [text for text in requirements if "extra ==" not in text]
    return {re.split(r"[^\w.-]", text.strip())[0].lower().replace("_", "-").replace(".", "-") for text in plain}


def test_tests_import_only_what_the_dev_extra_brings() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = names([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    brought, known, missing = set(declared), packages_distributions(), {}
    for name in declared:
        with suppress(PackageNotFoundError):
            brought |= names(requires(name) or [])
    for path in sorted(TESTS.rglob("*.py")):
        modules = {name.partition(".")[0] for name in imported(path)}
        for module in modules - OURS - ELSEWHERE - sys.stdlib_module_names:
            if not names(known.get(module, [])) & brought:
                missing[module] = path.name
    assert missing == {}
