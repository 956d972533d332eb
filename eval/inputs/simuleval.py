"""SimulEval's JSONL logs (``instances.log``: one line per recording with a delay for each unit), as talks of a log."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from agent.errors import UserError

KEYS = ("source", "prediction", "delays")


def is_entry(entry: dict[str, Any]) -> bool:
    """Whether a JSON line is one of SimulEval's."""
    return "prediction" in entry and "delays" in entry


def talk_name(entry: dict[str, Any], path: Path, number: int) -> str:
    """Stem of the recording; ``source`` is its path or a list that begins with it."""
    source = entry.get("source")
    source = source[0] if isinstance(source, list) and source else source
    if not isinstance(source, str):
        raise UserError(f"{path}, line {number}: no recording is named (source).")
    return Path(source).stem


def steps_of(entry: dict[str, Any], path: Path, number: int, cumulative_elapsed: bool) -> list[dict[str, Any]]:
    """Steps as simulstream would log them: units of equal times together, then the rest of the recording.

    Times of the log are ms. ``cumulative_elapsed``: its elapsed times hold all computation since the beginning
    (SimulEval on long recordings); each is reduced to its own, as OmniSTEval's ``--fix_simuleval_emission_ca`` does.
    """
    delays = [float(value) for value in entry["delays"]]
    elapsed = [float(value) for value in entry.get("elapsed") or delays]
    units = units_of(str(entry["prediction"]), len(delays), f"{path}, line {number}")
    if len(elapsed) != len(delays):
        raise UserError(f"{path}, line {number}: {len(delays)} delays but {len(elapsed)} elapsed times.")
    if cumulative_elapsed:
        elapsed = own_elapsed(delays, elapsed)
    steps = []
    timed = zip(delays, elapsed, units, strict=True)
    for (delay, until), group in groupby(timed, key=lambda unit: unit[:2]):
        steps.append(_step(delay, until, [text for _, _, text in group]))
    length = float(entry.get("source_length") or 0.0)
    if length > max(delays, default=0.0) or not steps:
        steps.append(_step(length, length, []))
    return steps


def units_of(prediction: str, n_delays: int, place: str) -> list[str]:
    """The units that the delays belong to: words, words between plain spaces only, or characters."""
    for units in (prediction.split(), [word for word in prediction.split(" ") if word], list(prediction)):
        if len(units) == n_delays:
            return units
    raise UserError(
        f"{place}: {n_delays} delays for {len(prediction.split())} words or {len(prediction)} characters: "
        "the prediction is not what was timed."
    )


def own_elapsed(delays: Sequence[float], elapsed: Sequence[float]) -> list[float]:
    """Emission times with the computation of their own step only, never decreasing; same unit as given."""
    own = list(elapsed[:1])
    for i in range(1, len(elapsed)):
        own.append(max(own[-1], elapsed[i] - elapsed[i - 1] + delays[i - 1]))
    return own


def _step(delay_ms: float, elapsed_ms: float, tokens: list[str]) -> dict[str, Any]:
    return {
        "total_audio_processed": delay_ms / 1000,
        "computation_time": (elapsed_ms - delay_ms) / 1000,
        "generated_tokens": tokens,
        "deleted_tokens": [],
    }
