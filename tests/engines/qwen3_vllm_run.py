"""Run by test_asr_qwen3_vllm.py: recogniser, aligner and translation model as three vLLM engines of one process.

``PYTHONPATH=.:tests python tests/engines/qwen3_vllm_run.py FOLDER RECOGNISER ALIGNER`` prints JSON. FOLDER holds what
tests/tiny_qwen3_asr.py builds, the names say which layout vLLM reads. Both libraries are asked the same, then the
engines translate two talks.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import qwen3_soak
from qwen3_soak import MT
from qwen3_sounds import TEXTS, chirp, expanded
from short_talk import write_talk

from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.qwen3 import config as qwen3_config
from agent.asr.qwen3 import engine
from agent.asr.qwen3.audio import AudioInput, prepare
from agent.asr.qwen3.checkpoint import open_checkpoint
from agent.asr.qwen3.config import AlignerConfig, Qwen3Config
from agent.asr.qwen3.engine import Aligner, Transcriber, Transcription
from agent.asr.qwen3.prompt import recognition_prompt
from agent.asr.qwen3.transformers import TransformersClassifier, TransformersGenerator
from agent.asr.qwen3.vllm import VllmGenerator
from agent.asr.qwen3.words import split_words
from agent.cli import main as cli
from agent.config import AgentConfig
from agent.errors import UserError
from agent.models import build_recogniser
from agent.vllm_engine.thread import EngineThread

TAILS_S = (10, 10.85, 20, 20.85, 27, 27.85)
PRESET = "ende-low-a40"


def recogniser_results(folder: Path, transcriber: Transcriber) -> dict[str, Any]:
    """Greedy text of both libraries, and what the prefix cache holds of a growing tail."""
    native = open_checkpoint(str(folder / "asr-hf"), "", "recogniser", native_only=True)
    ours, hf = transcriber._checkpoint, TransformersGenerator(native, 300.0)
    vllm = transcriber._generator
    assert isinstance(vllm, VllmGenerator)
    results: dict[str, Any] = {"text": [], "tails": {}}
    for seconds in (1.0, 3.37, 17.3, 27.0):
        samples = chirp(seconds)
        audio = prepare(samples)
        prompt = recognition_prompt(len(audio.pieces), "English", "Ada")
        ids = ours.encode(prompt)
        output = ask(vllm, ids, audio)
        one, other = vllm.generate(ids, audio, 24), hf.generate(ids, audio, 24)
        deviation = max(map(abs, np.subtract(one.log_probs, other.log_probs)), default=0.0)
        same_prompt = list(output.prompt_token_ids) == expanded(native, prompt, samples)
        results["text"].append([seconds, same_prompt, one.ids == other.ids, len(one.ids), float(deviation)])
    sound = chirp(28.0, seed=6)
    sound[:100] = 1.0  # the loudest frame is in the first window
    for by_window in (True, False):
        for tail_s in TAILS_S:
            audio = prepare(sound[: round(tail_s * SAMPLE_RATE_HZ)], by_window)
            ids = ours.encode(recognition_prompt(len(audio.pieces), "English"))
            started = time.perf_counter()
            output = ask(vllm, ids, audio, n_new=1)
            took_ms = round(1000 * (time.perf_counter() - started))
            key = f"{tail_s} {'windows' if by_window else 'whole'}"
            results["tails"][key] = [output.num_cached_tokens, len(output.prompt_token_ids), took_ms]
    clips = [chirp(3.0 + seconds, seed=seconds) for seconds in range(4)]
    alone = [transcriber.transcribe(clip) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        results["together"] = list(pool.map(transcriber.transcribe, clips)) == alone
    return results


def ask(vllm: VllmGenerator, ids: list[int], audio: AudioInput, n_new: int = 4) -> Any:
    """vLLM's own output."""
    return vllm.engine.run(lambda engine, key: vllm._generate(engine, key, ids, audio, n_new))


def aligner_results(folder: Path, vllm: Aligner) -> list[list[Any]]:
    """Word times of both libraries."""
    native = open_checkpoint(str(folder / "aligner-hf"), "", "aligner", native_only=True)
    hf = Aligner(TransformersClassifier(native), native)
    results: list[list[Any]] = []
    for seconds in (3.0, 20.0):
        for language, text in TEXTS.items():
            words = split_words(text)
            spoken = Transcription(words, (None,) * len(words), text)
            samples = chirp(seconds, seed=1)
            one, other = vllm.align(samples, spoken), hf.align(samples, spoken)
            results.append([language, seconds, len(one), one == other])
    return results


def talks(folder: Path, asr: Qwen3Config) -> dict[str, Any]:
    """Two talks through a preset of the full models, with the engines that run already and one for translation: one as
    the random recogniser hears it, scored, and one whose words are known."""
    write_talk(folder)
    known = qwen3_soak.make_talk(folder / "known.wav", minutes=0.75, n_talks=1)
    keys = {**vars(asr), **{f"aligner.{key}": value for key, value in vars(asr.aligner).items()}}
    settings = ["asr.recogniser=qwen3", *(f"asr.{key}={value}" for key, value in keys.items() if key != "aligner")]
    settings += ["mt.model=demo/model", "mt.revision=", "mt.head_set=demo", "mt.device=cpu", "mt.dtype=float32", *MT]
    command = ["--agent", "agent.AlignAttAgent", "--preset", PRESET, "--source", str(folder / "talk.wav")]
    command += ["--output", str(folder / "out")]
    n_engines = len(multiprocessing.active_children())
    engine.MIN_NEW_TOKENS, engine.TOKENS_PER_S = 8, 4  # random models find no end
    code = cli.simulstream([*command, "--set", *settings])
    scored = cli.alignatt(["score", str(folder / "out"), "--references", str(folder), "--quiet"])
    found = qwen3_soak.translate(folder, known, 1.5, settings, PRESET)
    return {"codes": [code, scored], "engines": [n_engines, len(multiprocessing.active_children())], "known": found}


def hang() -> tuple[int, str]:
    """How often an engine that never answers is started, and what is said then. The engine is a stand-in."""

    class Silent(EngineThread):
        async def _make(self) -> None:
            self.n_starts += 1
            self._engine = type("Engine", (), {"errored": False, "shutdown": lambda self: None})()

    engine = Silent({}, name="vLLM engine of the recogniser", instead="asr.backend=transformers", hang_s=0.1)
    try:
        engine.run(lambda _: asyncio.sleep(30.0)).result()
    except UserError as error:
        return engine.n_starts, str(error)
    finally:
        engine.close()
    return engine.n_starts, ""


def main(folder: Path, recogniser: str, aligner: str) -> dict[str, Any]:
    """All results."""
    asr = Qwen3Config(
        model=str(folder / recogniser),
        backend="vllm",
        cache_gib=0.25,
        timeout_s=600.0,  # a busy machine is slow, and does not hang
        aligner=AlignerConfig(str(folder / aligner), backend="vllm", cache_gib=0.25),
    )
    build_recogniser(AgentConfig(asr=asr))
    ((transcriber, times),) = qwen3_config._loaded.values()
    results = {"asr": recogniser_results(folder, transcriber), "align": aligner_results(folder, times)}
    results |= talks(folder, asr)
    results["hang"] = hang()
    results["pids"] = [process.pid for process in multiprocessing.active_children()]
    transcriber._generator.engine.close()
    clip = chirp(3.0)
    words = split_words("it works")
    results["aligned alone"] = len(times.align(clip, Transcription(words, (None, None), "it works")))
    return results


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:4])))
