"""What the replay viewer shows of one talk: who said what when, made from the trace alone (or the log, without one).

Everything is plain data for the page. Word ids index ``words``; times are seconds of the stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.languages import writes_spaces
from agent.mt.units import split_units
from eval.inputs.log import Talk
from eval.scoring.segments import Segment

SMALLEST_SHARE = 0.01
"""Attention below this is left out of the page."""
SAID_WHEN_FINISHED = "sentence finished"

Row = list[list[float]]
"""Attention of a target unit: [word id, share of 1] of each source word that gets some."""


@dataclass(frozen=True)
class Unit:
    """A target word (or character) as committed. ``step``: index into ``steps``; ``why``: what let it pass."""

    text: str
    step: int
    sentence: int
    row: Row
    peak: int | None
    why: str


@dataclass(frozen=True)
class Step:
    """State after one step. ``live``: ids of the unfinished tail's words, the first ``n_accessible`` old enough.

    ``held``: what was drafted and not said, ``held_row`` the attention of its first unit. ``computation_s``: asr_s and
    mt_s of the trace, or the log's computation time as the only entry.
    """

    now_s: float
    sentence: int
    live: list[int]
    n_accessible: int
    held: str
    held_row: Row
    reason: str
    n_drafted: int
    computation_s: list[float]


@dataclass
class Replay:
    """One talk. ``sentences``: ids of the finished sentences' source words, in order; ``traced`` is False for logs.

    ``stages_s``: seconds of each stage, by step; not part of the page.
    """

    name: str
    language: str
    duration_s: float
    traced: bool
    words: list[tuple[str, float, float]] = field(default_factory=list)
    sentences: list[list[int]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    stages_s: list[Mapping[str, float]] = field(default_factory=list)

    def tree(self) -> dict[str, Any]:
        """Compact form for the page: lists in the order of the fields above."""
        return {
            "name": self.name,
            "cjk": not writes_spaces(self.language),
            "duration": self.duration_s,
            "traced": self.traced,
            "words": [list(word) for word in self.words],
            "sentences": self.sentences,
            "steps": [list(asdict(step).values()) for step in self.steps],
            "units": [list(asdict(unit).values()) for unit in self.units],
        }


def from_trace(name: str, lines: Sequence[Mapping[str, Any]], n_context: int) -> Replay:
    """The replay of one traced stream. ``n_context``: finished sentences that stay in the prompt."""
    language = str(lines[0].get("language", "")) if lines else ""
    replay = Replay(name, language, max((float(line["now_s"]) for line in lines), default=0.0), True)
    known: dict[tuple[str, float, float], int] = {}

    def ids(words: Sequence[Mapping[str, Any]]) -> list[int]:
        keys = [(str(word["text"]), float(word["start_s"]), float(word["end_s"])) for word in words]
        return [known.setdefault(key, len(known)) for key in keys]

    for index, line in enumerate(lines):
        records = list(line.get("steps") or [])
        for segment in line["committed"]:
            if not segment:
                continue
            replay.units += _units(replay, records.pop(0), index, language, [])
            replay.sentences.append(ids(segment))
        live = ids(line["live"])
        record = records.pop(0) if records else {}
        visible = [word for sentence in replay.sentences[-n_context:] for word in sentence] if n_context else []
        visible = [*visible, *live]
        replay.units += _units(replay, record, index, language, visible)
        evidence = record.get("evidence") or []
        n_said = sum(unit.step == index and unit.sentence == len(replay.sentences) for unit in replay.units[-50:])
        replay.stages_s.append(line.get("stages_s") or {})
        replay.steps.append(
            Step(
                float(line["now_s"]),
                len(replay.sentences),
                live,
                max(0, int(record.get("n_accessible", 0)) - (len(visible) - len(live))),
                str(record.get("held", "")),
                _row(evidence[n_said], visible) if n_said < len(evidence) else [],
                str(line.get("why") or line["stop_reason"]),
                int(record.get("n_drafted_tokens", 0)),
                [float(line.get("asr_s", 0.0)), float(line.get("mt_s", 0.0))],
            )
        )
    replay.words = list(known)
    return replay


def from_log(talk: Talk, language: str, segments: Sequence[Segment]) -> Replay:
    """The replay of a talk without a trace: emitted units by time, reference transcript where there is one."""
    replay = Replay(talk.name, language, talk.audio_s, False)
    for segment in segments:
        text = segment.source or ""
        replay.words.append((text, segment.offset_s, segment.offset_s + segment.duration_s))
        replay.sentences.append([len(replay.words) - 1])
    ends = [segment.offset_s + segment.duration_s for segment in segments]
    separator = " " if writes_spaces(language) else ""
    for index, step in enumerate(talk.steps):
        now_s = float(step["total_audio_processed"])
        for token in step["deleted_tokens"]:
            if replay.units and replay.units[-1].text == token:
                replay.units.pop()
        sentence = sum(end <= now_s for end in ends[:-1])
        replay.units += [Unit(text, index, sentence, [], None, "") for text in step["generated_tokens"]]
        new = separator.join(step["generated_tokens"])
        reason = f"said: {new}" if new else "nothing said"
        replay.steps.append(Step(now_s, sentence, [], 0, "", [], reason, 0, [float(step["computation_time"])]))
    return replay


def _units(
    replay: Replay, record: Mapping[str, Any], step: int, language: str, visible: Sequence[int]
) -> Iterator[Unit]:
    """Units that a record of the trace committed, with their evidence where texts agree."""
    text = str(record.get("accepted", ""))
    evidence = record.get("evidence") or []
    for index, span in enumerate(split_units(text, language)):
        shown = text[span.start : span.end]
        lead = " " if not writes_spaces(language) and text[: span.start].endswith(" ") else ""
        item = evidence[index] if index < len(evidence) and str(evidence[index][0]).strip() == shown else None
        why = SAID_WHEN_FINISHED if record.get("finished") else ""
        peak = visible[item[1]] if item and 0 <= item[1] < len(visible) else None
        yield Unit(lead + shown, step, len(replay.sentences), _row(item, visible) if item else [], peak, why)


def _row(item: Sequence[Any], visible: Sequence[int]) -> Row:
    """Attention of an evidence item over source words: its full row where the trace has it, else the peak alone."""
    if len(item) > 3:
        shares = zip(visible, item[3], strict=False)
        return [[word, round(share, 3)] for word, share in shares if share >= SMALLEST_SHARE]
    return [[visible[item[1]], round(item[2], 3)]] if 0 <= item[1] < len(visible) else []
