"""What a configuration needs and this machine lacks: one list of findings. Nothing is loaded.

``alignatt doctor`` and ``--dry-run`` show it, and `check` refuses a run by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.asr.replay import ReplayConfig
from agent.catalogue import NamedModel
from agent.config import EMBEDDED_DIRECTIONS, AgentConfig, from_namespace
from agent.errors import UserError
from agent.paths import resolve
from agent.run.settings import OUR_AGENT, Settings
from agent.vllm_engine.arguments import has_gpu, has_vllm
from agent.weights import find, gpu_shares, is_repository, missing_files, named_models

State = Literal["ok", "note", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """One line about a part of what a configuration needs.

    ``FAIL`` is what keeps the configuration from working, ``note`` is worth knowing. ``remedy``: a command, or what to
    change. ``key``: of the model that has no weights here.
    """

    part: str
    text: str
    state: State = "FAIL"
    remedy: str = ""
    key: str = ""

    @property
    def told(self) -> str:
        """The text with the way out, where there is one."""
        return f"{self.text}: {self.remedy}" if self.remedy else self.text


def findings(config: AgentConfig) -> list[Finding]:
    """Everything that is missing. Imports torch when a GPU is wanted."""
    found = []
    if config.mt.device.startswith("cuda") and not has_gpu():
        found.append(Finding("GPU", "no CUDA GPU"))
    if gpu_shares(config) and not has_vllm():
        found.append(Finding("vLLM", "vLLM is not installed", remedy="make vllm"))
    if isinstance(config.asr, ReplayConfig) and not resolve(config.asr.model).exists():
        found.append(Finding("recogniser", f"no recordings {config.asr.model}", remedy="--set asr.model=FOLDER"))
    models = named_models(config)
    return found + [_no_weights(model) for model in models if find(model.model, model.revision) is None]


def _no_weights(model: NamedModel) -> Finding:
    folder, known = resolve(model.model), model.published
    lacking = f" ({', '.join(missing_files(folder))} is not in the folder)" if folder.is_dir() else ""
    size = f" ({known.size_gb:.1f} GB)" if known and known.size_gb else lacking
    remedy = f"alignatt models download {model.address}" if is_repository(model.model) else f"--set {model.key}=FOLDER"
    part = "model" if model.key == "mt.model" else "recogniser"
    return Finding(part, f"no weights of {model.label}{size}", remedy=remedy, key=model.key)


def check(settings: Settings) -> None:
    """UserError in at most three lines when the presets of a GPU profile cannot run here; the embedded model can.

    Configurations of one's own are not checked: their models may be fetched when they are loaded.
    """
    if settings.profile == "demo":
        return
    config = from_namespace(settings.tree)
    found = findings(config)
    if not found:
        return
    remedies = [finding.remedy for finding in found if finding.remedy and not finding.key]
    if any(finding.key for finding in found):
        remedies.append(f"alignatt models download --preset {settings.preset}")
    hints = [f"Get what is missing: {'; '.join(remedies)}"] if remedies else []
    if f"{config.source_lang}-{config.target_lang}" in EMBEDDED_DIRECTIONS:
        regime = f" --regime {config.regime}" if config.regime != "low" else ""
        hints.append(
            f"Without it: simulstream --agent {OUR_AGENT} --tgt-lang {config.target_lang}{regime} "
            "(the embedded demo model, on any machine)"
        )
    raise UserError(f"{settings.preset} cannot run here: {'; '.join(finding.text for finding in found)}.", hints)
