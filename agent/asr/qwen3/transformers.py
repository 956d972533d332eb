"""The recogniser and the aligner on Transformers' own classes: any machine, no vLLM, one request at a time.

What the speech encoder made of a finished window is kept and not computed again (see `agent.asr.qwen3.audio`).
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRForTokenClassification

from agent.asr.qwen3.audio import BLOCK_FRAMES, WINDOW_FRAMES, AudioInput, Mel
from agent.asr.qwen3.checkpoint import KEYS, Checkpoint
from agent.asr.qwen3.engine import Generated
from agent.errors import UserError

KEPT_WINDOWS = 64
"""Encoded windows that are kept, over all streams: 0.4 to 0.9 MB each with the released models."""


class _SpeechModel:
    """A loaded model and its encoder's latest windows."""

    def __init__(self, model: Any, checkpoint: Checkpoint) -> None:
        self.model = model
        self.checkpoint = checkpoint
        self.lock = threading.Lock()
        self.n_encoded = 0
        """Pieces of audio that went through the encoder."""
        self._windows: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def embed(self, ids: Sequence[int], audio: AudioInput) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids with each audio pad repeated, [1, n], and their embeddings, [1, n, hidden], audio filled in."""
        lengths = iter(audio.n_tokens)
        pad = self.checkpoint.audio_pad_id
        expanded = [token for token in ids for _ in range(next(lengths) if token == pad else 1)]
        tokens = torch.tensor([expanded], device=self.model.device)
        embeddings = self.model.get_input_embeddings()(tokens)
        encoded = torch.cat([self._encode(piece) for piece in audio.pieces])
        embeddings[tokens == pad] = encoded.to(embeddings)
        return tokens, embeddings

    def _encode(self, piece: Mel) -> torch.Tensor:
        key = hashlib.blake2b(piece.tobytes(), digest_size=16).digest()
        if key in self._windows:
            self._windows.move_to_end(key)
            return self._windows[key]
        n_frames = piece.shape[1]
        padded = np.pad(piece, ((0, 0), (0, -n_frames % BLOCK_FRAMES)))
        mask = torch.arange(padded.shape[1])[None] < n_frames
        features = torch.from_numpy(padded)[None].to(self.model.device, self.model.dtype)
        encoded: torch.Tensor = self.model.model.get_audio_features(
            features, mask.long().to(self.model.device), return_dict=True
        ).pooler_output
        self.n_encoded += 1
        if n_frames == WINDOW_FRAMES:
            self._windows[key] = encoded
            if len(self._windows) > KEPT_WINDOWS:
                self._windows.popitem(last=False)
        return encoded


class TransformersGenerator:
    """A `Generator`. ``timeout_s``: a transcription that takes longer is cut off there."""

    def __init__(self, checkpoint: Checkpoint, timeout_s: float) -> None:
        self._speech = _load(Qwen3ASRForConditionalGeneration, checkpoint)
        self._timeout_s = timeout_s
        end = self._speech.model.generation_config.eos_token_id
        self._end_ids = frozenset([end] if isinstance(end, int) else end)

    @property
    def n_encoded(self) -> int:
        """Pieces of audio that went through the encoder so far."""
        return self._speech.n_encoded

    def generate(self, ids: Sequence[int], audio: AudioInput, max_new_tokens: int) -> Generated:
        """Greedy continuation of ``ids``."""
        with self._speech.lock, torch.inference_mode():
            _, embeddings = self._speech.embed(ids, audio)
            output = self._speech.model.generate(
                inputs_embeds=embeddings,
                attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device),
                max_new_tokens=max_new_tokens,
                max_time=self._timeout_s,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
            tokens = output.sequences[0].tolist()
            logits = torch.cat(list(output.logits)).float()
            chosen = torch.log_softmax(logits, -1)[range(len(tokens)), tokens].tolist()
        if tokens and tokens[-1] in self._end_ids:
            tokens.pop()
        return Generated(tuple(tokens), tuple(chosen[: len(tokens)]))


class TransformersClassifier:
    """A `Classifier`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._speech = _load(Qwen3ASRForTokenClassification, checkpoint)

    def classify(self, ids: Sequence[int], audio: AudioInput) -> list[int]:
        """The likeliest class at each time marker of ``ids``."""
        with self._speech.lock, torch.inference_mode():
            tokens, embeddings = self._speech.embed(ids, audio)
            logits = self._speech.model(inputs_embeds=embeddings, use_cache=False).logits[0]
            markers = tokens[0] == self._speech.checkpoint.time_marker_id
            return [int(number) for number in logits[markers].argmax(-1)]


def _load(model_class: Any, checkpoint: Checkpoint) -> _SpeechModel:
    """Load weights: on a GPU if there is one, in bfloat16; else in float32."""
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    revision = {"revision": checkpoint.revision} if checkpoint.revision else {}
    try:
        model = model_class.from_pretrained(checkpoint.name, dtype=dtype, **revision)
        return _SpeechModel(model.to(device).eval(), checkpoint)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(f"Cannot load {KEYS[checkpoint.kind]} {checkpoint.name}: {reason}.") from error
