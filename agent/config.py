"""Every knob of the agent: its groups, how a configuration is read, and how it is checked.

A configuration is a YAML file that simulstream reads as it is. `load` reads a file or a preset, `from_namespace` takes
the object simulstream hands to a speech processor; unknown keys and wrong types are errors that say what is valid. The
keys of ``asr`` and ``policy`` are those of the recogniser and the policy that they name, which may be a user's own
class (`agent.plugins`); the keys of ``mt`` stand in `agent.mt.config`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import yaml

from agent import languages
from agent.asr.contract import RecogniserConfig
from agent.errors import UserError, nearest
from agent.keys import build, key
from agent.mt.config import MtConfig
from agent.mt.policy.contract import Policy
from agent.plugins import POLICIES, RECOGNISERS, load_class, name_of

PRESETS = Path(__file__).parent / "presets"
EMBEDDED_MODEL, EMBEDDED_DIRECTIONS = "demo/model", ("en-de", "en-it", "en-zh")
RENAMED = {
    "asr.engine": "asr.recogniser",
    "asr.qwen3.aligner": "asr.aligner.model",
    "asr.qwen3.aligner_revision": "asr.aligner.revision",
    "asr.qwen3.aligner_gpu_share": "asr.aligner.gpu_share",
    "asr.qwen3.aligner_cache_gib": "asr.aligner.cache_gib",
    "asr.qwen3.engine": "asr.backend",
    "asr.qwen3.rollback_tokens": "",
    "asr.qwen3": "asr",
    "asr.voxtral": "",
    "mt.engine": "mt.backend",
    "mt.early_stop": "",
    "mt.reuse_drafts": "",
    "mt.release_held": "",
    "session.overlap": "",
}
"""Keys of before version 0.2 and what they are called now; empty: gone."""
_CHOOSERS = {"asr": ("recogniser", "sphinx", RECOGNISERS), "policy": ("name", "alignatt", POLICIES)}
"""By group: the key that names its class, the default, the names that are known."""


def _choose(group: str, base: type[Any], tree: Any, where: str) -> Any:
    """The group's class with the values of ``tree``."""
    if isinstance(tree, base):
        return tree
    if not isinstance(tree, dict):
        raise UserError(f"Key '{where.rstrip('.')}' is a group of keys, not {tree!r}.")
    name_key, default, known = _CHOOSERS[group]
    name = str(tree.get(name_key, default))
    cls = load_class(name, known, base, f"{where}{name_key}")
    fields = [field.name for field in dataclasses.fields(cls)]
    rest = {key: value for key, value in tree.items() if key != name_key}
    for unknown in rest.keys() - set(fields):
        raise UserError(f"Unknown key '{where}{unknown}': {name} has none.{nearest(str(unknown), [*fields, name_key])}")
    return build(cls, rest, where)


def _choose_recogniser(tree: Any, where: str) -> Any:
    return _choose("asr", RecogniserConfig, tree, where)


def _choose_policy(tree: Any, where: str) -> Any:
    return _choose("policy", Policy, tree, where)


@dataclass(frozen=True)
class SessionConfig:
    """One stream."""

    hold_back_s: float = key(0.0, low=0.0)
    """Source words that ended less than this before now are visible but not accessible."""
    min_stability: int = key(1, low=1)
    """Source words that have survived fewer hypotheses are visible but not accessible."""
    first_draft_s: float = key(0.0, low=0.0)
    """No draft before so much audio has been heard."""
    context_sentences: int = key(1, low=0)
    """Finished sentences kept, with their translations, before the live one in the prompt."""


@dataclass(frozen=True)
class AgentConfig:
    """Everything. The first five keys are simulstream's own."""

    type: str = "agent.AlignAttAgent"
    """Speech processor class."""
    speech_chunk_size: float = key(0.85, low=0.02)
    """Seconds of audio per step."""
    latency_unit: Literal["word", "char"] = "word"
    """What latency is counted in; follows from the target language."""
    detokenizer_type: Literal["simuleval"] = "simuleval"
    """For simulstream's tools."""
    source_lang: str = "en"
    """Code of the language spoken."""
    target_lang: str = "de"
    """Code of the language wanted."""
    regime: Literal["low", "high"] = "low"
    """Latency regime that the run is judged by; changes nothing else."""
    trace: str = ""
    """File for one JSON line per step; empty for none. An output folder always has one."""
    record_asr: str = ""
    """Folder that receives each stream's hypotheses for later ``replay``; empty for none."""
    asr: RecogniserConfig = field(
        default_factory=lambda: _choose_recogniser({}, "asr."), metadata={"choose": _choose_recogniser}
    )
    mt: MtConfig = field(default_factory=MtConfig)
    policy: Policy = field(default_factory=lambda: _choose_policy({}, "policy."), metadata={"choose": _choose_policy})
    session: SessionConfig = field(default_factory=SessionConfig)

    @property
    def recogniser_name(self) -> str:
        """Value of ``asr.recogniser``."""
        return name_of(type(self.asr), RECOGNISERS)

    @property
    def policy_name(self) -> str:
        """Value of ``policy.name``."""
        return name_of(type(self.policy), POLICIES)


