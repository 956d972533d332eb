"""The prompt around a live source: system turn, source span, open assistant turn, and which source word each token is.

The layout comes from the model's own chat template, so a new model needs no code here: the template is rendered once
around a sentinel, which yields the text before and after the source; the source span is then known to the character and
carried over to tokens by the tokenizer's offsets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import TemplateError

from agent import languages
from agent.errors import UserError
from agent.mt.config import PromptConfig
from agent.paths import resolve

_SENTINEL = "⟦source⟧"


class LayoutError(UserError):
    """The model's chat template or tokenizer cannot carry an explicit source span."""


@dataclass(frozen=True)
class Prompt:
    """A tokenised prompt.

    ``ids``: all tokens up to the open assistant turn. ``source_span``: tokens [start, end) of the source.
    ``word_of_token``: int64 ``[source tokens]``, the index of the source word each of them belongs to, non-decreasing.
    """

    ids: tuple[int, ...]
    source_span: tuple[int, int]
    word_of_token: npt.NDArray[np.int64]


class PromptLayout:
    """Builds prompts for one model and direction.

    ``tokenizer``: a fast Hugging Face tokenizer with a chat template. LayoutError when it has neither offsets nor a
    template, or when the template changes the text put into it.
    """

    def __init__(self, tokenizer: Any, config: PromptConfig, source_lang: str, target_lang: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise LayoutError("The tokenizer gives no character offsets; use a model with a tokenizer.json.")
        self._template = _read_template(config.template)
        if not self._template and not getattr(tokenizer, "chat_template", None):
            raise LayoutError(
                "The tokenizer has no chat template: use an instruction-tuned model, or give the layout it was trained "
                "with as a Jinja file in mt.prompt.template (e.g. {{ messages[-1].content }} and what goes around it)."
            )
        self._tokenizer = tokenizer
        names = {"source_language": languages.get(source_lang).name, "target_language": languages.get(target_lang).name}
        try:
            self._system = config.system.format(**names)
            self._header = config.header.format(**names)
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"Key 'mt.prompt': use only {{source_language}} and {{target_language}} in braces ({error!r})."
            ) from error
        rendered = self._render(_SENTINEL)
        self._head, found, self._tail = rendered.partition(_SENTINEL)
        if not found or _SENTINEL in self._tail:
            raise LayoutError("The chat template drops or repeats the user turn; no source span can be given.")

    @property
    def fingerprint(self) -> str:
        """SHA-256 (first 16 hex digits) of the text around the source: head sets are valid for one layout only."""
        return hashlib.sha256(f"{self._head}\0{self._tail}".encode()).hexdigest()[:16]

    def build(self, words: Sequence[str]) -> Prompt:
        """Prompt whose source is ``words`` joined by spaces. Words must be non-empty and free of white space."""
        source = " ".join(words)
        start = len(self._head)
        text = self._head + source + self._tail
        encoding = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = tuple(encoding["input_ids"])
        word_of_char = np.repeat(np.arange(len(words)), [len(word) + 1 for word in words])
        tokens: list[int] = []
        word_of_token: list[int] = []
        for index, (begin, end) in enumerate(encoding["offset_mapping"]):
            # Byte-level tokenizers trim spaces from offsets: a space alone has none left, but a place in the source.
            last = begin - start if begin == end else min(end, start + len(source)) - 1 - start
            if last < (begin == end) or begin - start >= len(source):
                continue
            tokens.append(index)
            # A token of nothing but the space before a word belongs to that word.
            word_of_token.append(int(word_of_char[last]) + (source[last] == " "))
        self._verify(words, tokens, word_of_token)
        span = (tokens[0], tokens[-1] + 1) if tokens else (len(ids), len(ids))
        return Prompt(ids, span, np.asarray(word_of_token, dtype=np.int64))

    def _verify(self, words: Sequence[str], tokens: list[int], word_of_token: list[int]) -> None:
        contiguous = all(b == a + 1 for a, b in pairwise(tokens))
        monotone = all(a <= b for a, b in pairwise(word_of_token))
        if not contiguous or not monotone or set(word_of_token) != set(range(len(words))):
            raise LayoutError(f"The tokenizer does not keep source words apart in {' '.join(words)!r}.")

    def _render(self, source: str) -> str:
        content = f"{self._header}\n{source}" if self._header else source
        messages = [{"role": "system", "content": self._system}, {"role": "user", "content": content}]
        if not self._system:
            messages = messages[1:]
        try:
            # Models that can think aloud must not; other templates ignore the switch.
            rendered = self._tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=True,
                tokenize=False,
                enable_thinking=False,
                **({"chat_template": self._template} if self._template else {}),
            )
        except TemplateError as error:
            raise LayoutError(
                f"The chat template refuses the turns ({error}); without a system role set mt.prompt.system to ''."
            ) from error
        return str(rendered)


def _read_template(name: str) -> str:
    if not name:
        return ""
    try:
        return resolve(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Key 'mt.prompt.template': cannot read {name} ({error}).") from error
