"""Recognition and translation at the same time, which Appendix B of AlignAtt4LLM (Fuxa and Macháček, IWSLT 2026) leaves
open. Two kinds, `session.overlap`:

- `BesideAligner`: the words of a chunk are drafted for while the aligner times them. Only the policy needs the times.
  The text of every chunk is the same.
- `BesideNextChunk`, for live use where a chunk takes longer than it lasts: a translation is waited for only until the
  next chunk is due; what is not done by then runs on, and its text comes with a later chunk. As long as chunks take
  less time than they last, nothing changes. Which chunk a text comes with depends on the clock, so runs that are
  scored should not use it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from agent import stages
from agent.mt.translator import Tail
from agent.session import Session, StepRecord
from agent.stages import Stage
from agent.words import Hypothesis


@dataclass(frozen=True)
class _Drafted:
    tail: Tail | None
    seconds: Mapping[Stage, float]


class BesideAligner:
    """The steps of one session, whose first draft may have begun. To be used by one thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pool = ThreadPoolExecutor(1, "translation")
        self._pending: Future[_Drafted] | None = None

    def begin(self, expected: Hypothesis) -> None:
        """Draft for what the next `step` is going to be about."""
        self._pending = self._pool.submit(self._draft, expected)

    def drop(self) -> None:
        """There is going to be no `step` about what has been begun. Returns when the draft has ended."""
        if self._pending is not None:
            self._pending.cancel()
            wait([self._pending])
            self._pending = None

    def step(self, hypothesis: Hypothesis) -> list[StepRecord]:
        """`Session.step`, with what has been drafted. Raises what the draft raised."""
        pending, self._pending = self._pending, None
        if pending is None:
            return self._session.step(hypothesis)
        with stages.stage("wait"):
            drafted = pending.result()
            _split_wait(drafted.seconds)
        return self._session.step(hypothesis, drafted.tail)

    def close(self) -> None:
        """Cancel what runs, let the engine forget the stream. Returns when the thread has ended."""
        _close(self._pool, self._session)

    def _draft(self, expected: Hypothesis) -> _Drafted:
        with stages.measure() as timer:
            tail = self._session.ahead(expected)
            return _Drafted(tail, timer.spent())


@dataclass(frozen=True)
class _Done:
    records: list[StepRecord]
    seconds: Mapping[Stage, float]


class BesideNextChunk:
    """The steps of one session, in order, on a thread of their own. To be used by one thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pool = ThreadPoolExecutor(1, "translation")
        self._pending: deque[Future[_Done]] = deque()

    def add(self, hypothesis: Hypothesis) -> None:
        """Translate what a hypothesis brings, after those before it."""
        self._pending.append(self._pool.submit(self._step, hypothesis))

    def collect(self, wait_s: float | None) -> list[StepRecord]:
        """Records of all steps that are done within ``wait_s`` seconds; None waits for all of them.

        Raises what a step raised.
        """
        until = None if wait_s is None else time.monotonic() + wait_s
        records: list[StepRecord] = []
        with stages.stage("wait"):
            while self._pending:
                try:
                    done = self._pending[0].result(None if until is None else max(0.0, until - time.monotonic()))
                except TimeoutError:
                    if self._pending[0].done():  # its own
                        raise
                    break
                self._pending.popleft()
                records += done.records
                _split_wait(done.seconds)
        return records

    def close(self) -> None:
        """Cancel what runs, let the engine forget the stream. Returns when the thread has ended."""
        _close(self._pool, self._session)

    def _step(self, hypothesis: Hypothesis) -> _Done:
        with stages.measure() as timer:
            records = self._session.step(hypothesis)
            return _Done(records, timer.spent())


def _split_wait(seconds: Mapping[Stage, float]) -> None:
    """Count the time that this chunk has waited for the stages of the other thread, as far as it goes."""
    for name, spent_s in seconds.items():
        stages.move("wait", name, spent_s)


def _close(pool: ThreadPoolExecutor, session: Session) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    session.close()  # cancels the draft that runs
    pool.shutdown()
    session.close()  # forgets what it left
