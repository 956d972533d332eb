"""The prompt: where the source lies in it, and which source word each of its tokens belongs to."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny import CHATML, byte_level_tokenizer, metaspace_tokenizer

from agent.errors import UserError
from agent.mt.config import PromptConfig
from agent.mt.prompt import LayoutError, PromptLayout

SENTENCES = [
    "The old teacher repairs the machine.",
    "word",
    "a b c d",
    "He said — well — it's the teacher's “machine”, isn't it?",
    "it — or—so…",
    "In 2019 it grew 3.5% to $1,000.50 (see Fig. 3).",
    "we say 你好 and 谢谢。 to Zoë naïvely",
    "é 😀 ﬁ ½ x",
    "<b> {curly} [brackets] #hash",
    "The the The the",
]
TOKENIZERS = {
    "metaspace": metaspace_tokenizer,
    "byte-level": byte_level_tokenizer,
    "byte-level, spaces in offsets": lambda: byte_level_tokenizer(trim_offsets=False),
}


def with_template(tokenizer: Any, template: str | None) -> Any:
    changed = copy.copy(tokenizer)
    changed.chat_template = template
    return changed


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("header", ["", "Source, live:"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_source_token_is_mapped_to_the_word_it_spells(name: str, header: str, sentence: str) -> None:
    tokenizer = TOKENIZERS[name]()
    layout = PromptLayout(tokenizer, PromptConfig(header=header), "en", "de")
    words = sentence.split()
    prompt = layout.build(words)
    start, end = prompt.source_span
    assert prompt.word_of_token.dtype == np.int64
    assert len(prompt.word_of_token) == end - start
    for index, word in enumerate(words):
        own = [prompt.ids[start + i] for i in np.flatnonzero(prompt.word_of_token == index)]
        assert tokenizer.decode(own, clean_up_tokenization_spaces=False).strip() == word
    before = tokenizer.decode(prompt.ids[:start])
    assert "Translate English speech to German." in before
    assert before.endswith(header + "\n" if header else "user\n")


def test_the_whole_prompt_is_the_rendered_template() -> None:
    tokenizer = byte_level_tokenizer()
    prompt = PromptLayout(tokenizer, PromptConfig(system="S", header="H"), "en", "zh").build(["a", "b"])
    expected = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nH\na b<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(prompt.ids) == expected
    without = PromptLayout(tokenizer, PromptConfig(system=""), "en", "zh").build(["a"])
    assert "system" not in tokenizer.decode(without.ids)


def test_models_that_can_think_are_told_not_to() -> None:
    template = CHATML.replace("assistant\n", "assistant\n{% if enable_thinking is false %}<think></think>{% endif %}")
    tokenizer = with_template(byte_level_tokenizer(), template)
    prompt = PromptLayout(tokenizer, PromptConfig(), "en", "de").build(["a"])
    assert tokenizer.decode(prompt.ids).endswith("assistant\n<think></think>")


def test_a_growing_source_keeps_the_tokens_before_it() -> None:
    layout = PromptLayout(metaspace_tokenizer(), PromptConfig(), "en", "de")
    one, two = layout.build(["The", "old"]), layout.build(["The", "old", "teacher"])
    assert two.ids[: one.source_span[1]] == one.ids[: one.source_span[1]]
    assert two.source_span[0] == one.source_span[0]


def test_the_fingerprint_names_the_layout_and_not_the_source() -> None:
    tokenizer = metaspace_tokenizer()
    layouts = [PromptLayout(tokenizer, PromptConfig(header=h), "en", t) for h in ("", "H") for t in ("de", "it")]
    prints = {layout.fingerprint for layout in layouts}
    assert len(prints) == 4
    same = {PromptLayout(tokenizer, PromptConfig(), "en", "de").fingerprint for _ in range(2)}
    assert len(same) == 1
    assert all(len(value) == 16 for value in same)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% if m.role != 'user' %}{{ m.content }}{% endif %}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content | replace('s', 'z') }}{% endfor %}",
        "{{ raise_exception('System role not supported') }}",
    ],
    ids=["drops the user turn", "repeats it", "changes it", "refuses"],
)
def test_a_template_that_cannot_carry_the_source_is_refused(template: str) -> None:
    with pytest.raises(LayoutError, match="template"):
        PromptLayout(with_template(byte_level_tokenizer(), template), PromptConfig(), "en", "de")


def test_a_tokenizer_without_template_or_offsets_is_refused() -> None:
    with pytest.raises(LayoutError, match="no chat template"):
        PromptLayout(with_template(byte_level_tokenizer(), None), PromptConfig(), "en", "de")
    with pytest.raises(LayoutError, match="no character offsets"):
        PromptLayout(SimpleNamespace(is_fast=False, chat_template=CHATML), PromptConfig(), "en", "de")


def test_an_unknown_placeholder_is_an_error_that_names_the_valid_ones() -> None:
    with pytest.raises(UserError, match="source_language"):
        PromptLayout(metaspace_tokenizer(), PromptConfig(system="To {language}"), "en", "de")
