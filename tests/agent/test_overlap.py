"""Translation beside the next chunk's recognition: the same text, and no chunk that waits for a slow model. Drafting
beside the aligner: the same text in every chunk."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from known_talk import Planted, listening, talk
from listed_agent import settings

import agent.agent
from agent.agent import AlignAttAgent
from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.record import RecordingRecogniser
from agent.config import load, preset_path
from agent.models import ModelCache
from agent.mt.transformers import TransformersDrafter
from agent.session import Session
from agent.words import Hypothesis, SourceWord

DEMO_MODELS = ModelCache()


def demo_agent(monkeypatch: pytest.MonkeyPatch, *changes: tuple[str, Any]) -> tuple[AlignAttAgent, Planted]:
    """The embedded translation model, and what stands for the speech models."""
    planted = Planted(*talk())
    recogniser = listening(planted)
    monkeypatch.setattr(AlignAttAgent, "models", DEMO_MODELS)
    monkeypatch.setattr(agent.agent, "build_recogniser", lambda _: recogniser)
    given = {"mt.device": "cpu", "speech_chunk_size": 0.85, **dict(changes)}
    return AlignAttAgent(load(preset_path("ende-low"), given)), planted


def demo_run(
    monkeypatch: pytest.MonkeyPatch, seconds: float, *changes: tuple[str, Any], ends: bool = True
) -> tuple[list[list[str]], list[dict[str, Any]], Planted]:
    """Tokens of each chunk of the shipped talk, the trace, and what stood for the speech models."""
    processor, planted = demo_agent(monkeypatch, *changes)
    lines: list[dict[str, Any]] = []
    processor.add_listener(lines.append)
    size = round(0.85 * SAMPLE_RATE_HZ)
    spoken = talk()[0][: round(seconds * SAMPLE_RATE_HZ)]
    outputs = [processor.process_chunk(spoken[at : at + size]) for at in range(0, len(spoken), size)]
    if ends:
        outputs.append(processor.end_of_stream())
    processor.clear()
    return [output.new_tokens for output in outputs], lines, planted


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        [],
        [("policy.confirmations", 1)],
        [("policy.name", "local-agreement")],
        [("policy.name", "paper")],
        [("session.hold_back_s", 0.5), ("session.min_stability", 2)],
    ],
)
def test_drafting_beside_the_aligner_says_the_same_in_every_chunk(
    monkeypatch: pytest.MonkeyPatch, changes: list[tuple[str, Any]]
) -> None:
    with monkeypatch.context() as deaf:
        deaf.setattr(agent.agent, "listen", lambda *_: None)
        in_turn, _, _ = demo_run(deaf, 20.0, *changes)
    beside, lines, _ = demo_run(monkeypatch, 20.0, *changes)
    assert beside == in_turn
    assert sum(map(len, beside)) > 20
    for line in lines:
        assert sum(line["stages_s"].values()) == pytest.approx(line["computation_s"], rel=1e-3, abs=1e-4)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("translation")]


def test_a_draft_runs_while_the_aligner_does_and_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The aligner does not answer before the draft that was announced is made."""
    began, draft, ahead, align = threading.Semaphore(0), TransformersDrafter.draft, Session.ahead, Planted.align
    main, made = threading.get_ident(), {True: 0, False: 0}
    announced: list[Hypothesis] = []

    def watched(drafter: TransformersDrafter, request: Any) -> Any:
        made[threading.get_ident() == main] += 1
        return draft(drafter, request)

    def drafted(session: Session, expected: Hypothesis) -> Any:
        announced.append(expected)
        tail = ahead(session, expected)
        began.release()
        return tail

    def late(planted: Planted, *args: Any) -> tuple[SourceWord, ...]:
        assert began.acquire(timeout=60)
        return align(planted, *args)

    monkeypatch.setattr(TransformersDrafter, "draft", watched)
    monkeypatch.setattr(Session, "ahead", drafted)
    monkeypatch.setattr(Planted, "align", late)
    _, lines, planted = demo_run(monkeypatch, 20.0, ("policy.confirmations", 0), ends=False)
    assert len(announced) == len(planted.clips) >= 20
    assert made[False] > 10
    # A sentence's end and the tail after it are two drafts, of which one is made beside the aligner.
    assert made[True] <= sum(len(line["steps"]) > 1 for line in lines)
    live = [tuple(word["text"] for word in line["live"]) for line in lines if line["live"]]
    assert {tuple(word.text for word in expected.live) for expected in announced if expected.live} <= set(live)


def test_a_draft_that_fails_beside_the_aligner_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(session: Session, expected: Hypothesis) -> None:
        raise TimeoutError("the model hangs")

    monkeypatch.setattr(Session, "ahead", failing)
    with pytest.raises(TimeoutError, match="hangs"):
        demo_run(monkeypatch, 5.0)


def test_what_was_begun_for_a_chunk_that_failed_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its draft nor the draft's error comes with a later chunk."""
    audio, _ = talk()
    processor, _ = demo_agent(monkeypatch)
    processor.process_chunk(audio[:SAMPLE_RATE_HZ])
    began = threading.Event()

    def failing(session: Session, expected: Hypothesis) -> None:
        began.set()
        raise TimeoutError("the model hangs")

    def refusing(*_: Any) -> None:
        assert began.wait(60)
        raise ValueError("no times")

    with monkeypatch.context() as broken:
        broken.setattr(Session, "ahead", failing)
        broken.setattr(Planted, "align", refusing)
        with pytest.raises(ValueError, match="no times"):
            processor.process_chunk(audio[SAMPLE_RATE_HZ : 2 * SAMPLE_RATE_HZ])
    assert processor.process_chunk(audio[:0]).new_tokens == []
    assert processor.end_of_stream().new_tokens
    processor.clear()


@pytest.mark.usefixtures("listed")
def test_a_recorded_recogniser_is_listened_to_and_one_without_aligner_left_alone(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    AlignAttAgent(settings(tiny_model))
    inner = listening(Planted(*talk()))
    monkeypatch.setattr(agent.agent, "build_recogniser", lambda _: RecordingRecogniser(inner, tmp_path))
    AlignAttAgent(settings(tiny_model, record_asr=str(tmp_path)))
    assert inner.on_words is not None
