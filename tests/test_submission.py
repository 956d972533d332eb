"""Submissions: a tarball of real runs passes its own check, and each planted defect is found by its name."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import yaml

from agent.cli.main import alignatt, simulstream
from agent.paths import PROJECT
from agent.run.settings import Options as Given
from agent.run.settings import resolve
from agent.run.talks import decode
from eval.score import Options, score
from eval.submission import contents
from eval.submission.build import build, entry_of, pack, write_sums
from eval.submission.check import Package, check, unpack
from eval.submission.server import check_server, check_soak

TALKS = Path(__file__).parents[1] / "demo" / "talks"
N_SEGMENTS = 3


def write_dev(folder: Path) -> Path:
    """The first sentences of a demo talk with their references: the dev set of these tests."""
    folder.mkdir()
    every = yaml.safe_load((TALKS / "audio-segments.yaml").read_text(encoding="utf-8"))
    segments = every[:N_SEGMENTS]
    (folder / "audio-segments.yaml").write_text(yaml.safe_dump(segments), encoding="utf-8")
    for lang in ("en", "de"):
        lines = (TALKS / f"ref.{lang}.txt").read_text(encoding="utf-8").splitlines()[:N_SEGMENTS]
        (folder / f"ref.{lang}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    talk = TALKS / Path(segments[0]["wav"]).with_suffix(".flac").name
    end_s = segments[-1]["offset"] + segments[-1]["duration"] + 0.6
    soundfile.write(folder / talk.name, decode(talk)[: int(end_s * 16_000)], 16_000, subtype="PCM_16")
    return folder / talk.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dev set, one scored run in each regime, and the tarball made of them."""
    folder = tmp_path_factory.mktemp("submission")
    talk = write_dev(folder / "dev")
    for regime in ("low", "high"):
        run = folder / regime
        eager = ["--set", "policy.margin_words=0", "policy.confirmations=0"] if regime == "low" else []
        assert simulstream(["--preset", f"ende-{regime}", *eager, "--source", str(talk), "--output", str(run)]) == 0
        score(run, Options(references=folder / "dev"))
    build([folder / "high", folder / "low"], "Demo", "no-context", "demo@example.org", folder / "out", None)
    return folder


@pytest.fixture
def package(folder: Path, tmp_path: Path) -> Package:
    """The tarball, unpacked for one test."""
    (tarball,) = (folder / "out").glob("*.tar.gz")
    root = unpack(tarball, tmp_path)
    submission = contents.parse(root / contents.DESCRIPTION)
    return Package(root, submission, folder / "dev" / "audio-segments.yaml", folder / "dev")


def failed(package: Package) -> dict[str, str]:
    """Names and messages of the checks that fail."""
    findings = check(package.root, package.segments, package.references)
    return {finding.check: finding.error for finding in findings if finding.error}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def changed_byte(root: Path) -> None:
    log = root / "en-de/low/simulstream.jsonl"
    log.write_bytes(log.read_bytes().replace(b"0.5", b"0.6", 1))


def run_missing(root: Path) -> None:
    shutil.rmtree(root / "en-de/high")


def half_a_direction(root: Path) -> None:
    path = root / contents.DESCRIPTION
    tree = json.loads(path.read_text(encoding="utf-8"))
    tree["entries"] = tree["entries"][:1]
    path.write_text(json.dumps(tree), encoding="utf-8")


def run_twice_in_log(root: Path) -> None:
    log = root / "en-de/low/simulstream.jsonl"
    log.write_text(log.read_text(encoding="utf-8") * 2, encoding="utf-8")


def line_doubled(root: Path) -> None:
    log = root / "en-de/low/simulstream.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("".join([*lines[:5], lines[4], *lines[5:]]), encoding="utf-8")


def talk_cut_off(root: Path) -> None:
    log = root / "en-de/low/simulstream.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("".join(lines[: len(lines) // 2]), encoding="utf-8")


def talk_missing(root: Path) -> None:
    edit(root / "en-de/low/simulstream.jsonl", "demo-talk-1", "another")


