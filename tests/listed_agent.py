"""The agent on a random model and a recogniser that reads from a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulstream.server.speech_processors.incremental_output import IncrementalOutput

import agent.agent
from agent import AlignAttAgent
from agent.asr.contract import Samples
from agent.asr.replay import ReplayConfig
from agent.config import AgentConfig
from agent.models import ModelCache
from agent.mt.config import MtConfig
from agent.mt.policy.alignatt import AlignAtt
from agent.words import Hypothesis, SourceWord

MODELS = ModelCache()
CHUNK = np.zeros(16_000, dtype=np.float32)
TALK = ["the old teacher", "the old teacher repairs the", "the old teacher repairs the machine in the garden"]


class ListedRecogniser:
    """A word tail per push; the flush commits the last."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.now_s = 0.0
        self.heard: tuple[SourceWord, ...] = ()

    def push(self, samples: Samples) -> Hypothesis:
        self.now_s += len(samples) / 16_000
        texts = TALK[min(int(self.now_s), len(TALK)) - 1].split()
        self.heard = tuple(SourceWord(t, 0.1 * i, 0.1 * i + 0.1) for i, t in enumerate(texts))
        return Hypothesis((), self.heard, self.now_s)

    def flush(self) -> Hypothesis:
        segments = (self.heard,) if self.heard else ()
        self.heard = ()
        return Hypothesis(segments, (), self.now_s)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AlignAttAgent, "models", MODELS)
    for module in (agent.agent, agent.models):
        monkeypatch.setattr(module, "build_recogniser", lambda _: ListedRecogniser())


def settings(folder: Path, **more: Any) -> AgentConfig:
    model = MtConfig(model=str(folder), head_set=str(folder / "heads-{tgt}.json"), device="cpu", max_final_tokens=24)
    policy = more.pop("policy", AlignAtt(margin_words=0, closure_guard=False))
    return AgentConfig(mt=model, policy=policy, asr=ReplayConfig(), **more)


def translate(processor: AlignAttAgent) -> list[IncrementalOutput]:
    return [*(processor.process_chunk(CHUNK) for _ in TALK), processor.end_of_stream()]


def spoken(outputs: list[IncrementalOutput]) -> list[str]:
    return [token for output in outputs for token in output.new_tokens]


def traced(processor: AlignAttAgent) -> list[dict[str, Any]]:
    """Lines of the trace of the talk."""
    lines: list[dict[str, Any]] = []
    processor.add_listener(lines.append)
    translate(processor)
    return lines
