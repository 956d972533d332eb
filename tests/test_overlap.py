"""Translation beside the next chunk's recognition: the same text, and no chunk that waits for a slow model."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from test_agent import CHUNK, TALK, ListedRecognizer, folder, fresh, settings, translate

from agent.agent import AlignAttAgent
from agent.config import SessionConfig
from agent.session import Session, StepRecord
from agent.words import Hypothesis

__all__ = ["folder", "fresh"]  # fixtures


def overlapped(folder: Path) -> AlignAttAgent:
    return AlignAttAgent(settings(folder, session=SessionConfig(overlap=True)))


def text(outputs: list[Any]) -> list[str]:
    return [token for output in outputs for token in output.new_tokens]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is closed, translation waits. It opens when the second chunk is heard."""
    opened, step, push = threading.Event(), Session.step, ListedRecognizer.push

    def waiting(session: Session, hypothesis: Hypothesis) -> list[StepRecord]:
        assert opened.wait(60)
        return step(session, hypothesis)

    def heard(recognizer: ListedRecognizer, samples: Any) -> Hypothesis:
        hypothesis = push(recognizer, samples)
        if hypothesis.now_s > 1.5 * len(samples) / 16_000:
            opened.set()
        return hypothesis

    monkeypatch.setattr(Session, "step", waiting)
    monkeypatch.setattr(ListedRecognizer, "push", heard)
    return opened


def test_a_fast_model_says_what_it_says_in_turn(folder: Path) -> None:
    expected = translate(AlignAttAgent(settings(folder)))
    processor = overlapped(folder)
    assert text(translate(processor)) == text(expected)
    processor.clear()
    assert text(translate(processor)) == text(expected)
    processor.clear()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("translation")]


def test_the_next_chunk_is_heard_while_a_slow_model_translates(folder: Path, gate: threading.Event) -> None:
    gate.set()
    expected = text(translate(AlignAttAgent(settings(folder))))
    gate.clear()
    processor = overlapped(folder)
    lines: list[dict[str, Any]] = []
    processor.add_listener(lines.append)
    # A chunk of 20 ms is over long before the gate opens, which is when the second one is heard.
    short = CHUNK[: len(CHUNK) // 50]
    first = processor.process_chunk(short)
    assert (first.new_tokens, lines[0]["steps"]) == ([], [])
    assert lines[0]["stages_s"]["wait"] > 0
    processor.process_chunk(short)
    rest = [*(processor.process_chunk(CHUNK) for _ in TALK), processor.end_of_stream()]
    assert text(rest)[-1] == expected[-1]
    assert sum(len(line["steps"]) for line in lines) >= len(TALK) + 1


def test_a_stream_that_ends_early_leaves_no_thread(folder: Path, gate: threading.Event) -> None:
    processor = overlapped(folder)
    processor.process_chunk(CHUNK[:160])
    threading.Timer(0.2, gate.set).start()
    processor.clear()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("translation")]


def test_an_error_of_the_translation_is_raised(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(session: Session, hypothesis: Hypothesis) -> list[StepRecord]:
        raise TimeoutError("the model hangs")

    monkeypatch.setattr(Session, "step", failing)
    processor = overlapped(folder)
    with pytest.raises(TimeoutError, match="hangs"):
        processor.process_chunk(CHUNK)
    processor.clear()
