"""The report's plots, drawn once with matplotlib: inline SVG that follows the page's colours, PNG and SVG files."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import UserError
from eval.report.budget import Budget
from eval.score import REGIME_LIMIT_MS
from eval.scoring.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#3d7fe0", "#dd6b20", "#2f9e55", "#a855c7", "#d64550", "#1597a5", "#b58900", "#7a869a")
MARKERS = "osD^vPX*"
PAPER = {"ink": "#1b2430", "muted": "#5c6878", "line": "#d5dbe3", "low": "#e6f2ea", "high": "#eef1f8"}
"""Colours of the files beside the page."""
THEMED = {"ink": "#010101", "muted": "#020202", "line": "#030303", "low": "#040404", "high": "#050505"}
"""Stand-ins that become the page's CSS variables of the same names."""
PARTS = {
    "ahead_s": ("said ahead", "#7a869a"),
    "audio_s": ("rest of the chunk", "#5b8fdd"),
    "recogniser_s": ("recogniser", "#1597a5"),
    "policy_s": ("policy holds", "#dd6b20"),
    "wait_s": ("waits for the engine", "#b58900"),
    "asr_s": ("ASR", "#2f9e55"),
    "align_s": ("aligner", "#8fc93a"),
    "prefill_s": ("prefill", "#d64550"),
    "decode_s": ("decoding", "#a855c7"),
    "rest_s": ("rows, policy, text", "#9c6b3f"),
}


@dataclass(frozen=True)
class Point:
    """A run in a plot. Latencies are seconds; intervals are 95 %."""

    name: str
    colour: str
    marker: str
    quality: Interval
    cu_s: Interval
    ca_s: float | None
    published: bool = False


@dataclass(frozen=True)
class Plot:
    """A finished plot: ``name`` for files, ``inline`` for the page, and files' contents."""

    name: str
    title: str
    inline: str
    svg: bytes
    png: bytes


def quality_latency(name: str, metric: str, points: Sequence[Point], offline: float | None) -> Plot:
    """Quality over CU-LongYAAL with regime bands, intervals, and the offline cascade as a line."""

    def draw(axes: Axes, theme: Mapping[str, str]) -> None:
        _ground(axes, points, metric, offline, theme)
        for index, point in enumerate(points):
            _point(axes, point, f"point-{index}", theme)
        _labels(axes, [(point.cu_s.value, point.quality.value, point.name) for point in points], theme)

    titles = {f"point-{index}": _describe(point, metric) for index, point in enumerate(points)}
    return _render(name, f"{metric} over latency", draw, (5.8, 3.7), titles)


def curves(name: str, title: str, metric: str, lines: Mapping[str, Sequence[Point]], offline: float | None) -> Plot:
    """Quality over CU-LongYAAL of each policy's settings.

    A line with intervals joins those that no other setting of the policy beats in both; the others are pale marks.
    """
    points = [point for line in lines.values() for point in line]

    def draw(axes: Axes, theme: Mapping[str, str]) -> None:
        _ground(axes, points, metric, offline, theme)
        for label, line in lines.items():
            front: list[Point] = []
            for point in sorted(line, key=lambda point: (point.cu_s.value, -point.quality.value)):
                gid = f"point-{points.index(point)}"
                if front and point.quality.value <= front[-1].quality.value:
                    axes.plot([point.cu_s.value], [point.quality.value], point.marker, color=point.colour, ms=5,
                              alpha=0.4, lw=0, zorder=3, gid=gid)  # fmt: skip
                else:
                    front.append(point)
                    _point(axes, point, gid, theme)
            axes.plot([point.cu_s.value for point in front], [point.quality.value for point in front],
                      front[0].marker + "-", color=front[0].colour, label=label, ms=6, lw=1.6, zorder=3)  # fmt: skip
        axes.legend(loc="lower right", frameon=False, fontsize=9)

    titles = {f"point-{index}": _describe(point, metric) for index, point in enumerate(points)}
    return _render(name, title, draw, (5.8, 3.9), titles)


