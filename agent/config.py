"""Every knob of the agent, declared once with its unit and default.

A configuration is a YAML file that simulstream reads as it is. `load` reads a file or a preset, `from_namespace` takes
the object simulstream hands to a speech processor; unknown keys and wrong types are errors that say what is valid.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from agent.catalogue import revision_of
from agent.errors import UserError, nearest

PRESETS = Path(__file__).parent / "presets"
SOURCE_LANGUAGES = ("en",)
TARGET_LANGUAGES = ("de", "it", "zh")
ALIGNING_ENGINES = ("qwen3", "voxtral")
"""Values of ``asr.engine`` whose word times come from a forced aligner."""


@dataclass(frozen=True)
class Qwen3Config:
    """The ``qwen3`` recogniser: Qwen3-ASR (``asr.model``) with its forced aligner. For ``voxtral`` too, where not said
    otherwise."""

    aligner: str = "Qwen/Qwen3-ForcedAligner-0.6B-hf"
    """Folder or hub id of the model that gives word times."""
    revision: str = ""
    """Of the recogniser on the hub; this, like the other revisions: empty for the catalogue's (agent/catalogue.py)."""
    aligner_revision: str = revision_of("Qwen/Qwen3-ForcedAligner-0.6B-hf", "")
    engine: Literal["hf", "vllm"] = "hf"
    """Transformers, one request at a time, or vLLM, which batches the requests of all streams. voxtral: only what the
    aligner runs on."""
    gpu_share: float = 0.2
    """vllm: share of the GPU's memory for the recogniser; all engines' shares together are less than 1."""
    aligner_gpu_share: float = 0.1
    cache_gib: float = 0.0
    """vllm: size of the recogniser's KV cache; 0: what gpu_share leaves, on a CPU 0.5 GiB."""
    aligner_cache_gib: float = 0.0
    context: str = ""
    """qwen3: words to expect, e.g. names and terms of the talk."""
    timeout_s: float = 60.0
    """A request that takes longer has failed: hf cuts it off, vllm starts its engine again, once."""


@dataclass(frozen=True)
class VoxtralConfig:
    """The ``voxtral`` recogniser: Voxtral Realtime (``asr.model``) on vLLM."""

    delay_ms: int = 480
    """How long after it was heard a word is written: a multiple of 80 up to 1200, or 2400."""


@dataclass(frozen=True)
class AsrConfig:
    """Speech recognition."""

    engine: Literal["sphinx", "replay", "qwen3", "voxtral"] = "sphinx"
    model: str = "demo/asr"
    """Folder (qwen3, voxtral: or hub id) of the recogniser's model; for ``replay`` a recording (see ``record_asr``)."""
    max_live_s: float = 28.0
    """Upper bound of the live tail: when no sentence ends, it is cut at the best pause."""
    sentence_pause_s: float = 0.45
    """A silence of this length ends a sentence (recognisers that give no punctuation)."""
    hypotheses_to_agree: int = 2
    """So many successive hypotheses must share a sentence before it is committed (qwen3, voxtral)."""
    qwen3: Qwen3Config = field(default_factory=Qwen3Config)
    voxtral: VoxtralConfig = field(default_factory=VoxtralConfig)


@dataclass(frozen=True)
class PromptConfig:
    """The chat turns around the source; ``{source_language}`` and ``{target_language}`` become English names."""

    system: str = "Translate {source_language} speech to {target_language}."
    header: str = ""
    """One line before the source inside the user turn; may be empty."""
    template: str = ""
    """File of a Jinja chat template to use instead of the model's own (for models that have none)."""


@dataclass(frozen=True)
class VllmConfig:
    """The ``vllm`` engine. One engine serves all sessions and directions of a process."""

    max_num_seqs: int = 16
    """Drafts decoded at once; more of them wait."""
    max_model_len: int = 4096
    """Longest prompt with its draft in tokens; the model's own limit where that is smaller."""
    gpu_memory_utilization: float = 0.9
    """Share of the GPU's memory for weights and KV cache."""
    kv_cache_gib: float = 0.0
    """Size of the KV cache; 0: what gpu_memory_utilization leaves, on a CPU 1 GiB."""
    tensor_parallel: int = 1
    """GPUs that share the model."""
    compile: bool = True
    """Compile the model: slower start (less so the second time), faster steps. False also means no CUDA graphs."""
    cuda_graphs: Literal["none", "piecewise", "full_and_piecewise"] = "piecewise"
    attention_backend: Literal["auto", "flash_attn", "triton_attn"] = "auto"
    """On a GPU. Where vLLM's own choice is none of the two, attention rows need one of them."""


