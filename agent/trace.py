"""One JSON line per step: what was heard, drafted, accepted and held, and why. Reports are built from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.mt.policy.contract import COMMON_REASONS
from agent.session import StepRecord
from agent.stages import StageTimer
from agent.words import Hypothesis, SourceWord

Listener = Callable[[dict[str, Any]], None]


def word(source: SourceWord) -> dict[str, Any]:
    """A source word as plain data."""
    return {"text": source.text, "start_s": round(source.start_s, 3), "end_s": round(source.end_s, 3)}


def step(
    stream: int,
    hypothesis: Hypothesis,
    records: list[StepRecord],
    language: str,
    asr_s: float,
    audio_s: float,
    timer: StageTimer,
) -> dict[str, Any]:
    """A line of the trace. ``asr_s``: seconds the recogniser took; ``audio_s``: length of the new audio."""
    computation_s = timer.total_s
    last = records[-1] if records else None
    return {
        "stream": stream,
        "language": language,
        "now_s": round(hypothesis.now_s, 3),
        "chunk_s": round(audio_s, 3),
        "committed": [[word(w) for w in segment] for segment in hypothesis.committed],
        "live": [word(w) for w in hypothesis.live],
        "source": [w.text for w in hypothesis.live],
        "accepted": "".join(record.accepted for record in records),
        "held": last.held if last else "",
        "stop_reason": last.stop_reason if last else "silence",
        "why": last.why if last else COMMON_REASONS["silence"],
        "steps": [_record(record) for record in records],
        "asr_s": round(asr_s, 4),
        "mt_s": round(sum(record.mt_s for record in records), 4),
        "computation_s": round(computation_s, 6),
        "stages_s": {name: round(seconds, 6) for name, seconds in timer.seconds.items()},
    }


def _record(record: StepRecord) -> dict[str, Any]:
    line: dict[str, Any] = {
        "n_accessible": record.frontier.n_accessible,
        "n_visible": record.frontier.n_visible,
        "finished": record.frontier.finished,
        "accepted": record.accepted,
        "held": record.held,
        "stop_reason": record.stop_reason,
        "why": record.why,
    }
    if record.decision is not None:
        draft, work = record.decision.draft, record.decision.work
        line |= {
            "n_drafted_tokens": len(draft.token_ids),
            "n_committed_tokens": record.decision.acceptance.n_tokens,
            "n_calls": work.n_calls,
            "n_decoded": work.n_decoded,
            "n_forward": work.n_forward,
            "n_prefilled": work.n_prefilled,
            "finish": draft.finish,
            "evidence": [
                [e.text, e.source_word, round(e.peak, 3), [round(weight, 3) for weight in e.words]]
                for e in record.decision.acceptance.evidence
            ],
        }
    return line


class TraceWriter:
    """Appends lines to a file that it creates. The file is open only while a line is written: agents have no end."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._path = path

    def write(self, line: dict[str, Any]) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
