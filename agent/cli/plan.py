"""``simulstream --dry-run``: what a configuration would load and ask, without loading it.

Models and where they are, the GPU's memory, the prompt with its source span, the heads that are read, and what is
missing. Where the translation model's tokenizer is on this machine the prompt is its own, else its turns are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agent import languages
from agent.config import AgentConfig, from_namespace
from agent.errors import UserError
from agent.mt import head_sets
from agent.mt.prompt import PromptLayout
from agent.run import missing, profiles
from agent.run.settings import OUR_AGENT, Settings
from agent.weights import find, gpu_shares, named_models

EXAMPLE_WORDS = ("we", "show", "how", "the", "first", "words")
"""Source of the prompt that is shown: what a recogniser might have heard so far."""
SPAN = "⟦", "⟧"


def show(settings: Settings) -> int:
    """Print everything; 0, also when something is missing: that is said. UserError for an agent that is not ours."""
    if not settings.ours:
        raise UserError(f"--dry-run describes {OUR_AGENT}; for {settings.agent} there is nothing to say.")
    config = from_namespace(settings.tree)
    profile = profiles.get(settings.profile)
    if profile.gpu_gb:
        memory = f"Memory plan, GPU of {profile.gpu_gb:.0f} GB", _memory(config, profile.gpu_gb)
    else:
        memory = "Memory plan, main memory", _main_memory(config) if settings.profile != "demo" else []
    print(f"{settings.preset or 'configuration'}: {_schedule(config)}")
    for title, lines in (
        ("Models", _models(config)),
        memory,
        ("Prompt", _prompt(config)),
        ("Head set", _head_set(config)),
        ("Policy", [" ".join([config.policy_name, *(f"{key}={value}" for key, value in vars(config.policy).items())])]),
        ("Here", [f"missing: {found.told}" for found in missing.findings(config)] or ["nothing is missing"]),
    ):
        shown = list(lines)
        if shown:
            print(f"\n{title}", *(f"  {line}" for line in shown), sep="\n")
    return 0


def _schedule(config: AgentConfig) -> str:
    session = config.session
    return (
        f"{config.source_lang}-{config.target_lang}, regime {config.regime}, chunks of {config.speech_chunk_size:g} s, "
        f"first draft after {session.first_draft_s:g} s, drafts of {config.mt.max_draft_tokens} tokens, "
        f"hold-back {session.hold_back_s:g} s, {session.context_sentences} sentence(s) of context"
    )


def _models(config: AgentConfig) -> list[str]:
    rows = [("key", "model", "backend", "download", "licence", "on this machine")]
    for model in named_models(config):
        known, here = model.published, find(model.model, model.revision)
        size = f"{known.size_gb:.1f} GB" if known and known.size_gb else ""
        rows.append((model.key, model.label, model.backend, size, known.licence if known else "", str(here or "no")))
    return _columns(rows)


def _memory(config: AgentConfig, gpu_gb: float) -> list[str]:
    """What is taken of a GPU. vLLM reserves its share; with Transformers, caches grow into what the weights leave."""
    rows, free_gb, shares = [], gpu_gb, gpu_shares(config)
    for model in named_models(config):
        size_gb = model.published.size_gb if model.published else 0.0
        if model.key in shares:
            # The given KV cache beside the weights, else the share of the GPU.
            share, cache_gib = shares[model.key]
            reserved_gb = size_gb + cache_gib * 2**30 / 1e9 if cache_gib else share * gpu_gb
            rows.append((model.key, f"{reserved_gb:.1f} GB reserved by vLLM for weights and KV cache"))
            free_gb -= reserved_gb
        else:
            rows.append((model.key, f"{size_gb:.1f} GB" if size_gb else "size not known here"))
            free_gb -= size_gb
    rows.append(("left", f"{free_gb:.1f} GB for caches, activations and what is not known"))
    if free_gb < 0:
        rows.append(("too little", "lower mt.vllm.gpu_memory_utilization, or set mt.vllm.kv_cache_gib"))
    return _columns(rows)


def _main_memory(config: AgentConfig) -> list[str]:
    """What the models take on a CPU, where the speech models run in float32; downloads hold two bytes a weight."""
    rows, total_gb, caches = [], 0.0, gpu_shares(config)
    for model in named_models(config):
        is_double = model.key != "mt.model" or config.mt.dtype == "float32"
        size_gb = (model.published.size_gb if model.published else 0.0) * (2 if is_double else 1)
        cache_gb = caches[model.key][1] * 2**30 / 1e9 if model.key in caches else 0.0
        known = f"{size_gb:.1f} GB of weights" if size_gb else "weights of a size not known here"
        rows.append((model.key, known + (f", {cache_gb:.1f} GB of KV cache" if cache_gb else "")))
        total_gb += size_gb + cache_gb
    return _columns([*rows, ("in all", f"{total_gb:.1f} GB and what is not known")])


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _prompt(config: AgentConfig) -> Iterator[str]:
    """The prompt around the example words, the source span in brackets."""
    folder = find(config.mt.model, config.mt.revision)
    if folder is None:
        prompt = config.mt.prompt
        names = {
            "source_language": languages.get(config.source_lang).name,
            "target_language": languages.get(config.target_lang).name,
        }
        header = prompt.header.format(**names)
        yield f"system     {prompt.system.format(**names)}"
        yield f"user       {header + ' ⏎ ' if header else ''}{SPAN[0]}{' '.join(EXAMPLE_WORDS)}{SPAN[1]}"
        yield "assistant  (open: continues what has been said)"
        yield "The chat template comes with the model, which is not here."
        return
    tokenizer = _tokenizer(folder)
    layout = PromptLayout(tokenizer, config.mt.prompt, config.source_lang, config.target_lang)
    built = layout.build(EXAMPLE_WORDS)
    ids, (start, end) = built.ids, built.source_span
    before, source, after = (tokenizer.decode(list(part)) for part in (ids[:start], ids[start:end], ids[end:]))
    yield from f"{before}{SPAN[0]}{source}{SPAN[1]}{after}".splitlines()
    yield f"{len(ids)} tokens, source span {start} to {end}, layout {layout.fingerprint}"


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"The tokenizer in {folder} does not load: {' '.join(str(error).split())[:200]}") from error


def _head_set(config: AgentConfig) -> Iterator[str]:
    policy = config.policy
    if not policy.needs_rows:
        yield f"none: the policy {config.policy_name} reads no attention"
        return
    path = head_sets.head_set_path(config.mt.head_set, config.source_lang, config.target_lang)
    heads = head_sets.load(path)
    selection = heads.select(policy.row_convention, config.mt.n_heads)
    scores = {scored.head: scored.score for scored in heads.scores[selection.convention]}
    shape = f"{heads.n_layers} layers of {heads.n_heads} heads"
    yield f"{path.name}#{head_sets.fingerprint(path)}, for {heads.model}, {shape}"
    chosen = " ".join(f"{head.layer}.{head.head}:{scores[head]:.2f}" for head in selection.heads)
    yield f"{len(selection.heads)} heads, rows by the convention '{selection.convention}', layer.head:TS {chosen}"
    if source := heads.provenance.get("source"):
        yield str(source)
