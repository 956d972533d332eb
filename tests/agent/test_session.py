"""One stream with a scripted model: append-only output, context, hold-back, recovery. A small real tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scripted import UPPER, committed, live, make, run, said, word_by_word, words
from tiny import byte_level_tokenizer, metaspace_tokenizer

from agent.mt.drafter import Draft
from agent.mt.policy.alignatt import AlignAtt
from agent.mt.policy.cut_last import CutLast
from agent.mt.policy.local_agreement import LocalAgreement
from agent.mt.policy.offline import Offline
from agent.mt.translator import Translator
from agent.words import Hypothesis


@pytest.mark.parametrize("tokenizer", [metaspace_tokenizer, byte_level_tokenizer])
def test_output_grows_and_is_never_taken_back(tokenizer: Any) -> None:
    session, drafter = make(UPPER, tokenizer=tokenizer())
    assert said(session.step(live("the old man"))) == "THE OLD"
    assert said(session.step(live("the old man can see"))) == " MAN CAN"
    assert said(session.step(committed("the old man can see it."))) == " SEE IT."
    assert drafter.tokenizer.decode(drafter.requests[-1].prefix_ids).strip() == "THE OLD MAN CAN"
    assert said(session.step(live("we go on"))) == " WE GO"
    assert said(session.step(committed("we go on."))) == " ON."


def test_finished_sentences_and_their_translations_are_context() -> None:
    session, drafter = make(UPPER, context_sentences=1)
    run(session, [committed("one."), committed("two."), live("three four")])
    assert drafter.words == [["one."], ["one.", "two."], ["two.", "three", "four"]]
    prefixes = [drafter.tokenizer.decode(request.prefix_ids).strip() for request in drafter.requests]
    assert prefixes == ["", "ONE.", "TWO."]
    without, drafter = make(UPPER, context_sentences=0)
    assert run(without, [committed("one."), live("two three")]) == "ONE. TWO"
    assert drafter.words[-1] == ["two", "three"]


def test_segments_are_said_in_order_and_those_without_words_are_nothing() -> None:
    session, drafter = make(UPPER)
    assert session.step(Hypothesis(((), ()), (), 1.0)) == []
    assert session.step(Hypothesis((), (), 1.0)) == []
    assert said(session.step(Hypothesis(((), words("one.")), (), 2.0))) == "ONE."
    assert len(drafter.requests) == 1
    assert said(session.step(committed("one two.", "three.", tail="four five"))) == " ONE TWO. THREE. FOUR"


def test_nothing_is_translated_when_nothing_moved() -> None:
    session, drafter = make(UPPER)
    session.step(live("a b c", now_s=2.0))
    record = session.step(live("a b c", now_s=2.5))[0]
    assert (record.stop_reason, record.accepted, record.decision) == ("nothing-new", "", None)
    assert len(drafter.requests) == 1
    session.step(live("a b c d", now_s=3.0))
    assert len(drafter.requests) == 2


def test_no_draft_before_the_first_seconds_but_a_finished_sentence_is_said() -> None:
    session, drafter = make(UPPER, first_draft_s=2.0)
    assert session.step(live("a b c", now_s=1.5))[0].stop_reason == "source-unfinished"
    assert said(session.step(committed("a b.", now_s=1.9))) == "A B."
    assert len(drafter.requests) == 1


@pytest.mark.parametrize("start_s", [0.0, 100.0, 5000.0])
def test_hold_back_works_in_every_utterance(start_s: float) -> None:
    policy = AlignAtt(margin_words=0, closure_guard=False)
    session, _ = make(UPPER, policy=policy, peak=lambda unit: unit, hold_back_s=0.5, context_sentences=0)
    if start_s:
        session.step(committed("before."))
    # The last of four words ended 0.1 s ago, the third 0.6 s ago.
    record = session.step(live("a b c d", now_s=start_s + 2.0, start_s=start_s))[0]
    assert (record.frontier.n_accessible, record.frontier.n_visible) == (3, 4)
    assert record.accepted.strip() == "A B C"
    assert record.stop_reason == "frontier"
    record = session.step(live("a b c d", now_s=start_s + 2.5, start_s=start_s))[0]
    assert record.accepted == " D"


def test_context_words_are_accessible() -> None:
    policy = AlignAtt(margin_words=1, closure_guard=False)
    session, _ = make(UPPER, policy=policy, context_sentences=2)
    record = session.step(committed("one.", "two.", tail="a b c"))[-1]
    assert (record.frontier.n_accessible, record.frontier.n_visible) == (5, 5)
    assert record.accepted == " A B"


def test_a_later_draft_that_glues_to_the_last_word_changes_nothing_shown() -> None:
    answers = iter([" Haus ist", "tür ist offen da", " jetzt und", " hier.|"])
    session, drafter = make(lambda source, target: next(answers))
    assert said(session.step(live("a b"))) == "Haus"
    assert said(session.step(live("a b c"))) == " ist offen"
    assert said(session.step(live("a b c d"))) == " jetzt"
    assert said(session.step(committed("a b c d e."))) == " hier."
    prefixes = [drafter.tokenizer.decode(request.prefix_ids).strip() for request in drafter.requests]
    assert prefixes == ["", "Haus", "Haus ist offen", "Haus ist offen jetzt"]


def test_a_surface_mismatch_does_not_mute_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = make(UPPER)
    assert said(session.step(live("a b c d"))) == "A B C"
    plain = Translator.text
    # From now on the tokenizer spells the accepted tokens in another way.
    monkeypatch.setattr(Translator, "text", lambda self, ids: plain(self, ids).replace("A B", "AB X"))
    assert said(session.step(live("a b c d e f"))) == " D E"
    monkeypatch.setattr(Translator, "text", plain)
    assert said(session.step(live("a b c d e f g h"))) == " F G"
    assert said(session.step(committed("a b c d e f g h."))) == " H."
    assert said(session.step(committed("next one."))) == " NEXT ONE."


CHINESE = {"we": "我们", "use": "用", "model": " GPT-4 ", "now": "模型，", "so": "（对）", "end.": "好。"}


@pytest.mark.parametrize("tokenizer", [metaspace_tokenizer, byte_level_tokenizer])
def test_chinese_keeps_spaces_around_latin_words_and_full_width_punctuation(tokenizer: Any) -> None:
    policy = CutLast(cut_words=2)
    session, _ = make(word_by_word(CHINESE, ""), "zh", tokenizer(), policy)
    steps = [live(f"we use model{more}") for more in ("", " now", " now so")] + [committed("we use model now so end.")]
    assert run(session, steps) == "我们用 GPT-4 模型，（对）好。"
    assert run(session, [committed("we use end.")]) == "我们用好。"


def test_chinese_sentences_are_joined_by_a_space_only_between_latin_words() -> None:
    table = {"a.": "GPT", "b.": "AI。", "c.": "你好。", "d.": "OK"}
    session, _ = make(word_by_word(table, ""), "zh", context_sentences=0)
    assert run(session, [committed("a."), committed("b."), committed("c."), committed("d.")]) == "GPT AI。你好。OK"


def test_characters_of_several_tokens_are_committed_whole() -> None:
    script = word_by_word({"a": "老师", "b": "修理", "c.": "机器。"}, "")
    session, drafter = make(script, "zh", byte_level_tokenizer())
    for hypothesis in (live("a"), live("a b"), committed("a b c.")):
        for record in session.step(hypothesis):
            assert "\ufffd" not in record.accepted
            assert record.decision is not None
            kept = record.decision.draft.token_ids[: record.decision.acceptance.n_tokens]
            assert "\ufffd" not in drafter.tokenizer.decode(kept)
    assert len(drafter.tokenizer("老")["input_ids"]) > 1


def test_a_draft_cut_inside_a_character_shows_no_fragment(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = byte_level_tokenizer()
    session, drafter = make(UPPER, "zh", tokenizer, CutLast(cut_words=0))
    answers = iter([tokenizer("你好吗")["input_ids"][:-1], tokenizer("好吗")["input_ids"]])
    no_rows, no_probs = np.zeros((0, 0, 0), dtype=np.float32), np.zeros(0, dtype=np.float32)
    monkeypatch.setattr(drafter, "draft", lambda _: Draft(tuple(next(answers)), "length", no_rows, no_probs))
    assert said(session.step(live("a"))) == "你"
    assert said(session.step(live("a b"))) == "好吗"


def test_the_policy_says_what_is_drafted_and_kept_and_the_engine_forgets_a_closed_stream() -> None:
    session, drafter = make(UPPER, policy=Offline())
    assert run(session, [live("a"), live("a b"), committed("a b.", tail="c")]) == "A B."
    assert len(drafter.requests) == 1
    session.close()
    assert drafter.forgotten == ["s"]
    answers = iter([" das Haus war", " das Haus ist alt"])
    session, _ = make(lambda *_: next(answers), policy=LocalAgreement())
    assert [said(session.step(live(text))) for text in ("a", "a b")] == ["", "das Haus"]
