"""Tables of scored runs, for a terminal or as plain aligned text."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

HEADER = (
    "run", "policy", "BLEU", "chrF", "COMET", "CU ms", "CU<0.1.10", "CA ms", "LAAL ms", "flicker", "RTF", "WER %",
    "/offline", "regime",
)  # fmt: skip
N_TEXT_COLUMNS = 2


def row(name: str, scores: Mapping[str, Any], legacy: bool = False) -> list[str]:
    """Cells of one scored run (the tree of scores.json), in the order of HEADER.

    ``legacy`` fills the column of CU-LongYAAL before OmniSTEval 0.1.10. Flicker is shown only where there is any.
    """
    return [
        name,
        scores.get("policy") or "–",
        number(scores["bleu"], 2),
        number(scores["chrf"], 2),
        number((scores.get("comet") or {}).get("score"), 4),
        number(scores["cu_long_yaal_ms"], 0),
        number(scores.get("cu_long_yaal_before_0_1_10_ms") if legacy else None, 0),
        number(scores["ca_long_yaal_ms"], 0),
        number(scores.get("cu_long_laal_ms"), 0),
        number(scores.get("erasure") or None, 3),
        number(scores["rtf"], 2),
        number(scores.get("wer"), 1, 100),
        number(scores.get("share_of_offline_bleu"), 1, 100, "%"),
        _regime(scores.get("regime") or {}),
    ]


def offline_row(quality: Mapping[str, Any]) -> list[str]:
    """The row of the cascade with the whole talk at hand; it has no latency."""
    cells = ["offline", "offline", number(quality["bleu"], 2), number(quality["chrf"], 2)]
    return cells + ["–"] * (len(HEADER) - len(cells))


def show(rows: Sequence[Sequence[str]], signatures: Sequence[str]) -> None:
    """Print the rows and their signatures. Columns that are empty in every row are left out."""
    keep = [i for i in range(len(HEADER)) if any(cells[i] != "–" for cells in rows)]
    header = [HEADER[i] for i in keep]
    body = [[cells[i] for i in keep] for cells in rows]
    if sys.stdout.isatty():
        table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False)
        for i, name in zip(keep, header, strict=True):
            table.add_column(name, justify="left" if i < N_TEXT_COLUMNS else "right", no_wrap=True)
        for cells in body:
            table.add_row(*cells)
        console = Console()
        console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
        console.print(table)
    else:
        print("\n".join(plain(header, body)))
    for signature in dict.fromkeys(signatures):
        print(f"signature: {signature}")


def plain(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of left-aligned first columns and right-aligned figures, two spaces apart."""
    widths = [max(len(cells[i]) for cells in [header, *body]) for i in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if i < N_TEXT_COLUMNS else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in [header, *body]
    ]


def number(value: float | None, digits: int = 2, factor: float = 1.0, unit: str = "") -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None or value != value else f"{value * factor:.{digits}f}{unit}"


def _regime(regime: Mapping[str, Any]) -> str:
    if regime.get("met") is None:
        return "–"
    return f"{regime['name']} {'met' if regime['met'] else 'MISSED'}"
