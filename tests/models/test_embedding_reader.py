"""Folders of embeddings read back: mapped, in parts, and held against their checksums."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qianru.errors import BadFile, BadInput
from qianru.models.base import ModelSpec
from qianru.models.embedding_files import load_embeddings, map_embeddings, save_embeddings
from qianru.models.embedding_folder import EmbedPlan, embed_to
from qianru.models.embedding_reader import StoredEmbeddings, check_embeddings
from qianru.models.lexical import Counts
from qianru.types import Embeddings, Ragged, SparseRows

LINES = ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡", "春眠不觉晓", "处处闻啼鸟", "夜来风雨声"]
NAMED = [(f"诗:{i}", line) for i, line in enumerate(LINES)]


class AllKinds:
    """Every kind of vectors of a text, made of the numbers of its characters."""

    spec = ModelSpec("all", "test", ("dense", "sparse", "multi"), "f" * 64, dim=2)

    def encode(self, texts: list[str], **options: Any) -> Embeddings:
        lengths = [len(text) - i % 3 for i, text in enumerate(texts)]
        rows = np.array([[ord(text[0]), ord(text[1])] for text in texts], np.float32)
        numbers = np.repeat([ord(text[0]) for text in texts], lengths)
        data = np.stack([numbers, numbers], axis=1).astype(np.float32)
        return Embeddings("all", np.array(lengths), 1, rows,
                          SparseRows.from_rows([{ord(text[0]) % 9: 1.5, 9: 2.0} for text in texts], 10),
                          Ragged(data, np.concatenate([[0], np.cumsum(lengths)])))


def assert_same(got: Embeddings, want: Embeddings) -> None:
    assert got.kinds == want.kinds
    assert_array_equal(got.n_tokens, want.n_tokens)
    if want.dense is not None:
        assert_array_equal(got.dense, want.dense)
    if got.sparse is not None and want.sparse is not None:
        assert_array_equal(got.sparse.to_dense(), want.sparse.to_dense())
    if got.multi is not None and want.multi is not None:
        assert_array_equal(got.multi.data, want.multi.data)
        assert_array_equal(got.multi.offsets, want.multi.offsets)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven texts in files of two."""
    embed_to(tmp_path / "v", AllKinds(), NAMED, EmbedPlan(shard_texts=2))
    return tmp_path / "v"


