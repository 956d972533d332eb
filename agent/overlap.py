"""Translation of a chunk beside the recognition of the next, for live use where a chunk takes longer than it lasts.

Appendix B of AlignAtt4LLM (Fuxa and Macháček, IWSLT 2026) leaves the overlap of the two models open. Here a chunk's
translation is waited for only until the next chunk is due; what is not done by then runs on, and its text comes with a
later chunk. As long as chunks take less time than they last, nothing changes. Which chunk a text comes with depends on
the clock, so runs that are scored should not use it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from agent import stages
from agent.session import Session, StepRecord
from agent.stages import Stage
from agent.words import Hypothesis


@dataclass(frozen=True)
class _Done:
    records: list[StepRecord]
    seconds: Mapping[Stage, float]


class Overlap:
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
                for name, seconds in done.seconds.items():
                    stages.move("wait", name, seconds)
        return records

    def close(self) -> None:
        """Cancel what runs, let the engine forget the stream. Returns when the thread has ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._session.close()  # cancels the draft that runs
        self._pool.shutdown()
        self._session.close()  # forgets what it left

    def _step(self, hypothesis: Hypothesis) -> _Done:
        with stages.measure() as timer:
            records = self._session.step(hypothesis)
            return _Done(records, timer.spent())
