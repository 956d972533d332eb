"""Less work, the same text: early stop, guesses checked in the first pass, held words released without a call."""

from __future__ import annotations

import itertools
import random
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from drafts import policy_of, view
from scripted import UPPER, committed, live, make, run, said, spoken
from tiny import gemma4_config, metaspace_tokenizer, random_model

from agent.config import SessionConfig, load, preset_path
from agent.models import ModelCache
from agent.mt.attention import IMPLEMENTATION
from agent.mt.config import PromptConfig
from agent.mt.drafter import Draft, DraftRequest, Head, StopRule
from agent.mt.head_sets import Selection
from agent.mt.policy import Policy
from agent.mt.policy.alignatt import AlignAtt
from agent.mt.policy.cut_last import CutLast
from agent.mt.policy.local_agreement import LocalAgreement
from agent.mt.policy.paper import Paper
from agent.mt.policy.wait_k import WaitK
from agent.mt.prompt import PromptLayout
from agent.mt.transformers import TransformersDrafter
from agent.mt.translator import Translator
from agent.session import Session
from agent.words import Frontier, Hypothesis, SourceWord
from bench.fewer_tokens import translate

NONE, ALL = (False, False, False), (True, True, True)
MODELS = ModelCache()
SETTINGS = (NONE, (True, False, False), (False, True, False), (False, False, True), ALL)


@pytest.fixture(scope="module")
def drafter() -> TransformersDrafter:
    """In float64, where one pass over many tokens and many passes over one agree to the last bit shown."""
    torch.set_num_threads(1)
    return TransformersDrafter(random_model(gemma4_config(), IMPLEMENTATION, torch.float64), ())


def request(convention: Any = "predicting", n: int = 6, **more: Any) -> DraftRequest:
    ids = tuple(random.Random(3).choices(range(10, 290), k=50))
    heads = (Head(0, 0), Head(5, 3), Head(2, 1))
    return DraftRequest(ids, (8, 44), ids[5:9], n, heads, convention, **more)


def same(a: Draft, b: Draft) -> None:
    assert (a.token_ids, a.finish) == (b.token_ids, b.finish)
    np.testing.assert_allclose(a.rows, b.rows, atol=2e-6, rtol=0)
    np.testing.assert_allclose(a.log_probs, b.log_probs, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["own", "predicting"])
@pytest.mark.parametrize("n_right", [0, 1, 3, 6])
@pytest.mark.parametrize("n_wrong", [0, 1, 4])
def test_a_guess_changes_nothing_but_the_work(
    drafter: TransformersDrafter, convention: Any, n_right: int, n_wrong: int
) -> None:
    plain = drafter.draft(request(convention))
    wrong = tuple(token + 1 for token in (*plain.token_ids, 20, 30, 40, 50))[n_right : n_right + n_wrong]
    asked = request(convention, guess_ids=(*plain.token_ids[:n_right], *wrong), stream="guess")
    guessed = drafter.draft(asked)
    same(guessed, plain)
    assert guessed.n_guessed == n_right
    assert guessed.n_forward == max(0, plain.n_forward - n_right)
    assert guessed.n_decoded == plain.n_decoded - n_right
    # The cache holds no trace of what was guessed wrong.
    longer = replace(asked, prefix_ids=(*asked.prefix_ids, *plain.token_ids[:2]), guess_ids=plain.token_ids[2:4])
    same(drafter.draft(longer), drafter.draft(replace(longer, stream="", guess_ids=())))
    drafter.forget("guess")


@pytest.mark.parametrize("convention", ["own", "predicting"])
@pytest.mark.parametrize("n_guessed", [0, 2, 5])
def test_a_stop_rule_ends_the_draft_at_the_first_token_it_names(
    drafter: TransformersDrafter, convention: Any, n_guessed: int
) -> None:
    full = drafter.draft(request(convention))
    seen: list[tuple[int, ...]] = []

    def settled(ids: tuple[int, ...], rows: Any) -> bool:
        seen.append(ids)
        np.testing.assert_allclose(rows, full.rows[:, : len(ids)], atol=2e-6)
        return len(ids) == 4

    stopped = drafter.draft(request(convention, guess_ids=full.token_ids[:n_guessed], stop=StopRule(settled)))
    assert (stopped.token_ids, stopped.finish) == (full.token_ids[:4], "stopped")
    assert stopped.rows.shape == (3, 4, 36)
    assert seen == [full.token_ids[:n] for n in range(1, 5)]
    assert stopped.n_guessed == min(n_guessed, 4)
    assert stopped.n_forward == max(0, 4 - n_guessed - (convention == "predicting" and n_guessed < 4))


