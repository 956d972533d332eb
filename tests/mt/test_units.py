"""Stability units: what is committed whole, in characters and in tokens, and what the toolkit's log gets."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import byte_level_tokenizer, metaspace_tokenizer

from agent.mt.units import is_open_ended, likely_unit_starts, sanitise, split_units, surface_tokens, token_units


def units(text: str, language: str) -> list[str]:
    return [text[unit.start : unit.end] for unit in split_units(text, language)]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "Das „Haus“ ist — ja.", ["Das", "„Haus“", "ist", "—", "ja."]),
        ("de", " 3,5 % von  10\n000", ["3,5", "%", "von", "10", "000"]),
        ("it", "L'insegnante (è qui), perché?", ["L'insegnante", "(è", "qui),", "perché?"]),
        ("it", "", []),
        ("it", "  ", []),
        ("zh", "你好！", ["你", "好！"]),
        ("zh", "老师修理机器。", ["老", "师", "修", "理", "机", "器。"]),
        ("zh", "我们用 GPT-4 模型。", ["我", "们", "用", "GPT-4", "模", "型。"]),
        ("zh", "增长3.5%，对吧？", ["增", "长", "3.5%，", "对", "吧？"]),
        ("zh", "3.5%的增长", ["3.5%", "的", "增", "长"]),
        ("zh", "有10/年和A-型", ["有", "10/", "年", "和", "A-", "型"]),
        ("zh", "他说：“你好！”（真的）", ["他", "说：", "“你", "好！”", "（真", "的）"]),
        ("zh", "《红楼梦》 a b", ["《红", "楼", "梦》", "a", "b"]),
        ("zh", "It's 2019年, OK", ["It's", "2019", "年,", "OK"]),
        ("zh", "…… 好", ["……", "好"]),
        ("zh", "价是 $5,000 元", ["价", "是", "$", "5,000", "元"]),
        ("zh", "用 C++ 写", ["用", "C++", "写"]),
    ],
)
def test_text_splits_into_stability_units(language: str, text: str, expected: list[str]) -> None:
    assert units(text, language) == expected


@pytest.mark.parametrize("text", ["你好，GPT-4（3.5%）！ a.b", "««»» ·— “x”", "年a年 9年%"])
@pytest.mark.parametrize("language", ["de", "zh"])
def test_units_cover_everything_but_white_space_once(language: str, text: str) -> None:
    assert "".join(units(text, language)) == "".join(text.split())


def test_only_an_extensible_last_unit_is_open_ended() -> None:
    assert [is_open_ended(text, "de") for text in ("Haus", "Haus.", "Haus ", "")] == [True, True, False, False]
    assert [is_open_ended(text, "zh") for text in ("好", "好。", "用 GPT", "好“")] == [False, False, True, True]


def as_tokens(pieces: list[str], language: str, closed: bool = False) -> list[tuple[int, int, str, bool]]:
    text, ends = "", []
    for piece in pieces:
        text += piece
        ends.append(len(text))
    return [(u.first, u.end, u.text, u.complete) for u in token_units(ends, text, language, closed)]


def test_the_last_word_is_complete_only_when_the_model_ended_the_turn() -> None:
    assert as_tokens([" Das", " Ha", "us"], "de") == [(0, 1, "Das", True), (1, 3, "Haus", False)]
    assert as_tokens([" Das", " Ha", "us"], "de", closed=True)[-1] == (1, 3, "Haus", True)


def test_a_space_that_is_its_own_token_belongs_to_no_word_and_two_units_share_their_token() -> None:
    assert as_tokens(["Das", " ", "Haus", " "], "de") == [(0, 1, "Das", True), (2, 3, "Haus", True)]
    assert as_tokens(["你好", "吗"], "zh") == [(0, 1, "你", True), (0, 1, "好", True), (1, 2, "吗", True)]
    assert as_tokens(["ja, ne", "in "], "de") == [(0, 1, "ja,", True), (0, 2, "nein", True)]


def test_a_character_of_several_tokens_starts_with_the_first_and_ends_with_the_last() -> None:
    text, ends = "你好", [0, 0, 1, 1, 1, 2]
    assert [(u.first, u.end) for u in token_units(ends, text, "zh")] == [(0, 3), (3, 6)]
    assert token_units([], "", "de") == []
    assert as_tokens([" ", "\n"], "de") == []


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", " Das  Haus", ["Das", "Haus"]),
        ("de", "3\u00a0000\u3000km\nweit", ["3", "000", "km", "weit"]),
        ("de", " ", []),
        ("zh", "用 GPT。", ["用", " ", "G", "P", "T", "。"]),
        ("zh", "你\u3000好\u200b\ufeff！", ["你", " ", "好", "！"]),
        ("zh", "１％", ["１", "％"]),
    ],
)
def test_surface_tokens_break_no_scorer(language: str, text: str, expected: list[str]) -> None:
    assert surface_tokens(text, language) == expected


def test_sanitise_keeps_the_models_own_surface() -> None:
    assert sanitise("１．５％（Ａ）  b\tc\u2028d\u00a0e\ufffd") == "１．５％（Ａ） b c d e"


@pytest.mark.parametrize("tokenizer", [metaspace_tokenizer(), byte_level_tokenizer()])
def test_tokens_that_likely_start_a_unit(tokenizer: Any) -> None:
    starts = set(likely_unit_starts(tokenizer))
    ids = tokenizer("x Der Lehrer, 老师", add_special_tokens=False)["input_ids"]
    spelled = [tokenizer.decode([ids[0], token])[1:] for token in ids]
    for token, text in zip(ids, spelled, strict=True):
        expected = (text[:1] == " " and text.strip(" \ufffd") != "") or text[:1] in ("老", "师")
        assert (token in starts) == expected, text
    assert starts.isdisjoint(tokenizer.all_special_ids)
    assert any(token in starts for token in ids)
