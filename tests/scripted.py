"""A session whose model says what a script says, and hypotheses to step it with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tiny import metaspace_tokenizer

from agent.config import SessionConfig
from agent.mt.config import PromptConfig
from agent.mt.drafter import Draft, DraftRequest, Head
from agent.mt.head_sets import Selection
from agent.mt.policy import Policy
from agent.mt.policy.cut_last import CutLast
from agent.mt.prompt import PromptLayout
from agent.mt.translator import Translator
from agent.session import Session, StepRecord
from agent.words import Hypothesis, SourceWord

Script = Callable[[list[str], str], str]


class ScriptedDrafter:
    """Continues the target text with what the script says for (source words, target so far).

    ``|`` at the end of an answer ends the turn. Rows: target unit ``n`` of the draft peaks on the source word that
    ``peak`` names, by default the word of the same number in the whole target.
    """

    def __init__(self, tokenizer: Any, script: Script, peak: Callable[[int], int] = lambda unit: unit) -> None:
        self.tokenizer, self.script, self.peak = tokenizer, script, peak
        self.layout: PromptLayout
        self.requests: list[DraftRequest] = []
        self.words: list[list[str]] = []
        self.forgotten: list[str] = []

    def forget(self, stream: str) -> None:
        self.forgotten.append(stream)

    def draft(self, request: DraftRequest) -> Draft:
        start, end = request.source_span
        source = self.tokenizer.decode(request.prompt_ids[start:end], clean_up_tokenization_spaces=False).split()
        target = self.tokenizer.decode(request.prefix_ids, clean_up_tokenization_spaces=False)
        self.requests.append(request)
        self.words.append(source)
        answer = self.script(source, target)
        ids = self.tokenizer(answer.removesuffix("|"), add_special_tokens=False)["input_ids"]
        cut = ids[: request.max_new_tokens]
        word_of_token = self.layout.build(source).word_of_token
        rows = np.zeros((len(request.heads), len(cut), end - start), dtype=np.float32)
        for index in range(len(cut)):
            before = self.tokenizer.decode(ids[: index + 1], clean_up_tokenization_spaces=False)
            unit = len((target + before).split()) - 1
            word = min(max(self.peak(unit), 0), len(source) - 1)
            rows[:, index, int(np.flatnonzero(word_of_token == word)[0])] = 0.9
        closed = answer.endswith("|") and len(cut) == len(ids)
        return Draft(tuple(cut), "end_of_turn" if closed else "length", rows, np.zeros(len(cut), dtype=np.float32))


def make(
    script: Script,
    language: str = "de",
    tokenizer: Any = None,
    policy: Policy | None = None,
    peak: Callable[[int], int] = lambda unit: unit,
    **session: Any,
) -> tuple[Session, ScriptedDrafter]:
    tokenizer = tokenizer or metaspace_tokenizer()
    drafter = ScriptedDrafter(tokenizer, script, peak)
    drafter.layout = PromptLayout(tokenizer, PromptConfig(), "en", language)
    rule = policy or CutLast(cut_words=1)
    heads = Selection((Head(0, 0),), np.ones(1, dtype=np.float32), "predicting") if rule.needs_rows else None
    translator = Translator(drafter, tokenizer, drafter.layout, rule, heads, language, 24, 160)
    return Session(translator, SessionConfig(**session), "s"), drafter


def words(text: str, start_s: float = 0.0) -> tuple[SourceWord, ...]:
    """One word every half second, each 0.4 s long."""
    return tuple(SourceWord(w, start_s + 0.5 * i, start_s + 0.5 * i + 0.4) for i, w in enumerate(text.split()))


def live(text: str, now_s: float = 10.0, start_s: float = 0.0) -> Hypothesis:
    return Hypothesis((), words(text, start_s), now_s)


def committed(*segments: str, tail: str = "", now_s: float = 10.0) -> Hypothesis:
    return Hypothesis(tuple(words(segment) for segment in segments), words(tail), now_s)


def said(records: Sequence[StepRecord]) -> str:
    return "".join(record.accepted for record in records)


def word_by_word(table: dict[str, str], joint: str = " ") -> Script:
    """A model that translates word by word and ends the turn after the source's last word."""

    def script(source: list[str], target: str) -> str:
        whole = joint.join(table.get(word, word.upper()) for word in source)
        rest = whole[len(target.strip()) :] if whole.startswith(target.strip()) else ""
        return (rest if target or not joint else rest.lstrip()) + "|"

    return script


UPPER = word_by_word({})


def run(session: Session, hypotheses: Sequence[Hypothesis]) -> str:
    return "".join(said(session.step(hypothesis)) for hypothesis in hypotheses)


def spoken(sentences: Sequence[str]) -> list[Hypothesis]:
    """Each sentence word by word, every other word first heard wrong."""
    steps, now_s = [], 0.0
    for sentence in sentences:
        heard: list[SourceWord] = []
        for number, text in enumerate(sentence.split()):
            heard = [replace(word, stability=word.stability + 1) for word in heard]
            if number % 2:
                wrong = SourceWord("the", now_s, now_s + 0.2)
                steps.append(Hypothesis((), (*heard, wrong), now_s + 0.3))
            heard.append(SourceWord(text, now_s, now_s + 0.4))
            now_s += 0.5
            steps.append(Hypothesis((), tuple(heard), now_s))
        steps.append(Hypothesis((tuple(heard),), (), now_s))
    return steps
