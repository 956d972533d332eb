"""Stage timings: every second of a chunk is counted once, under the stage that spent it."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest
from listed_agent import settings, traced

from agent import stages
from agent.agent import AlignAttAgent
from agent.stages import STAGES


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.per_look_s = 0.0

    def __call__(self) -> float:
        self.now_s += self.per_look_s
        return self.now_s

    def spend(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all chunks in a test."""
    made = Clock()
    monkeypatch.setattr(stages, "CLOCK", made)
    return made


def test_the_time_of_an_inner_stage_is_not_counted_in_the_outer_one(clock: Clock) -> None:
    with stages.measure() as timer:
        with stages.stage("asr"):
            clock.spend(1.0)
            with stages.stage("vad"):
                clock.spend(0.25)
            clock.spend(2.0)
        with stages.stage("policy"), stages.stage("prefill"):
            clock.spend(0.5)
    spent = {name: seconds for name, seconds in timer.seconds.items() if seconds}
    assert spent == {"asr": 3.0, "vad": 0.25, "prefill": 0.5}
    assert sum(spent.values()) == timer.total_s == 3.75


def test_a_stage_that_fails_is_counted_and_left(clock: Clock) -> None:
    with stages.measure() as timer:
        with suppress(ZeroDivisionError), timer.stage("decode"):
            clock.spend(1.0 / (clock.per_look_s + 1))
            clock.spend(1.0 / clock.per_look_s)
        clock.spend(5.0)
    assert timer.total_s == 6.0
    assert (timer.seconds["decode"], timer.seconds["policy"]) == (1.0, 5.0)


def test_parts_that_are_known_afterwards_are_moved_within_what_was_measured(clock: Clock) -> None:
    with stages.measure() as timer:
        with stages.stage("decode"):
            clock.spend(4.0)
            stages.move("decode", "wait", 1.0)
        stages.move("decode", "replay", 100.0)
        stages.move("policy", "wait", -1.0)
    assert timer.seconds == {**dict.fromkeys(STAGES, 0.0), "wait": 1.0, "replay": 3.0}


def test_without_a_chunk_nothing_is_counted() -> None:
    with stages.stage("asr"):
        stages.move("asr", "wait", 1.0)


def test_threads_do_not_see_each_others_chunk(clock: Clock) -> None:
    def other() -> None:
        with stages.stage("align"):
            clock.spend(1.0)

    with stages.measure() as timer:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert timer.seconds["align"] == 0.0


def test_what_waits_for_a_lock_is_counted(clock: Clock) -> None:
    class Busy:
        """A lock that another stream holds for three seconds."""

        def acquire(self) -> bool:
            clock.spend(3.0)
            return True

        def release(self) -> None:
            pass

    with stages.measure() as timer, stages.locked(Busy()):
        clock.spend(1.0)
    assert timer.total_s == 4.0
    assert timer.seconds["wait"] == 3.0


@pytest.mark.usefixtures("listed")
def test_every_step_of_the_trace_says_where_its_time_went(tiny_model: Path, clock: Clock) -> None:
    """Time passes by one second at each look at the clock."""
    clock.per_look_s = 1.0
    lines = traced(AlignAttAgent(settings(tiny_model)))
    assert len(lines) == 4
    for line in lines:
        assert list(line["stages_s"]) == list(STAGES)
        assert sum(line["stages_s"].values()) == line["computation_s"]
        assert line["stages_s"]["asr"] > 0
        assert line["stages_s"]["policy"] > 0
    drafted = [line for line in lines if any(step.get("n_calls") for step in line["steps"])]
    assert drafted
    for line in drafted:
        assert line["stages_s"]["prefill"] > 0
        assert line["stages_s"]["replay"] > 0 or all(step["finished"] for step in line["steps"])
    assert any(line["stages_s"]["decode"] > 0 for line in drafted)