def computation(name: str, points: Sequence[Point]) -> Plot:
    """CA- over CU-LongYAAL; nothing can lie below the diagonal in real time."""

    def draw(axes: Axes, theme: Mapping[str, str]) -> None:
        known = [(point, point.ca_s) for point in points if point.ca_s is not None]
        top = 1.12 * max(max(point.cu_s.value, ca_s) for point, ca_s in known)
        axes.fill_between([0, top], [0, top], 0, color=theme["line"], alpha=0.45, lw=0)
        axes.plot([0, top], [0, top], color=theme["muted"], lw=1)
        axes.text(0.97 * top, 0.06 * top, "CA below CU: not possible in real time", ha="right", color=theme["muted"],
                  fontsize=8.5)  # fmt: skip
        for index, (point, ca_s) in enumerate(known):
            axes.plot([point.cu_s.value], [ca_s], point.marker, color=point.colour, ms=7, gid=f"point-{index}",
                      mfc="none" if point.published else point.colour)  # fmt: skip
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="CU-LongYAAL, s", ylabel="CA-LongYAAL, s")
        _labels(axes, [(point.cu_s.value, ca_s, point.name) for point, ca_s in known], theme)

    known = [point for point in points if point.ca_s is not None]
    titles = {f"point-{i}": f"{p.name}: CU {p.cu_s.value:.2f} s, CA {p.ca_s:.2f} s" for i, p in enumerate(known)}
    return _render(name, "CA against CU", draw, (5.8, 3.7), titles)


def budgets(name: str, runs: Mapping[str, Budget]) -> Plot:
    """One stacked bar a run: where a unit's seconds go between the end of its source word and its emission."""

    def draw(axes: Axes, theme: Mapping[str, str]) -> None:
        for row, budget in enumerate(runs.values()):
            left = 0.0
            for key, (_, colour) in PARTS.items():
                value = asdict(budget)[key]
                start = 0.0 if key == "ahead_s" else left
                axes.barh(row, value, left=start, color=colour, height=0.62, lw=0, gid=f"bar-{row}-{key}")
                if value > 0.16:
                    axes.text(start + value / 2, row, f"{value:.2f}", ha="center", va="center", color="#ffffff",
                              fontsize=8.5, fontweight="bold")  # fmt: skip
                left += max(0.0, value)
        axes.set_yticks(range(len(runs)), list(runs))
        axes.invert_yaxis()
        axes.axvline(0, color=theme["muted"], lw=1)
        axes.set_xlabel("seconds per target unit")
        axes.grid(axis="y", visible=False)
        used = [key for key in PARTS if any(abs(asdict(budget)[key]) >= 0.0005 for budget in runs.values())]
        handles = [axes.barh(0, 0, color=PARTS[key][1], label=PARTS[key][0]) for key in used]
        axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, frameon=False, fontsize=9)

    titles = {
        f"bar-{row}-{key}": f"{run}: {label} {asdict(budget)[key]:.3f} s"
        for row, (run, budget) in enumerate(runs.items())
        for key, (label, _) in PARTS.items()
    }
    return _render(name, "Latency budget", draw, (5.8, 1.8 + 0.42 * len(runs)), titles)


def _ground(axes: Axes, points: Sequence[Point], metric: str, offline: float | None, theme: Mapping[str, str]) -> None:
    """Axes of quality over latency: regime bands, and the offline cascade as a line."""
    right = max([1.2 * REGIME_LIMIT_MS["low"] / 1000, *(1.12 * point.cu_s.high for point in points)])
    low, high = REGIME_LIMIT_MS["low"] / 1000, REGIME_LIMIT_MS["high"] / 1000
    axes.axvspan(0, low, color=theme["low"], lw=0, zorder=0)
    axes.axvspan(low, min(high, right), color=theme["high"], lw=0, zorder=0)
    for left, end, label in ((0.0, low, "low"), (low, min(high, right), "high")):
        if end - left > right / 12:
            axes.text(end, 1.01, label + " ", ha="right", va="bottom", transform=axes.get_xaxis_transform(),
                      color=theme["muted"], fontsize=9)  # fmt: skip
    if offline is not None:
        axes.axhline(offline, color=theme["muted"], lw=1, ls=(0, (4, 3)), zorder=1)
        axes.text(0.01 * right, offline, "offline cascade", va="bottom", color=theme["muted"], fontsize=8.5)
    axes.set_xlim(0, right)
    axes.set_xlabel("CU-LongYAAL, s")
    axes.set_ylabel(metric)