def regime_missed(root: Path) -> None:
    log = root / "en-de/low/simulstream.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "generated_tokens" in line]
    late = [token for step in steps for token in step["generated_tokens"]]
    for step in steps:
        step["generated_tokens"] = late if step is steps[-5] else []
    log.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def better_figures(root: Path) -> None:
    path = root / contents.DESCRIPTION
    tree = json.loads(path.read_text(encoding="utf-8"))
    claimed = tree["entries"][0]["bleu"]
    tree["entries"][0]["bleu"] = claimed + 1
    path.write_text(json.dumps(tree), encoding="utf-8")
    edit(root / "en-de/README.md", f"BLEU {claimed:.2f}", f"BLEU {claimed + 1:.2f}")


def no_contact(root: Path) -> None:
    edit(root / "en-de/README.md", "demo@example.org", "us")


def foreign_path(root: Path) -> None:
    edit(root / "en-de/high/config.yaml", "model: demo/model", "model: /home/me/model")


def replayed(root: Path) -> None:
    path = root / "en-de/high/config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**config, "asr": {"recogniser": "replay", "model": "asr"}}), encoding="utf-8")


def wrong_direction(root: Path) -> None:
    edit(root / "en-de/high/config.yaml", "target_lang: de", "target_lang: it")


def space_in_token(root: Path) -> None:
    log = root / "en-de/low/simulstream.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    next(line for line in lines if line.get("generated_tokens"))["generated_tokens"][0] += "\u00a0x"
    log.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def no_wheel_installed(root: Path) -> None:
    edit(root / contents.DOCKERFILE, "pip install", "pip download")


def another_server(root: Path) -> None:
    edit(root / contents.DOCKERFILE, "--protocol http", "--protocol websocket")


DEFECTS: list[tuple[Callable[[Path], None], str, str]] = [
    (changed_byte, "checksums", "changed since"),
    (run_missing, "description", "missing: en-de/high"),
    (half_a_direction, "description", "No run of en-de high"),
    (run_twice_in_log, "log en-de low", "twice (demo-talk-1)"),
    (line_doubled, "log en-de low", "doubled"),
    (talk_cut_off, "log en-de low", "the log is cut off"),
    (talk_missing, "log en-de low", "lacks 1 of 1 talks"),
    (regime_missed, "figures en-de low", "regime missed"),
    (better_figures, "figures en-de low", "bleu is claimed as"),
    (no_contact, "readme", "en-de/README.md lacks the contact"),
    (foreign_path, "config en-de high", "mt.model is /home/me/model"),
    (replayed, "config en-de high", "recorded recognition is replayed"),
    (wrong_direction, "config en-de high", "target_lang it, de is wanted"),
    (space_in_token, "log en-de low", "holds a space"),
    (no_wheel_installed, "docker", "lacks the installation of alignatt_agent"),
    (another_server, "docker", "lacks simulstream's HTTP server"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "name", "message"), DEFECTS, ids=[defect[0].__name__ for defect in DEFECTS])
def test_a_planted_defect_is_found_by_its_name(
    package: Package, plant: Callable[[Path], None], name: str, message: str
) -> None:
    plant(package.root)
    if name != "checksums":
        write_sums(package.root)
    found = failed(package)
    assert list(found) == [name]
    assert message in found[name]


@pytest.mark.slow
def test_the_tarball_passes_its_own_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tarball,) = (folder / "out").glob("*.tar.gz")
    dev = ["--references", str(folder / "dev"), "--serve-s", "0"]
    assert alignatt(["submission", "check", str(tarball), *dev]) == 0
    printed = capsys.readouterr()
    assert "10 checks, 0 failed" in printed.err
    assert "FAILED" not in printed.out
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    assert "Demo_IWSLT26_SIMUL_no-context_primary/en-de/low/simulstream.jsonl" in names


