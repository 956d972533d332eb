"""What scoring knows of each reference segment: texts, latency, and counts from which BLEU and chrF are summed up.

``segments.json`` of a scored run holds them: one object with the run's signature and a list of segments. Significance
tests, reports and error lists read it, so that nothing has to be resegmented again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omnisteval.data import Instance
from omnisteval.scoring import YAALScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from agent.errors import UserError
from agent.run.folder import SEGMENTS, read
from eval.inputs.references import References


@dataclass(frozen=True)
class Segment:
    """One reference segment with the part of the output that resegmentation gave it.

    ``cu_ms`` and ``ca_ms`` are its LongYAAL, None where it has none (nothing emitted before the recording's end).
    ``bleu`` is sacreBLEU's [hypothesis length, reference length, 4 matches, 4 totals], ``chrf`` its 6 triples of
    [hypothesis, reference, matching] n-grams: corpus scores are functions of their sums. ``comet``: 0–1, where wanted.
    """

    talk: str
    offset_s: float
    duration_s: float
    source: str | None
    reference: str
    prediction: str
    cu_ms: float | None
    ca_ms: float | None
    bleu: tuple[int, ...]
    chrf: tuple[int, ...]
    comet: float | None = None


def segments_of(
    instances: Sequence[Instance], references: References, bleu_tokenizer: str, cu: bool = True, ca: bool = True
) -> tuple[Segment, ...]:
    """Segments of OmniSTEval's resegmented ``instances``, which follow the order of ``references``.

    ``cu``, ``ca``: whether these latencies are known.
    """
    predictions = [instance.prediction for instance in instances]
    scored = [[instance.reference for instance in instances]]
    bleu = BLEU(tokenize=bleu_tokenizer, force=True)._extract_corpus_statistics(predictions, scored)
    chrf = CHRF()._extract_corpus_statistics(predictions, scored)
    sources: Sequence[str | None] = references.source or [None] * len(references.segments)
    return tuple(
        Segment(
            Path(segment["wav"]).stem,
            segment["offset"],
            segment["duration"],
            source,
            target,
            instance.prediction,
            _yaal(instance, False) if cu else None,
            _yaal(instance, True) if ca else None,
            tuple(map(int, bleu_counts)),
            tuple(map(int, chrf_counts)),
        )
        for instance, segment, source, target, bleu_counts, chrf_counts in zip(
            instances, references.segments, sources, references.target, bleu, chrf, strict=True
        )
    )


def dump(segments: Sequence[Segment], signature: str) -> str:
    """Text of segments.json, one segment a line."""
    lines = (json.dumps(dataclasses.asdict(segment), ensure_ascii=False) for segment in segments)
    return f'{{"signature": {json.dumps(signature)}, "segments": [\n' + ",\n".join(lines) + "\n]}\n"


def read_segments(folder: Path, signature: str) -> tuple[Segment, ...]:
    """Segments of a scored run; UserError when they are absent or not those of the scores with this ``signature``."""
    path, tree = folder / SEGMENTS, read(folder, SEGMENTS)
    again = f"score the run again (alignatt score {folder})."
    if not tree:
        raise UserError(f"{folder} has no {SEGMENTS}: {again}")
    try:
        if tree["signature"] != signature:
            raise UserError(f"{path} does not belong to the scores beside it: {again}")
        rows = [{**row, "bleu": tuple(row["bleu"]), "chrf": tuple(row["chrf"])} for row in tree["segments"]]
        return tuple(Segment(**row) for row in rows)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is not a list of segments: {again}") from error


def _yaal(instance: Instance, computation_aware: bool) -> float | None:
    delays = instance.emission_ca if computation_aware else instance.emission_cu
    if not delays:
        return None
    value = YAALScorer(computation_aware=computation_aware, is_longform=True).compute(instance)
    return None if value is None else float(value)
