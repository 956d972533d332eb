"""The keys of the translation model: ``mt.*``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from agent.catalogue import revision_of
from agent.keys import key


@dataclass(frozen=True)
class PromptConfig:
    """The chat turns around the source; ``{source_language}`` and ``{target_language}`` become English names."""

    system: str = "Translate {source_language} speech to {target_language}."
    """The system turn; empty for templates that have none."""
    header: str = ""
    """One line before the source inside the user turn; may be empty."""
    template: str = ""
    """File of a Jinja chat template to use instead of the model's own (for models that have none)."""


@dataclass(frozen=True)
class VllmConfig:
    """The ``vllm`` engine. One engine serves all sessions and directions of a process."""

    max_num_seqs: int = key(16, low=1)
    """Drafts decoded at once; more of them wait."""
    max_model_len: int = key(4096, low=64)
    """Longest prompt with its draft in tokens; the model's own limit where that is smaller."""
    gpu_memory_utilization: float = key(0.9, low=0.01, high=1.0)
    """Share of the GPU's memory for weights and KV cache."""
    kv_cache_gib: float = key(0.0, low=0.0)
    """Size of the KV cache; 0: what gpu_memory_utilization leaves, on a CPU 1 GiB."""
    tensor_parallel: int = key(1, low=1)
    """GPUs that share the model."""
    compile: bool = True
    """Compile the model: slower start (less so the second time), faster steps. False also means no CUDA graphs."""
    cuda_graphs: Literal["none", "piecewise", "full_and_piecewise"] = "piecewise"
    """On a GPU, with compile."""
    attention_backend: Literal["auto", "flash_attn", "triton_attn"] = "auto"
    """On a GPU. Where vLLM's own choice is none of the two, attention rows need one of them."""


@dataclass(frozen=True)
class MtConfig:
    """Machine translation."""

    backend: Literal["transformers", "vllm"] = "transformers"
    """Transformers, or vLLM, which batches the drafts of all sessions."""
    model: str = "demo/model"
    """Folder or hub id of a decoder-only model with a chat template."""
    revision: str = ""
    """On the hub; empty for the catalogue's (agent/catalogue.py)."""
    head_set: str = "demo"
    """Head set: a name under agent/head_sets, or a path; ``{src}`` and ``{tgt}`` are replaced by language codes."""
    n_heads: int = key(0, low=0)
    """How many heads of the set to use, best first; 0 for all of them."""
    max_draft_tokens: int = key(16, low=1)
    """Length of a draft."""
    max_final_tokens: int = key(160, low=1)
    """Upper bound of the final pass; the bound used is min(this, max(32, 3 x source tokens + 24))."""
    prompt: PromptConfig = field(default_factory=PromptConfig)
    device: str = "auto"
    """As in torch; auto: a GPU where there is one."""
    dtype: str = "float32"
    """As in torch."""
    threads: int = key(1, low=1)
    """CPU threads of the translation model; small models are fastest with one."""
    vllm: VllmConfig = field(default_factory=VllmConfig)

    def checked(self) -> MtConfig:
        """With the catalogue's revision for a known model that has none of its own."""
        return replace(self, revision=revision_of(self.model, self.revision))
