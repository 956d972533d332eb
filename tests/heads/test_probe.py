"""``alignatt probe``: random checkpoints end in a preset that runs; what cannot be used is refused with a reason."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from tiny import CHATML, SMALL, byte_level_tokenizer, metaspace_tokenizer, random_model
from transformers import (
    DeepseekV3Config,
    GenerationConfig,
    GraniteMoeHybridConfig,
    LlamaConfig,
    MambaConfig,
    Qwen3Config,
    Qwen3NextConfig,
    T5Config,
)

from agent import config as agent_config
from agent.cli.main import alignatt, simulstream
from agent.errors import UserError
from agent.mt import model_check
from agent.mt.attention import IMPLEMENTATION, AttentionCall
from agent.mt.checkpoint import read_config
from agent.mt.head_sets import load
from agent.paths import PROJECT
from demo.make.calibrate import write_corpus
from heads import probe
from heads.score import AlignedPair

NO_SYSTEM = CHATML.replace(
    "{% for", "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for", 1
)


def checkpoint(folder: Path, kind: Any, template: str = CHATML) -> Path:
    """A random model of a real architecture, as a folder."""
    tokenizer = byte_level_tokenizer()
    end = int(tokenizer.eos_token_id or 0)
    config = kind(vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=end, pad_token_id=end, **SMALL)
    model = random_model(config, "sdpa")
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=end)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def corpus(folder: Path, n_pairs: int = 12) -> list[str]:
    """Options that name a small aligned corpus."""
    write_corpus(folder, "de", n_pairs, seed=5)
    texts = [str(folder / "en-de.en"), str(folder / "en-de.de")]
    return ["--corpus", *texts, "--alignments", str(folder / "en-de.json")]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "template"), [(Qwen3Config, CHATML), (LlamaConfig, NO_SYSTEM)])
def test_a_random_checkpoint_ends_in_a_preset_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: Any, template: str
) -> None:
    model, out = checkpoint(tmp_path / "model", kind, template), tmp_path / "out"
    assert alignatt(["probe", str(model), *corpus(tmp_path), "--output", str(out)]) == 0
    said = capsys.readouterr().out
    assert "layout: source span verified" in said
    assert "same peak" in said
    assert "ms a drafted token" in said
    heads = load(out / "heads-ende.json")
    assert (heads.n_layers, heads.n_heads) == (3, 4)
    assert len(heads.scores["own"]) == len(heads.scores["predicting"]) == 12
    preset = yaml.safe_load((out / "preset-ende.yaml").read_text())
    assert preset["mt"]["model"] == str(model.resolve())
    assert (preset["mt"]["prompt"]["system"] == "") == (kind is LlamaConfig)
    assert alignatt(["heads", "check", "--config", str(out / "preset-ende.yaml")]) == 0
    audio, rate = soundfile.read(PROJECT / "demo/talks/demo-talk-1.flac", stop=16_000 * 6)
    soundfile.write(tmp_path / "talk.wav", audio, rate)
    run = ["--agent", "agent.AlignAttAgent", "--config", str(out / "preset-ende.yaml")]
    run += ["--set", "mt.max_draft_tokens=4", "mt.max_final_tokens=8"]
    assert simulstream([*run, "--source", str(tmp_path / "talk.wav"), "--output", str(tmp_path / "run")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run/simulstream.jsonl").read_text().splitlines()]
    assert sum(len(line.get("generated_tokens", [])) for line in lines) > 0
    assert alignatt(["probe", str(model), *corpus(tmp_path), "--output", str(out)]) == 2
    assert "exists; name another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (T5Config(d_model=32, num_layers=1, num_heads=2), r"\(t5\) is an encoder-decoder"),
        (DeepseekV3Config(num_hidden_layers=1), "multi-head latent attention"),
        (MambaConfig(num_hidden_layers=1, hidden_size=32), "layers without attention rows"),
        (Qwen3NextConfig(num_hidden_layers=4), r"layers without attention rows \(linear_attention\)"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_other_architectures_are_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: Any, reason: str
) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=reason):
        model_check.refuse(read_config(agent_config.MtConfig(model=str(tmp_path))), "X")
    out = tmp_path / "out"
    assert alignatt(["probe", str(tmp_path), *corpus(tmp_path), "--output", str(out)]) == 2
    calibrate = ["heads", "calibrate", "--set", f"mt.model={tmp_path}", "--output", str(out / "x.json")]
    assert alignatt([*calibrate, *corpus(tmp_path)]) == 2
    assert alignatt(["heads", "check", "--set", f"mt.model={tmp_path}"]) == 2
    assert len(re.findall(reason, capsys.readouterr().err)) == 3
    assert not out.exists()


def test_a_hybrid_family_is_judged_by_its_layers(tmp_path: Path) -> None:
    config = GraniteMoeHybridConfig(num_hidden_layers=2, layer_types=["attention", "attention"], mamba_d_state=16)
    model_check.refuse(config, "X")
    config.layer_types = ["mamba", "attention"]
    with pytest.raises(UserError, match=r"layers without attention rows \(mamba\)"):
        model_check.refuse(config, "X")


def test_a_model_without_template_is_told_how_to_give_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = checkpoint(tmp_path / "model", LlamaConfig)
    (model / "chat_template.jinja").unlink()
    arguments = ["probe", str(model), *corpus(tmp_path), "--output", str(tmp_path / "out")]
    assert alignatt(arguments) == 2
    assert "no chat template: use an instruction-tuned model, or give the layout" in capsys.readouterr().err
    template = tmp_path / "mine.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}>", encoding="utf-8")
    config = agent_config.from_namespace({"mt": {"model": str(model), "prompt": {"template": str(template)}}})
    admitted = probe.admit(config)
    assert admitted.mt.prompt.template == str(template)
    assert alignatt([*arguments, "--set", f"mt.prompt.template={tmp_path / 'nothing'}"]) == 2
    assert "mt.prompt.template': cannot read" in capsys.readouterr().err


def test_rows_that_differ_from_the_models_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.mt.config import PromptConfig
    from agent.mt.prompt import PromptLayout
    from heads.calibrate import Subject

    tokenizer = byte_level_tokenizer()
    config = Qwen3Config(vocab_size=len(tokenizer), **SMALL)
    layout = PromptLayout(tokenizer, PromptConfig(), "en", "de")
    subject = Subject(random_model(config, IMPLEMENTATION), tokenizer, layout, "X", "en-de")
    pair = AlignedPair(("the", "old", "teacher"), "der alte Lehrer", ((0, 3), (4, 8), (9, 15)), (frozenset({0}),) * 3)
    found = probe.parity(subject, pair)
    assert found.max_difference < 1e-3
    assert found.same_peak > 0.9
    wrong = torch.ones(1)
    monkeypatch.setattr(
        AttentionCall, "weights", lambda call, n, heads, queries, n_keys: wrong.expand(len(heads), len(queries), n_keys)
    )
    with pytest.raises(UserError, match="captured rows differ from its own attention"):
        probe.parity(subject, pair)
    subject.model.set_attn_implementation("eager")
    with pytest.raises(UserError, match=r"layers \[0, 1, 2\] did not use the capture's attention"):
        probe.parity(subject, pair)


def test_the_prompt_moves_where_there_is_no_system_role() -> None:
    tokenizer = metaspace_tokenizer()
    config = agent_config.from_namespace({})
    assert probe.fit_layout(tokenizer, config)[0] == config.mt.prompt
    other = byte_level_tokenizer()
    before, other.chat_template = other.chat_template, NO_SYSTEM
    try:
        moved, _ = probe.fit_layout(other, config)
        assert (moved.system, moved.header) == ("", config.mt.prompt.system)
    finally:
        other.chat_template = before
