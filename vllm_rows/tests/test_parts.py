"""The parts without an engine: rows from queries and keys, bookkeeping, merging, judging, stopping."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from vllm_rows import (
    CapturedRows,
    CaptureError,
    CaptureMismatchError,
    SelfTestReport,
    StopRule,
    engine_options,
    merge,
    sampling_args,
)
from vllm_rows.layers import CapturedLayer
from vllm_rows.options import CONFIG_KEY
from vllm_rows.processors import StopMixin
from vllm_rows.record import Recorder
from vllm_rows.replay import attention_rows, read_pages
from vllm_rows.self_test import SelfTest
from vllm_rows.tracker import TrackedRequest, Tracker

BLOCK = 4


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("sink", [None, 0.7])
def test_attention_rows_against_sums_by_hand(window: int | None, softcap: float | None, sink: float | None) -> None:
    generator = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 1, 4, generator=generator), torch.randn(1, 7, 4, generator=generator)
    sinks = None if sink is None else torch.tensor([sink])
    rows = attention_rows(query, key, 7, 2, 0.5, softcap, window, sinks)
    assert rows.shape == (1, 2, 7)
    for row, position in enumerate((7, 8)):
        weights = []
        for column in range(7):
            logit = 0.5 * float(query[row, 0] @ key[0, column])
            logit = softcap * math.tanh(logit / softcap) if softcap else logit
            seen = column + 2 <= position and (window is None or column + 2 > position - window)
            weights.append(math.exp(logit) if seen else 0.0)
        total = sum(weights) + (0.0 if sink is None else math.exp(sink))
        np.testing.assert_allclose(rows[0, row].numpy(), np.array(weights) / total, atol=1e-6)


@pytest.mark.parametrize("per_block", [1, 2])
def test_pages_are_read_in_the_order_of_positions_also_when_a_kernel_splits_blocks(per_block: int) -> None:
    size = BLOCK // per_block
    positions = torch.arange(40.0).view(40 // size, 1, size, 1)
    cache = torch.cat([positions, -positions], dim=-1).expand(-1, 3, -1, -1)
    table = [7, 2, 5]
    pages = read_pages(cache, lambda page: page[..., :1], table, BLOCK, [2, 0], 3, 10)
    assert pages.shape == (2, 7, 1)
    assert pages[0, :, 0].tolist() == [7 * BLOCK + 3, *range(2 * BLOCK, 3 * BLOCK), 5 * BLOCK, 5 * BLOCK + 1]


def test_recording_reaches_tracked_slots_only() -> None:
    table = torch.zeros(21, dtype=torch.long)
    table[6] = 2  # slot 5 feeds row 2
    recorder = Recorder([1], table, n_rows=3, d=2, dtype=torch.float32)
    query = torch.arange(16.0).view(4, 2, 2)
    recorder.record(query, query + 100, torch.tensor([9, 5, -1, -1]))
    assert recorder.queries[2, 0].tolist() == query[1, 1].tolist()
    assert not recorder.queries[[1, 3]].any()
    assert not recorder.outputs.any()
    recorder.record_outputs = True
    recorder.record(query, query.flatten(1) + 100, torch.tensor([5]))
    assert recorder.outputs[2, 0].tolist() == (query[0, 1] + 100).tolist()


class _Layer(CapturedLayer):
    """Rows that show which query they came from: the query's number at its own position."""

    def rows(self, pool_rows: torch.Tensor, block_table: Any, start: int, end: int) -> tuple[torch.Tensor, int]:
        first_key = max(0, start - self.window + 1) if self.window else 0
        values = self.recorder.queries.index_select(0, pool_rows)[:, 0, 0]
        rows = torch.zeros(1, end - start, end - first_key)
        for row, value in enumerate(values.tolist()):
            rows[0, row, start + row - first_key] = value
        return rows, first_key


