"""What a configuration needs and this machine lacks: GPU and weights. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from agent.catalogue import NamedModel
from agent.config import AgentConfig, from_namespace
from agent.errors import UserError
from agent.run.settings import OUR_AGENT, Settings
from agent.vllm_engine.arguments import has_gpu, has_vllm
from agent.weights import find, gpu_shares, named_models


def missing_weights(config: AgentConfig) -> list[NamedModel]:
    """Models of a configuration that are not on this machine, or not completely."""
    return [model for model in named_models(config) if find(model.model, model.revision) is None]


def missing_parts(config: AgentConfig) -> list[str]:
    """Everything else that is missing, each in a few words. Imports torch when a GPU is wanted."""
    parts = []
    if config.mt.device.startswith("cuda") and not has_gpu():
        parts.append("no CUDA GPU")
    if gpu_shares(config) and not has_vllm():
        parts.append("vLLM is not installed (make vllm)")
    if lacks_aligner(config):
        parts.append("no aligner, which session.overlap=aligner wants (asr.recogniser=qwen3 or voxtral)")
    return parts


def lacks_aligner(config: AgentConfig) -> bool:
    """Whether drafting is to begin beside an aligner that the recogniser does not have."""
    return config.session.overlap == "aligner" and not config.asr.has_aligner


def gigabytes(models: Sequence[NamedModel]) -> str:
    """Download size of models, as far as it is known: `` (about 22.5 GB)``."""
    known = [model.published.size_gb for model in models if model.published and model.published.size_gb]
    return f" (about {sum(known):.1f} GB)" if len(known) == len(models) and known else ""


def check(settings: Settings) -> None:
    """UserError in at most three lines when the presets of a GPU profile cannot run here; the embedded model can.

    Configurations of one's own are not checked: their models may be fetched when they are loaded.
    """
    if settings.profile == "demo":
        return
    config = from_namespace(settings.tree)
    weights, parts = missing_weights(config), missing_parts(config)
    if not weights and not parts:
        return
    remedies = []
    if weights:
        names = ", ".join(model.label for model in weights)
        parts.append(f"no weights of {names}{gigabytes(weights)}")
        remedies.append(f"alignatt models download --preset {settings.preset}")
    regime = f" --regime {config.regime}" if config.regime != "low" else ""
    hints = [f"Get what is missing: {'; '.join(remedies)}"] if remedies else []
    raise UserError(
        f"{settings.preset} cannot run here: {'; '.join(parts)}.",
        [
            *hints,
            f"Without it: simulstream --agent {OUR_AGENT} --tgt-lang {config.target_lang}{regime} "
            "(the embedded demo model, on any machine)",
        ],
    )