def test_a_mapped_file_holds_what_the_read_one_does_and_cannot_be_written(folder: Path) -> None:
    path = folder / "00001.safetensors"
    mapped, read = map_embeddings(path), load_embeddings(path)
    assert (mapped.ids, mapped.facts) == (read.ids, read.facts)
    assert_same(mapped.embeddings, read.embeddings)
    assert isinstance(mapped.embeddings.dense, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        mapped.embeddings.dense[0] = 0


@pytest.mark.parametrize("content", [b"", b"\x09", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
def test_mapping_something_else_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadFile):
        map_embeddings(tmp_path / "x")


def test_a_file_that_is_cut_off_is_an_error(folder: Path) -> None:
    path = folder / "00001.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadFile, match="cannot be read as embeddings"):
        map_embeddings(path)


@pytest.mark.parametrize(("start", "stop"), [(0, 7), (0, 0), (2, 4), (1, 2), (1, 6), (6, 7), (7, 7)])
def test_any_rows_come_back_across_files(folder: Path, start: int, stop: int) -> None:
    stored = StoredEmbeddings(folder)
    parts = [AllKinds().encode(LINES[at : at + 2]) for at in range(0, 7, 2)]     # as they were embedded
    dense = np.concatenate([part.dense for part in parts if part.dense is not None])
    multi = [part.multi.row(i) for part in parts if part.multi is not None for i in range(len(part))]
    got = stored.rows(start, stop)
    assert len(got) == stop - start
    assert_array_equal(got.dense, dense[start:stop])
    assert got.multi is not None
    assert got.sparse is not None
    for i in range(stop - start):
        assert_array_equal(got.multi.row(i), multi[start + i])
        assert_array_equal(got.sparse.row(i)[0], sorted({ord(LINES[start + i][0]) % 9, 9}))
    for wrong in ((-1, 2), (3, 2), (0, 8)):
        with pytest.raises(BadInput, match="holds 7 texts; there are no rows"):
            stored.rows(*wrong)


def test_the_whole_folder_in_order(folder: Path, tmp_path: Path) -> None:
    stored = StoredEmbeddings(folder)
    assert (len(stored), stored.n_shards) == (7, 4)
    assert list(stored.ids()) == [name for name, _ in NAMED]
    assert [len(shard.ids) for shard in stored] == [2, 2, 2, 1]
    embed_to(tmp_path / "none", AllKinds(), [])
    nothing = StoredEmbeddings(tmp_path / "none")
    assert (len(nothing), nothing.rows(0, 0).kinds) == (0, ("dense", "sparse", "multi"))


def test_reading_a_folder_larger_than_the_memory_keeps_little_of_it(tmp_path: Path) -> None:
    """200 MB in 4 files; mapped pages are the system's to take back, memory of our own is not."""
    import subprocess
    import sys

    rows = Embeddings("m", np.ones(12_500, np.int64), 0, np.ones((12_500, 1000), np.float32))
    shards = []
    for number in range(4):
        path = tmp_path / f"{number:05d}.safetensors"
        save_embeddings(path, rows)
        shards.append({"file": path.name, "n_texts": 12_500, "sha256": ""})
    card = {"format": 1, "model": "m", "kinds": ["dense"], "dim": 1000, "complete": True, "n_texts": 50_000,
            "shards": shards}
    (tmp_path / "manifest.json").write_text(json.dumps(card))
    code = f"""
import resource
from pathlib import Path
from qianru.models.embedding_reader import StoredEmbeddings
stored = StoredEmbeddings(Path({str(tmp_path)!r}))
used = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
before = used()
total = sum(float(stored.rows(at, at + 1000).dense.sum()) for at in range(0, 50_000, 1000))
assert total == 5e7, total
assert used() - before < 40_000, used() - before      # kilobytes
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_whole_folder_passes_the_check_and_every_damage_is_named(folder: Path) -> None:
    found = check_embeddings(folder)
    assert (found.n_texts, found.n_shards, found.complete, found.problems) == (7, 4, True, ())
    assert found.size_bytes == sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    path = folder / "00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    (folder / "00003.safetensors").unlink()
    (folder / "00009.safetensors").write_bytes(b"")
    problems = check_embeddings(folder).problems
    assert [next(name for name in ("00001", "00003", "00009") if name in line) for line in problems] == [
        "00001", "00003", "00009"]
    assert "its SHA-256 differs" in problems[0]
    assert "is missing" in problems[1]


def test_a_manifest_that_does_not_add_up_is_refused(folder: Path) -> None:
    card = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(card | {"n_texts": 8}))
    assert check_embeddings(folder).problems == (f"{folder} holds 7 texts; its manifest says 8.",)
    with pytest.raises(BadFile, match="do not add up"):
        StoredEmbeddings(folder)
    for wrong in ({"kinds": None}, {"dim": "3"}, {"dim": -1}, {"model": None}):
        (folder / "manifest.json").write_text(json.dumps(card | wrong))
        with pytest.raises(BadFile, match="does not say which vectors"):
            StoredEmbeddings(folder)
    (folder / "manifest.json").write_text(json.dumps(card | {"complete": False, "shards": []}))
    assert check_embeddings(folder).n_texts == 7
    with pytest.raises(BadFile, match="not complete"):
        StoredEmbeddings(folder)


def test_the_manifest_names_inputs_rows_and_checksums(tmp_path: Path) -> None:
    embed_to(tmp_path / "v", Counts().fit(LINES), NAMED, EmbedPlan(shard_texts=4))
    card = json.loads((tmp_path / "v" / "manifest.json").read_text())
    assert [(entry["file"], entry["n_texts"], entry["n_truncated"]) for entry in card["shards"]] == [
        ("00000.safetensors", 4, 0), ("00001.safetensors", 3, 0)]
    assert all(len(entry[name]) == 64 for entry in card["shards"] for name in ("texts", "sha256"))
