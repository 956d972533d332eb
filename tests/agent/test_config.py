"""Configuration: what a file may say, and what is said about one that says something else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from agent.asr.sphinx import SphinxConfig
from agent.catalogue import revision_of
from agent.cli import keys
from agent.cli.main import alignatt
from agent.config import (
    AgentConfig,
    from_namespace,
    from_tree,
    load,
    override,
    parse_assignment,
    preset_path,
    set_key,
    to_dict,
)
from agent.errors import UserError
from agent.mt.policy.wait_k import WaitK
from agent.paths import PROJECT
from agent.run.profiles import parse, preset_names


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
        (
            "policy: {margin_word: 1}",
            r"Unknown key 'policy\.margin_word': alignatt has none\. Did you mean 'margin_words'",
        ),
        ("policy: {name: wait-k, margin_words: 1}", "Unknown key 'policy.margin_words': wait-k has none"),
        ("asr: {engine: sphinx}", "'asr.engine' is called 'asr.recogniser' now"),
        ("asr: {qwen3: {aligner: x}}", "'asr.qwen3.aligner' is called 'asr.aligner.model' now"),
        ("asr: {qwen3: {context: x}}", "'asr.qwen3.context' is called 'asr.context' now"),
        ("mt: {engine: hf}", "'mt.engine' is called 'mt.backend' now"),
        ("mt: {backend: vlm}", "transformers, vllm"),
        ("mt: {vllm: {gpu_memory_utilization: 1.5}}", "at most 1"),
        ("mt: {vllm: {max_num_seqs: 0}}", "at least 1"),
        ("mt: {vllm: {cuda_graphs: full}}", "piecewise"),
        ("mt: {vllm: {attention_backend: flashinfer}}", "triton_attn"),
        ("mt: {backend: hf}", "'hf' is called 'transformers' now"),
        ("mt: {early_stop: false}", "'mt.early_stop' is gone: leave it out"),
        ("session: {zzz: 1}", r"Unknown key 'session\.zzz'\. Valid: context_sentences, first_draft_s, hold_back_s"),
        ("1: 2", "Unknown key '1'"),
        ("policy: {margin_words: two}", "'policy.margin_words' must be a whole number, not 'two'"),
        ("policy: {margin_words: 1.5}", "must be a whole number, not 1.5"),
        ("policy: {margin_words: true}", "must be a whole number, not True"),
        ("policy: {margin_words: null}", "must be a whole number, not None"),
        ("policy: {closure_guard: 1}", "must be true or false, not 1"),
        ("policy: {name: alignat}", "'policy.name': there is no 'alignat'. Did you mean 'alignatt'"),
        ("policy: {name: [a]}", "'policy.name': there is no"),
        ("policy: alignatt", "'policy' is a group of keys, not 'alignatt'"),
        ("speech_chunk_size: fast", "'speech_chunk_size' must be a number, not 'fast'"),
        ("speech_chunk_size: .nan", "'speech_chunk_size' must be at least 0.02"),
        ("mt: {model: 3}", "'mt.model' must be text, not 3"),
        ("mt: {prompt: {system: [1]}}", r"'mt\.prompt\.system' must be text"),
        ("policy: {margin_words: -1}", "must be at least 0, not -1"),
        ("policy: {name: paper, median_width: 4}", "must be at least 1, odd, not 4"),
        ("policy: {name: local-agreement, agree: 1}", "must be at least 2"),
        ("target_lang: fr", "The embedded demo model does not translate en-fr, only en-de, en-it, en-zh"),
        ("target_lang: xx", "Unknown language 'xx'"),
        ("source_lang: de", "Source and target language are both 'de'"),
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


def test_assignments_are_read_as_yaml() -> None:
    texts = ("policy.margin_words=1", "mt.prompt.header=", "a=b=c", "a=true", " a =0.5")
    expected = [("policy.margin_words", 1), ("mt.prompt.header", ""), ("a", "b=c"), ("a", True), ("a", 0.5)]
    assert list(map(parse_assignment, texts)) == expected
    for text in ("", "a", "=1", "a=[1"):
        with pytest.raises(UserError, match="--set"):
            parse_assignment(text)


def test_a_key_is_set_in_place() -> None:
    tree: dict[str, object] = {}
    set_key(tree, "a.b.c", 1)
    set_key(tree, "a.d", 2)
    assert tree == {"a": {"b": {"c": 1}, "d": 2}}


def test_a_nested_namespace_is_a_configuration() -> None:
    space = SimpleNamespace(target_lang="it", policy=SimpleNamespace(name="wait-k", k=5))
    assert from_namespace(space).policy == WaitK(k=5)
    assert from_namespace({"policy": {"name": "wait-k", "k": 5}}).policy == WaitK(k=5)
    with pytest.raises(UserError, match="Did you mean 'k'"):
        from_namespace(SimpleNamespace(policy=SimpleNamespace(name="wait-k", kk=5)))


def test_every_direction_has_a_preset_for_each_regime() -> None:
    wanted = {f"en{target}-{regime}" for target in ("de", "it", "zh") for regime in ("low", "high")}
    assert wanted <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_is_what_its_name_says(name: str) -> None:
    config = from_tree(parse(name).tree())
    pair, regime, *_ = name.split("-")
    assert (config.source_lang + config.target_lang, config.regime) == (pair, regime)
    assert config.type == "agent.AlignAttAgent"
    assert parse(name).name == name


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'ende-low'"):
        preset_path("ende-lo")


def changed_preset(keys: dict[str, object]) -> AgentConfig:
    tree = parse("ende-low-a40").tree()
    override(tree, keys)
    return from_tree(tree)


def test_another_policy_or_recogniser_brings_its_own_keys() -> None:
    changed = changed_preset({"policy.name": "wait-k", "policy.k": 5, "asr.recogniser": "sphinx"})
    assert changed.policy == WaitK(k=5)
    assert changed.asr == SphinxConfig()
    with pytest.raises(UserError, match=r"'policy\.margin_words': wait-k has none"):
        changed_preset({"policy.name": "wait-k", "policy.margin_words": 5})


@pytest.mark.parametrize("name", ["enfr-low-a40", "csen-high-h100", "enja-low-a40-paper", "enyue-high-cpu"])
def test_any_direction_has_a_preset_of_the_full_models(name: str) -> None:
    preset = parse(name)
    assert preset.name == name
    config = from_tree(preset.tree())
    assert f"{config.source_lang}{config.target_lang}-{config.regime}" == "-".join(name.split("-")[:2])


def test_a_known_model_is_taken_at_its_pinned_revision() -> None:
    gemma, qwen, other = "google/gemma-4-E4B-it", "Qwen/Qwen3-ASR-1.7B-hf", "Qwen/Qwen3-ASR-1.7B"
    pinned = from_tree(parse("ende-low-a40").tree())
    config = load(preset_path("ende-low"), {"mt.model": gemma, "asr.model": qwen, "asr.recogniser": "qwen3"})
    assert config.mt.revision == pinned.mt.revision
    assert config.asr.revision == pinned.asr.revision
    assert changed_preset({"mt.revision": "main"}).mt.revision == "main"
    # A preset's revision is not one of the model in its model's place.
    changed = changed_preset({"mt.model": "some/model", "asr.model": other})
    assert changed.mt.revision == ""
    assert changed.asr.revision == revision_of(other, "") != pinned.asr.revision


def test_the_page_about_all_keys_is_that_of_the_code() -> None:
    assert Path(PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8") == keys.page()
    assert all(key.meaning for group in keys.groups().values() for key in group)


def test_keys_are_found_by_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert alignatt(["keys", "peaks", "margin"]) == 0
    assert capsys.readouterr().out.startswith("policy.margin_words  (2; at least 0; policy.name=alignatt)\n")
