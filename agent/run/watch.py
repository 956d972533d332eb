"""What a run shows while it works: a progress bar, or with ``--watch`` the words it hears, says and holds.

Reporters draw between steps, never inside one, so that drawing is not counted as computation time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from agent.run.talks import Talk

REFRESH_S = 0.1
"""Smallest time between two drawings of the progress bar."""
TAIL_LINES = 3
"""Lines of source and of translation kept on screen by ``--watch``."""


@dataclass(frozen=True)
class StepView:
    """One step as seen from outside. ``traces`` are the records the agent's listeners received during it."""

    now_s: float
    computation_s: float
    """Sum over the talk so far."""
    new_text: str
    target: str
    """The whole translation of the talk so far."""
    traces: Sequence[Any] = ()

    @property
    def rtf(self) -> float:
        """Seconds of computation for one second of audio."""
        return self.computation_s / self.now_s if self.now_s else 0.0


class Reporter(Protocol):
    """Told about a run from its first talk to its last."""

    @property
    def display(self) -> AbstractContextManager[Any]:
        """What is on the screen while it is entered."""

    def start(self, talk: Talk) -> None:
        """A talk begins."""

    def step(self, view: StepView) -> None:
        """A step is done."""

    def end(self, view: StepView) -> None:
        """The talk is over; ``view`` is its last step."""


class ProgressReporter:
    """A bar over seconds of audio on stderr; one line per talk when stderr is no terminal."""

    def __init__(self, talks: Sequence[Talk], console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.total_s = sum(talk.duration_s for talk in talks)
        self.n_talks = len(talks)
        self.display = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} s"),
            TextColumn("RTF {task.fields[rtf]:.2f}"),
            TimeRemainingColumn(),
            console=self.console,
            auto_refresh=False,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self.display.add_task("", total=self.total_s, rtf=0.0)
        self._done_s = self._done_computation_s = 0.0
        self._number = 0
        self._drawn = 0.0
        self._talk: Talk | None = None

    def start(self, talk: Talk) -> None:
        """Name the talk beside the bar."""
        self._talk = talk
        self._number += 1
        self.display.update(self._task, description=f"[{self._number}/{self.n_talks}] {talk.name}", refresh=True)

    def step(self, view: StepView) -> None:
        """Move the bar."""
        now = time.monotonic()
        if now - self._drawn < REFRESH_S:
            return
        self._drawn = now
        done_s = self._done_s + view.now_s
        rtf = (self._done_computation_s + view.computation_s) / done_s if done_s else 0.0
        self.display.update(self._task, completed=done_s, rtf=rtf, refresh=True)

    def end(self, view: StepView) -> None:
        """Add the talk to the sums."""
        self._done_s += view.now_s
        self._done_computation_s += view.computation_s
        if not self.console.is_terminal and self._talk is not None:
            print(
                f"[{self._number}/{self.n_talks}] {self._talk.name}: {view.now_s:.1f} s, RTF {view.rtf:.2f}",
                file=sys.stderr,
                flush=True,
            )


class WatchReporter:
    """Clock, heard source, accepted translation and held words: live on a terminal, else a line per step."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self.display: AbstractContextManager[Any] = self._live or nullcontext()
        self._talk: Talk | None = None
        self._last = ""

    def start(self, talk: Talk) -> None:
        """Announce the talk."""
        self._talk = talk
        self._last = ""
        self._print(f"{talk.name} ({talk.duration_s:.1f} s)")

    def step(self, view: StepView) -> None:
        """Show what the step changed."""
        if self._live:
            self._live.update(self._panel(view), refresh=True)
            return
        trace = view.traces[-1] if view.traces else None
        held = _text(trace, "held")
        line = f"{_text(trace, 'source')} → {view.new_text}{f' [{held}]' if held else ''}".strip()
        if line not in ("→", self._last):
            self._print(f"{view.now_s:7.2f} s  {line}")
        self._last = line

    def end(self, view: StepView) -> None:
        """Leave the whole translation on the screen."""
        if self._live:
            self._live.update(Text(""), refresh=True)
        self._print(f"= {view.target}" if view.target else "= (nothing was said)")

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _panel(self, view: StepView) -> Group:
        trace = view.traces[-1] if view.traces else None
        duration_s = self._talk.duration_s if self._talk else 0.0
        width = max(20, self.console.width) * TAIL_LINES
        clock = Text(f"{_clock(view.now_s)} / {_clock(duration_s)}   RTF {view.rtf:.2f}", style="cyan")
        stop = _text(trace, "stop_reason")
        if stop:
            clock.append(f"   {stop}", style="dim")
        said = Text(_tail(view.target, width), style="bold")
        held = _text(trace, "held")
        if held:
            said.append(f" [{held}]", style="bright_black")
        return Group(clock, Text(_tail(_text(trace, "source"), width), style="green"), said)


def _text(trace: Any, key: str) -> str:
    """A field of an agent's step record (mapping or object) as text; empty when there is none."""
    value = trace.get(key) if isinstance(trace, Mapping) else getattr(trace, key, None)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return " ".join(word if isinstance(word, str) else _text(word, "text") for word in value)
    return str(value)


def _tail(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[-width + 1 :]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes):02d}:{rest:04.1f}"
