"""Paired bootstrap: sums reproduce the scorer's own figures, and intervals and p-values behave as they must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from eval_runs import alignatt, chinese_talks, german_talks, write_references, write_run
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from agent.errors import UserError
from agent.run.folder import SCORES, SEGMENTS, read
from eval.compare import open_runs, paired_test, run_names
from eval.score import Options, score
from eval.scoring.bootstrap import RunStatistics, compare_runs, default_unit, resample
from eval.scoring.segments import Segment, read_segments

REFERENCES = [
    f"the {noun} is in the {place} now" for noun in ["dog", "cat", "man", "bird"] for place in ["house", "park"]
]


def statistics(predictions: list[str], delay_ms: float = 1000.0, talks: int = 4) -> RunStatistics:
    """A run with these outputs for REFERENCES, equally spread over ``talks`` talks."""
    bleu = BLEU()._extract_corpus_statistics(predictions, [REFERENCES])
    chrf = CHRF()._extract_corpus_statistics(predictions, [REFERENCES])
    segments = [
        Segment(
            f"talk-{index * talks // len(REFERENCES)}", 0.0, 1.0, None, reference, prediction,
            delay_ms + 10 * index, None, tuple(bleu[index]), tuple(chrf[index]),
        )
        for index, (reference, prediction) in enumerate(zip(REFERENCES, predictions, strict=True))
    ]  # fmt: skip
    return RunStatistics.of(segments)


WORSE = [line.replace("now", "then").replace("the ", "a ", 1) for line in REFERENCES]


@pytest.mark.parametrize("language", ["de", "zh"])
def test_sums_are_the_scorers_figures(tmp_path: Path, references: Path, language: str) -> None:
    run = write_run(tmp_path / "run", german_talks() if language == "de" else chinese_talks(), language)
    scores, _ = score(run, Options(references=references))
    segments = read_segments(run, scores.signature)
    assert [segment.talk for segment in segments] == ["one", "one", "two"]
    assert segments[1].source == "We don't go to the park today."
    sums = RunStatistics.of(segments)
    assert sums.value("bleu") == pytest.approx(scores.bleu, abs=1e-12)
    assert sums.value("chrf") == pytest.approx(scores.chrf, abs=1e-12)
    assert sums.value("cu_ms") == pytest.approx(scores.cu_long_yaal_ms)
    assert sums.value("ca_ms") == pytest.approx(scores.ca_long_yaal_ms)


def test_equal_runs_do_not_differ() -> None:
    result = compare_runs({"a": statistics(WORSE), "b": statistics(WORSE)}, "a", "segments", 200)
    assert result.scores["a"] == result.scores["b"]
    for difference in result.differences["b"].values():
        assert (difference.value, difference.low, difference.high, difference.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_constant_difference_is_certain_and_paired() -> None:
    """Latencies vary between segments, their difference does not: only pairing makes its interval narrow."""
    result = compare_runs({"slow": statistics(WORSE, 1500.0), "fast": statistics(WORSE)}, "slow", "segments", 500)
    difference = result.differences["fast"]["cu_ms"]
    assert [difference.value, difference.low, difference.high] == pytest.approx([-500] * 3)
    assert difference.p_value == pytest.approx(1 / 501)
    assert result.scores["fast"]["cu_ms"].high - result.scores["fast"]["cu_ms"].low > 20
    assert "ca_ms" not in result.scores["fast"]


def test_one_lucky_segment_is_not_significant() -> None:
    lucky = [REFERENCES[0], *WORSE[1:]]
    result = compare_runs({"a": statistics(WORSE), "b": statistics(lucky)}, "a", "segments", 1000)
    difference = result.differences["b"]["bleu"]
    assert difference.value > 0
    assert difference.low == pytest.approx(0.0, abs=1e-9)
    assert difference.p_value is not None
    assert difference.p_value > 0.05
    better = compare_runs({"a": statistics(WORSE), "b": statistics(REFERENCES)}, "a", "segments", 1000)
    p_value = better.differences["b"]["bleu"].p_value
    assert p_value is not None
    assert p_value < 0.01


def test_talks_are_drawn_whole() -> None:
    talks = ["x", "x", "y", "z", "z", "z"]
    weights = resample(talks, "talks", 50, 1)
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert (resample(talks, "segments", 50, 1).sum(axis=1) == 6).all()
    assert np.array_equal(weights, resample(talks, "talks", 50, 1))


def test_unit_follows_the_number_of_talks() -> None:
    assert default_unit(["a", "b"] * 30) == "segments"
    assert default_unit([str(n) for n in range(10)]) == "talks"
    assert compare_runs({"a": statistics(WORSE)}, "a", n_resamples=100).n_units == len(REFERENCES)
    assert compare_runs({"a": statistics(WORSE)}, "a", "talks", 100).n_units == 4


def test_other_segments_are_refused() -> None:
    with pytest.raises(UserError, match="b and a were not scored on the same segments"):
        compare_runs({"a": statistics(WORSE), "b": statistics(WORSE, talks=2)}, "a")


def scored(tmp_path: Path, name: str, language: str = "de", delay_s: float = 0.0) -> Path:
    references = write_references(tmp_path / "refs")
    talks = german_talks() if language == "de" else chinese_talks()
    moved = {talk: [(heard + delay_s, spent, words) for heard, spent, words in steps] for talk, steps in talks.items()}
    run = write_run(tmp_path / name, moved, language)
    score(run, Options(references=references))
    return run


def test_compare_prints_the_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fast, slow = scored(tmp_path, "fast"), scored(tmp_path, "slow", delay_s=0.25)
    assert alignatt("compare", slow, fast, "--resample", "segments") == 0
    out = capsys.readouterr().out
    assert "Paired bootstrap over 3 segments, 2000 resamples, seed 12345; differences to slow" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["BLEU", "fast", "85.34"] in [line[:3] for line in lines]
    (latency,) = [line for line in lines if line[:3] == ["CU", "ms", "fast"]]
    # One segment's last word falls behind the recording's end when it is later, and no longer counts.
    assert latency[-5:] == ["-217", "-250", "–", "-150", "<0.001"]
    assert alignatt("compare", slow, fast, "--resample", "none") == 0
    assert "bootstrap" not in capsys.readouterr().out
    assert alignatt("compare", slow, fast, "--resample", "talks", "--baseline", fast) == 0
    out = capsys.readouterr().out
    assert "over 2 talks" in out
    assert "differences to fast" in out
    assert "too narrow" in out


def test_runs_that_cannot_be_compared_are_named_and_the_others_are_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    german, chinese = scored(tmp_path, "german"), scored(tmp_path, "chinese", "zh")
    later = scored(tmp_path, "later", "de", 0.25)
    short = write_run(tmp_path / "short", {"one": german_talks()["one"]})
    score(short, Options(references=tmp_path / "refs", talks=("one",)))
    assert alignatt("compare", german, chinese) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].startswith("german")
    assert "bootstrap" not in out
    assert "Not compared with german: chinese: another unit (char, not word), another tokeniser of BLEU" in out
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / SCORES).write_text((german / SCORES).read_text())
    assert alignatt("compare", german, chinese, short, tmp_path / "copy", later) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines if line.startswith("BLEU ")} == {"german", "later"}
    left_out = sorted(line.removeprefix("Not compared with german: ") for line in lines[-3:])
    assert left_out[0].startswith("chinese: another unit")
    assert "has no segments.json" in left_out[1]
    assert left_out[2] == "short: other talks (1, not the 2)"


def test_examples_are_the_first_longer_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = scored(tmp_path, "fast"), scored(tmp_path, "slow", delay_s=0.25)
    assert alignatt("compare", *runs, "--resample", "none", "--examples", "1") == 0
    shown = capsys.readouterr().out.splitlines()[-5:]
    segments = read_segments(runs[0], read(runs[0], SCORES)["signature"])
    first = next(segment for segment in segments if len((segment.source or "").split()) > 6)
    assert shown[0] == f"one, {first.offset_s:.1f} s"
    assert [line.split()[0] for line in shown[1:]] == ["source", "fast", "slow", "reference"]
    assert shown[1].endswith(first.source or "")
    assert shown[2].endswith(first.prediction)
    assert shown[4].endswith(first.reference)


def test_segments_must_belong_to_the_scores(tmp_path: Path) -> None:
    run = scored(tmp_path, "run")
    signature = read(run, SCORES)["signature"]
    text = (run / SEGMENTS).read_text(encoding="utf-8")
    (run / SEGMENTS).write_text(text.replace("unit:word", "unit:char"), encoding="utf-8")
    with pytest.raises(UserError, match="does not belong to the scores"):
        read_segments(run, signature)
    (run / SEGMENTS).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"is not valid JSON .* score the run again"):
        read_segments(run, signature)
    (run / SEGMENTS).unlink()
    with pytest.raises(UserError, match=r"has no segments\.json: score the run again"):
        paired_test(open_runs([run]))


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    assert run_names(folders) == ["a/run", "b/run"]
    assert run_names(folders[:1]) == ["run"]
    with pytest.raises(UserError, match="given twice"):
        run_names([*folders, folders[0]])
