"""simulstream's contract, on a random model and a recogniser that reads from a list."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from listed_agent import CHUNK, TALK, settings, spoken, traced, translate
from simulstream.server.speech_processors.incremental_output import merge_incremental_outputs

import agent.agent
from agent import AlignAttAgent
from agent.asr.replay import ReplayConfig
from agent.config import AgentConfig, to_dict
from agent.errors import UserError
from agent.models import ModelCache
from agent.mt.config import MtConfig
from agent.mt.policy.cut_last import CutLast

pytestmark = pytest.mark.usefixtures("listed")


@pytest.fixture
def folder(tiny_model: Path) -> Path:
    return tiny_model


def test_output_is_append_only_and_its_string_is_its_tokens(folder: Path) -> None:
    processor = AlignAttAgent(settings(folder))
    outputs = translate(processor)
    assert spoken(outputs)
    for output in outputs:
        assert (output.deleted_tokens, output.deleted_string) == ([], "")
        assert output.new_string == processor.tokens_to_string(output.new_tokens)
        assert all(token and not any(c.isspace() for c in token) for token in output.new_tokens)


def test_clear_starts_the_same_stream_again_on_fresh_lists_since_the_toolkit_extends_them(folder: Path) -> None:
    processor = AlignAttAgent(settings(folder))
    processor.clear()
    outputs = translate(processor)
    alone = [list(output.new_tokens) for output in outputs]
    merge_incremental_outputs(outputs[:], processor.tokens_to_string)
    processor.clear()
    processor.clear()
    assert [output.new_tokens for output in translate(processor)] == alone


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
    assert {line["language"] for line in traced(processor)} == {"it"}


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
    with pytest.raises(UserError, match=message):
        (processor.set_target_language(target), processor.set_source_language(source))


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


@pytest.mark.parametrize(
    ("model", "head_set", "message"),
    [("/nothing", "none", "No head set 'none' for en-de"), ("", "{}/heads-it.json", "is for en-it, not en-de")],
)
def test_a_head_set_that_does_not_fit_is_refused_before_the_model_is_read(
    folder: Path, model: str, head_set: str, message: str
) -> None:
    wrong = MtConfig(model=f"{folder}{model}", head_set=head_set.format(folder), device="cpu")
    with pytest.raises(UserError, match=message):
        AlignAttAgent.load_model(AgentConfig(mt=wrong, asr=ReplayConfig()))
