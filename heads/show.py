"""A head set on paper: what it says in a table, and its layer × head map in the terminal, as PNG or as SVG."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.errors import UserError
from agent.mt.drafter import RowConvention
from agent.mt.head_sets import HeadSet, ScoredHead

SUFFIXES = (".png", ".svg", ".pdf")


def grid(heads: HeadSet, convention: RowConvention) -> npt.NDArray[np.float64]:
    """TS ``[layers, heads]``; NaN where the set lists no score."""
    values = np.full((heads.n_layers, heads.n_heads), np.nan)
    for scored in heads.scores[convention]:
        values[scored.head.layer, scored.head.head] = scored.score
    return values


def show(heads: HeadSet, n_rows: int, console: Console) -> None:
    """Print provenance, the best ``n_rows`` heads of each convention, and the map of the set's own convention."""
    console.print(f"[bold]{heads.model}[/] {heads.direction}" + (f" @ {heads.revision}" if heads.revision else ""))
    console.print(f"{heads.n_layers} layers of {heads.n_heads} heads; prompt layout {heads.layout or 'unknown'}")
    chosen = heads.select()
    used = ", ".join(f"{head.layer}.{head.head}" for head in chosen.heads)
    how = "chosen together" if heads.selected else "best by TS"
    console.print(f"uses {chosen.convention} rows of {len(chosen.heads)} heads, {how}: {used}")
    for key, value in heads.provenance.items():
        console.print(f"[dim]{key}:[/] {_plain(value)}", highlight=False)
    for convention, ranked in heads.scores.items():
        console.print(
            _table(convention, ranked[:n_rows], set(chosen.heads) if convention == chosen.convention else set())
        )
    console.print(_map(heads, chosen.convention))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value)


def _table(convention: RowConvention, ranked: tuple[ScoredHead, ...], used: set[Any]) -> Table:
    table = Table(title=f"{convention} rows")
    for column in ("head", "TS", "95 %", "TS published", "not-heard AUC", "used"):
        table.add_column(column, justify="right")
    for scored in ranked:
        interval = "–" if math.isnan(scored.low) else f"{scored.low:.3f}–{scored.high:.3f}"
        table.add_row(
            f"{scored.head.layer}.{scored.head.head}",
            f"{scored.score:.3f}",
            interval,
            *("–" if math.isnan(x) else f"{x:.3f}" for x in (scored.published, scored.not_heard)),
            "•" if scored.head in used else "",
        )
    return table


def _map(heads: HeadSet, convention: RowConvention) -> Text:
    """Layers from top to bottom, heads from left to right, lighter is better."""
    text = Text(f"TS of {convention} rows, layer by layer; what is not there or · is not listed\n")
    for layer, row in enumerate(grid(heads, convention)):
        if np.isnan(row).all():
            continue
        text.append(f"{layer:4d} ")
        for value in row:
            shade = "default" if math.isnan(value) else f"rgb({int(40 + 215 * value)},{int(40 + 140 * value)},60)"
            text.append("  ·" if math.isnan(value) else f" {100 * value:2.0f}", style=shade)
        text.append("\n")
    return text


def draw(heads: HeadSet, path: Path) -> None:
    """Write the layer × head maps of every convention. UserError for an unknown suffix or without matplotlib."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"--plot writes {', '.join(SUFFIXES)}, not '{path.name}'.")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("--plot needs matplotlib: pip install matplotlib.") from error
    conventions = list(heads.scores)
    size = (1.6 + len(conventions) * (0.9 + 0.34 * heads.n_heads), 1.6 + 0.24 * heads.n_layers)
    figure = Figure(figsize=(max(4.5, size[0]), max(2.8, size[1])), layout="constrained")
    axes = figure.subplots(1, len(conventions), squeeze=False, sharey=True)[0]
    for ax, convention in zip(axes, conventions, strict=True):
        image = ax.imshow(grid(heads, convention), vmin=0, vmax=1, cmap="viridis", aspect="auto")
        ax.set_facecolor("0.92")
        ax.set(title=f"{convention} rows", xlabel="head", xticks=range(heads.n_heads))
        if convention == heads.select().convention:
            for layer, head in heads.select().heads:
                ax.plot(head, layer, "o", mfc="none", mec="red", ms=8)
    step = 1 if heads.n_layers <= 16 else 4
    axes[0].set(ylabel="layer", yticks=range(0, heads.n_layers, step))
    figure.colorbar(image, ax=axes, label="translation score")
    figure.suptitle(f"{heads.model} {heads.direction}; circles: used", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
