"""``alignatt models`` on folders, on a hub cache, and against a hub that the test serves on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent import catalogue, weights
from agent.asr.qwen3.config import Qwen3Config
from agent.asr.replay import ReplayConfig
from agent.catalogue import CATALOGUE, Published
from agent.cli.main import alignatt
from agent.config import AgentConfig
from agent.errors import UserError
from agent.mt.config import MtConfig
from agent.run import missing
from agent.weights import find, missing_files, named_models, parse_name

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"the same weights again"}


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub: the revision's file list, then each file. ``gated`` wants a licence."""

    def do_GET(self) -> None:
        """A list or a file."""
        _, *parts = self.path.partition("?")[0].split("/")
        if parts[:1] == ["api"]:
            if parts[3] == "absent":
                self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif parts[3] == "gated":
                self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
            elif parts[-1] not in (COMMIT, "main") and "tree" not in parts:
                self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif "tree" in parts:
                tree = [{"type": "file", "path": name, "size": len(data), "oid": name} for name, data in FILES.items()]
                self._answer(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
            else:
                siblings = [{"rfilename": name} for name in FILES]
                listing = {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings, "private": False}
                self._answer(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})
            return
        data = FILES[parts[-1]]
        self._answer(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{parts[-1]}"'})

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on this machine, and no other."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def model_folder(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_bytes(b"{}")
    return folder


def cached(cache: Path, repository: str, revision: str, *files: str) -> Path:
    return model_folder(cache / f"models--{repository.replace('/', '--')}" / "snapshots" / revision, *files)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.repository)
def test_every_known_model_is_pinned_by_a_full_revision(entry: Published) -> None:
    assert len(entry.revision) == 40
    assert set(entry.revision) <= set("0123456789abcdef")
    assert parse_name(entry.repository).revision == entry.revision
    assert parse_name(f"{entry.repository}@main").revision == "main"
    for text in (entry.repository, f"{entry.repository}@main", "some/model", "some/model@v1"):
        assert parse_name(text).address == text


def test_the_list_gives_revision_size_licence_and_access(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert alignatt(["models", "list"]) == 0
    listed = capsys.readouterr().out
    for entry in CATALOGUE:
        assert entry.revision in listed
    assert "1.8 GB, licence: Apache-2.0, access: open" in listed
    assert "licence: see the model card, access: may want its terms accepted" in listed
    assert listed.count("not on this machine") == len(CATALOGUE)
    assert str(cache) in listed


def test_a_folder_is_complete_when_every_shard_of_its_index_is_there(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", "config.json", "a.safetensors")
    assert missing_files(folder) == []
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert missing_files(folder) == ["b.safetensors"]
    assert find(str(folder)) is None
    (folder / "b.safetensors").touch()
    assert find(str(folder)) == folder
    (folder / "model.safetensors.index.json").write_text("[]")
    assert missing_files(folder) == ["model.safetensors.index.json"]
    (folder / "config.json").unlink()
    assert missing_files(folder) == ["config.json"]
    assert missing_files(model_folder(tmp_path / "none", "config.json")) == ["*.safetensors"]


def test_language_models_in_two_layouts_are_read_in_that_of_transformers(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", "config.json", "a.safetensors")
    (folder / "params.json").write_text('{"dim": 4096}')
    assert missing_files(folder) == []


def test_the_embedded_models_are_here(cache: Path) -> None:
    assert missing.findings(AgentConfig()) == []


def test_a_snapshot_is_found_by_its_revision_or_by_what_the_cache_calls_main(cache: Path) -> None:
    assert find("some/model", "abc") is None
    snapshot = cached(cache, "some/model", "abc", "config.json", "model.safetensors")
    assert find("some/model", "abc") == snapshot
    assert find("some/model", "abd") is None
    assert find("some/model") is None
    reference = cache / "models--some--model" / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("abc")
    assert find("some/model") == snapshot
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(cache / "a blob that never came")
    assert find("some/model", "abc") is None


def test_what_is_missing_is_said_with_how_to_get_it(cache: Path) -> None:
    config = AgentConfig(mt=MtConfig(model="some/model", revision="abc"))
    (found,) = missing.findings(config)
    assert (found.key, found.told) == (
        "mt.model",
        "no weights of some/model@abc: alignatt models download some/model@abc",
    )
    cached(cache, "some/model", "abc", "config.json", "model.safetensors")
    assert missing.findings(config) == []
    folder = model_folder(cache.parent / "mine", "config.json")
    (found,) = missing.findings(AgentConfig(mt=MtConfig(model=str(folder))))
    assert "(*.safetensors is not in the folder)" in found.text


def test_recordings_are_no_models() -> None:
    config = AgentConfig(asr=ReplayConfig(model="recordings"), mt=MtConfig(model="a/b", revision="c"))
    assert [(named.key, named.label) for named in named_models(config)] == [("mt.model", "a/b@c")]
    qwen3 = AgentConfig(asr=Qwen3Config())
    assert [named.key for named in named_models(qwen3)] == ["asr.model", "asr.aligner.model", "mt.model"]
    assert all(named.published for named in named_models(qwen3)[:2])


def test_download_into_the_cache_or_a_folder_and_again_without_the_hub(
    hub: None, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alignatt(["models", "download", f"some/model@{COMMIT}"]) == 0
    snapshot = find("some/model", COMMIT)
    assert snapshot is not None
    assert {path.name for path in snapshot.iterdir()} == {"config.json", "model.safetensors"}
    assert (snapshot / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert str(snapshot) in capsys.readouterr().out
    assert alignatt(["models", "download", f"some/model@{COMMIT}", "--to", "models"]) == 0
    assert find("models/model") == Path("models/model")
    assert "use it with --set mt.model=" in capsys.readouterr().out
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert alignatt(["models", "download", f"some/model@{COMMIT}"]) == 0


def test_download_of_the_models_of_a_preset(hub: None, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = ["--set", "mt.model=some/model", f"mt.revision={COMMIT}"]
    assert alignatt(["models", "download", "--preset", "ende-low", *changed]) == 0
    assert capsys.readouterr().out.startswith("1/1 some/model@01234567\n")
    assert find("some/model", COMMIT) is not None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"some/gated@{COMMIT}", "some/gated is gated: accept its terms on its model card, then: hf auth login"),
        (f"some/absent@{COMMIT}", "There is no repository some/absent on the hub"),
        ("some/model@0000", "some/model has no revision 0000"),
        ("model", "A model is named ORGANISATION/NAME, not 'model'"),
        ("gemma-4-E4B-it", "Did you mean 'google/gemma-4-E4B-it'?"),
        ("a/b --preset ende-low", "Give names of models, or a configuration"),
        ("", "Give names of models, or a configuration"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    hub: None, cache: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert alignatt(["models", "download", *name.split()]) == 2
    assert said in capsys.readouterr().err
    assert not list(cache.glob("**/*.safetensors"))


def test_without_a_network_the_way_round_is_said(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert alignatt(["models", "download", f"some/model@{COMMIT}"]) == 2
    said = capsys.readouterr().err
    assert "alignatt models download some/model --to DIR, and copy DIR here." in said
    assert said.count("\n") == 1


def test_a_full_disk_is_said_before_anything_is_fetched(
    hub: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = Published("some/model", COMMIT, "translation", 1e9)
    monkeypatch.setattr(catalogue, "CATALOGUE", (huge,))
    with pytest.raises(UserError, match=r"some/model takes 1000000000\.0 GB and .* GB free"):
        weights.download("some/model", COMMIT)
