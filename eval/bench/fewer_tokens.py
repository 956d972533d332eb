"""Decoded tokens per committed token over whole talks, with and without what `agent.mt.translator` spares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from agent.config import AgentConfig, MtConfig, load, preset_path
from agent.models import ModelCache
from agent.session import Session
from agent.words import Hypothesis
from eval.bench.parts import Options
from eval.bench.result import Cell, Result
from eval.policies import record

SETTINGS: dict[str, tuple[bool, bool, bool]] = {
    "plain drafts": (False, False, False),
    "early stop": (True, False, False),
    "reuse": (False, True, False),
    "release": (False, False, True),
    "all three": (True, True, True),
}
"""Values of the three keys of ``KEYS``."""
KEYS = ("mt.early_stop", "mt.reuse_drafts", "mt.release_held")

ABOUT = (
    "Every demo talk, from the same recorded hypotheses. Decoded: tokens the model chose one by one, the end of a turn "
    "included; not those of the last draft that one pass confirmed. Passes: decode steps and first passes. Computed: "
    "tokens of prompt, prefix and guess in first passes, beyond what the KV cache held. All per committed token. "
    "Same text: whether every step of every talk said exactly what it says with plain drafts."
)


@dataclass(frozen=True)
class Spent:
    """What streams said, step by step, and what the engine did for it."""

    texts: tuple[tuple[str, ...], ...]
    n_committed: int
    n_decoded: int
    n_calls: int
    n_passes: int
    n_computed: int


def with_setting(preset: str, name: str) -> AgentConfig:
    """A preset with one of ``SETTINGS``, on recorded hypotheses."""
    return load(preset_path(preset), {**dict(zip(KEYS, SETTINGS[name], strict=True)), "asr.engine": "replay"})


def translate(config: AgentConfig, models: ModelCache, streams: Mapping[str, Iterable[Hypothesis]]) -> Spent:
    """Run streams of hypotheses through one session each."""
    translator = models.translator(config, config.source_lang, config.target_lang)
    texts, decisions = [], []
    for name, hypotheses in streams.items():
        session = Session(translator, config.session, name)
        steps = [session.step(hypothesis) for hypothesis in hypotheses]
        session.close()
        texts.append(tuple("".join(record.accepted for record in records) for records in steps))
        decisions += [record.decision for records in steps for record in records if record.decision is not None]
    work = [decision.work for decision in decisions]
    return Spent(
        tuple(texts),
        sum(decision.acceptance.n_tokens for decision in decisions),
        sum(w.n_decoded for w in work),
        sum(w.n_calls for w in work),
        sum(w.n_calls + w.n_forward for w in work),
        sum(w.n_prefilled for w in work),
    )


def measure(options: Options) -> Result:
    """Each preset with each setting."""
    models, rows = ModelCache(), []
    progress = tqdm(total=len(options.presets) * len(SETTINGS), unit="run", desc="fewer tokens")
    spent: dict[str, list[Spent]] = {name: [] for name in SETTINGS}
    for preset in options.presets:
        chunk_s = load(preset_path(preset)).speech_chunk_size
        recorded = record(options.talks, chunk_s, options.recordings)
        streams = {n: [*(step.hypothesis for step in r.steps), r.final] for n, r in recorded.items()}
        for name in SETTINGS:
            spent[name].append(translate(with_setting(preset, name), models, streams))
            rows.append(_row(preset, name, spent[name][-1:], spent["plain drafts"][-1:]))
            progress.update()
    progress.close()
    totals = [_row("all", name, runs, spent["plain drafts"]) for name, runs in spent.items()]
    columns = ("preset", "setting", "decoded", "passes", "computed", "calls", "committed tokens", "same text")
    settings = {"talks": [talk.stem for talk in options.talks], "max_draft_tokens": MtConfig().max_draft_tokens}
    return Result("fewer-tokens", "Decoded tokens per committed token", ABOUT, columns, (*totals, *rows), settings)


def _row(preset: str, setting: str, runs: Sequence[Spent], plain: Sequence[Spent]) -> tuple[Cell, ...]:
    n_committed = sum(run.n_committed for run in runs)
    counts = [sum(getattr(run, name) for run in runs) for name in ("n_decoded", "n_passes", "n_computed", "n_calls")]
    same = [run.texts for run in runs] == [run.texts for run in plain]
    figures = [count / n_committed if n_committed else None for count in counts]
    return (preset, setting, *figures, n_committed, "yes" if same else "no")