@dataclass
class _Engine:
    """A scheduler's side of the story: block tables, and forward passes that record position numbers."""

    tracker: Tracker
    layer: _Layer

    def step(
        self,
        new: dict[str, tuple[int, list[int], int, int]] | None = None,
        cached: dict[str, tuple[list[int] | None, int, int]] | None = None,
        finished: tuple[str, ...] = (),
        preempted: tuple[str, ...] = (),
        resumed: tuple[str, ...] = (),
        slots: dict[int, float] | None = None,
        n_rows: int = 3,
    ) -> None:
        """``new``: (prompt length, blocks, computed, scheduled) by id; ``cached``: (blocks, computed, scheduled)."""
        new, cached = new or {}, cached or {}
        requests = [
            SimpleNamespace(
                req_id=name,
                prompt_token_ids=[7] * n_prompt,
                block_ids=(blocks,),
                num_computed_tokens=computed,
                sampling_params=SimpleNamespace(
                    extra_args=sampling_args(name, (0, n_prompt), n_rows), all_stop_token_ids={1}
                ),
            )
            for name, (n_prompt, blocks, computed, _) in new.items()
        ]
        self.tracker.step(
            SimpleNamespace(
                finished_req_ids=finished,
                preempted_req_ids=preempted,
                scheduled_new_reqs=requests,
                scheduled_cached_reqs=SimpleNamespace(
                    req_ids=list(cached),
                    resumed_req_ids=set(resumed),
                    new_block_ids=[None if blocks is None else (blocks,) for blocks, _, _ in cached.values()],
                    num_computed_tokens=[computed for _, computed, _ in cached.values()],
                ),
                num_scheduled_tokens={
                    **{name: entry[3] for name, entry in new.items()},
                    **{name: entry[2] for name, entry in cached.items()},
                },
            )
        )
        for slot, value in (slots or {}).items():
            self.layer.recorder.record(torch.full((1, 1, 1), value), torch.zeros(1, 1, 1), torch.tensor([slot]))

    def rows(self, name: str) -> torch.Tensor:
        """[rows, columns] of a request, as fetched."""
        request = self.tracker.fetch(name)
        assert request is not None
        return torch.cat([chunk[0] for chunk in request.chunks])

    def values(self, name: str) -> list[float]:
        """The query numbers of the rows of a request, as fetched."""
        values: list[float] = self.rows(name).amax(1).tolist()
        return values


@pytest.fixture
def running(request: pytest.FixtureRequest) -> _Engine:
    window = getattr(request, "param", None)
    recorder = Recorder([0], torch.zeros(20 * BLOCK + 1, dtype=torch.long), 2 * 3, 1, torch.float32)
    layer = _Layer(0, [0], [0], [0], SimpleNamespace(sliding_window=window), 0, BLOCK, recorder)
    return _Engine(Tracker([layer], max_requests=2, max_rows=3), layer)


def test_rows_survive_the_reuse_of_blocks_by_the_next_request(running: _Engine) -> None:
    running.step({"a": (6, [3, 4], 0, 6)}, slots={4 * BLOCK + 1: 5.0})
    running.step(cached={"a": (None, 6, 1)}, slots={4 * BLOCK + 2: 6.0})
    # "a" is finished; its last block goes to "b", which writes the same slots.
    running.step({"b": (2, [4], 0, 2)}, finished=("a",), slots={4 * BLOCK + 1: 91.0, 4 * BLOCK + 2: 92.0})
    assert running.tracker.done["a"].first_row == 5
    assert running.values("a") == [5.0, 0.0]
    assert running.values("b") == [91.0]