def preset_path(name: str) -> Path:
    """The YAML file of a preset of the embedded model; UserError with the nearest name when there is none."""
    names = [path.stem for path in PRESETS.glob("*-*.yaml") if not path.stem.startswith("full")]
    if name not in names:
        raise UserError(f"Unknown preset '{name}'.{nearest(name, names)}")
    return PRESETS / f"{name}.yaml"


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> AgentConfig:
    """Read a YAML file, apply dotted ``overrides`` (``{"policy.margin_words": 1}``), validate."""
    tree = read_yaml(path)
    override(tree, overrides or {})
    return from_tree(tree)


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
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UserError(f"--set wants key=value, e.g. --set policy.margin_words=1, not '{text}'.")
    try:
        return name.strip(), yaml.safe_load(value) if value else ""
    except yaml.YAMLError as error:
        raise UserError(f"--set {name.strip()}: '{value}' is not a value.") from error


def set_key(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Put ``value`` at a dotted key of a nested dict, in place."""
    *parents, last = dotted.split(".")
    for name in parents:
        child = tree.setdefault(name, {})
        if not isinstance(child, dict):
            raise UserError(f"Key '{dotted}': '{name}' is a value, not a group.")
        tree = child
    tree[last] = value


def override(tree: dict[str, Any], keys: Mapping[str, Any]) -> None:
    """Set dotted ``keys`` in a tree. Where they name another recogniser or policy than the tree does, those keys of the
    tree go that the new one does not have, and its model."""
    for group, (name_key, default, known) in _CHOOSERS.items():
        given = tree.get(group)
        name = keys.get(f"{group}.{name_key}")
        if not isinstance(given, dict) or name is None or name == given.get(name_key, default):
            continue
        cls = load_class(str(name), known, object, f"{group}.{name_key}")
        fields = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
        tree[group] = {k: v for k, v in given.items() if k in fields - {"model", "revision"}}
    for dotted, value in keys.items():
        set_key(tree, dotted, value)


def from_namespace(config: SimpleNamespace | Mapping[str, Any] | AgentConfig) -> AgentConfig:
    """The configuration simulstream hands to a speech processor, checked."""
    return config if isinstance(config, AgentConfig) else from_tree(_plain(config))


def from_tree(tree: dict[str, Any]) -> AgentConfig:
    """Nested plain dict to a checked configuration."""
    for dotted, value in _flat(tree):
        _refuse_old(dotted, value)
    return validate(build(AgentConfig, tree))


def to_dict(config: AgentConfig) -> dict[str, Any]:
    """Nested plain dict, in declaration order; ``yaml.safe_dump`` of it is a valid configuration file."""
    tree = dataclasses.asdict(config)
    tree["asr"] = {"recogniser": config.recogniser_name, **tree["asr"]}
    tree["policy"] = {"name": config.policy_name, **tree["policy"]}
    return tree


def validate(config: AgentConfig) -> AgentConfig:
    """Cross-field checks. Returns the configuration with the latency unit that its target language needs, and with the
    catalogue's revisions of known models: what is downloaded is what is run."""
    check_direction(config, config.source_lang, config.target_lang)
    unit = languages.get(config.target_lang).unit
    return replace(config, latency_unit=unit, asr=config.asr.checked(), mt=config.mt.checked())


def check_direction(config: AgentConfig, source: str, target: str) -> None:
    """UserError unless both are codes of languages, different ones, and nothing is known against the model."""
    languages.get(source)
    languages.get(target)
    if source == target:
        raise UserError(f"Source and target language are both '{source}': give another --src-lang or --tgt-lang.")
    if config.mt.model == EMBEDDED_MODEL and f"{source}-{target}" not in EMBEDDED_DIRECTIONS:
        raise UserError(
            f"The embedded demo model does not translate {source}-{target}, only {', '.join(EMBEDDED_DIRECTIONS)}: "
            "give another model with --set mt.model=FOLDER (or --profile a40)."
        )


def _refuse_old(dotted: str, value: Any) -> None:
    """UserError for a key or value that is called otherwise now."""
    for old, new in RENAMED.items():
        if dotted == old or dotted.startswith(f"{old}."):
            now = f"is called '{new}{dotted[len(old) :]}' now" if new else "is gone: leave it out"
            raise UserError(f"Key '{dotted}' {now}.")
    if dotted.endswith(".backend") and value == "hf":
        raise UserError(f"Key '{dotted}': 'hf' is called 'transformers' now.")


def _flat(tree: Mapping[Any, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{name}.")
        else:
            yield f"{where}{name}", value


def _plain(node: Any) -> Any:
    if isinstance(node, SimpleNamespace):
        node = vars(node)
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, value in node.items()}
    return node