def test_the_plain_data_of_a_stop_rule_spare_the_question() -> None:
    asked: list[int] = []
    rule = StopRule(lambda ids, rows: bool(asked.append(len(ids))) or True, limit_column=3, weights=(0.25, 0.75))
    rows = np.zeros((2, 2, 5), dtype=np.float32)
    rows[0, :, 4], rows[1, :, 1] = 0.6, 0.4
    assert not rule.holds((7, 8), rows)
    assert asked == []
    rows[1, 1, 3] = 0.5
    assert rule.holds((7, 8), rows)
    rows[1, 1, 3], rows[0, 0, 0] = 0.0, np.nan
    assert rule.holds((7, 8), rows)
    assert rule.holds((7, 8), rows[:, :, :0])
    assert asked == [2, 2, 2]


PIECES = [" Ha", "us", "tür", " ", ".", " ja, ne", "你", "好吗", "。", "GP", "T-", "4", "，“", "（", ""]


@pytest.mark.parametrize("language", ["de", "zh"])
@pytest.mark.parametrize("name", ["alignatt", "paper", "wait-k", "local-agreement", "cut-last", "offline"])
def test_what_is_settled_stays_whatever_the_model_writes_next(name: str, language: str) -> None:
    generator = np.random.default_rng(zlib.crc32(f"{name}{language}".encode()))
    n_settled = sum(stays_settled(generator, name, language) for _ in range(300))
    assert (n_settled > 20) == (name in ("alignatt", "paper", "wait-k"))


def stays_settled(generator: np.random.Generator, name: Any, language: str) -> bool:
    """Draw a draft; whether it is settled before its end. Then no continuation of it is accepted in another way."""
    pieces = [str(piece) for piece in generator.choice(PIECES, size=generator.integers(1, 9))]
    n_source, n_accepted = int(generator.integers(1, 9)), int(generator.integers(3))
    rows = generator.random((2, len(pieces), n_source), dtype=np.float32) ** 4
    words = np.sort(generator.integers(0, n_source, n_source))
    margins = {"margin_words": int(generator.integers(3)), "margin_tokens": int(generator.integers(2)), "k": 1}
    policy = policy_of(name, min_peak=float(generator.integers(2)) / 9, **margins)
    frontier = Frontier(int(generator.integers(0, n_source + 1)), n_source)

    def shown(n: int, closed: bool) -> Any:
        """The first ``n`` tokens."""
        more = {"rows": rows[:, :n], "closed": closed, "n_accepted": n_accepted}
        return view(pieces[:n], words=words, language=language, **more)

    settled = next((n for n in range(1, len(pieces)) if policy.is_settled(shown(n, False), frontier)), None)
    if settled is None:
        return False
    expected = policy.accept(shown(settled, False), frontier).n_tokens
    for n, closed in itertools.product(range(settled + 1, len(pieces) + 1), (False, True)):
        assert policy.accept(shown(n, closed), frontier).n_tokens == expected
    return True


