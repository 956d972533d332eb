"""Recognition and translation at the same time, which Appendix B of AlignAtt4LLM (Fuxa and Macháček, IWSLT 2026) leaves
open: the words of a chunk are drafted for while the aligner times them, since only the policy needs the times. The text
of every chunk is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from agent import stages
from agent.asr.contract import AligningRecogniser, Recogniser
from agent.asr.record import RecordingRecogniser
from agent.mt.translator import Tail
from agent.session import Session, StepRecord
from agent.stages import Stage
from agent.words import Hypothesis


def listen(recogniser: Recogniser, on_words: Callable[[Hypothesis], None]) -> None:
    """Have ``on_words`` called with the words of every push before their times are known, if there is a time between
    the two (`AligningRecogniser`)."""
    if isinstance(recogniser, RecordingRecogniser):
        listen(recogniser.inner, on_words)
    elif isinstance(recogniser, AligningRecogniser):
        recogniser.on_words = on_words


@dataclass(frozen=True)
class _TimedDraft:
    tail: Tail | None
    seconds: Mapping[Stage, float]


class BesideAligner:
    """The steps of one session, whose first draft may have begun. To be used by one thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pool = ThreadPoolExecutor(1, "translation")
        self._pending: Future[_TimedDraft] | None = None

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
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._session.close()  # cancels the draft that runs
        self._pool.shutdown()
        self._session.close()  # forgets what it left

    def _draft(self, expected: Hypothesis) -> _TimedDraft:
        with stages.measure() as timer:
            tail = self._session.ahead(expected)
            return _TimedDraft(tail, timer.spent())


def _split_wait(seconds: Mapping[Stage, float]) -> None:
    """Count the time that this chunk has waited for the stages of the other thread, as far as it goes."""
    for name, spent_s in seconds.items():
        stages.move("wait", name, spent_s)