@pytest.mark.slow
def test_the_server_of_the_image_answers_simulstreams_client(package: Package) -> None:
    talk = package.references / "demo-talk-1.flac"
    said = check_server(package, package.submission.entries[0], talk, seconds=8.0)
    assert "100% like the log" in said


@pytest.mark.slow
def test_a_soak_reports_length_time_and_memory(package: Package) -> None:
    talk = package.references / "demo-talk-1.flac"
    assert "0.01 h in" in check_soak(package, package.submission.entries[0], [talk], hours=0.01)


@pytest.mark.slow
def test_the_same_runs_make_the_same_tarball(package: Package, folder: Path) -> None:
    (tarball,) = (folder / "out").glob("*.tar.gz")
    again = pack(package.root, package.root.parent / "again")
    assert again.read_bytes() == tarball.read_bytes()


@pytest.mark.slow
def test_models_and_files_of_ones_own_are_mounted_or_packed(package: Package, folder: Path, tmp_path: Path) -> None:
    own = folder / "own"
    (own / "gemma").mkdir(parents=True)
    heads = PROJECT / "agent" / "head_sets" / "demo-en-de.json"
    shutil.copy(heads, own / "mine-de.json")
    runs = []
    for regime in ("low", "high"):
        shutil.copytree(folder / regime, tmp_path / regime)
        changes = [f"mt.model={own / 'gemma'}", f"mt.head_set={own / 'mine-{tgt}.json'}"]
        settings = resolve(Given(preset=f"ende-{regime}-a40", assignments=tuple(changes)))
        (tmp_path / regime / "config.yaml").write_text(settings.dump(), encoding="utf-8")
        runs.append(tmp_path / regime)
    wheels = [package.root / wheel for wheel in package.submission.wheels]
    root = unpack(build(runs, "Own", "no-context", "own@example.org", tmp_path / "out", wheels), tmp_path / "un")
    config = yaml.safe_load((root / "en-de/low/config.yaml").read_text(encoding="utf-8"))
    assert config["mt"]["model"] == "/weights/gemma"
    assert config["mt"]["head_set"] == "/submission/en-de/low/mine-de.json"
    assert (root / "en-de/low/mine-de.json").read_bytes() == heads.read_bytes()
    readme = (root / "README.md").read_text(encoding="utf-8")
    hub = "Qwen/Qwen3-ASR-1.7B-hf@bcd2b5b7f32b480ab5790554cfa8347f246a14f3 Qwen/Qwen3-ForcedAligner-0.6B-hf@c07281df"
    assert f"alignatt models download {hub}" in readme
    assert "- `/weights/gemma`\n" in readme
    assert "-v /path/to/weights:/weights:ro own_iwslt26" in readme
    assert not [f for f in check(root, package.segments, package.references) if f.error]


@pytest.mark.slow
def test_what_makes_no_submission_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(folder / "low"), str(folder / "high")]

    def refused(*arguments: str) -> str:
        who = ["--team", "Demo", "--contact", "demo@example.org"]
        assert alignatt(["submission", "build", *who, "--output", str(tmp_path / "o"), *arguments]) == 2
        assert not (tmp_path / "o").exists()
        return capsys.readouterr().err

    assert "No run of en-de high" in refused(runs[0])
    assert "More than one run of en-de low" in refused(runs[0], *runs)
    assert "no e-mail address" in refused(*runs, "--contact", "me")
    assert "Did you mean 'context'" in refused(*runs, "--track", "contxt")
    changed = tmp_path / "changed"
    shutil.copytree(folder / "low", changed)
    edit(changed / "simulstream.jsonl", "\n", "\n\n")
    assert "has changed since it was scored" in refused(str(changed), runs[1])
    assert entry_of(folder / "low").regime == "low"


def test_a_tarball_with_paths_outside_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("x", encoding="utf-8")
    with tarfile.open(tmp_path / "Demo.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "x", "../x")
    assert alignatt(["submission", "check", str(tmp_path / "Demo.tar.gz")]) == 1
    assert "FAILED  tarball: Demo.tar.gz holds '../x'" in capsys.readouterr().out
