"""What the published implementation of AlignAtt for LLMs gets wrong, one test each, by number of our reference list.

Other test files look at the same behaviour more closely; here is one place that says each flaw is absent.
Number 9 (capture by patching, under vLLM) belongs to the vLLM engine's own tests.
"""

from __future__ import annotations

import ast
import json
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_policy import accept, one_hot, view
from test_session import CHINESE, UPPER, Translator, committed, live, make, said, word_by_word
from tiny import gemma4_config, random_model

from agent.asr.commit import Stabilizer, clamp_times, join_punctuation, sentence_ends
from agent.config import PRESETS, AgentConfig, to_dict
from agent.keys import keys_of
from agent.mt.attention import IMPLEMENTATION
from agent.mt.drafter import DraftRequest, Head
from agent.mt.hf import HFDrafter
from agent.mt.policy.alignatt import AlignAtt
from agent.mt.policy.cut_last import CutLast
from agent.words import Frontier, SourceWord

ROOT = Path(__file__).parents[1]
PACKAGES = ("agent", "heads", "eval", "demo")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_1_without_hold_back_the_frontier_still_blocks() -> None:
    draft = view([" a", " b", " c"], peaks=[0, 5, 0])
    assert accept("alignatt", draft, Frontier(6, 6)).stop_reason == "frontier"
    assert AlignAtt().margin_words > 0


def test_2_punctuation_moves_no_frontier() -> None:
    # "It", "rains", ",", "and": four source tokens, three words, of which two are accessible.
    words = [0, 1, 1, 2]
    for peak, accepted in [(2, 1), (3, 0)]:
        draft = view([" a "], peaks=[peak], words=words)
        assert accept("alignatt", draft, Frontier(2, 3), margin_words=0).n_tokens == accepted
        knobs: dict[str, Any] = {"margin_tokens": 0, "median_width": 1, "z_score": False}
        assert accept("paper", draft, Frontier(2, 3), **knobs).n_tokens == accepted


def test_3_hold_back_acts_late_in_a_talk_too() -> None:
    late = [SourceWord("a", 3600.0, 3600.4), SourceWord("b", 3600.5, 3600.9)]
    assert Frontier.at(late, 3601.0, 0.25).n_accessible == 1


def test_4_no_soft_gate_disables_a_conservative_margin() -> None:
    row = np.zeros((1, 1, 6), dtype=np.float32)
    row[0, 0, 3] = 0.02
    draft = view([" a "], rows=row)
    assert accept("alignatt", draft, Frontier(6, 6), margin_words=3).stop_reason == "frontier"


def test_5_our_policy_does_not_filter_a_lone_sharp_peak_away() -> None:
    draft = view([" a "], rows=one_hot([8], 12)[None], words=range(12))
    assert accept("alignatt", draft, Frontier(10, 12), margin_words=2).stop_reason == "frontier"
    assert accept("alignatt", draft, Frontier(12, 12), margin_words=2).n_tokens == 1


def test_6_a_finished_sentence_keeps_its_last_word() -> None:
    session, _ = make(UPPER, policy=CutLast(cut_words=3))
    assert said(session.step(committed("one two."))) == "ONE TWO."


def test_7_word_times_beyond_the_audio_are_clamped_and_the_words_kept() -> None:
    words = clamp_times([SourceWord("a", 0.0, 0.5), SourceWord("b", 0.5, 9.0)], 0.0, 1.0)
    assert [(word.text, word.end_s) for word in words] == [("a", 0.5), ("b", 1.0)]


def test_8_a_surface_mismatch_mutes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = make(UPPER)
    session.step(live("a b c d"))
    plain = Translator.text
    monkeypatch.setattr(Translator, "text", lambda self, ids: plain(self, ids).replace("A B", "AB X"))
    session.step(live("a b c d e"))
    monkeypatch.setattr(Translator, "text", plain)
    assert said(session.step(committed("a b c d e f."))).endswith(" F.")
    assert said(session.step(committed("next."))) == " NEXT."


def test_9_layers_with_shared_keys_and_sliding_windows_give_finite_rows() -> None:
    config = gemma4_config(window=8)
    heads = tuple(Head(layer, 0) for layer in range(config.num_hidden_layers))
    request = DraftRequest(tuple(range(20, 60)), (4, 36), (), 2, heads)
    rows = HFDrafter(random_model(config, IMPLEMENTATION), ()).draft(request).rows
    assert rows.shape == (6, 2, 32)
    assert np.isfinite(rows).all()


def test_10_shipped_heads_name_the_corpus_and_the_layout_they_were_calibrated_on() -> None:
    for path in (ROOT / "heads" / "sets").glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data["layout"] or data["provenance"].get("layout"), path.name
        assert data["provenance"].get("corpus"), path.name


def test_11_the_live_tail_is_bounded_and_abbreviations_and_dashes_end_nothing() -> None:
    assert not any(sentence_ends(["Dr.", "S.", "and"]))
    glued = join_punctuation([SourceWord("so", 0, 1), SourceWord("—", 1, 1), SourceWord("we", 1, 2)])
    assert [word.text for word in glued] == ["so—", "we"]
    stabilizer = Stabilizer(max_live_s=10.0)
    words = [SourceWord(f"w{i}", 0.5 * i, 0.5 * i + 0.3) for i in range(60)]
    for count in range(4, 60, 4):
        now_s = words[count].end_s
        heard = [word for word in words[: count + 1] if word.start_s >= stabilizer.committed_until_s]
        hypothesis = stabilizer.update(heard, now_s)
        assert not hypothesis.live or now_s - hypothesis.live[0].start_s <= 10.0


def test_12_chinese_keeps_its_spaces_and_full_width_forms() -> None:
    session, _ = make(word_by_word({**CHINESE, "wide": "１．５％，"}, ""), "zh")
    assert said(session.step(committed("we use model wide now end."))) == "我们用 GPT-4 １．５％，模型，好。"


def test_13_no_package_of_ours_shadows_the_toolkit() -> None:
    find = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"][
        "find"
    ]
    include = [package if package == "demo" else f"{package}*" for package in PACKAGES]
    assert find == {"include": include}
    assert not (ROOT / "simulstream").exists()
    assert not list(ROOT.glob("simulstream*.py"))
    assert set(metadata.packages_distributions()["simulstream"]) == {"simulstream"}


def test_14_every_knob_is_declared_once() -> None:
    keys = [key.name for key in keys_of(AgentConfig)]
    assert len(set(keys)) == len(keys) < 40
    assert "session.hold_back_s" in keys
    assert to_dict(AgentConfig())["policy"]["margin_words"] == AlignAtt.margin_words


def test_14_presets_say_only_what_differs() -> None:
    for path in PRESETS.glob("*.yaml"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 30, path.stem


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_14_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno + 1 <= 60, node.name
