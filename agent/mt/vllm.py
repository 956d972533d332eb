"""The ``vllm`` backend: drafts of any number of sessions, batched by one AsyncLLM, rows from `vllm_rows`.

vLLM is imported when the first draft is asked for. Tokens are those of stock vLLM, and in float32 those of the
``transformers`` backend. docs/models.md says how to choose between the two and what each setting does.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from agent.errors import UserError
from agent.mt.checkpoint import Checkpoint
from agent.mt.config import MtConfig
from agent.mt.drafter import Draft, DraftRequest, Finish, Head
from agent.mt.units import likely_unit_starts
from agent.stages import CLOCK, move, stage
from agent.vllm_engine.arguments import common_arguments, cpu_environment, require_vllm
from agent.vllm_engine.thread import EngineError, EngineThread
from vllm_rows import (
    CapturedRows,
    CaptureError,
    SelfTestReport,
    engine_options,
    merge,
    sampling_args,
    self_test_async,
    transformers_reference,
)
from vllm_rows import StopRule as EngineStopRule

TEXT_ONLY = {"Gemma4ForConditionalGeneration": "Gemma4ForCausalLM"}
"""Multimodal architectures whose checkpoints vLLM also loads without the towers, by the name of the text model."""
CPU_KV_CACHE_GIB = 1.0
MAX_REFERENCE_GIB = 1.0
"""Weights up to this size are loaded a second time, by Transformers, for the self-test of a float32 engine."""
MAX_GUESS_LOGITS = 2**27
"""Guesses are checked by the logits of the whole prompt, half a GiB for this many in float32; no more are computed."""


class DraftCancelledError(RuntimeError):
    """The stream was closed while it was drafted for."""


def engine_arguments(
    config: MtConfig, checkpoint: Checkpoint, heads: Sequence[Head], starts_word: str | None = None
) -> dict[str, Any]:
    """Keyword arguments of ``AsyncEngineArgs`` for an engine that captures ``heads`` (empty: none).

    ``starts_word``: ``.npy`` file of the tokens at which it may end drafts (None: it never does).
    """
    ours = config.vllm
    on_gpu = _on_gpu(config)
    if config.dtype not in ("float32", "bfloat16", "float16"):
        raise UserError(f"Key 'mt.dtype': '{config.dtype}' is no number type; use float32, bfloat16 or float16.")
    share, cache_gib = ours.gpu_memory_utilization, ours.kv_cache_gib
    arguments = {
        **common_arguments(checkpoint.name, config.revision, config.dtype, share, cache_gib, CPU_KV_CACHE_GIB, on_gpu),
        "skip_tokenizer_init": True,
        "enable_prefix_caching": True,
        "enforce_eager": not ours.compile,
        "max_num_seqs": ours.max_num_seqs,
        "max_model_len": max_length(config, checkpoint),
        "tensor_parallel_size": ours.tensor_parallel,
        # Image masks, which a multimodal model would have, rule out the attention back ends that are captured.
        "language_model_only": True,
    }
    if on_gpu and ours.compile:
        arguments["compilation_config"] = {"cudagraph_mode": ours.cuda_graphs.upper()}
    if on_gpu and ours.attention_backend != "auto":
        arguments["attention_backend"] = ours.attention_backend.upper()
    architectures = checkpoint.config.architectures or [""]
    if architectures[0] in TEXT_ONLY:
        arguments["hf_overrides"] = {"architectures": [TEXT_ONLY[architectures[0]]]}
    if heads:
        pairs = [(head.layer, head.head) for head in heads]
        # One more row than tokens: the own row of a draft's last token.
        max_rows = config.max_draft_tokens + 1
        # Where a rank has only some of the heads, it cannot decide.
        starts = starts_word if ours.tensor_parallel == 1 else None
        arguments |= engine_options(pairs, max_num_seqs=ours.max_num_seqs, max_rows=max_rows, starts_word=starts)
    return arguments


def max_length(config: MtConfig, checkpoint: Checkpoint) -> int:
    """Longest prompt with its draft, in tokens."""
    own = getattr(checkpoint.text_config, "max_position_embeddings", None)
    return min(config.vllm.max_model_len, own or config.vllm.max_model_len)


class VllmDrafter:
    """A `Drafter` on vLLM. ``heads``: all that requests may ask rows of, in any direction.

    The engine starts with the first draft, and serves only when its rows pass the self-test. ``draft`` raises
    `EngineError` when it cannot start or died twice, `DraftCancelledError` when the stream is forgotten
    meanwhile.
    """

    def __init__(self, config: MtConfig, checkpoint: Checkpoint, heads: Sequence[Head] = ()) -> None:
        require_vllm("mt.backend=vllm", "mt.backend=transformers")
        self._folder = tempfile.TemporaryDirectory(prefix="alignatt-", ignore_cleanup_errors=True)
        starts_word = None
        if heads:
            starts_word = f"{self._folder.name}/starts_word.npy"
            np.save(starts_word, np.asarray(likely_unit_starts(checkpoint.tokenizer), dtype=np.int64))
        arguments = engine_arguments(config, checkpoint, heads, starts_word)
        self.engine = EngineThread(arguments, _environment(config), self._examine if heads else None)
        self._report: SelfTestReport | None = None
        self._reference_model = checkpoint.name if _is_small(checkpoint) else None
        self._revision = config.revision or None
        self._stops_in_step = "logits_processors" in arguments
        self._n_vocabulary = int(checkpoint.text_config.vocab_size)
        self._order = {head: index for index, head in enumerate(heads)}
        self._end_ids = frozenset(checkpoint.end_ids)
        self._max_length = max_length(config, checkpoint)
        self._max_rows = config.max_draft_tokens + 1
        self._numbers = itertools.count()
        self._running: dict[str, set[Future[_PartialDraft]]] = {}
        self._lock = threading.Lock()

    def draft(self, request: DraftRequest) -> Draft:
        """Greedy draft; see `agent.mt.drafter.Draft` for shapes."""
        self._check(request)
        future = self.engine.run(lambda engine: self._draft(engine, request))
        with self._lock:
            self._running.setdefault(request.stream, set()).add(future)
        try:
            with stage("decode"):
                draft = future.result()
            move("decode", "prefill", draft.prefill_s)
            move("decode", "replay", draft.replay_s)
            return draft.result()
        except CancelledError:
            if self.engine.failure is not None:
                raise EngineError(str(self.engine.failure)) from None
            raise DraftCancelledError(f"Stream {request.stream} was closed while it was drafted for.") from None
        except BaseException:
            future.cancel()
            raise
        finally:
            with self._lock:
                self._running[request.stream].discard(future)
                if not self._running[request.stream]:
                    del self._running[request.stream]

    def forget(self, stream: str) -> None:
        """Cancel what runs for ``stream``. Its part of the prefix cache goes when room is needed."""
        with self._lock:
            futures = list(self._running.get(stream, ()))
        for future in futures:
            future.cancel()

    def self_test(self) -> SelfTestReport:
        """What the self-test found when the engine started; it starts now if it has not. EngineError when it failed."""
        self.engine.start()
        if self._report is None:
            raise ValueError("The engine captures no heads: there are no rows to test.")
        return self._report

    def close(self) -> None:
        """End the engine. Done at exit, too."""
        self.engine.close()
        self._folder.cleanup()

    async def _examine(self, engine: Any) -> None:
        reference = transformers_reference(self._reference_model, self._revision) if self._reference_model else None
        self._report = await self_test_async(engine, reference)

    def _check(self, request: DraftRequest) -> None:
        unknown = [head for head in request.heads if head not in self._order]
        if unknown:
            raise ValueError(f"The engine was started without head {unknown[0].layer}.{unknown[0].head}.")
        n_new, bound = request.max_new_tokens, self._max_rows - 1
        if request.heads and n_new > bound:
            raise ValueError(f"{n_new} tokens with rows were asked for; mt.max_draft_tokens is {bound}.")
        n_prompt = len(request.prompt_ids) + len(request.prefix_ids)
        if n_prompt + request.max_new_tokens + 1 > self._max_length:
            raise UserError(
                f"A prompt of {n_prompt} tokens and a draft of {request.max_new_tokens} do not fit the "
                f"{self._max_length} tokens of mt.vllm.max_model_len (or of the model)."
            )

    async def _draft(self, engine: Any, request: DraftRequest) -> _PartialDraft:
        draft = _PartialDraft(request, self._end_ids)
        guess = draft.usable_guess(MAX_GUESS_LOGITS // self._n_vocabulary)
        while draft.finish is None:
            part = await self._part(engine, draft, guess)
            if part is not None:
                draft.add(part)
            # None: the prefix cache holds places of the guess, of which the engine then tells nothing.
            guess = ()
        return draft

    async def _part(self, engine: Any, draft: _PartialDraft, guess: tuple[int, ...]) -> _Part | None:
        """One request to the engine, which goes on from what the draft has."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        request, key = draft.request, f"draft-{next(self._numbers)}"
        ids = [*request.prompt_ids, *request.prefix_ids, *draft.token_ids]
        # A token's own row comes with the step after it.
        max_tokens = request.max_new_tokens - len(draft.token_ids) - len(guess) + draft.own
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=max_tokens,
            stop_token_ids=sorted(self._end_ids),
            ignore_eos=True,
            detokenize=False,
            logprobs=1,
            prompt_logprobs=1 if guess else None,
            skip_reading_prefix_cache=False,
            output_kind=RequestOutputKind.CUMULATIVE,
            extra_args=self._row_args(draft, key, max_tokens, len(guess)),
        )
        prompt, began = {"prompt_token_ids": [*ids, *guess]}, CLOCK()
        part, completion, captured = _Part(), None, None
        async with aclosing(engine.generate(prompt, sampling, request_id=key)) as outputs:
            async for output in outputs:  # leaving early aborts the request
                n_cached, is_first = output.num_cached_tokens or 0, completion is None
                completion = output.outputs[0]
                if is_first:
                    draft.prefill_s += CLOCK() - began
                if guess and n_cached >= len(ids):
                    return None
                part.n_prefilled = len(ids) + len(guess) - n_cached
                if guess and is_first:
                    part.judge_guess(output.prompt_logprobs, guess)
                    if request.heads and request.stop is not None:  # the engine does not judge what it did not write
                        captured = await self._fetch(engine, key, draft, None)
                        if draft.is_settled_within(part.token_ids, self._ordered(captured, request)):
                            completion = None
                            break
                if part.n_guessed < len(guess) or draft.is_settled_by((*part.token_ids, *completion.token_ids)):
                    break
        if part.n_guessed == len(guess) and completion is not None:
            part.take(completion)
        if request.heads:
            captured = await self._fetch(engine, key, draft, captured)
            part.take_rows(self._ordered(captured, request), captured.refused_token, draft.own)
        return part

    async def _fetch(self, engine: Any, key: str, draft: _PartialDraft, known: CapturedRows | None) -> CapturedRows:
        """Rows of a request; ``known`` where there are none beyond what was fetched before."""
        began = CLOCK()
        captured = merge(await engine.collective_rpc("fetch_rows", args=(key,))) or known
        draft.replay_s += CLOCK() - began
        if captured is None:
            raise CaptureError("Rows were asked for, none came.")
        return captured

    def _ordered(self, captured: CapturedRows, request: DraftRequest) -> npt.NDArray[np.float32]:
        """Rows of the request's heads, in its order."""
        return captured.rows[[self._order[head] for head in request.heads]]

    def _row_args(self, draft: _PartialDraft, key: str, max_tokens: int, n_guess: int) -> dict[str, Any] | None:
        request, rule = draft.request, draft.request.stop
        if not request.heads:
            return None
        stop = None
        if rule is not None and rule.limit_column is not None and self._stops_in_step:
            weights = [0.0] * len(self._order)
            for head, weight in zip(request.heads, rule.weights, strict=True):
                weights[self._order[head]] = weight
            is_start = not draft.token_ids and not n_guess
            stop = EngineStopRule(
                tuple(weights), rule.limit_column, min(self._end_ids), request.row_convention, is_start
            )
        return sampling_args(key, request.source_span, max_tokens + n_guess, stop, n_before=n_guess)


