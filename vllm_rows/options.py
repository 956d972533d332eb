"""How an engine and a request are told what to capture. Nothing here needs vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vllm_rows.errors import CaptureError

CONFIG_KEY = "attention_capture"
"""Key of our part in vLLM's ``additional_config`` and in ``SamplingParams.extra_args``."""


@dataclass(frozen=True)
class StopRule:
    """End a draft inside the engine's step, at the first word whose attention has reached ``limit_column``.

    ``weights``: one per head, in the order of the engine's heads; the weighted mean row's argmax over the span is
    compared with ``limit_column`` (0 is the span's first column). Looked at only for tokens of the engine's
    ``starts_word`` set, and for a draft's first token when ``first_token`` is true. ``row`` says which row decides:
    the one that predicts the token, or its ``own``. The engine then samples ``stop_token_id``, which has to be in
    ``SamplingParams.stop_token_ids`` (or be the end token). With ``predicting`` the refused token is not part of the
    output, `CapturedRows.refused_token` names it; with ``own`` it is the output's last token before the stop.
    """

    weights: tuple[float, ...]
    limit_column: int
    stop_token_id: int
    row: Literal["predicting", "own"] = "predicting"
    first_token: bool = True


def engine_options(
    heads: Sequence[tuple[int, int]],
    *,
    max_num_seqs: int,
    max_rows: int,
    starts_word: Sequence[int] | str | None = None,
) -> dict[str, Any]:
    """Keyword arguments for ``LLM``, ``EngineArgs`` or ``AsyncEngineArgs``.

    ``heads``: (decoder layer, query head), both from 0; this order is the order of the rows. ``max_num_seqs``: requests
    in flight (passed on to vLLM); ``max_rows``: most rows of one request. ``starts_word``: ids of the tokens that start
    a word (a list, or the path of a ``.npy`` file of ids), which switches `StopRule` on.
    """
    wanted = [(int(layer), int(head)) for layer, head in heads]
    if not wanted:
        raise CaptureError("engine_options: no heads given.")
    if len(set(wanted)) != len(wanted):
        raise CaptureError("engine_options: a head is named twice.")
    if min(min(head) for head in wanted) < 0 or max_num_seqs < 1 or max_rows < 1:
        raise CaptureError("engine_options: layers and heads count from 0; max_num_seqs and max_rows from 1.")
    capture: dict[str, Any] = {"heads": [list(head) for head in wanted], "max_rows": max_rows}
    options: dict[str, Any] = {
        "worker_cls": "vllm_rows.worker.CaptureWorker",
        "max_num_seqs": max_num_seqs,
        "additional_config": {CONFIG_KEY: capture},
    }
    if starts_word is not None:
        capture["starts_word"] = starts_word if isinstance(starts_word, str) else [int(t) for t in starts_word]
        options["logits_processors"] = ["vllm_rows.processors:StopProcessor"]
    return options


def sampling_args(
    key: str, span: tuple[int, int], n_rows: int, stop: StopRule | None = None, *, n_before: int = 0
) -> dict[str, Any]:
    """``extra_args`` of ``SamplingParams`` for a request whose rows are fetched as ``key`` (new for every request).

    ``span``: columns [start, end) of the prompt that are kept of every row. Row ``i`` is the query at position
    ``len(prompt) - 1 + i``: it predicts token ``i``, and row ``i + 1`` is token ``i``'s own. So ``n_rows`` is the draft
    length, or one more where the last token's own row is wanted (the draft then has to be one token longer). With
    ``n_before`` the rows begin that many positions earlier, inside the prompt; what vLLM takes from its prefix cache
    has no rows, so this fails when ``num_cached_tokens`` exceeds ``len(prompt) - 1 - n_before``.
    """
    start, end = span
    if not 0 <= start < end:
        raise CaptureError(f"sampling_args: span {start}:{end} is empty or negative.")
    if n_rows < 1 or not key:
        raise CaptureError("sampling_args: a key and at least one row are needed.")
    if n_before < 0:
        raise CaptureError("sampling_args: n_before is negative.")
    request: dict[str, Any] = {"key": key, "span": [start, end], "rows": n_rows, "before": n_before}
    if stop is not None:
        if stop.limit_column < 0:
            raise CaptureError("StopRule: limit_column counts from 0, the span's first column.")
        request["stop"] = asdict(stop)
    return {CONFIG_KEY: request}