def test_a_preempted_request_keeps_its_rows_and_leaves_shared_blocks_alone(running: _Engine) -> None:
    running.step({"a": (4, [3], 0, 4)}, slots={3 * BLOCK + 3: 3.0}, n_rows=3)
    running.step(cached={"a": ([4], 4, 1)}, slots={4 * BLOCK: 4.0})
    running.step({"b": (2, [3], 0, 2)}, preempted=("a",), slots={3 * BLOCK + 1: 50.0})
    # Resumed: position 3 is computed again in a block of its own, position 5 is new.
    running.step(cached={"a": ([6, 7], 0, 6)}, resumed=("a",), slots={6 * BLOCK + 3: 77.0, 7 * BLOCK + 1: 5.0})
    assert running.layer.recorder.row_of_slot[6 * BLOCK + 3 + 1] == 0
    assert running.rows("a")[:, 3].tolist() == [3.0, 0.0, 0.0]
    assert running.tracker.n_preempted == 1


@pytest.mark.parametrize("running", [4], indirect=True)
def test_rows_are_replayed_before_a_sliding_window_gives_a_block_away(running: _Engine) -> None:
    running.step({"a": (8, [3, 4], 0, 8)}, slots={4 * BLOCK + 3: 7.0})
    assert running.tracker.n_replays == 0
    running.step(cached={"a": ([5], 8, 1)}, slots={5 * BLOCK: 8.0})
    # Position 7 sees 4 to 7: block 4 is still needed for position 8, and given away after position 10.
    for computed in (9, 10, 11):
        running.step(cached={"a": (None, computed, 1)})
    assert running.tracker.n_replays >= 1
    assert running.values("a")[0] == 7.0


@pytest.mark.parametrize("running", [2], indirect=True)
def test_the_end_of_a_request_leaves_blocks_alone_that_its_window_gave_to_another(running: _Engine) -> None:
    running.step({"a": (4, [3], 0, 4)}, slots={3 * BLOCK + 3: 3.0})
    running.step(cached={"a": ([4], 4, 1)})
    # Position 5 sees 4 and itself: block 3 goes to "b", whose prompt comes in two pieces.
    running.step({"b": (4, [3], 0, 2)}, cached={"a": (None, 5, 1)})
    running.step(cached={"b": (None, 2, 2)}, finished=("a",), slots={3 * BLOCK + 3: 33.0})
    assert running.values("b") == [33.0]
    running.step(finished=("b",))
    assert not running.layer.recorder.row_of_slot.any()


END = 2


@pytest.mark.parametrize("row", ["predicting", "own"])
@pytest.mark.parametrize("first", [END, 4])
def test_a_step_that_was_scheduled_ahead_refuses_nothing_behind_the_end(
    row: Literal["predicting", "own"], first: int
) -> None:
    processor = StopMixin(SimpleNamespace(additional_config={CONFIG_KEY: {"starts_word": [3, 99]}}))
    rule = asdict(StopRule((1.0,), 1, 0, row))
    request = TrackedRequest("a", (0, 2), 5, first_row=3, stop=rule, check=False, ends=(END,))
    for computed, token, weights in ((4, first, [0.9, 0.1]), (5, 3, [0.1, 0.9])):
        request.computed = computed
        request.chunks = [torch.tensor([[weights]])]
        processor._decide(request, [0], torch.nn.functional.one_hot(torch.tensor(token), 6).float())
    refused = -1 if request.refused is None else int(request.refused)
    assert refused == (-1 if first == END else {"predicting": 3, "own": first}[row])


def test_the_pool_never_runs_dry_and_forgets_what_nobody_fetches(running: _Engine) -> None:
    for number in range(200):
        running.step(
            {f"r{number}": (2, [3 + number % 2], 0, 2)}, finished=(f"r{number - 2}",), slots={3 * BLOCK + 1: 1.0}
        )
    assert len(running.tracker.live) == 2
    assert len(running.tracker.done) == running.tracker.max_done


def test_a_fetch_while_the_request_runs_does_not_lose_later_rows(running: _Engine) -> None:
    running.step({"a": (4, [3], 0, 4)}, slots={3 * BLOCK + 3: 3.0})
    assert running.values("a") == [3.0]
    running.step(cached={"a": ([4], 4, 1)}, slots={4 * BLOCK: 4.0})
    running.step(finished=("a",))
    assert running.values("a") == [3.0, 0.0]
    assert running.tracker.fetch("a") is None