class Babble:
    """A model whose next token and rows are a hash of what it has read, and of the source only sometimes.

    Honours stop rules, and takes guesses that are right. Spells rare characters byte by byte.
    """

    def __init__(self, layout: PromptLayout, language: str, seed: int) -> None:
        tokenizer = metaspace_tokenizer()
        texts = {"de": " Der Lehrer ist in, den Garten. Haus tür x", "zh": "老师修理（机器）。我们用 GPT-4 模型，好 x"}
        encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts[language].split("|")]
        self.tokens = [token for ids in encoded for token in ids]
        self.rare: list[int] = tokenizer("猫", add_special_tokens=False)["input_ids"]
        assert len(self.rare) == 3
        self.layout, self.seed = layout, seed
        self.calls = 0

    def forget(self, stream: str) -> None:
        pass

    def _hash(self, *what: Any) -> int:
        return zlib.crc32(repr((self.seed, what)).encode())

    def _next(self, source: tuple[int, ...], target: tuple[int, ...]) -> int | None:
        for done in (2, 1):
            if list(target[-done:]) == self.rare[:done]:
                return self.rare[done]
        number = self._hash(target[-3:], len(target), source if self._hash(target) % 4 == 0 else ())
        if number % 11 == 0:
            return None
        return self.rare[0] if number % 7 == 0 else self.tokens[number // 77 % len(self.tokens)]

    def draft(self, request: DraftRequest) -> Draft:
        self.calls += 1
        assert request.max_new_tokens > 0
        (start, end), tokens, rows, finish = request.source_span, [], [], "length"
        source = request.prompt_ids[start:end]
        while len(tokens) < request.max_new_tokens:
            target = (*request.prefix_ids, *tokens)
            token = self._next(source, target)
            if token is None:
                finish = "end_of_turn"
                break
            tokens.append(token)
            peaks = np.random.default_rng(self._hash(source, target)).random((len(request.heads), end - start))
            rows.append(peaks**6)
            so_far = np.stack(rows, axis=1).astype(np.float32)
            if request.stop is not None and request.stop.holds(tuple(tokens), so_far):
                finish = "stopped"
                break
        array = so_far if rows else np.zeros((len(request.heads), 0, end - start), dtype=np.float32)
        return Draft(tuple(tokens), finish, array, np.zeros(len(tokens), dtype=np.float32))  # type: ignore[arg-type]


def hypotheses(seed: int) -> list[Hypothesis]:
    """A stream whose words grow, change at the end, survive, and are committed; some steps bring only time."""
    chance = random.Random(seed)
    vocabulary = ["the", "old", "teacher", "machine", "garden", "repairs", "is", "it's", "2019"]
    steps, words, now_s, stability = [], [], 0.0, []
    for _ in range(24):
        now_s += 0.5
        kind = chance.random()
        if kind < 0.6:
            words.append(chance.choice(vocabulary))
            stability.append(0)
        elif kind < 0.7 and words:
            words[-1], stability[-1] = chance.choice(vocabulary), 0
        stability = [count + 1 for count in stability]
        timed = tuple(
            SourceWord(word, now_s - 0.4 * (len(words) - i), now_s - 0.4 * (len(words) - i - 1), count)
            for i, (word, count) in enumerate(zip(words, stability, strict=True))
        )
        if kind > 0.93:
            steps.append(Hypothesis((timed,) if timed else (), (), now_s))
            words, stability = [], []
        else:
            steps.append(Hypothesis((), timed, now_s))
    return steps


POLICIES = [
    AlignAtt(margin_words=1),
    AlignAtt(margin_words=0, confirmations=1),
    AlignAtt(margin_words=1, confirmations=2, closure_guard=False),
    Paper(margin_tokens=0, median_width=1),
    LocalAgreement(),
    WaitK(k=1),
    CutLast(),
]


@pytest.mark.slow
@pytest.mark.parametrize("language", ["de", "zh"])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{type(p).__name__}-{p.n_earlier}")
def test_no_switch_changes_what_is_said(policy: Policy, language: str) -> None:
    tokenizer = metaspace_tokenizer()
    layout = PromptLayout(tokenizer, PromptConfig(), "en", language)
    heads = Selection((Head(0, 0), Head(1, 1)), np.array([0.7, 0.3], dtype=np.float32), "predicting")
    n_said, calls = 0, dict.fromkeys(SETTINGS, 0)
    for seed in range(5):
        texts = {}
        for switches in calls:
            model = Babble(layout, language, seed)
            selection = heads if policy.needs_rows else None
            translator = Translator(model, tokenizer, layout, policy, selection, language, 9, 12, *switches)
            settings = SessionConfig(hold_back_s=0.5 * (seed % 2), min_stability=1 + seed % 3 // 2)
            session = Session(translator, settings, "s")
            texts[switches] = [said(session.step(step)) for step in hypotheses(seed)]
            calls[switches] += model.calls
        plain = texts[NONE]
        n_said += len("".join(plain))
        for switches, text in texts.items():
            assert text == plain, (seed, switches)
    assert n_said > 60
    assert calls[False, False, True] < calls[NONE]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ende-low", "enit-low", "enzh-low", "enzh-high"])
def test_the_embedded_model_says_the_same_and_decodes_less(preset: str) -> None:
    sentences = (preset_path(preset).parents[2] / "demo/talks/ref.en.txt").read_text(encoding="utf-8").splitlines()[:5]
    plain, less = (
        translate(load(preset_path(preset)), name, MODELS, {preset: spoken(sentences)})
        for name in ("plain drafts", "all three")
    )
    assert less.texts == plain.texts
    assert less.n_decoded < 0.75 * plain.n_decoded


def test_held_words_are_released_without_a_call_when_only_the_frontier_moved() -> None:
    policy = AlignAtt(margin_words=0)
    session, drafter = make(UPPER, policy=policy, hold_back_s=0.5)
    assert said(session.step(live("a b c d", now_s=2.0))).strip() == "A B C"
    record = session.step(live("a b c d", now_s=2.5))[0]
    assert record.accepted == ""  # D is heard, but closes a sentence that may go on
    assert (record.stop_reason, len(drafter.requests)) == ("closure", 1)
    assert record.decision is not None
    assert record.decision.work.n_calls == 0
    # The last draft ended by itself: the final pass has nothing to add to it.
    assert said(session.step(committed("a b c d", now_s=3.0))) == " D"
    assert len(drafter.requests) == 1


def test_a_finished_sentence_of_other_words_is_drafted_again() -> None:
    session, drafter = make(UPPER, policy=AlignAtt())
    assert run(session, [live("a b c d"), committed("a b c d.")]).split() == ["A", "B", "C", "D."]
    assert len(drafter.requests) == 2
    assert drafter.tokenizer.decode(drafter.requests[1].guess_ids) == " C D"