def _point(axes: Axes, point: Point, gid: str, theme: Mapping[str, str]) -> None:
    quality, cu_s = point.quality, point.cu_s
    if quality.high > quality.low:
        axes.plot([cu_s.value] * 2, [quality.low, quality.high], color=point.colour, lw=1.4, alpha=0.55)
        axes.plot([cu_s.low, cu_s.high], [quality.value] * 2, color=point.colour, lw=1.4, alpha=0.55)
    face = "none" if point.published else point.colour
    axes.plot([cu_s.value], [quality.value], point.marker, color=point.colour, ms=7.5, mfc=face, zorder=4, gid=gid)


def _labels(axes: Axes, points: Sequence[tuple[float, float, str]], theme: Mapping[str, str]) -> None:
    """Names beside their points, moved up or down until they do not cover each other."""
    taken: list[tuple[float, float, float]] = []
    axes.figure.canvas.draw()
    for x, y, name in sorted(points, key=lambda point: -point[1]):
        px, py = axes.transData.transform((x, y))
        width, shift = 6.2 * len(name), 0.0
        right = px + width < axes.bbox.x1
        start = px + 8 if right else px - 8 - width
        while any(
            abs(py + shift - other) < 12 and start < end and begin < start + width for begin, end, other in taken
        ):
            shift -= 4
        taken.append((start, start + width, py + shift))
        axes.annotate(name, (x, y), xytext=(8 if right else -8, shift * 72 / axes.figure.dpi + 3.5),
                      textcoords="offset points", ha="left" if right else "right", color=theme["ink"],
                      fontsize=9)  # fmt: skip


def _describe(point: Point, metric: str) -> str:
    quality, cu_s = point.quality, point.cu_s
    if quality.high <= quality.low:
        return f"{point.name}: {metric} {quality.value:.2f}, CU {cu_s.value:.2f} s"
    return (
        f"{point.name}: {metric} {quality.value:.2f} [{quality.low:.2f}, {quality.high:.2f}], "
        f"CU {cu_s.value:.2f} s [{cu_s.low:.2f}, {cu_s.high:.2f}]"
    )


def _render(
    name: str,
    title: str,
    draw: Callable[[Axes, Mapping[str, str]], None],
    size: tuple[float, float],
    titles: Mapping[str, str],
) -> Plot:
    files = {}
    with _figure(name, PAPER, size) as (figure, axes):
        draw(axes, PAPER)
        for kind in ("svg", "png"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=_undated(kind))
            files[kind] = buffer.getvalue()
    with _figure(name, THEMED, size) as (figure, axes):
        draw(axes, THEMED)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=_undated("svg"))
    return Plot(name, title, _inline(buffer.getvalue().decode(), title, titles, name), files["svg"], files["png"])


def _undated(kind: str) -> dict[str, Any]:
    return {"Date": None} if kind == "svg" else {}


@contextmanager
def _figure(name: str, theme: Mapping[str, str], size: tuple[float, float]) -> Iterator[tuple[Figure, Axes]]:
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(f"Reports need matplotlib: pip install matplotlib ({error}).") from error
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": theme["line"],
        "axes.labelcolor": theme["ink"],
        "text.color": theme["ink"],
        "xtick.color": theme["muted"],
        "ytick.color": theme["muted"],
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme["line"],
        "grid.linewidth": 0.7,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.add_subplot()


def _inline(svg: str, title: str, titles: Mapping[str, str], name: str) -> str:
    """An SVG element without fixed size, in the page's colours and font, with tooltips and ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{title}">', svg)
    for key, text in titles.items():
        tip = f"<title>{html.escape(text)}</title>"
        svg = svg.replace(f'<g id="{key}">', f'<g class="mark" id="{name}-{key}">{tip}')
    svg = re.sub(r' id="(figure|axes|patch|matplotlib|line2d|text|xtick|ytick|legend|FillBetween)[^"]*"', "", svg)
    for key, colour in THEMED.items():
        svg = svg.replace(colour, f"var(--{key})")
    return re.sub(r"font: ([^;\"]*?)'?DejaVu Sans'?[^;\"]*", r"font: \1var(--font)", svg)
