"""The shape of the house: imports run down the floors of docs/architecture.md only, and the public names stay."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from agent.paths import PROJECT

PACKAGES = ("agent", "bench", "demo", "eval", "heads", "vllm_rows")
GROUND = ("catalogue", "errors", "keys", "languages", "paths", "plugins", "stages", "words")
"""Modules of ``agent`` that every room may use."""
FLOORS = (
    ("bench",),
    ("demo",),
    ("agent.cli",),
    ("eval", "heads"),
    ("agent.run",),
    ("agent",),
    ("agent.asr", "agent.mt"),
    ("agent.vllm_engine",),
    ("vllm_rows",),
    ("ground",),
)
"""Rooms from the top floor down. ``agent`` alone: its other modules, which are one stream; ``ground``: `GROUND`."""
PUBLIC = {
    "agent": "AlignAttAgent __version__",
    "agent.mt.policy": "Acceptance DraftView Evidence Policy Rows mean_rows n_shared_units refuses whole_units",
}


def room_of(module: str) -> str:
    if module.removeprefix("agent.") in GROUND:
        return "ground"
    rooms = [room for floor in FLOORS for room in floor if module == room or module.startswith(f"{room}.")]
    return max(rooms, key=len)


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            if "tests" not in path.relative_to(PROJECT).parts:
                yield ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import of ours, also those inside functions and for type checkers."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        known = [name for name in names if name.partition(".")[0] in PACKAGES and is_module(name)]
        if known:
            yield node.lineno, max(known, key=len)


def is_module(name: str) -> bool:
    path = PROJECT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_no_import_goes_up() -> None:
    wrong = []
    for module, path in modules():
        # The package itself loads the agent when it is asked for.
        for line, other in imports(path) if module != "agent" else ():
            here, there = room_of(module), room_of(other)
            # The commands are for people, the rows are a distribution of their own.
            is_down = floor_of(here) < floor_of(there) and there != "agent.cli" and here != "vllm_rows"
            if here != there and not is_down and other != "agent":
                wrong.append(f"{path.relative_to(PROJECT)}:{line}  {here} -> {there}  ({other})")
    assert not wrong, "imports that do not go down:\n" + "\n".join(wrong)


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_the_public_names_are_those_that_are_promised(module: str) -> None:
    loaded = __import__(module, fromlist=["*"])
    assert set(loaded.__all__) == set(PUBLIC[module].split())
    assert all(getattr(loaded, name) is not None for name in loaded.__all__)


def test_no_package_of_ours_shadows_the_toolkit_and_types_are_shipped() -> None:
    assert (PROJECT / "agent" / "py.typed").is_file()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["packages"]["find"] == {"include": ["agent*", "heads*", "eval*", "demo"]}
    assert not (PROJECT / "simulstream").exists()
    assert not list(PROJECT.glob("simulstream*.py"))
    assert set(metadata.packages_distributions()["simulstream"]) == {"simulstream"}


def test_files_and_functions_stay_short() -> None:
    too_long = []
    for module, path in modules():
        text = path.read_text(encoding="utf-8")
        too_long += [f"{module}: {len(text.splitlines())} lines"] if len(text.splitlines()) >= 500 else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                too_long += [f"{module}.{node.name}: {length} lines"] if length > 50 else []
    assert too_long == []
