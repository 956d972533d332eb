"""What a benchmark found, where and with which versions: one JSON file a part, one page of tables over all of them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent import __version__
from agent.run import manifest

Cell = str | int | float | None
PAGE = "README.md"


@dataclass(frozen=True)
class Result:
    """One table. ``about``: what was measured and how to read it; ``settings``: what somebody needs to repeat it."""

    name: str
    title: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


def write(result: Result, folder: Path) -> None:
    """``folder/<name>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    versions = {"python": platform.python_version(), "alignatt-agent": __version__, **manifest.versions()}
    machine = manifest.machine()
    machine |= {"system": f"{platform.system()} {platform.machine()}", "gpus": ", ".join(machine["gpus"])}
    content = {**asdict(result), "date": day, "machine": machine, "versions": versions}
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (folder / f"{result.name}.json").write_text(text + "\n", encoding="utf-8")


def write_page(folder: Path, names: Iterable[str]) -> None:
    """Put the tables of all parts of ``names`` that were measured on one page."""
    files = [folder / f"{name}.json" for name in names]
    sections = [_section(json.loads(file.read_text(encoding="utf-8"))) for file in files if file.is_file()]
    head = "# Benchmarks\n\nWritten by `make bench`. Each table comes from one run; its JSON file has the same figures."
    (folder / PAGE).write_text("\n\n".join([head, *sections]) + "\n", encoding="utf-8")


def _section(part: Mapping[str, Any]) -> str:
    where = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in part["machine"].items() if value)
    what = ", ".join(f"{key} {value}" for key, value in part["versions"].items())
    lines = "\n".join(table(part["columns"], part["rows"]))
    source = f"{part['date']}; {where}; {what}. [{part['name']}.json]({part['name']}.json)"
    return f"## {part['title']}\n\n{part['about']}\n\n{lines}\n\n{source}"


def table(columns: Iterable[str], rows: Iterable[Iterable[Cell]]) -> list[str]:
    """Lines of a Markdown table; numbers to the right."""
    columns, cells = list(columns), [list(row) for row in rows]
    numbers = [all(not isinstance(row[i], str) for row in cells) for i in range(len(columns))]
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---:" if number else "---" for number in numbers) + "|",
        *("| " + " | ".join(shown(cell) for cell in row) + " |" for row in cells),
    ]


def shown(cell: Cell) -> str:
    """A cell as people read it: three significant digits below 1000, small ones in scientific notation."""
    if not isinstance(cell, float):
        return "" if cell is None else str(cell)
    if cell and abs(cell) < 0.01:
        return f"{cell:.1e}"
    return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.2f}"
