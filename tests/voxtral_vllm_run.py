"""Run by test_asr_voxtral.py: Voxtral Realtime on vLLM, with the aligner on Transformers.

``python tests/voxtral_vllm_run.py FOLDER`` prints JSON. FOLDER holds what tiny_voxtral.py (``voxtral``) and
tiny_qwen3_asr.py build. First vLLM and Transformers are asked the same, then tails grow, then a talk is translated.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from qwen3_sounds import chirp
from transformers import VoxtralRealtimeFeatureExtractor, VoxtralRealtimeForConditionalGeneration

from agent.asr import aligned
from agent.asr.aligned import AlignerConfig
from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.qwen3.engine import Generated
from agent.asr.streaming import Before
from agent.asr.voxtral.config import VoxtralConfig
from agent.asr.voxtral.transcriber import Heard, Transcriber
from agent.asr.voxtral.vllm import VllmGenerator
from agent.cli import main as cli
from agent.config import AgentConfig
from agent.models import build_recogniser

DEMO_TALK = Path(__file__).parent.parent / "demo" / "talks" / "demo-talk-1.flac"
CHUNK_S = 0.85


def greedy(folder: Path, ids: tuple[int, ...], audio: Samples, n_delay: int) -> list[int]:
    """What Transformers' own classes write for a whole clip."""
    model = VoxtralRealtimeForConditionalGeneration.from_pretrained(folder).eval()
    features = VoxtralRealtimeFeatureExtractor.from_pretrained(folder)
    mel = features(audio, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        written = model.generate(
            input_ids=torch.tensor([ids]),
            input_features=mel,
            num_delay_tokens=n_delay,
            do_sample=False,
            eos_token_id=None,
            max_new_tokens=1000,
        )
    return [int(token) for token in written[0, len(ids) :]]


class Recorded:
    """A `Generator` that notes what it is asked."""

    def __init__(self, generator: VllmGenerator) -> None:
        self.generator = generator
        self.requests: list[tuple[tuple[int, ...], Samples, int]] = []
        self.written: list[Generated] = []

    def generate(self, ids: Any, audio: Samples, n_new: int) -> Generated:
        self.requests.append((tuple(ids), audio, n_new))
        self.written.append(self.generator.generate(ids, audio, n_new))
        return self.written[-1]


def text_results(folder: Path, transcriber: Transcriber) -> dict[str, Any]:
    """Greedy tokens of both libraries for whole clips, and of clips that grow against whole ones."""
    recorded = Recorded(transcriber._generator)
    listening = Transcriber(recorded, transcriber._checkpoint)
    n_delay = round(transcriber.delay_s / 0.08) - 1
    results: dict[str, Any] = {"text": [], "growing": []}
    for seconds in (0.2, 3.37, 18.3):
        heard = listening.transcribe(chirp(seconds), is_over=True)
        ids, audio, n_new = recorded.requests[-1]
        wanted = greedy(folder, ids, audio, n_delay)
        got = list(recorded.written[-1].ids)
        results["text"].append([seconds, len(got) == n_new, got[: len(wanted)] == wanted, len(wanted), heard.text])
    talk, _ = soundfile.read(DEMO_TALK, dtype="float32", stop=12 * SAMPLE_RATE_HZ)
    before, n_new = None, []
    for seconds in np.arange(0.3, 12.0, CHUNK_S):
        clip = talk[: round(seconds * SAMPLE_RATE_HZ)]
        n_requests = len(recorded.requests)
        previous = " ".join(word.text for word in before.transcription.words) if before else ""
        grown = listening.transcribe(clip, previous, before)
        n_new += [request[2] for request in recorded.requests[n_requests:]]
        whole = listening.transcribe(clip)
        same = (grown.words, grown.written.ids) == (whole.words, whole.written.ids)
        results["growing"].append([same, len(grown.words)])
        before = Before(grown, 0)
    results["new tokens"] = n_new
    results["cut"] = cut_results(listening, talk, before)
    clips = [chirp(3.0 + seconds, seed=seconds) for seconds in range(4)]
    alone = [transcriber.transcribe(clip, is_over=True).text for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        together = [heard.text for heard in pool.map(lambda clip: transcriber.transcribe(clip, is_over=True), clips)]
    results["together"] = together == alone
    return results


def cut_results(listening: Transcriber, talk: Samples, before: Before[Heard] | None) -> dict[str, Any]:
    """A tail whose first half of words has been committed, and its audio with them."""
    assert before is not None
    words = [word.text for word in before.transcription.words]
    n_cut = 12_345
    kept = len(words) // 2
    n_asked = len(listening._generator.requests)
    live = " ".join(words[kept:])
    rest = listening.transcribe(talk[n_cut:], live, Before(before.transcription, n_cut))
    return {
        "live": words[kept:],
        "words": [word.text for word in rest.words],
        "new": [request[2] for request in listening._generator.requests[n_asked:]],
        "lead": rest.lead,
    }


def stream(config: AgentConfig) -> dict[str, Any]:
    """The talk through the recogniser, with five seconds of silence before and in the middle of it."""
    recogniser = build_recogniser(config)
    talk, _ = soundfile.read(DEMO_TALK, dtype="float32", stop=16 * SAMPLE_RATE_HZ)
    silence = np.zeros(5 * SAMPLE_RATE_HZ, np.float32)
    audio = np.concatenate([silence, talk[: 8 * SAMPLE_RATE_HZ], silence, talk[8 * SAMPLE_RATE_HZ :]])
    n_chunk = round(CHUNK_S * SAMPLE_RATE_HZ)
    results: dict[str, Any] = {"decoded": [], "tails": [], "sound": True}
    for start in range(0, len(audio), n_chunk):
        hypothesis = recogniser.push(audio[start : start + n_chunk])
        words = [word for segment in hypothesis.committed for word in segment] + list(hypothesis.live)
        times = [time for word in words for time in (word.start_s, word.end_s)]
        results["sound"] &= times == sorted(times) and (not times or times[-1] <= hypothesis.now_s)
        results["decoded"].append([hypothesis.now_s, recogniser.n_decoded])
        results["tails"].append(recogniser.tail_s)
    hypothesis = recogniser.flush()
    results["left"] = len(hypothesis.live)
    results["log_probs"] = [word.log_prob for segment in hypothesis.committed for word in segment]
    recogniser.reset()
    short, loud = audio[6 * SAMPLE_RATE_HZ :][:3200], 40 * audio[6 * SAMPLE_RATE_HZ :][:24_000]
    results["odd"] = [len(recogniser.push(clip).live) for clip in (short, loud)]
    return results


def killed(transcriber: Transcriber) -> list[Any]:
    """Whether a tail goes on as if nothing had been when its engine has been killed, and how often that started."""
    clip = chirp(4.0)
    whole = transcriber.transcribe(clip)
    first = transcriber.transcribe(clip[: 3 * SAMPLE_RATE_HZ])
    for process in multiprocessing.active_children():
        process.kill()
    rest = transcriber.transcribe(clip, " ".join(word.text for word in first.words), Before(first, 0))
    same = (rest.words, rest.written.ids) == (whole.words, whole.written.ids)
    return [same, len(rest.written.ids) > len(first.written.ids), transcriber._generator.engine.thread.n_starts]


def talk(folder: Path, asr: VoxtralConfig) -> int:
    """Six seconds through the command line; the exit code."""
    samples, rate = soundfile.read(DEMO_TALK, dtype="float32", stop=6 * SAMPLE_RATE_HZ)
    soundfile.write(folder / "talk.wav", samples, rate)
    settings = ["asr.recogniser=voxtral", f"asr.model={asr.model}", f"asr.max_live_s={asr.max_live_s}"]
    settings += [f"asr.aligner.model={asr.aligner.model}", f"asr.cache_gib={asr.cache_gib}"]
    settings += [f"asr.timeout_s={asr.timeout_s}", f"asr.delay_ms={asr.delay_ms}"]
    command = ["--agent", "agent.AlignAttAgent", "--source", str(folder / "talk.wav"), "--output", str(folder / "out")]
    return cli.simulstream([*command, "--set", *settings, "speech_chunk_size=1.5"])


def main(folder: Path) -> dict[str, Any]:
    """All results."""
    asr = VoxtralConfig(
        model=str(folder / "voxtral"),
        cache_gib=0.25,
        timeout_s=600.0,  # a busy machine is slow
        max_live_s=20.0,
        aligner=AlignerConfig(str(folder / "aligner-hf")),
        delay_ms=240,
    )
    config = AgentConfig(asr=asr)
    build_recogniser(config)
    ((transcriber, _),) = aligned._loaded.values()
    results = {"asr": text_results(folder / "voxtral", transcriber), "stream": stream(config)}
    results["killed"] = killed(transcriber)
    results["talk"] = talk(folder, asr)
    results["n_engines"] = len(multiprocessing.active_children())
    results["delay_s"] = transcriber.delay_s
    return results


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
