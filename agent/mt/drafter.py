"""The drafter contract: prompt in, a greedy draft with the attention rows of the chosen heads out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

RowConvention = Literal["own", "predicting"]
Finish = Literal["end_of_turn", "length", "stopped"]


class Head(NamedTuple):
    """One attention head: decoder layer and query head, both counted from 0."""

    layer: int
    head: int


@dataclass(frozen=True)
class StopRule:
    """When a draft may end early. Ending it later, or never, is always allowed: what is accepted stays the same.

    ``settled(token_ids, rows)``: whether nothing the model could write after these tokens changes what becomes of the
    draft. ``token_ids``: the draft so far, as many as have rows; ``rows``: theirs. Pure, callable in any thread.

    The other fields repeat a part of it as plain data, for an engine that decides in another process. ``limit_column``:
    `settled` is False as long as no token's mean row (heads weighted by ``weights``) peaks at this column of the source
    span or beyond; it is True at the first token that does and starts a unit. Which tokens do is not certain from their
    numbers (`agent.mt.units.likely_unit_starts`): an engine that has stopped there asks `settled`, and goes on if it is
    False. None: only `settled` knows. Rows that are not finite count as beyond.
    """

    settled: Callable[[tuple[int, ...], npt.NDArray[np.float32]], bool]
    limit_column: int | None = None
    weights: tuple[float, ...] = ()

    def holds(self, token_ids: tuple[int, ...], rows: npt.NDArray[np.float32]) -> bool:
        """`settled`, but not asked where the plain data already say no."""
        if self.limit_column is not None and rows.size:
            mean = np.tensordot(np.asarray(self.weights, dtype=np.float32), rows, axes=(0, 0))
            if not ((mean.argmax(axis=1) >= self.limit_column) | ~np.isfinite(mean).all(axis=1)).any():
                return False
        return self.settled(token_ids, rows)


@dataclass(frozen=True)
class DraftRequest:
    """What to continue.

    ``prompt_ids``: the whole prompt up to the assistant turn. ``source_span``: token range [start, end) of the source
    inside it. ``prefix_ids``: target tokens accepted so far, continued by the draft. ``heads`` may be empty: then no
    rows are captured. ``stream``: key under which an engine may keep a KV cache between the steps of one stream.
    ``guess_ids``: how the draft may begin. An engine may check the guess in the pass that computes the prompt and take
    the leading tokens that are the greedy ones; it never changes the draft. ``stop``: when the draft may end early.
    """

    prompt_ids: tuple[int, ...]
    source_span: tuple[int, int]
    prefix_ids: tuple[int, ...]
    max_new_tokens: int
    heads: tuple[Head, ...] = ()
    row_convention: RowConvention = "predicting"
    stream: str = ""
    guess_ids: tuple[int, ...] = ()
    stop: StopRule | None = None


@dataclass(frozen=True)
class Draft:
    """A greedy continuation.

    ``token_ids`` without the end-of-turn token. ``rows``: float32 ``[heads, tokens, source tokens]``, the softmax over
    *all* causal columns (post-norm, post-RoPE, with the layer's own mask), cut to the source span and not
    renormalised; row ``t`` belongs to ``token_ids[t]`` by the request's convention (``predicting``: the query of the
    position before it; ``own``: its own query). ``log_probs``: float32 ``[tokens]``, natural log.
    ``finish``: ``stopped`` when the request's stop rule ended it.
    ``n_forward``: decode steps the engine ran, prefill excluded; ``n_prefilled``: tokens of prompt, prefix and guess it
    had to compute; ``n_guessed``: leading tokens of the draft that were taken from the guess.
    """

    token_ids: tuple[int, ...]
    finish: Finish
    rows: npt.NDArray[np.float32]
    log_probs: npt.NDArray[np.float32]
    n_forward: int = 0
    n_prefilled: int = 0
    n_guessed: int = 0

    @property
    def n_decoded(self) -> int:
        """Tokens the model had to choose one by one: those not taken from the guess, and the end of the turn."""
        return len(self.token_ids) - self.n_guessed + (self.finish == "end_of_turn")


class Drafter(Protocol):
    """Greedy continuation with attention rows. Thread-safe: any number of streams at once.

    Fewer decoded tokens take two fields of the request; a drafter that ignores both is right, only slower.

    - ``guess_ids`` (`DraftRequest`): run prompt, prefix and guess in one pass, keep the guess's leading tokens that are
      the greedy ones, decode on from the first that is not; at most ``max_new_tokens`` count. Rows and probabilities of
      kept tokens are those of that pass, nothing of the rest stays in a cache. Report how many held in ``n_guessed``.
    - ``stop`` (`StopRule`): ask `StopRule.holds` after each token, a guessed one too, as soon as its row is known, with
      the tokens and rows up to and including it; end the draft with that token when it says yes, ``finish`` =
      ``stopped``. An end of turn or the length bound, reached without that, keeps its own name. Ending at a later token
      is right too: then the further tokens must be the greedy ones, and ``finish`` says what ended them.
    """

    def draft(self, request: DraftRequest) -> Draft:
        """The draft for one request; UserError or RuntimeError when the engine cannot serve it."""

    def forget(self, stream: str) -> None:
        """Drop whatever is kept for ``stream``. Unknown streams are ignored."""


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length
