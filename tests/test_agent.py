"""simulstream's contract, on a random model and a recogniser that reads from a list."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from simulstream.server.speech_processors.incremental_output import IncrementalOutput, merge_incremental_outputs
from tiny import save_model

import agent.agent
from agent import AlignAttAgent
from agent.asr.contract import Samples
from agent.asr.replay import ReplayConfig
from agent.config import AgentConfig, to_dict
from agent.errors import UserError
from agent.models import ModelCache
from agent.mt import head_sets
from agent.mt.config import MtConfig
from agent.mt.drafter import Head
from agent.mt.policy.alignatt import AlignAtt
from agent.mt.policy.cut_last import CutLast
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder and head sets for all directions."""
    path = tmp_path_factory.mktemp("model")
    save_model(path)
    for target in ("de", "it", "zh"):
        scored = (head_sets.ScoredHead(Head(5, 1), 0.9), head_sets.ScoredHead(Head(2, 0), 0.5))
        found = head_sets.HeadSet("random", f"en-{target}", 6, 4, "predicting", 2, {"predicting": scored})
        head_sets.save(path / f"heads-{target}.json", found)
    return path


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of this file only, no audio."""
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


def test_output_is_append_only_and_its_string_is_its_tokens(folder: Path) -> None:
    processor = AlignAttAgent(settings(folder))
    outputs = translate(processor)
    assert spoken(outputs)
    for output in outputs:
        assert (output.deleted_tokens, output.deleted_string) == ([], "")
        assert output.new_string == processor.tokens_to_string(output.new_tokens)
        assert all(token and not any(c.isspace() for c in token) for token in output.new_tokens)


def test_lists_are_fresh_since_the_toolkit_extends_them(folder: Path) -> None:
    processor = AlignAttAgent(settings(folder))
    outputs = translate(processor)
    alone = [list(output.new_tokens) for output in outputs]
    merge_incremental_outputs(outputs[:], processor.tokens_to_string)
    processor.clear()
    assert [output.new_tokens for output in translate(processor)] == alone


def test_clear_is_idempotent_and_starts_the_same_stream_again(folder: Path) -> None:
    processor = AlignAttAgent(settings(folder))
    processor.clear()
    first = spoken(translate(processor))
    processor.clear()
    processor.clear()
    assert spoken(translate(processor)) == first


def test_clear_goes_back_to_the_languages_of_the_configuration(folder: Path) -> None:
    processor = AlignAttAgent(settings(folder, target_lang="zh"))
    processor.set_target_language("de")
    assert processor.tokens_to_string(["a", "b"]) == "a b"
    processor.clear()
    assert processor.tokens_to_string(["你", "好"]) == "你好"
    assert processor.speech_chunk_size == 0.85


def test_an_empty_recording_and_a_second_end_say_nothing(folder: Path) -> None:
    processor = AlignAttAgent(settings(folder))
    assert processor.end_of_stream().new_tokens == []
    assert processor.end_of_stream().new_tokens == []


@pytest.mark.slow
def test_pool_slots_share_one_model_and_no_state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AlignAttAgent, "models", ModelCache())
    loads = []
    load = agent.models.load_model
    monkeypatch.setattr(agent.models, "load_model", lambda config: loads.append(config) or load(config))
    config = settings(folder)
    slots = []
    for _ in range(2):
        AlignAttAgent.load_model(config)
        slots.append(AlignAttAgent(config))
    assert len(loads) == 1
    alone = spoken(translate(slots[0]))
    slots[0].clear()
    together: list[list[str]] = [[], []]
    for _ in TALK:
        for slot, tokens in zip(slots, together, strict=True):
            tokens += slot.process_chunk(CHUNK).new_tokens
    for slot, tokens in zip(slots, together, strict=True):
        tokens += slot.end_of_stream().new_tokens
    assert together == [alone, alone]


def test_the_namespace_of_the_toolkit_is_read(folder: Path) -> None:
    def namespace(tree: Any) -> Any:
        return SimpleNamespace(**{k: namespace(v) for k, v in tree.items()}) if isinstance(tree, dict) else tree

    config = settings(folder)
    processor = AlignAttAgent(namespace(to_dict(config)))
    assert spoken(translate(processor)) == spoken(translate(AlignAttAgent(config)))


def test_chinese_tokens_are_single_characters(folder: Path) -> None:
    processor = AlignAttAgent(settings(folder, policy=CutLast(cut_words=1)))
    processor.set_target_language("zh")
    processor.set_source_language("en")
    tokens = spoken(translate(processor))
    assert tokens
    assert {len(token) for token in tokens} == {1}


def test_languages_set_after_a_stream_hold_for_the_next(folder: Path) -> None:
    processor = AlignAttAgent(settings(folder))
    translate(processor)
    processor.clear()
    processor.set_target_language("it")
    lines: list[dict[str, Any]] = []
    processor.add_listener(lines.append)
    translate(processor)
    assert {line["language"] for line in lines} == {"it"}


def test_a_language_set_in_the_middle_of_a_stream_starts_a_new_translation(folder: Path, monkeypatch: Any) -> None:
    processor = AlignAttAgent(settings(folder))
    built = []
    build = ModelCache.translator
    monkeypatch.setattr(ModelCache, "translator", lambda *args: built.append(args[-1]) or build(*args))
    processor.process_chunk(CHUNK)
    processor.set_target_language("de")
    processor.process_chunk(CHUNK)
    processor.set_target_language("zh")
    tokens = [*processor.process_chunk(CHUNK).new_tokens, *processor.end_of_stream().new_tokens]
    assert {len(token) for token in tokens} == {1}
    assert built == ["de", "zh"]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [("de", "de", "both 'de'"), ("en", "fr", "only en-de, en-it, en-zh"), ("en", "", "Unknown language ''")],
)
def test_an_unserved_direction_is_refused_with_what_is_served(
    folder: Path, source: str, target: str, message: str
) -> None:
    processor = AlignAttAgent(replace(settings(folder), mt=MtConfig()))

    def asked() -> None:
        processor.set_target_language(target)
        processor.set_source_language(source)

    with pytest.raises(UserError, match=message):
        asked()


def test_the_trace_has_a_line_for_each_step(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "trace.jsonl"
    processor = AlignAttAgent(settings(folder, trace=str(path)))
    heard: list[dict[str, Any]] = []
    processor.add_listener(heard.append)
    outputs = translate(processor)
    processor.clear()
    translate(processor)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines == json.loads(json.dumps(heard))
    assert [line["stream"] for line in lines] == [0] * 4 + [1] * 4
    assert [line["now_s"] for line in lines[:4]] == [1.0, 2.0, 3.0, 3.0]
    assert "".join(line["accepted"] for line in lines[:4]).split() == spoken(outputs)
    assert [len(line["committed"]) for line in lines[:4]] == [0, 0, 0, 1]
    assert lines[0]["source"] == TALK[0].split()
    step = lines[3]["steps"][0]
    assert step["finished"]
    assert step["n_drafted_tokens"] <= 24
    assert {"n_forward", "n_prefilled", "finish", "evidence"} <= step.keys()


def test_a_missing_head_set_is_reported_before_the_model_is_read(folder: Path) -> None:
    config = AgentConfig(mt=MtConfig(model=str(folder / "nothing"), head_set="none"), asr=ReplayConfig())
    with pytest.raises(UserError, match="No head set 'none' for en-de"):
        AlignAttAgent.load_model(config)


def test_a_head_set_of_another_direction_is_refused(folder: Path) -> None:
    config = settings(folder)
    wrong = MtConfig(model=str(folder), head_set=str(folder / "heads-it.json"), device="cpu")
    with pytest.raises(UserError, match="is for en-it, not en-de"):
        AlignAttAgent.load_model(AgentConfig(mt=wrong, asr=config.asr))