@dataclass
class _Part:
    """What one request to the engine gave. ``rows``: ``[heads, tokens, source tokens]``, None when none were asked for.

    ``n_passes``: forward passes; ``last_choices``: vLLM's log-probabilities where it sampled its last token.
    """

    token_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    rows: npt.NDArray[np.float32] | None = None
    n_guessed: int = 0
    n_prefilled: int = 0
    n_passes: int = 1
    last_choices: Any = None

    def judge_guess(self, choices: Sequence[Any], guess: Sequence[int]) -> None:
        """Take the leading tokens of ``guess`` that are the greedy ones, and the greedy one where it is wrong.

        ``choices``: vLLM's ``prompt_logprobs``, each a mapping of the prompt's token and the greedy one to ``Logprob``.
        They end with the guess; model runner V2 leaves out what the prefix cache had.
        """
        for token, choice in zip(guess, choices[-len(guess) :], strict=True):
            greedy = next(other for other, logprob in choice.items() if logprob.rank == 1)
            self.token_ids.append(greedy)
            self.log_probs.append(choice[greedy].logprob)
            if greedy != token:
                return
            self.n_guessed += 1

    def take(self, completion: Any) -> None:
        """Add the tokens that were sampled."""
        sampled = list(completion.token_ids)
        self.token_ids += sampled
        self.log_probs += [step[token].logprob for token, step in zip(sampled, completion.logprobs, strict=True)]
        self.n_passes = max(1, len(sampled))
        self.last_choices = completion.logprobs[-1]

    def take_rows(self, rows: npt.NDArray[np.float32], refused: int | None, own: bool) -> None:
        """Add ``rows``; where the engine stopped, the token that it refused takes the place of the end token."""
        # What was sampled does not count after a wrong guess, or one that settles the draft.
        if refused is not None and self.last_choices is not None:
            self.token_ids.pop()
            self.log_probs.pop()
            if not own:
                self.token_ids.append(refused)
                # It is the greedy one, of which vLLM may name another that is as likely.
                self.log_probs.append(max(choice.logprob for choice in self.last_choices.values()))
        self.rows = rows[:, own:]


