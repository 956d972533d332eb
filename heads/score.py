"""Translation scores (TS): how often a head's row peaks on the source word a target token comes from.

The target is teacher-forced under the run-time prompt. Two readings are kept of each head and row convention:

- ``ts``: first token of each unit, peak inside the source span; what the policy reads;
- ``ts_published``: every aligned token, peak over the full row; the definition of AlignAtt4LLM.

Both are shares of aligned tokens, averaged per sentence pair. Where the source is cut short, ``not_heard_auc`` says how
well the distance between the peak and the end of the source tells units that are not yet heard from those that are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from agent.errors import UserError
from agent.mt.attention import capturing
from agent.mt.drafter import Head, RowConvention
from agent.mt.prompt import PromptLayout
from heads.capture import BatchCapture, RowRequest

CONVENTIONS: tuple[RowConvention, ...] = ("predicting", "own")
UNHEARD_SHOWN = 3
"""Of a source cut short, the target is read up to so many units that it does not cover: there the policy stops."""
MIN_CUT_WORDS = 3
N_DISTANCES = 128
"""Distances from the end of the source that are told apart; longer ones count as the longest."""


@dataclass(frozen=True)
class AlignedPair:
    """Source words, target text, and for target units (character spans) the source words they come from.

    ``n_heard``: how many of the source words the model is shown; None for all.
    """

    words: tuple[str, ...]
    target: str
    spans: tuple[tuple[int, int], ...]
    sources: tuple[frozenset[int], ...]
    n_heard: int | None = None


@dataclass(frozen=True)
class PairRows:
    """One pair run through the model; tokens are those of aligned units.

    ``peaks`` int16 and ``inside`` bool ``[conventions, heads, tokens]``, ``rows`` float16 ``[conventions, heads,
    units, source tokens]``: those of the tokens that start a unit (see `heads.capture.Reduced`; conventions as in
    `CONVENTIONS`). ``word_of_token`` int64 ``[source tokens]``, ``aligned`` bool ``[tokens, source words]``, ``first``
    bool ``[tokens]``: whether the token starts its unit. ``n_heard``: source words shown; an aligned word beyond them
    has not been heard.
    """

    peaks: npt.NDArray[np.int16]
    inside: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.float16]
    word_of_token: npt.NDArray[np.int64]
    aligned: npt.NDArray[np.bool_]
    first: npt.NDArray[np.bool_]
    n_heard: int

    def hits(self, convention: RowConvention, published: bool = False) -> npt.NDArray[np.float64]:
        """Share of tokens hit ``[heads]``; NaN where no token counts."""
        which = CONVENTIONS.index(convention)
        hit = self.aligned[np.arange(len(self.first)), self.word_of_token[self.peaks[which]]]
        if published:
            hit = hit & self.inside[which]
        counted = np.ones_like(self.first) if published else self.first
        if not counted.any():
            return np.full(len(hit), np.nan)
        share: npt.NDArray[np.float64] = hit[:, counted].mean(axis=1)
        return share


@dataclass(frozen=True)
class ForcedPair:
    """A teacher-forced sequence: token ids, what to read of it, and the labels that `PairRows` carries."""

    ids: tuple[int, ...]
    wanted: RowRequest
    word_of_token: npt.NDArray[np.int64]
    aligned: npt.NDArray[np.bool_]
    first: npt.NDArray[np.bool_]
    n_heard: int

    def with_rows(self, peaks: Any, inside: Any, rows: Any) -> PairRows:
        """The rows read, split by convention (predicting positions come first)."""
        n = len(self.first)

        def split(array: Any) -> Any:
            return np.stack([array[:, :n], array[:, n:]])

        starts = split(rows)[:, :, self.first]
        return PairRows(split(peaks), split(inside), starts, self.word_of_token, self.aligned, self.first, self.n_heard)


def force(tokenizer: Any, layout: PromptLayout, pair: AlignedPair) -> ForcedPair | None:
    """The sequence of a pair; None when no target token has a source."""
    n_heard = len(pair.words) if pair.n_heard is None else pair.n_heard
    prompt = layout.build(pair.words[:n_heard])
    encoded = tokenizer(pair.target, add_special_tokens=False, return_offsets_mapping=True)
    tokens: list[int] = []
    sources: list[frozenset[int]] = []
    first: list[bool] = []
    started: set[int] = set()
    n_unheard = 0
    for token, (begin, end) in enumerate(encoded["offset_mapping"]):
        inside = [i for i, (a, b) in enumerate(pair.spans) if begin < b and end > a]
        linked = frozenset[int]().union(*(pair.sources[i] for i in inside))
        # Of several tokens that spell one character, the first starts the unit, as in `agent.mt.units`.
        starting = {i for i in inside if begin <= pair.spans[i][0] < end} - started
        started |= starting
        starts = bool(starting)
        if not linked:
            continue
        if starts and max(linked) >= n_heard:
            n_unheard += 1
            if n_unheard > UNHEARD_SHOWN:
                break
        tokens.append(token)
        sources.append(linked)
        first.append(starts)
    if not tokens or not any(first):
        return None
    aligned = np.zeros((len(tokens), len(pair.words)), dtype=np.bool_)
    for row, linked in enumerate(sources):
        aligned[row, list(linked)] = True
    ids = (*prompt.ids, *encoded["input_ids"][: tokens[-1] + 1])
    at = [len(prompt.ids) + token for token in tokens]
    wanted = RowRequest(len(ids), prompt.source_span, (*(position - 1 for position in at), *at))
    return ForcedPair(ids, wanted, prompt.word_of_token, aligned, np.asarray(first), n_heard)


def cut_short(pairs: Sequence[AlignedPair], seed: int = 0) -> list[AlignedPair]:
    """Each pair with only the beginning of its source heard, cut at a random word; too short ones are left out."""
    rng = np.random.default_rng(seed)
    cut = []
    for pair in pairs:
        if len(pair.words) > MIN_CUT_WORDS:
            n_heard = int(rng.integers(MIN_CUT_WORDS, len(pair.words)))
            cut.append(AlignedPair(pair.words, pair.target, pair.spans, pair.sources, n_heard))
    return cut


def all_heads(model: Any) -> tuple[Head, ...]:
    """Every head of the model."""
    config = model.config.get_text_config()
    return tuple(Head(la, he) for la in range(config.num_hidden_layers) for he in range(config.num_attention_heads))


@torch.inference_mode()
def run_batch(model: Any, batch: Sequence[ForcedPair], heads: Sequence[Head]) -> list[PairRows]:
    """Rows of several sequences in one forward pass. ``model`` must run on the capture's attention implementation."""
    width = max(len(forced.ids) for forced in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    for row, forced in enumerate(batch):
        ids[row, : len(forced.ids)] = torch.tensor(forced.ids)
    capture = BatchCapture(heads, [forced.wanted for forced in batch])
    with capturing(capture):
        model(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=1)
    return [forced.with_rows(r.peaks, r.inside, r.rows) for forced, r in zip(batch, capture.results(), strict=True)]


class RowStore:
    """Rows of many pairs in a folder, one file a pair, read one at a time.

    ``signature`` names everything the rows depend on. A folder that an interrupted run with the same signature left is
    gone on with; another one is a UserError.
    """

    def __init__(self, folder: Path, signature: str) -> None:
        self.folder = folder
        marker = folder / "signature"
        if marker.is_file() and marker.read_text(encoding="utf-8") != signature:
            raise UserError(f"{folder} holds rows of another calibration; remove it or name another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "signature.partial"
        partial.write_text(signature, encoding="utf-8")
        partial.rename(marker)

    def path(self, key: str) -> Path:
        """Where the rows of a pair are kept."""
        return self.folder / f"{key}.npz"

    def write(self, key: str, rows: PairRows) -> None:
        """Keep the rows of a pair; complete or absent."""
        partial = self.path(key).with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, **vars(rows))
        partial.rename(self.path(key))

    def read(self, keys: Sequence[str], with_rows: bool = True) -> Iterator[PairRows]:
        """What is known of the named pairs, one after another; ``rows`` is empty unless they are wanted."""
        for key in keys:
            with np.load(self.path(key)) as arrays:
                values = {name: arrays[name] for name in arrays.files if with_rows or name != "rows"}
            values.setdefault("rows", np.zeros((2, 0, 0, 0), dtype=np.float16))
            yield PairRows(**{**values, "n_heard": int(values["n_heard"])})


def collect(
    model: Any,
    tokenizer: Any,
    layout: PromptLayout,
    pairs: Sequence[AlignedPair],
    heads: Sequence[Head],
    store: RowStore,
    name: str,
    batch_size: int = 8,
) -> list[str]:
    """Run all pairs that the store does not have yet; returns the keys of those with a scored token, in order.

    Sequences of like length share a batch. Progress is shown; an interrupted run loses one batch at most.
    """
    forced = {f"{name}-{n:05d}": force(tokenizer, layout, pair) for n, pair in enumerate(pairs)}
    usable = {key: item for key, item in forced.items() if item is not None}
    todo = sorted((key for key in usable if not store.path(key).is_file()), key=lambda key: len(usable[key].ids))
    done = len(usable) - len(todo)
    with tqdm(total=len(usable), initial=done, unit="pair", desc=name, leave=False, disable=None) as bar:
        for start in range(0, len(todo), batch_size):
            keys = todo[start : start + batch_size]
            for key, rows in zip(keys, run_batch(model, [usable[k] for k in keys], heads), strict=True):
                store.write(key, rows)
            bar.update(len(keys))
    return list(usable)


def unheard_auc(heard: npt.NDArray[np.int64], unheard: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Area under the curve of telling heard units from unheard ones by the distance of their peaks from the end.

    ``heard``, ``unheard``: counts ``[..., distance]``. 0.5 is chance, 1.0 means that every unheard unit peaks nearer to
    the end than every heard one. NaN without units of both kinds.
    """
    nearer = np.cumsum(unheard, axis=-1) - unheard / 2
    pairs = heard.sum(axis=-1) * unheard.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area: npt.NDArray[np.float64] = (heard * nearer).sum(axis=-1) / pairs
    return area


def count_distances(words: npt.NDArray[np.int64], pair: PairRows, length: int = N_DISTANCES) -> npt.NDArray[np.int64]:
    """Heard and unheard units of a cut pair, ``[2, ..., length]``, by how many heard words lie after their peaks.

    ``words``: where they peak, ``[..., tokens]``.
    """
    late = pair.aligned[:, pair.n_heard :].any(axis=1)
    one_hot = np.minimum(pair.n_heard - 1 - words, length - 1)[..., None] == np.arange(length)
    return np.stack([one_hot[..., pair.first & which, :].sum(axis=-2) for which in (~late, late)])
