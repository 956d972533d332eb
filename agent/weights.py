"""Weights: which models a configuration names, which of them are on this machine, and how to get the others.

A model is a folder, or a repository of the Hugging Face hub at a pinned revision. What `find` finds is used without a
network: a folder as typed, or a snapshot in the hub's cache (``HF_HUB_CACHE``, ``HF_HOME``).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from agent.catalogue import CATALOGUE, NamedModel, published
from agent.config import AgentConfig
from agent.errors import UserError, nearest
from agent.paths import resolve

IGNORED_FILES = ("*.bin", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.pth", "original/*", "images/*")
"""What a repository may hold besides the weights in safetensors; not downloaded."""
SPARE_DISK_GB = 2.0


def named_models(config: AgentConfig) -> list[NamedModel]:
    """The models of a configuration, in the order in which a chunk meets them. Recordings are no models."""
    mt, vllm = config.mt, config.mt.vllm
    translation = (mt.model, mt.revision, mt.backend, vllm.gpu_memory_utilization, vllm.kv_cache_gib)
    return [*config.asr.models, NamedModel("mt.model", *translation)]


def gpu_shares(config: AgentConfig) -> dict[str, tuple[float, float]]:
    """The models that run on vLLM, by their keys: share of the GPU's memory, and GiB of KV cache that are taken beside
    the weights instead of the share (0: none given)."""
    return {m.key: (m.gpu_share, m.cache_gib) for m in named_models(config) if m.backend == "vllm"}


def hub_cache() -> Path:
    """Folder of the Hugging Face hub cache, by the hub's own environment variables."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(home).expanduser() / "hub"


def find(model: str, revision: str = "") -> Path | None:
    """The folder on this machine that holds all files of a model; None when there is none or files are missing."""
    folder = resolve(model)
    if folder.exists():
        return folder if folder.is_file() or not missing_files(folder) else None
    snapshot = _snapshot(model, revision or "main")
    return snapshot if snapshot is not None and not missing_files(snapshot) else None


def missing_files(folder: Path) -> list[str]:
    """Weight files that a model folder should hold and does not. A folder of another kind of model lacks none."""
    if not (folder / "config.json").is_file():
        return [] if any(folder.glob("*")) and not list(folder.glob("*.safetensors*")) else ["config.json"]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            wanted = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            return [index.name]
        return [name for name in wanted if not (folder / name).is_file()]
    return [] if any(path.is_file() for path in folder.glob("*.safetensors")) else ["*.safetensors"]


def download(model: str, revision: str = "", to: Path | None = None) -> Path:
    """Fetch a repository into the hub cache, or into a folder of its name under ``to``, with a progress bar.

    What is there already is not fetched again. UserError when it cannot be had, with what to do.
    """
    from huggingface_hub import errors, snapshot_download

    target = to / model.rpartition("/")[2] if to is not None else None
    _check_space(model, target or hub_cache())
    advice = f"fetch it elsewhere with: alignatt models download {model} --to DIR, and copy DIR here."
    try:
        path = snapshot_download(
            model,
            revision=revision or None,
            local_dir=target,
            cache_dir=hub_cache(),
            ignore_patterns=list(IGNORED_FILES),
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    except errors.GatedRepoError as error:
        raise UserError(f"{model} is gated: accept its terms on its model card, then: hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{model} has no revision {revision} (any more); give another one as {model}@REVISION."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UserError(f"There is no repository {model} on the hub, or it wants a login: hf auth login") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError) as error:
        raise UserError(f"{model} cannot be fetched, the hub is not reached from here: {advice}") from error
    lacking = missing_files(Path(path))
    if lacking:
        raise UserError(f"{model} has no {', '.join(lacking)}: it is no model with safetensors weights.")
    return Path(path)


def is_repository(name: str) -> bool:
    """Whether a name is that of a repository, ``ORGANISATION/NAME``, and not a folder of this machine."""
    organisation, slash, rest = name.partition("/")
    is_named = bool(organisation.strip("~.")) and bool(rest) and "/" not in rest
    return bool(slash) and is_named and not resolve(name).exists()


def parse_name(text: str) -> NamedModel:
    """``ORGANISATION/NAME`` or ``…@REVISION``; without a revision the catalogue's. UserError for another form."""
    model, _, revision = text.partition("@")
    known = published(model)
    if not is_repository(model):
        names = [entry.repository for entry in CATALOGUE]
        raise UserError(f"A model is named ORGANISATION/NAME, not '{text}'.{nearest(text, names)}")
    return NamedModel("", model, revision or (known.revision if known else ""))


def _snapshot(repository: str, revision: str) -> Path | None:
    folder = hub_cache() / f"models--{repository.replace('/', '--')}"
    reference = folder / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def _check_space(model: str, target: Path) -> None:
    """UserError when the disk cannot take a model of known size."""
    entry = published(model)
    existing = next(path for path in (target.absolute(), *target.absolute().parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if entry is not None and entry.size_gb and free_gb < entry.size_gb + SPARE_DISK_GB and find(model) is None:
        raise UserError(
            f"{model} takes {entry.size_gb:.1f} GB and {existing} has {free_gb:.1f} GB free: "
            "make room, or name another disk with --to DIR or HF_HOME."
        )