class _PartialDraft:
    """A draft that is put together of parts.

    ``prefill_s``: seconds from each request to its first token, with what it waited for the engine. ``replay_s``: until
    its rows were here.
    """

    def __init__(self, request: DraftRequest, end_ids: frozenset[int]) -> None:
        self.request = request
        self.own = bool(request.heads) and request.row_convention == "own"
        self.token_ids: tuple[int, ...] = ()
        self.finish: Finish | None = None
        self.prefill_s = self.replay_s = 0.0
        self._end_ids = end_ids
        self._log_probs: list[float] = []
        self._rows = np.zeros((len(request.heads), 0, request.source_span[1] - request.source_span[0]), np.float32)
        self._n_passes = self._n_prefilled = self._n_guessed = 0

    @property
    def asks_between_tokens(self) -> bool:
        """Whether the stop rule is asked after every token: one that reads no rows."""
        return self.request.stop is not None and not self.request.heads

    def usable_guess(self, max_prompt: int) -> tuple[int, ...]:
        """The guess up to an end token; one token is left to the engine. Own rows come too late to use it."""
        request = self.request
        n_prompt = len(request.prompt_ids) + len(request.prefix_ids) + len(request.guess_ids)
        if self.own or n_prompt > max_prompt:
            return ()
        guess = self.request.guess_ids[: self.request.max_new_tokens - 1]
        return tuple(itertools.takewhile(lambda token: token not in self._end_ids, guess))

    def is_settled_by(self, sampled: Sequence[int]) -> bool:
        """Whether the rule ends the draft after these tokens of the running part."""
        stop, ids = self.request.stop, (*self.token_ids, *sampled)
        return self.asks_between_tokens and stop is not None and stop.settled(ids, self._rows_of(len(ids)))

    def is_settled_within(self, token_ids: Sequence[int], rows: npt.NDArray[np.float32]) -> bool:
        """Whether the rule ends the draft at one of the next tokens, whose ``rows`` begin with the first of them."""
        known = np.concatenate((self._rows, rows[:, : len(token_ids)]), axis=1)
        return self._settled_length((*self.token_ids, *token_ids), known, len(self.token_ids)) is not None

    def _settled_length(self, token_ids: tuple[int, ...], rows: npt.NDArray[np.float32], n_known: int) -> int | None:
        """Length of the shortest draft, longer than ``n_known`` tokens, that the rule ends; None when it ends none."""
        stop, lengths = self.request.stop, range(n_known + 1, len(token_ids) + 1)
        if stop is None:
            return None
        return next((length for length in lengths if stop.holds(token_ids[:length], rows[:, :length])), None)

    def add(self, part: _Part) -> None:
        """Go on by a part, and see whether the draft is complete."""
        n_new = self.request.max_new_tokens - len(self.token_ids)
        tokens = tuple(part.token_ids[:n_new])
        self._n_passes += part.n_passes
        self._n_prefilled += part.n_prefilled
        self._n_guessed += part.n_guessed
        if tokens and tokens[-1] in self._end_ids:
            tokens, self.finish = tokens[:-1], "end_of_turn"
        self.token_ids += tokens
        self._log_probs += part.log_probs[: len(tokens)]
        if part.rows is not None:
            if part.rows.shape[1] < len(tokens):
                raise CaptureError(f"Rows of {len(tokens)} tokens were asked for, {part.rows.shape[1]} came.")
            self._rows = np.concatenate((self._rows, part.rows[:, : len(tokens)]), axis=1)
        self._cut_where_settled(len(self.token_ids) - len(tokens))
        if self.finish is None and len(self.token_ids) == self.request.max_new_tokens:
            self.finish = "length"

    def _cut_where_settled(self, n_known: int) -> None:
        """End the draft with the first token after ``n_known`` at which the stop rule holds."""
        length = self._settled_length(self.token_ids, self._rows_of(len(self.token_ids)), n_known)
        if length is not None:
            self.token_ids, self._log_probs = self.token_ids[:length], self._log_probs[:length]
            self._rows, self._n_guessed = self._rows[:, :length], min(self._n_guessed, length)
            self.finish = "stopped"

    def _rows_of(self, n_tokens: int) -> npt.NDArray[np.float32]:
        if self.request.heads:
            return self._rows[:, :n_tokens]
        return np.zeros((0, n_tokens, self._rows.shape[2]), np.float32)

    def result(self) -> Draft:
        """The complete draft."""
        if self.finish is None:
            raise ValueError("The draft is not complete.")
        return Draft(
            self.token_ids,
            self.finish,
            self._rows_of(len(self.token_ids)),
            np.asarray(self._log_probs, dtype=np.float32),
            n_forward=self._n_passes - 1,
            n_prefilled=self._n_prefilled,
            n_guessed=self._n_guessed,
        )


