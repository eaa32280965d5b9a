"""Data sets from servers that speak as the hubs do."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from servers import Quiet, serving

from qianru.errors import BadFile, UnknownName
from qianru.models.data_sets import data_set_here, download_data_set

COMMIT = "c" * 40
FILES = {"data/test-00000-of-00001.parquet": b"PAR1" * 500, "data/train.jsonl": b'{"text": "x"}\n', "README.md": b"# x",
         "script.py": b"import os"}


class Hub(Quiet):
    """Both hubs' interfaces over FILES, without redirects."""

    asked: list[str] = []          # noqa: RUF012

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path).strip("/").split("/")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        match path:
            case ["api", "datasets", "C-MTEB", "STSB", "revision", ("main" | "abc")]:
                self.send_json({"sha": COMMIT, "siblings": [_huggingface(*file) for file in FILES.items()]})
            case ["datasets", "C-MTEB", "STSB", "resolve", commit, *file] if commit == COMMIT:
                self.asked.append("/".join(file))
                self.send(FILES["/".join(file)])
            case ["api", "v1", "datasets", "C-MTEB", "STSB"]:
                self.send_json({"Success": True, "Data": {"Id": 77}})
            case ["api", "v1", "datasets", "77", "repo", "tree"]:
                entries = [{"Path": path, "Size": len(content), "Type": "blob",
                            "Sha256": hashlib.sha256(content).hexdigest()} for path, content in FILES.items()]
                self.send_json({"Success": True, "Data": {"Files": entries}})
            case ["api", "v1", "datasets", "C-MTEB", "STSB", "repo"]:
                self.asked.append(query["FilePath"])
                self.send(FILES[query["FilePath"]])
            case _:
                self.send_json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")


def _huggingface(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    return {"rfilename": path, "size": len(content), "blobId": blob}


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("QIANRU_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QIANRU_CACHE", str(tmp_path / "cache"))
    Hub.asked = []
    with serving(Hub) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("MODELSCOPE_DOMAIN", url)
        yield url


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_tables_come_and_nothing_else_does(address: str, source: str) -> None:
    folder = download_data_set("C-MTEB/STSB", source=source)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "data/test-00000-of-00001.parquet", "data/train.jsonl"]
    assert (folder / "data" / "train.jsonl").read_bytes() == FILES["data/train.jsonl"]
    assert data_set_here(source, "C-MTEB/STSB") == folder


def test_what_is_there_is_not_loaded_again(address: str) -> None:
    download_data_set("C-MTEB/STSB")
    n = len(Hub.asked)
    download_data_set("C-MTEB/STSB")
    assert len(Hub.asked) == n


def test_a_revision_is_found_again_by_its_name(address: str) -> None:
    folder = download_data_set("C-MTEB/STSB", revision="abc")
    assert data_set_here("huggingface", "C-MTEB/STSB", "abc") == folder
    assert data_set_here("huggingface", "C-MTEB/STSB") is None


def test_only_the_named_files_come(address: str) -> None:
    folder = download_data_set("C-MTEB/STSB", only=["data/train"])
    assert [path.name for path in folder.rglob("*.*")] == ["train.jsonl"]
    with pytest.raises(BadFile, match="no tables below nothing"):
        download_data_set("C-MTEB/STSB", only=["nothing"])


def test_a_data_set_that_the_hub_lacks_is_an_error(address: str) -> None:
    with pytest.raises(UnknownName, match="no data set"):
        download_data_set("C-MTEB/STSC")
