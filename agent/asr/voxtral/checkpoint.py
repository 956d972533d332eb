"""Which folder or hub id holds Voxtral Realtime, and how its tokenizer file asks for audio.

The model is published in two layouts side by side; vLLM reads Mistral's: ``params.json``, ``consolidated*.safetensors``
and ``tekken.json``, which names the delay and the paddings, too.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.asr.contract import SAMPLE_RATE_HZ
from agent.errors import UserError
from agent.paths import resolve

RELEASED = "mistralai/Voxtral-Mini-4B-Realtime-2602"
TOKEN_SAMPLES = 1280
"""Audio of one token: 80 ms. The model writes one token for each."""
LOOK_AHEAD_SAMPLES = 40
"""What the last spectrum of a token needs of the next one's audio: 2.5 ms."""
TOKENIZER = "tekken.json"


@dataclass(frozen=True)
class Checkpoint:
    """``name``: folder or hub id. ``tokenizer``: of mistral_common. ``prompt``: token ids before the first one written,
    for as many tokens of audio, ``n_left_pad`` of them silence; ``n_right_pad``: tokens of silence that draw out what
    is left to write. ``pad_id``: the token for having nothing to write."""

    name: str
    revision: str
    tokenizer: Any
    prompt: tuple[int, ...]
    n_left_pad: int
    n_right_pad: int
    pad_id: int
    tokenizer_folder: str = ""
    """Where the tokenizer file with another delay than the published one is, until the process ends."""

    def piece(self, token: int) -> bytes:
        """What a token writes, in UTF-8; nothing for a control token."""
        return bytes(self.tokenizer.instruct_tokenizer.tokenizer.id_to_byte_piece(token))


def open_checkpoint(model: str, revision: str, delay_ms: int) -> Checkpoint:
    """Tokenizer and prompt for a delay. UserError when the model is absent, or of another kind or layout."""
    name = str(resolve(model)) if resolve(model).exists() else model
    params = _read(name, revision, "params.json")
    encoder = ((params.get("multimodal") or {}).get("whisper_model_args") or {}).get("encoder_args") or {}
    if not encoder.get("causal"):
        raise UserError(f"asr.model: {model} is not Voxtral Realtime; use e.g. {RELEASED}.")
    tekken = _read(name, revision, TOKENIZER)
    audio = tekken.get("audio") or {}
    if audio.get("transcription_format") != "streaming":
        raise UserError(f"asr.model: {TOKENIZER} of {model} is not that of a streaming model; download it again.")
    folder = ""
    if audio.get("transcription_delay_ms") != delay_ms:
        folder = tempfile.mkdtemp(prefix="alignatt-tekken-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        audio["transcription_delay_ms"] = delay_ms
        Path(folder, TOKENIZER).write_text(json.dumps(tekken), encoding="utf-8")
    tokenizer = _tokenizer(Path(folder, TOKENIZER) if folder else _file(name, revision, TOKENIZER), model)
    instruct = tokenizer.instruct_tokenizer
    encoder = instruct.audio_encoder
    config = encoder.audio_config
    if (config.sampling_rate, config.raw_audio_length_per_tok) != (SAMPLE_RATE_HZ, TOKEN_SAMPLES):
        raise UserError(f"asr.model: {model} does not hear 16 kHz audio in tokens of 80 ms; use e.g. {RELEASED}.")
    return Checkpoint(
        name,
        revision,
        tokenizer,
        (*instruct.start(), *encoder.encode_streaming_tokens()),
        config.n_left_pad_tokens,
        config.n_right_pad_tokens(),
        encoder.streaming_pad,
        folder,
    )


def _file(name: str, revision: str, file: str) -> Path:
    from transformers.utils import cached_file

    try:
        return Path(str(cached_file(name, file, **({"revision": revision} if revision else {}))))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise UserError(
            f"Cannot load asr.model {name} ({reason}): set asr.model to a folder with params.json, {TOKENIZER} and "
            f"consolidated.safetensors, or to a hub id, e.g. {RELEASED}."
        ) from error


def _read(name: str, revision: str, file: str) -> dict[str, Any]:
    path = _file(name, revision, file)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"asr.model: {path} cannot be read; download {name} again.") from error
    if not isinstance(found, dict):
        raise UserError(f"asr.model: {path} is not what it should be; download {name} again.")
    return found


def _tokenizer(path: Path, model: str) -> Any:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    try:
        return MistralTokenizer.from_file(str(path))
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise UserError(f"asr.model: {TOKENIZER} of {model} does not load ({reason}); download it again.") from error
