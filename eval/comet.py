"""XCOMET-XL through OmniSTEval in an environment of its own (COMET and vLLM cannot share one; ``make comet-env``)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from agent.errors import UserError
from agent.paths import resolve
from eval.omnisteval_run import Inputs, level_of
from eval.weights import cached

MODEL = "Unbabel/XCOMET-XL"
ENCODER = "facebook/xlm-roberta-xl"
ENVIRONMENT = Path(".venv-comet")


def require() -> Path:
    """The Python of the COMET environment; UserError when it or the weights are absent."""
    python = resolve(ENVIRONMENT) / "bin" / "python"
    if not python.is_file():
        raise UserError(
            f"XCOMET-XL needs its own environment {ENVIRONMENT} (COMET wants transformers < 5): make it with "
            "`make comet-env`."
        )
    if not (cached(MODEL, "checkpoints/model.ckpt") and cached(ENCODER, "config.json")):
        raise UserError(
            f"XCOMET-XL's weights are not in the hub cache. They are gated (CC BY-NC-SA 4.0): accept the licence at "
            f"https://huggingface.co/{MODEL}, then `hf download {MODEL}` and `hf download {ENCODER} config.json "
            "tokenizer.json sentencepiece.bpe.model tokenizer_config.json`. Scoring takes about 14 GB of GPU memory."
        )
    return python


def score(inputs: Inputs, folder: Path) -> float:
    """System score of XCOMET-XL, 0–1, over the segments of ``inputs``; ``folder`` receives OmniSTEval's files."""
    if inputs.source is None:
        raise UserError("XCOMET-XL needs the English transcript: put ref.en.txt into the references folder.")
    level = level_of(inputs.language)
    output = folder / "comet"
    command = [
        str(require()), "-m", "omnisteval.cli", "longform",
        "--speech_segmentation", str(inputs.segments),
        "--ref_sentences_file", str(inputs.target),
        "--source_sentences_file", str(inputs.source),
        "--hypothesis_file", str(inputs.log),
        "--hypothesis_format", "simulstream",
        "--simulstream_config_file", str(inputs.config),
        f"--{level.unit}_level", "--lang", inputs.language,
        "--bleu_tokenizer", level.bleu_tokenizer,
        "--no_latency", "--comet", "--comet_model", MODEL,
        "--output_folder", str(output),
    ]  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        tail = " ".join(done.stderr.split("\n")[-4:]).strip()
        raise UserError(f"XCOMET-XL failed in {ENVIRONMENT} (exit {done.returncode}): {tail}")
    return read_comet(output / "scores.tsv")


def read_comet(path: Path) -> float:
    """The COMET figure of an OmniSTEval scores.tsv, where ``comet`` has the row ``COMET``; RuntimeError if absent."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    values = [line.partition("\t")[2] for line in lines if line.partition("\t")[0] == "COMET"]
    if len(values) != 1:
        raise RuntimeError(f"OmniSTEval's scores.tsv has {len(values)} COMET rows, one was expected.")
    return float(values[0])