def _is_small(checkpoint: Checkpoint) -> bool:
    files = list(Path(checkpoint.name).glob("*.safetensors"))
    return bool(files) and sum(file.stat().st_size for file in files) <= MAX_REFERENCE_GIB * 2**30


def _on_gpu(config: MtConfig) -> bool:
    """vLLM's CUDA build runs on a GPU and its CPU build does not, whatever a configuration says."""
    wanted, _, index = config.device.partition(":")
    if wanted not in ("auto", "cuda", "cpu"):
        raise UserError(f"Key 'mt.device': the vllm engine runs on cuda or cpu, not on {config.device}.")
    if index not in ("", "0"):
        raise UserError("Key 'mt.device': vLLM takes the first GPU of CUDA_VISIBLE_DEVICES: set that, and use cuda.")
    available = torch.cuda.is_available()
    if wanted not in ("auto", "cuda" if available else "cpu"):
        raise UserError(f"Key 'mt.device': {wanted} was asked for, and vLLM here runs on the other; use auto.")
    return available


def _environment(config: MtConfig) -> dict[str, str]:
    if _on_gpu(config):
        # Triton's attention would multiply float32 numbers as TF32, and the self-test refuse its rows.
        return {"TRITON_F32_DEFAULT": "ieee"} if config.dtype == "float32" else {}
    return cpu_environment(config.threads, config.vllm.tensor_parallel)
