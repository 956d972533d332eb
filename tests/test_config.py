"""Configuration: what a file may say, and what is said about one that says something else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from agent.catalogue import revision_of
from agent.config import (
    AgentConfig,
    from_namespace,
    load,
    parse_assignment,
    preset_names,
    preset_path,
    set_key,
    to_dict,
)
from agent.errors import UserError


def written(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", ["", "{}", "policy: {}", "target_lang: de"])
def test_what_is_not_said_has_its_default(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text)) == AgentConfig()


def test_a_configuration_written_out_reads_back_the_same(tmp_path: Path) -> None:
    config = load(written(tmp_path, "target_lang: zh\npolicy: {margin_words: 3}\nsession: {hold_back_s: 1}"))
    assert (config.policy.margin_words, config.session.hold_back_s, config.latency_unit) == (3, 1.0, "char")
    assert load(written(tmp_path, yaml.safe_dump(to_dict(config)))) == config


def test_the_latency_unit_follows_the_target_language(tmp_path: Path) -> None:
    assert load(written(tmp_path, "latency_unit: char")).latency_unit == "word"
    assert load(written(tmp_path, "latency_unit: word\ntarget_lang: zh")).latency_unit == "char"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("polcy: {}", r"Unknown key 'polcy'\. Did you mean 'policy'\?"),
        ("policy: {margin_word: 1}", r"Unknown key 'policy\.margin_word'\. Did you mean 'margin_words'\?"),
        ("session: {zzz: 1}", r"Unknown key 'session\.zzz'\. Valid: context_sentences, first_draft_s, hold_back_s"),
        ("1: 2", "Unknown key '1'"),
        ("policy: {margin_words: two}", "'policy.margin_words' must be a whole number, not 'two'"),
        ("policy: {margin_words: 1.5}", "must be a whole number, not 1.5"),
        ("policy: {margin_words: true}", "must be a whole number, not True"),
        ("policy: {margin_words: null}", "must be a whole number, not None"),
        ("policy: {closure_guard: 1}", "must be true or false, not 1"),
        ("policy: {name: alignat}", "'policy.name' must be one of alignatt, paper"),
        ("policy: {name: [a]}", "'policy.name' must be one of"),
        ("policy: alignatt", "'policy' is a group of keys, not 'alignatt'"),
        ("speech_chunk_size: fast", "'speech_chunk_size' must be a number, not 'fast'"),
        ("speech_chunk_size: .nan", "'speech_chunk_size' must be at least 0.02"),
        ("mt: {model: 3}", "'mt.model' must be text, not 3"),
        ("mt: {prompt: {system: [1]}}", r"'mt\.prompt\.system' must be text"),
        ("policy: {margin_words: -1}", "must be at least 0, not -1"),
        ("policy: {median_width: 4}", "must be odd, not 4"),
        ("policy: {agree: 1}", "must be at least 2"),
        ("target_lang: fr", "Direction en-fr is not supported; use one of en-de, en-it, en-zh"),
        ("target_lang: no", "'target_lang' must be text, not False"),
        ("regime: medium", "'regime' must be one of low, high"),
        ("- 1", "must hold keys and values, not a list"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_what_is_valid(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--preset"):
        load(tmp_path / "none.yaml")


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "policy: {margin_words: 3}")
    assert load(path, {"policy.margin_words": 1, "mt.prompt.header": "H"}).policy.margin_words == 1
    assert load(path, {"mt.prompt.header": "H"}).mt.prompt.header == "H"
    with pytest.raises(UserError, match="'margin_words' is a value, not a group"):
        load(path, {"policy.margin_words.x": 1})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("policy.margin_words=1", ("policy.margin_words", 1)),
        ("mt.prompt.header=", ("mt.prompt.header", "")),
        ("a=b=c", ("a", "b=c")),
        ("a=true", ("a", True)),
        (" a =0.5", ("a", 0.5)),
    ],
)
def test_assignments_are_read_as_yaml(text: str, expected: tuple[str, object]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["", "a", "=1", "a=[1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--set"):
        parse_assignment(text)


def test_a_key_is_set_in_place() -> None:
    tree: dict[str, object] = {}
    set_key(tree, "a.b.c", 1)
    set_key(tree, "a.d", 2)
    assert tree == {"a": {"b": {"c": 1}, "d": 2}}


def test_a_nested_namespace_is_a_configuration() -> None:
    space = SimpleNamespace(target_lang="it", policy=SimpleNamespace(k=5))
    assert from_namespace(space).policy.k == 5
    assert from_namespace({"policy": {"k": 5}}).policy.k == 5
    with pytest.raises(UserError, match="Did you mean 'k'"):
        from_namespace(SimpleNamespace(policy=SimpleNamespace(kk=5)))


def test_every_direction_has_a_preset_for_each_regime() -> None:
    wanted = {f"en{target}-{regime}" for target in ("de", "it", "zh") for regime in ("low", "high")}
    assert wanted <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_is_what_its_name_says(name: str) -> None:
    config = load(preset_path(name))
    pair, regime, *_ = name.split("-")
    assert (config.source_lang + config.target_lang, config.regime) == (pair, regime)
    assert config.type == "agent.AlignAttAgent"
    assert config.latency_unit == yaml.safe_load(preset_path(name).read_text(encoding="utf-8"))["latency_unit"]


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'ende-low'"):
        preset_path("ende-lo")


def test_a_known_model_is_taken_at_its_pinned_revision() -> None:
    gemma, qwen, other = "google/gemma-4-E4B-it", "Qwen/Qwen3-ASR-1.7B-hf", "Qwen/Qwen3-ASR-1.7B"
    preset = preset_path("ende-low-a40")
    pinned = load(preset)
    config = load(preset_path("ende-low"), {"mt.model": gemma, "asr.model": qwen, "asr.engine": "qwen3"})
    assert config.mt.revision == pinned.mt.revision
    assert config.asr.qwen3.revision == pinned.asr.qwen3.revision
    assert load(preset, {"mt.revision": "main"}).mt.revision == "main"
    # A preset's revision is not one of the model in its model's place.
    changed = load(preset, {"mt.model": "some/model", "asr.model": other})
    assert changed.mt.revision == ""
    assert changed.asr.qwen3.revision == revision_of(other, "") != pinned.asr.qwen3.revision
