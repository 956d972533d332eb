"""What a sweep found: every cell in one table, the Pareto front, and the winner of each policy in each regime."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.errors import UserError
from agent.run.folder import SCORES, read, write_json
from eval import table
from eval.compare import p_text
from eval.report.plots import COLOURS, MARKERS, Point, curves
from eval.score import REGIME_LIMIT_MS
from eval.scoring.bootstrap import RunStatistics, compare_runs
from eval.scoring.segments import read_segments
from eval.sweep.spec import Sweep
from eval.sweep.work import result_path

Result = Mapping[str, Any]
BASELINE = "alignatt"
"""Policy that the winners of the others are tested against."""
EQUAL_MS = 25.0
"""So much later than the baseline still counts as equal latency."""


@dataclass(frozen=True)
class Winner:
    """The setting of a policy that was best within a regime on the first talks, and what it does on all of them.

    ``regime``: ``low``, or ``low =`` for the best that is no later there than the baseline's winner.
    """

    direction: str
    regime: str
    policy: str
    name: str
    kept: bool
    """Whether any setting of the policy kept the regime on the first talks; else it is the fastest."""
    results: Mapping[str, Result]
    """By talk set."""


def read_results(sweep: Sweep) -> list[Result]:
    """Results of all cells, in the order of the specification; UserError while some are missing."""
    missing = [job.id for job in sweep.cells if not result_path(sweep.output, job).is_file()]
    if missing:
        raise UserError(f"{len(missing)} of {len(sweep.cells)} cells are not done yet, {missing[0]} first.")
    return [json.loads(result_path(sweep.output, job).read_text(encoding="utf-8")) for job in sweep.cells]


def pareto(results: Sequence[Result]) -> list[Result]:
    """Results that no other one beats in BLEU and CU-LongYAAL at once, fastest first."""
    timed = [result for result in results if result["cu_long_yaal_ms"] is not None]
    front: list[Result] = []
    for result in sorted(timed, key=lambda r: (r["cu_long_yaal_ms"], -r["bleu"])):
        if not front or result["bleu"] > front[-1]["bleu"]:
            front.append(result)
    return front


def winners(results: Sequence[Result], chosen_on: str) -> list[Winner]:
    """Per direction, regime and policy, chosen by BLEU on one talk set: within the regime's limit, and within the
    latency of the baseline's winner."""
    found = []
    for direction in dict.fromkeys(result["direction"] for result in results):
        mine = [r for r in results if r["direction"] == direction and r["cu_long_yaal_ms"] is not None]
        policies = list(dict.fromkeys(r["policy"] for r in mine))
        for regime, limit_ms in REGIME_LIMIT_MS.items():
            group = [_winner(mine, policy, regime, limit_ms, chosen_on) for policy in policies]
            found += group
            if len(group) > 1 and BASELINE in policies:
                baseline = group[policies.index(BASELINE)]
                equal_ms = baseline.results[chosen_on]["cu_long_yaal_ms"] + EQUAL_MS
                others = [p for p in policies if p != BASELINE]
                found.append(replace(baseline, regime=f"{regime} ="))
                found += [_winner(mine, policy, f"{regime} =", equal_ms, chosen_on) for policy in others]
    return found


def _winner(results: Sequence[Result], policy: str, regime: str, limit_ms: float, chosen_on: str) -> Winner:
    mine = [r for r in results if r["policy"] == policy]
    tried = [r for r in mine if r["talks_set"] == chosen_on]
    within = [r for r in tried if r["cu_long_yaal_ms"] <= limit_ms]
    best = max(within, key=lambda r: r["bleu"]) if within else min(tried, key=lambda r: r["cu_long_yaal_ms"])
    by_set = {r["talks_set"]: r for r in mine if r["keys"] == best["keys"]}
    return Winner(best["direction"], regime, policy, best["name"], bool(within), by_set)


