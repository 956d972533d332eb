"""A talk of any length whose words are known, through recogniser, aligner and translation model as three vLLM engines.

``PYTHONPATH=.:tests python tests/engines/qwen3_soak.py FOLDER MINUTES [key=value …]`` makes the talk (the demo talks
over and over) and tiny checkpoints in FOLDER, translates it, and prints what was found as JSON. The same for less than
a minute is in `test_asr_qwen3_vllm.py`. Random models agree on nothing, so what a clip says and when comes from
`Oracle`; both models are asked all the same, as often and for as long.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from known_talk import Planted, pcm, recognised, shifted
from tiny_qwen3_asr import build

from agent.asr import streaming
from agent.asr.commit import normalize
from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.qwen3 import engine
from agent.asr.qwen3.engine import Aligner, Transcriber, Transcription
from agent.asr.qwen3.words import split_words
from agent.cli import main as cli
from agent.words import SourceWord

ON_VLLM = ("asr.recogniser=qwen3", "asr.backend=vllm", "asr.cache_gib=0.25", "asr.aligner.cache_gib=0.25")
MT = ("mt.backend=vllm", "mt.vllm.compile=false", "mt.vllm.kv_cache_gib=0.25", "mt.vllm.max_num_seqs=4")


@dataclass(frozen=True)
class KnownTalk:
    """``pcm``: 16 bit, 16 kHz, mono."""

    pcm: bytes
    words: tuple[SourceWord, ...]

    @property
    def duration_s(self) -> float:
        """Length."""
        return len(self.pcm) / 2 / SAMPLE_RATE_HZ


def make_talk(path: Path, minutes: float, n_talks: int = 3) -> KnownTalk:
    """Write a talk: the demo talks in turn, in faint noise that makes each moment unique. Its words are what the
    embedded recogniser hears; of three rounds of talks one carries no punctuation, so that no sentence ends."""
    rounds = [recognised(f"demo-talk-{1 + n}", min(int(60 * minutes), 3600)) for n in range(n_talks)]
    n_wanted = round(minutes * 60 * SAMPLE_RATE_HZ)
    audio, words, n_samples, number = [], list[SourceWord](), 0, 0
    while n_samples < n_wanted:
        samples, spoken = rounds[number % n_talks]
        shift_s, bare = n_samples / SAMPLE_RATE_HZ, number // n_talks % 3 == 1
        words += [replace(w, text=normalize(w.text)) if bare else w for w in shifted(spoken, shift_s)]
        audio.append(samples)
        n_samples += len(samples)
        number += 1
    noise = np.random.default_rng(0)
    noisy = (samples + 1e-3 * noise.standard_normal(len(samples)).astype(np.float32) for samples in audio)
    heard = b"".join(map(pcm, noisy))[: 2 * n_wanted]
    soundfile.write(path, np.frombuffer(heard, np.int16), SAMPLE_RATE_HZ)
    return KnownTalk(heard, tuple(word for word in words if word.end_s < n_wanted / SAMPLE_RATE_HZ))


class Oracle(Planted):
    """In the place of transcriber and aligner: asks both, and answers with the words that lie in the clip."""

    def __init__(self, talk: KnownTalk, transcriber: Transcriber, aligner: Aligner) -> None:
        super().__init__(talk.pcm, talk.words)
        self.transcriber, self.aligner = transcriber, aligner
        self.n_transcribed = self.n_aligned = 0

    def transcribe(self, samples: Samples) -> list[SourceWord]:
        self.n_transcribed += len(self.transcriber.transcribe(samples).words)
        return super().transcribe(samples)

    def align(self, samples: Samples, transcription: list[SourceWord], start_s: float = 0.0) -> tuple[SourceWord, ...]:
        text = " ".join(word.text for word in transcription)
        words = split_words(text)
        self.n_aligned += len(self.aligner.align(samples, Transcription(words, (None,) * len(words), text), start_s))
        return super().align(samples, transcription, start_s)


def settings(models: Path) -> list[str]:
    """Settings of three tiny engines."""
    tiny = [f"asr.model={models / 'asr-hf'}", f"asr.aligner.model={models / 'aligner-hf'}", "asr.timeout_s=600"]
    return [*tiny, *ON_VLLM, *MT]


def translate(
    folder: Path, talk: KnownTalk, chunk_s: float, assignments: Sequence[str], preset: str = "ende-low"
) -> dict[str, Any]:
    """Translate ``folder/known.wav``, which is ``talk``; what came of it. RuntimeError when it did not end well."""
    made: list[Oracle] = []
    recogniser = streaming.StreamingRecogniser

    def with_oracle(transcriber: Any, aligner: Any, *rest: Any) -> streaming.StreamingRecogniser:
        made[:] = made or [Oracle(talk, transcriber, aligner)]
        return recogniser(made[0], made[0], *rest)

    streaming.StreamingRecogniser = with_oracle  # type: ignore[assignment, misc]
    command = ["--agent", "agent.AlignAttAgent", "--preset", preset, "--source", str(folder / "known.wav")]
    command += ["--output", str(folder / "known"), "--force", "--set", f"speech_chunk_size={chunk_s}", *assignments]
    began = time.monotonic()
    try:
        code = cli.simulstream(command)
    finally:
        streaming.StreamingRecogniser = recogniser  # type: ignore[misc]
    if code:
        raise RuntimeError(f"simulstream ended with {code}")
    lines = (folder / "known" / "trace.jsonl").read_text(encoding="utf-8").splitlines()
    result = found(talk, chunk_s, [json.loads(line) for line in lines], made[0])
    return {"took_s": round(time.monotonic() - began), **result}


def found(talk: KnownTalk, chunk_s: float, steps: Sequence[dict[str, Any]], oracle: Oracle) -> dict[str, Any]:
    """What the trace of a run and the clips that were asked about tell."""
    got = [word for step in steps for segment in step["committed"] for word in segment]
    times = [time_s for word in got for time_s in (word["start_s"], word["end_s"])]
    ends = [round(min((number + 1) * chunk_s, talk.duration_s), 3) for number in range(len(steps) - 1)]
    spent = [(sum(step["stages_s"].values()), step["computation_s"]) for step in steps]
    lengths = [end_s - start_s for start_s, end_s in oracle.clips]
    live = [step["now_s"] - step["live"][0]["start_s"] for step in steps if step["live"]]
    return {
        "minutes": round(talk.duration_s / 60, 2),
        "n_chunks": len(steps) - 1,  # the last step is the end of the stream
        "no chunk skipped": [round(step["now_s"], 3) for step in steps[:-1]] == ends and ends[-1] == talk.duration_s,
        "n_words": len(talk.words),
        "n_committed": len(got),
        "same words": [word["text"] for word in got] == [word.text for word in talk.words],
        "times in order": times == sorted(times),
        "n_segments": sum(len(step["committed"]) for step in steps),
        "longest_request_s": round(max(lengths), 2),
        "longest_live_s": round(max(live), 2),
        "n_requests": len(lengths),
        "n_transcribed": oracle.n_transcribed,
        "n_aligned": oracle.n_aligned,
        "n_target_characters": sum(len(step["accepted"]) for step in steps),
        "n_drafted_tokens": sum(r.get("n_drafted_tokens", 0) for step in steps for r in step["steps"]),
        "rtf": round(sum(total for _, total in spent) / talk.duration_s, 3),
        "stages_off": max(abs(sum_s - total_s) / total_s for sum_s, total_s in spent if total_s),
    }


def main(folder: Path, minutes: float, assignments: Sequence[str]) -> dict[str, Any]:
    """Make a talk and models, and translate."""
    engine.MIN_NEW_TOKENS, engine.TOKENS_PER_S = 4, 4  # as many as people speak: random models find no end
    build(folder)
    talk = make_talk(folder / "known.wav", minutes)
    given = dict(assignment.split("=", 1) for assignment in assignments)
    chunk_s = float(given.pop("speech_chunk_size", 0.85))
    more = [f"{key}={value}" for key, value in given.items()]
    result = translate(folder, talk, chunk_s, [*settings(folder), *more])
    return result | {"engines": len(multiprocessing.active_children())}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]), indent=1))