def _part(heads: list[int], rows: np.ndarray[Any, Any], **changed: Any) -> dict[str, Any]:
    return {
        "key": "k",
        "error": None,
        "first_position": 9,
        "n_heads": 3,
        "heads": heads,
        "n_rows": rows.shape[1],
        "width": rows.shape[2],
        "rows": rows.astype(np.float32).tobytes(),
        "refused_token": None,
        "deviations": [],
        **changed,
    }


def test_ranks_are_merged_in_the_order_asked_for() -> None:
    rows = np.random.default_rng(0).random((3, 2, 4), dtype=np.float32)
    merged = merge([_part([2], rows[2:]), _part([0, 1], rows[:2], refused_token=17), None])
    assert merged == CapturedRows(pytest.approx(rows, abs=0), 9, 17)
    assert merge([None, None]) is None


_ROWS = np.zeros((2, 2, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: engine_options([], max_num_seqs=1, max_rows=1), "no heads"),
        (lambda: engine_options([(1, 2), (1, 2)], max_num_seqs=1, max_rows=1), "twice"),
        (lambda: engine_options([(-1, 2)], max_num_seqs=1, max_rows=1), "from 0"),
        (lambda: sampling_args("k", (5, 5), 1), "5:5"),
        (lambda: sampling_args("", (0, 5), 1), "key"),
        (lambda: sampling_args("k", (0, 5), 1, StopRule((1.0,), -1, 0)), "limit_column"),
        (lambda: merge([_part([0, 1], _ROWS)]), r"head number\(s\) \[2\]"),
        (lambda: merge([_part([0, 1], _ROWS), _part([2], np.zeros((1, 1, 4)))]), "disagree"),
        (lambda: merge([_part([], _ROWS[:0], error="40 rows were asked for; max_rows=3.")]), "max_rows=3"),
    ],
)
def test_what_is_wrong_is_said(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        call()


def test_extra_arguments_are_plain_data() -> None:
    rule = StopRule((0.5, 0.5), 7, 1, row="own")
    assert json.loads(json.dumps(sampling_args("k", (1, 9), 4, rule)))[CONFIG_KEY]["stop"]["limit_column"] == 7


def test_a_self_test_outgrows_the_window_and_names_what_differs() -> None:
    rank = {
        "layers": [{"layer": 0, "window": 4, "block_size": BLOCK}],
        "heads": [[0, 1], [0, 2]],
        "max_rows": 2,
        "dtype": "float32",
        "vocabulary": 100,
        "max_model_len": 64,
    }
    test = SelfTest.plan([rank])
    ids = test.prompts[0]
    assert len(ids) > 4 + BLOCK
    first, n = len(ids) - 1, len(ids)
    rows = np.random.default_rng(0).random((2, 40, 40)).astype(np.float32)
    good = {"layer": 0, "order": 1, "position": 3, "dimension": 0, "replayed": 1.0, "kernel": 1.0, "relative": 1e-7}

    def judge(reference: np.ndarray[Any, Any], *deviations: dict[str, Any]) -> SelfTestReport:
        captured = rows[:, first : first + 2, :n]
        part = _part([0, 1], captured, n_heads=2, first_position=first, deviations=deviations)
        return test.judge([(ids, [5, 6], [part])], lambda ids, heads: reference[:, : len(ids), : len(ids)])

    report = judge(rows, good)
    assert (report.n_rows, report.row_difference) == (2, 0.0)
    wrong = rows.copy()
    wrong[1, first + 1, 4] += 0.25
    with pytest.raises(CaptureMismatchError, match=f"layer 0 head 2, position {first + 1}, column 4"):
        judge(wrong, good)
    with pytest.raises(CaptureMismatchError, match=r"layer 0 head 2, position 3.*is 1, the kernel put out 1"):
        judge(rows, {**good, "relative": 0.5})
    with pytest.raises(CaptureMismatchError, match="not recorded"):
        judge(rows)