@dataclass(frozen=True)
class MtConfig:
    """Machine translation."""

    engine: Literal["hf", "vllm"] = "hf"
    model: str = "demo/model"
    """Folder or hub id of a decoder-only model with a chat template."""
    revision: str = ""
    head_set: str = "demo"
    """Head set: a name under agent/head_sets, or a path; ``{src}`` and ``{tgt}`` are replaced by language codes."""
    n_heads: int = 0
    """How many heads of the set to use, best first; 0 for all of them."""
    max_draft_tokens: int = 16
    max_final_tokens: int = 160
    """Upper bound of the final pass; the bound used is min(this, max(32, 3 x source tokens + 24))."""
    prompt: PromptConfig = field(default_factory=PromptConfig)
    device: str = "auto"
    dtype: str = "float32"
    threads: int = 1
    """CPU threads of the translation model; small models are fastest with one."""
    vllm: VllmConfig = field(default_factory=VllmConfig)


@dataclass(frozen=True)
class PolicyConfig:
    """Which drafted words are committed."""

    name: Literal["alignatt", "paper", "local-agreement", "wait-k", "cut-last", "offline"] = "alignatt"
    margin_words: int = 2
    """alignatt: a word is held while its attention peaks on one of the last so many accessible words."""
    confirmations: int = 0
    """alignatt: so many earlier drafts after the same accepted text must have had the word too."""
    closure_guard: bool = True
    """alignatt: when the draft closes a sentence that the source has not closed, its last word is held."""
    margin_tokens: int = 1
    """paper: tokens beyond the accessible source that the peak may reach."""
    median_width: int = 7
    """paper: width of the median filter over the source axis; 1 switches it off."""
    z_score: bool = True
    """paper: normalise each head's rows by the earlier draft tokens."""
    min_peak: float = 0.0
    """paper: smallest admissible weight at the peak; 0 switches it off."""
    min_accessible_mass: float = 0.0
    """paper: smallest admissible attention mass on accessible source; 0 switches it off."""
    agree: int = 2
    """local-agreement: successive drafts that must share a prefix."""
    k: int = 3
    """wait-k: source words the target stays behind."""
    units_per_word: float = 1.0
    """wait-k: target units (words; in Chinese characters) allowed for each source word heard."""
    cut_words: int = 2
    """cut-last: words withheld from every draft."""


@dataclass(frozen=True)
class SessionConfig:
    """One stream."""

    hold_back_s: float = 0.0
    """Source words that ended less than this before now are visible but not accessible."""
    min_stability: int = 1
    """Source words that have survived fewer hypotheses are visible but not accessible."""
    first_draft_s: float = 0.0
    """No draft before so much audio has been heard."""
    context_sentences: int = 1
    """Finished sentences kept, with their translations, before the live one in the prompt."""
    overlap: Literal["none", "aligner"] = "none"
    """``aligner``: drafting begins beside the word times of the chunk; the same text."""


