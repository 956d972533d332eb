"""Benchmarks of the qwen3 recogniser on a tiny model: what they compare and count. Not how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from qwen3_sounds import chirp

from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.qwen3.checkpoint import Checkpoint
from agent.asr.qwen3.transformers import TransformersGenerator
from agent.errors import UserError
from bench import asr_windows
from bench.asr_windows import Asked, random_recogniser
from bench.parts import Options


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TransformersGenerator, Checkpoint]]:
    checkpoint, n_parameters = random_recogniser(tmp_path_factory.mktemp("tiny"), "tiny")
    assert n_parameters < 1_000_000
    with asr_windows.one_thread():
        yield TransformersGenerator(checkpoint, 60.0), checkpoint


def test_a_ratio_is_taken_within_a_round() -> None:
    def pair(none_s: float, windows_s: float) -> tuple[Asked, Asked]:
        return Asked(none_s, none_s / 2, 0, 300), Asked(windows_s, windows_s / 4, 208, 300)

    # A busy machine makes the second round three times as slow, both ways alike.
    pairs = [pair(1.0, 0.5), pair(3.0, 1.5), pair(1.2, 0.6)]
    kept, prompt, none_ms, windows_ms, ratio, cpu_ratio = asr_windows.summarise(pairs)
    assert (kept, prompt, none_ms, windows_ms) == (208, 300, 1200.0, 600.0)
    assert (ratio, cpu_ratio) == (0.5, 0.25)


def test_finished_windows_are_kept(tiny: tuple[TransformersGenerator, Checkpoint]) -> None:
    generator, checkpoint = tiny
    tail = chirp(20.0, seed=8)
    tail[:100] = 0.99
    asked = {}
    for by_window in (True, False):
        asr_windows.ask(generator, checkpoint, tail[: -round(asr_windows.CHUNK_S * SAMPLE_RATE_HZ)], by_window)
        asked[by_window] = asr_windows.ask(generator, checkpoint, tail, by_window)
    assert (asked[True].n_kept, asked[False].n_kept) == (208, 0)
    assert asked[True].n_prompt == asked[False].n_prompt > 260


def test_a_short_talk_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", chirp(2.0), SAMPLE_RATE_HZ)
    with pytest.raises(UserError, match="needs 48 s of 16 kHz mono"):
        asr_windows.measure(Options((tmp_path / "short.wav",)))
