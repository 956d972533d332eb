"""Where the time of a chunk goes: seconds per stage, measured where the work is done.

`measure` opens a chunk; `stage` names what its thread does from here on. An inner stage's time is not counted in the
outer one, and what no stage names counts for ``policy``: the stages of a chunk add up to its time. Outside of a chunk
`stage` does nothing. `stage` also works as a decorator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol, get_args

CLOCK: Callable[[], float] = time.perf_counter
Stage = Literal["wait", "vad", "asr", "align", "prefill", "decode", "replay", "policy"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""``wait``: for an engine that serves another stream. ``vad``: voice activity. ``asr``: recognition. ``align``: word
times. ``prefill``: prompt of a draft. ``decode``: its tokens. ``replay``: attention rows. ``policy``: everything else
(prompt text, tokenisation, acceptance, output)."""


class StageTimer:
    """Seconds spent in each stage of one chunk, in ``seconds``. ``clock``: seconds from any fixed moment."""

    def __init__(self, clock: Callable[[], float] = CLOCK) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self._clock = clock
        self._since = clock()
        self._running: list[Stage] = ["policy"]

    @property
    def total_s(self) -> float:
        """Seconds since the chunk began: the sum of ``seconds``, which this brings up to now."""
        self._book()
        return sum(self.seconds.values())

    def spent(self) -> dict[Stage, float]:
        """Seconds of each stage up to now."""
        self._book()
        return dict(self.seconds)

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Count the time until the block ends for ``name``, without that of stages inside it."""
        self._book()
        self._running.append(name)
        try:
            yield
        finally:
            self._book()
            self._running.pop()

    def move(self, source: Stage, target: Stage, seconds: float) -> None:
        """Count ``seconds`` of ``source`` for ``target``: for a stage whose parts are known only afterwards."""
        self._book()
        moved = min(max(seconds, 0.0), self.seconds[source])
        self.seconds[source] -= moved
        self.seconds[target] += moved

    def _book(self) -> None:
        now = self._clock()
        self.seconds[self._running[-1]] += now - self._since
        self._since = now


class Lockable(Protocol):
    """A lock."""

    def acquire(self) -> bool:
        """Wait until it is free, take it."""

    def release(self) -> None:
        """Give it back."""


_current: ContextVar[StageTimer | None] = ContextVar("stages", default=None)


@contextmanager
def measure() -> Iterator[StageTimer]:
    """Measure the stages of one chunk, in this thread, until the block ends."""
    timer = StageTimer(CLOCK)
    token = _current.set(timer)
    try:
        yield timer
    finally:
        _current.reset(token)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Count the time until the block ends for stage ``name`` of the chunk that this thread is working on."""
    timer = _current.get()
    if timer is None:
        yield
        return
    with timer.stage(name):
        yield


@contextmanager
def locked(lock: Lockable) -> Iterator[None]:
    """Hold ``lock``; the time until it is free counts for ``wait``."""
    with stage("wait"):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def move(source: Stage, target: Stage, seconds: float) -> None:
    """`StageTimer.move` for the chunk that this thread is working on."""
    timer = _current.get()
    if timer is not None:
        timer.move(source, target, seconds)