@dataclass(frozen=True)
class AgentConfig:
    """Everything. The first five keys are simulstream's own."""

    type: str = "agent.AlignAttAgent"
    speech_chunk_size: float = 0.85
    """Seconds of audio per step."""
    latency_unit: Literal["word", "char"] = "word"
    detokenizer_type: Literal["simuleval"] = "simuleval"
    source_lang: str = "en"
    target_lang: str = "de"
    regime: Literal["low", "high"] = "low"
    trace: str = ""
    """File for one JSON line per step; empty for none."""
    record_asr: str = ""
    """Folder that receives each stream's hypotheses for later ``replay``; empty for none."""
    asr: AsrConfig = field(default_factory=AsrConfig)
    mt: MtConfig = field(default_factory=MtConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    session: SessionConfig = field(default_factory=SessionConfig)


def preset_names() -> list[str]:
    """Names accepted by ``--preset``, e.g. ``ende-low``."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """The YAML file of a preset; UserError with the nearest name when there is none."""
    if name not in preset_names():
        raise UserError(f"Unknown preset '{name}'.{nearest(name, preset_names())}")
    return PRESETS / f"{name}.yaml"


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> AgentConfig:
    """Read a YAML file, apply dotted ``overrides`` (``{"policy.margin_words": 1}``), validate."""
    tree = read_yaml(path)
    for key, value in (overrides or {}).items():
        set_key(tree, key, value)
    return validate(_build(AgentConfig, tree, ""))


def read_yaml(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML file, unchecked. UserError when there are none to read."""
    if not path.is_file():
        raise UserError(f"No configuration file {path}: give an existing YAML file or use --preset.")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold keys and values, not a {type(tree).__name__}.")
    return tree


def parse_assignment(text: str) -> tuple[str, Any]:
    """``policy.margin_words=1`` → ``("policy.margin_words", 1)``; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set wants key=value, e.g. --set policy.margin_words=1, not '{text}'.")
    try:
        return key.strip(), yaml.safe_load(value) if value else ""
    except yaml.YAMLError as error:
        raise UserError(f"--set {key.strip()}: '{value}' is not a value.") from error


def set_key(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Put ``value`` at a dotted key of a nested dict, in place."""
    *parents, last = dotted.split(".")
    for name in parents:
        child = tree.setdefault(name, {})
        if not isinstance(child, dict):
            raise UserError(f"Key '{dotted}': '{name}' is a value, not a group.")
        tree = child
    tree[last] = value


def from_namespace(config: SimpleNamespace | Mapping[str, Any] | AgentConfig) -> AgentConfig:
    """The configuration simulstream hands to a speech processor, checked."""
    if isinstance(config, AgentConfig):
        return config
    return validate(_build(AgentConfig, _plain(config), ""))


def to_dict(config: AgentConfig) -> dict[str, Any]:
    """Nested plain dict, in declaration order; ``yaml.safe_dump`` of it is a valid configuration file."""
    return dataclasses.asdict(config)


def validate(config: AgentConfig) -> AgentConfig:
    """Cross-field checks. Returns the configuration with the latency unit that its target language needs."""
    check_direction(config.source_lang, config.target_lang)
    for name, value, low in (
        ("speech_chunk_size", config.speech_chunk_size, 0.02),
        ("asr.max_live_s", config.asr.max_live_s, 2.0),
        ("asr.sentence_pause_s", config.asr.sentence_pause_s, 0.05),
        ("asr.hypotheses_to_agree", config.asr.hypotheses_to_agree, 1),
        ("asr.qwen3.gpu_share", config.asr.qwen3.gpu_share, 0.01),
        ("asr.qwen3.aligner_gpu_share", config.asr.qwen3.aligner_gpu_share, 0.01),
        ("asr.qwen3.cache_gib", config.asr.qwen3.cache_gib, 0.0),
        ("asr.qwen3.aligner_cache_gib", config.asr.qwen3.aligner_cache_gib, 0.0),
        ("asr.qwen3.timeout_s", config.asr.qwen3.timeout_s, 1.0),
        ("mt.max_draft_tokens", config.mt.max_draft_tokens, 1),
        ("mt.max_final_tokens", config.mt.max_final_tokens, 1),
        ("mt.n_heads", config.mt.n_heads, 0),
        ("mt.threads", config.mt.threads, 1),
        ("mt.vllm.max_num_seqs", config.mt.vllm.max_num_seqs, 1),
        ("mt.vllm.max_model_len", config.mt.vllm.max_model_len, 64),
        ("mt.vllm.gpu_memory_utilization", config.mt.vllm.gpu_memory_utilization, 0.01),
        ("mt.vllm.kv_cache_gib", config.mt.vllm.kv_cache_gib, 0.0),
        ("mt.vllm.tensor_parallel", config.mt.vllm.tensor_parallel, 1),
        ("policy.margin_words", config.policy.margin_words, 0),
        ("policy.confirmations", config.policy.confirmations, 0),
        ("policy.median_width", config.policy.median_width, 1),
        ("policy.agree", config.policy.agree, 2),
        ("policy.k", config.policy.k, 0),
        ("policy.cut_words", config.policy.cut_words, 0),
        ("session.hold_back_s", config.session.hold_back_s, 0.0),
        ("session.first_draft_s", config.session.first_draft_s, 0.0),
        ("session.min_stability", config.session.min_stability, 1),
        ("session.context_sentences", config.session.context_sentences, 0),
    ):
        if not value >= low:
            raise UserError(f"Key '{name}' must be at least {low}, not {value}.")
    if config.mt.vllm.gpu_memory_utilization > 1:
        raise UserError("Key 'mt.vllm.gpu_memory_utilization' is a share of the GPU's memory: at most 1.")
    _check_voxtral(config.asr)
    if config.asr.max_live_s > 300:
        raise UserError(f"Key 'asr.max_live_s' must be at most 300, not {config.asr.max_live_s}.")
    if config.policy.median_width % 2 == 0:
        raise UserError(f"Key 'policy.median_width' must be odd, not {config.policy.median_width}.")
    config = dataclasses.replace(config, latency_unit="char" if config.target_lang == "zh" else "word")
    return _with_revisions(config)


def _with_revisions(config: AgentConfig) -> AgentConfig:
    """Known models without a revision of their own get the catalogue's: what is downloaded is what is run."""
    asr, mt = config.asr, config.mt
    speech = dataclasses.replace(
        asr.qwen3,
        revision=revision_of(asr.model, asr.qwen3.revision),
        aligner_revision=revision_of(asr.qwen3.aligner, asr.qwen3.aligner_revision),
    )
    return dataclasses.replace(
        config,
        asr=dataclasses.replace(asr, qwen3=speech),
        mt=dataclasses.replace(mt, revision=revision_of(mt.model, mt.revision)),
    )


def _check_voxtral(asr: AsrConfig) -> None:
    """UserError when the recogniser ``voxtral`` cannot do what is asked of it."""
    delay_ms = asr.voxtral.delay_ms
    if delay_ms not in (*range(80, 1201, 80), 2400):
        raise UserError(
            f"Key 'asr.voxtral.delay_ms' must be a multiple of 80 from 80 to 1200, or 2400, not {delay_ms}."
        )
    if asr.engine != "voxtral":
        return
    if asr.qwen3.context:
        raise UserError("Key 'asr.qwen3.context' wants asr.engine=qwen3, not voxtral.")
    # Half of the tail may be given up while nothing is written of it: it has to hold the delay and a word.
    least_s = 2 * (delay_ms / 1000 + 1)
    if asr.max_live_s < least_s:
        raise UserError(
            f"Key 'asr.max_live_s' must be at least {least_s:g} with asr.voxtral.delay_ms={delay_ms}, "
            f"not {asr.max_live_s}."
        )


def gpu_shares(config: AgentConfig) -> dict[str, tuple[float, float]]:
    """The models that run on vLLM, by their keys: share of the GPU's memory, and GiB of KV cache that are taken beside
    the weights instead of the share (0: none given)."""
    shares = {}
    ours, vllm = config.asr.qwen3, config.mt.vllm
    if config.asr.engine == "voxtral" or (config.asr.engine == "qwen3" and ours.engine == "vllm"):
        shares["asr.model"] = (ours.gpu_share, ours.cache_gib)
    if config.asr.engine in ALIGNING_ENGINES and ours.engine == "vllm":
        shares["asr.qwen3.aligner"] = (ours.aligner_gpu_share, ours.aligner_cache_gib)
    if config.mt.engine == "vllm":
        shares["mt.model"] = (vllm.gpu_memory_utilization, vllm.kv_cache_gib)
    return shares


def check_direction(source: str, target: str) -> None:
    """UserError unless source → target is served."""
    if source not in SOURCE_LANGUAGES or target not in TARGET_LANGUAGES:
        served = ", ".join(f"{s}-{t}" for s in SOURCE_LANGUAGES for t in TARGET_LANGUAGES)
        raise UserError(f"Direction {source}-{target} is not supported; use one of {served}.")


def _plain(node: Any) -> Any:
    if isinstance(node, SimpleNamespace):
        node = vars(node)
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    return node


T = typing.TypeVar("T")


def _build(cls: type[T], tree: Any, where: str) -> T:
    if not isinstance(tree, dict):
        raise UserError(f"Key '{where.rstrip('.')}' is a group of keys, not {tree!r}.")
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in hints:
            raise UserError(f"Unknown key '{where}{key}'.{nearest(str(key), hints)}")
        values[key] = _coerce(hints[key], value, f"{where}{key}")
    return cls(**values)


def _coerce(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, f"{where}.")
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if value not in choices:
            raise UserError(f"Key '{where}' must be one of {', '.join(map(str, choices))}, not {value!r}.")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise UserError(f"Key '{where}' must be {_kind(hint)}, not {value!r}.")
    return value


def _kind(hint: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))