def show(sweep: Sweep, results: Sequence[Result]) -> None:
    """Print front and winners, and write summary.json."""
    chosen_on = sweep.sets[0].name
    for direction in dict.fromkeys(result["direction"] for result in results):
        front = pareto([r for r in results if r["direction"] == direction and r["talks_set"] == chosen_on])
        print(f"\n{direction}, {chosen_on}: Pareto front of {_count(results, direction, chosen_on)} settings")
        body = [[r["policy"], r["name"], f"{r['bleu']:.2f}", f"{r['cu_long_yaal_ms']:.0f}"] for r in front]
        print("\n".join(table.plain(("policy", "setting", "BLEU", "CU ms"), body)))
    best = winners(results, chosen_on)
    for talks in (talks.name for talks in sweep.sets):
        print(f"\nBest within each regime, chosen on {chosen_on}, on {talks}:")
        header = ("regime", "policy and setting", "BLEU", "95 % interval", "CU ms", f"BLEU to {BASELINE}", "p")
        print("\n".join(table.plain(header, _winner_rows(sweep, best, talks))))
    tree = {"chosen_on": chosen_on, "winners": [vars(winner) for winner in best]}
    write_json(sweep.output / "summary.json", tree)


def draw(sweep: Sweep, results: Sequence[Result]) -> list[Path]:
    """Quality over latency of every direction and talk set, with intervals, as SVG and PNG into the output folder."""
    files = []
    for direction, talks in dict.fromkeys((r["direction"], r["talks_set"]) for r in results):
        mine = [r for r in results if (r["direction"], r["talks_set"]) == (direction, talks)]
        timed = {r["id"]: r for r in mine if r["cu_long_yaal_ms"] is not None}
        if not timed:
            continue
        found = compare_runs({key: _statistics(sweep, r) for key, r in timed.items()}, next(iter(timed)))
        lines: dict[str, list[Point]] = {}
        for key, result in timed.items():
            line = lines.setdefault(result["policy"], [])
            index = list(lines).index(result["policy"])
            cu_s = found.scores[key]["cu_ms"].scaled(0.001)
            name = f"{result['policy']} {result['name']}"
            line.append(Point(name, COLOURS[index], MARKERS[index], found.scores[key]["bleu"], cu_s, None))
        offline = max((r["bleu"] for r in mine if r["cu_long_yaal_ms"] is None), default=None)
        plot = curves(f"quality-latency-{direction}-{talks}", f"{direction}, {talks}", "BLEU", lines, offline)
        for suffix, content in ((".svg", plot.svg), (".png", plot.png)):
            files.append(sweep.output / f"{plot.name}{suffix}")
            files[-1].write_bytes(content)
    return files


def _winner_rows(sweep: Sweep, best: Sequence[Winner], talks: str) -> list[list[str]]:
    """Winners on one talk set with intervals, and their differences to the baseline policy where it is there."""
    rows = []
    for direction, regime in dict.fromkeys((w.direction, w.regime) for w in best):
        group = [w for w in best if (w.direction, w.regime) == (direction, regime)]
        statistics = {w.policy: _statistics(sweep, w.results[talks]) for w in group}
        baseline = BASELINE if BASELINE in statistics else group[0].policy
        comparison = compare_runs(statistics, baseline)
        for winner in sorted(group, key=lambda w: -w.results[talks]["bleu"]):
            result, bleu = winner.results[talks], comparison.scores[winner.policy]["bleu"]
            difference = comparison.differences.get(winner.policy, {}).get("bleu")
            over = "" if result["cu_long_yaal_ms"] <= REGIME_LIMIT_MS[regime.split()[0]] else " (over)"
            rows.append(
                [
                    f"{direction} {regime}",
                    f"{winner.policy} {winner.name}",
                    f"{result['bleu']:.2f}",
                    f"{bleu.low:.1f} – {bleu.high:.1f}",
                    f"{result['cu_long_yaal_ms']:.0f}{over}",
                    f"{difference.value:+.2f}" if difference else "–",
                    p_text(difference.p_value if difference else None),
                ]
            )
    return rows


def _statistics(sweep: Sweep, result: Result) -> RunStatistics:
    folder = sweep.output / "runs" / result["id"]
    scores = read(folder, SCORES)
    if not scores:
        raise UserError(f"{folder} is gone, but its result is there: delete {result['id']}.json and sweep again.")
    return RunStatistics.of(read_segments(folder, scores["signature"]))


def _count(results: Sequence[Result], direction: str, talks: str) -> int:
    return sum(r["direction"] == direction and r["talks_set"] == talks for r in results)
