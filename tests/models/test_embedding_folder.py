"""Embeddings in files: round trips, resuming, refusing what does not belong together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from qianru.cli.app import run
from qianru.errors import BadFile, BadInput, CollectionBusy, ModelMismatch, ShapeMismatch, SpecMismatch, StorageFailed
from qianru.models.base import ModelSpec
from qianru.models.embedding_files import load_embeddings, map_embeddings, save_embeddings
from qianru.models.embedding_folder import EmbedPlan, embed_to, read_manifest, read_shards
from qianru.models.lexical import Counts
from qianru.types import Embeddings, Ragged, SparseRows

POEMS = ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡", "春眠不觉晓", "处处闻啼鸟", "夜来风雨声"]
NAMED = [(f"诗.txt:{i}", text) for i, text in enumerate(POEMS, 1)]
BY_TWO = EmbedPlan(shard_texts=2)


class Characters:
    """A model that counts its work: the vector of a text is its first characters' numbers."""

    def __init__(self, fingerprint: str = "f" * 64, fails_after: int = 99) -> None:
        self.spec = ModelSpec("characters", "test", ("dense",), fingerprint, dim=3)
        self.seen: list[str] = []
        self._left = fails_after

    def encode(self, texts: list[str], **options: Any) -> Embeddings:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        self.seen += texts
        rows = [[ord(c) for c in text[:3]] for text in texts]
        return Embeddings("characters", np.array([5] * len(texts)), 1, np.array(rows, np.float32))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


def test_all_three_kinds_and_ids_come_back_from_a_file(tmp_path: Path) -> None:
    sparse = SparseRows.from_rows([{5: 1.5, 2: 2.0}, {}], 9)
    multi = Ragged(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 3, 3]))
    made = Embeddings("m", np.array([4, 0]), 1, np.eye(2, dtype=np.float32), sparse, multi)
    save_embeddings(tmp_path / "one", made, ["甲", "\ud800"], {"note": 7})
    ids, back, facts = load_embeddings(tmp_path / "one")
    assert (ids, facts, back.model, back.n_truncated) == (["甲", "\ud800"], {"note": 7}, "m", 1)
    assert back.sparse is not None
    assert back.multi is not None
    for got, want in ((back.dense, made.dense), (back.sparse.to_dense(), sparse.to_dense()),
                      (back.multi.data, multi.data), (back.multi.offsets, multi.offsets), (back.n_tokens, [4, 0])):
        assert_array_equal(got, want)
    save_embeddings(tmp_path / "two", made, ["甲", "\ud800"], {"note": 7})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with pytest.raises(ShapeMismatch, match="1 ids do not fit 2 texts"):
        save_embeddings(tmp_path / "one", made, ["甲"])


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_a_file_of_something_else_is_no_embeddings(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadFile, match="cannot be read as embeddings"):
        load_embeddings(tmp_path / "x")
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(BadFile, match="holds no embeddings that Qianru wrote"):
        load_embeddings(tmp_path / "model.safetensors")


def test_texts_are_written_in_shards_and_come_back_in_order(tmp_path: Path) -> None:
    report = embed_to(tmp_path / "v", Characters(), NAMED, BY_TWO)
    assert (report.n_texts, report.n_before, report.n_truncated, report.n_shards) == (7, 0, 4, 4)
    shards = list(read_shards(tmp_path / "v"))
    assert [name for shard in shards for name in shard.ids] == [name for name, _ in NAMED]
    dense = np.concatenate([shard.embeddings.dense for shard in shards if shard.embeddings.dense is not None])
    assert_array_equal(dense, Characters().encode(POEMS).dense)
    card = read_manifest(tmp_path / "v")
    assert (card["n_texts"], card["complete"], card["model"]) == (7, True, "characters")


def test_what_is_done_is_not_done_again_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    embed_to(tmp_path / "whole", Characters(), NAMED, BY_TWO)
    stopped = Characters(fails_after=2)
    with pytest.raises(KeyboardInterrupt):
        embed_to(tmp_path / "v", stopped, NAMED, BY_TWO)
    with pytest.raises(BadFile, match="not complete: embedding was stopped"):
        next(read_shards(tmp_path / "v"))
    (tmp_path / "v" / ".00002.safetensors.new").write_bytes(b"half")
    again = Characters()
    report = embed_to(tmp_path / "v", again, iter(NAMED), BY_TWO)
    assert (report.n_texts, report.n_before, report.n_truncated) == (7, 4, 4)
    assert again.seen == POEMS[4:]
    assert contents(tmp_path / "v") == contents(tmp_path / "whole")
    idle = Characters()
    assert embed_to(tmp_path / "v", idle, NAMED, BY_TWO).n_before == 7
    assert idle.seen == []
    assert contents(tmp_path / "v") == contents(tmp_path / "whole")


def test_another_model_plan_or_input_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    embed_to(tmp_path / "v", Characters(), NAMED, BY_TWO)
    before = contents(tmp_path / "v")
    for model, texts, plan, message in (
        (Characters("e" * 64), NAMED, BY_TWO, "begun with the fingerprint 'ffffffffffff…', not 'eeeeeeeeeeee…'"),
        (Characters(), NAMED, EmbedPlan(shard_texts=3), "begun with the shard texts '2', not '3'"),
        (Characters(), NAMED, EmbedPlan("query", shard_texts=2), "begun with the role 'document', not 'query'"),
    ):
        with pytest.raises(ModelMismatch, match=message):
            embed_to(tmp_path / "v", model, texts, plan)
    changed = [*NAMED[:3], (NAMED[3][0], "低头思故郷"), *NAMED[4:]]
    for texts in (changed, [("x", POEMS[0]), *NAMED[1:]], [*NAMED, ("new", "花落知多少")]):
        with pytest.raises(BadInput, match=r"holds the vectors of other texts: the input has changed"):
            embed_to(tmp_path / "v", Characters(), texts, BY_TWO)
    with pytest.raises(BadInput, match="of more texts than there are now"):
        embed_to(tmp_path / "v", Characters(), NAMED[:4], BY_TWO)
    assert contents(tmp_path / "v") == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"is not empty and holds no manifest\.json; it has notes\.txt"):
        embed_to(tmp_path, Characters(), NAMED)
    with pytest.raises(BadInput, match="is a file"):
        embed_to(tmp_path / "notes.txt", Characters(), NAMED)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 9, "shards": []}))
    with pytest.raises(SpecMismatch, match="Upgrade Qianru"):
        embed_to(tmp_path, Characters(), NAMED)
    with pytest.raises(BadFile, match="is no folder of embeddings"):
        read_manifest(tmp_path / "nowhere")


def test_a_damaged_shard_is_found_and_made_anew(tmp_path: Path) -> None:
    embed_to(tmp_path / "v", Characters(), NAMED, BY_TWO)
    before = contents(tmp_path / "v")
    shard = tmp_path / "v" / "00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BadFile, match=r"00001\.safetensors is missing or not the file that was written"):
        list(read_shards(tmp_path / "v"))
    shard.unlink()
    again = Characters()
    embed_to(tmp_path / "v", again, NAMED, BY_TWO)
    assert again.seen == POEMS[2:4]
    assert contents(tmp_path / "v") == before


def test_two_processes_do_not_write_to_one_folder(tmp_path: Path) -> None:
    def nosy() -> Iterator[tuple[str, str]]:
        yield NAMED[0]
        with pytest.raises(CollectionBusy, match="Another process is writing vectors"):
            embed_to(tmp_path / "v", Characters(), NAMED)
        yield NAMED[1]

    assert embed_to(tmp_path / "v", Characters(), nosy()).n_texts == 2


def test_no_texts_make_an_empty_complete_folder_and_progress_ends_at_the_total(tmp_path: Path) -> None:
    assert embed_to(tmp_path / "empty", Characters(), []).n_shards == 0
    assert list(read_shards(tmp_path / "empty")) == []
    told: list[tuple[int, int | None]] = []
    embed_to(tmp_path / "v", Characters(), NAMED, BY_TWO, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, None), (4, None), (6, None), (7, None), (7, 7)]


def test_any_model_can_be_embedded_with(tmp_path: Path) -> None:
    embed_to(tmp_path / "v", Counts().fit(POEMS), NAMED)
    [shard] = read_shards(tmp_path / "v")
    assert shard.embeddings.kinds == ("sparse",)


def test_killed_and_resumed_the_files_are_those_of_one_run(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")
    from checkpoints import build

    torch.set_num_threads(1)      # two threads wait for each other where other tests run
    model = build("m3e", tmp_path / "model", data)
    lines = [f"{POEMS[i % 7]}，{i}。{POEMS[i % 5] * (i % 20)}" for i in range(3000)]
    (tmp_path / "poems.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def command(output: str) -> list[str]:
        return ["embed", "poems.txt", "-o", output, "-m", str(model), "--shard-texts", "100"]

    shards = tmp_path / "killed"
    running = subprocess.Popen([sys.executable, "-m", "qianru", *command("killed")], stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 200
    while not (shards / "00002.safetensors").exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert not json.loads((shards / "manifest.json").read_text())["complete"]
    times = {path.name: path.stat().st_mtime_ns for path in shards.glob("*.safetensors")}
    assert 3 <= len(times) < 30
    for output in ("killed", "whole"):
        assert run(command(output)) == 0
    assert {name: (shards / name).stat().st_mtime_ns for name in times} == times     # not made again
    assert len(contents(shards)) == 31
    assert contents(shards) == contents(tmp_path / "whole")


@pytest.mark.parametrize("read", [load_embeddings, map_embeddings])
@pytest.mark.parametrize("change", [
    {"sparse.offsets": np.array([0, 10**8, 1])}, {"sparse.offsets": np.array([0, -1, 1])},
    {"sparse.offsets": np.array([0.0, 1, 1])}, {"multi.offsets": np.array([0, 9, 1])}, {"multi.data": np.ones(1)},
    {"dense": np.ones(2)}, {"n_tokens": np.ones((2, 1))}, {"ids": ["甲", 2]}, {"model": 7}, {"n_truncated": "1"},
])
def test_a_file_whose_parts_contradict_each_other_is_damaged(
    tmp_path: Path, read: Callable[[Path], object], change: dict[str, Any]
) -> None:
    header = {"format": 1, "model": "m", "ids": ["甲", "乙"], "n_truncated": 0, "width": 9}
    arrays = {"n_tokens": np.ones(2, np.int64), "dense": np.ones((2, 3), np.float32), "sparse.offsets":
              np.array([0, 1, 1]), "sparse.terms": np.array([3]), "sparse.weights": np.ones(1, np.float32),
              "multi.data": np.ones((1, 3), np.float32), "multi.offsets": np.array([0, 1, 1])}

    def write(path: Path, change: dict[str, Any]) -> Path:
        told = header | {key: value for key, value in change.items() if key in header}
        save_file(arrays | {key: value for key, value in change.items() if key in arrays}, path,
                  metadata={"qianru": json.dumps(told)})
        return path

    read(write(tmp_path / "whole", {}))
    with pytest.raises(BadFile, match="damaged"):
        read(write(tmp_path / "damaged", change))


@pytest.mark.parametrize("read", [load_embeddings, map_embeddings])
def test_a_file_of_a_newer_format_says_so(tmp_path: Path, read: Callable[[Path], object]) -> None:
    save_file({"n_tokens": np.ones(1, np.int64)}, tmp_path / "new", metadata={"qianru": '{"format": 2, "ids": ["甲"]}'})
    with pytest.raises(SpecMismatch, match="newer format"):
        read(tmp_path / "new")


def test_a_full_disk_is_an_error_of_storage_and_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs a system that limits the size of files")
    made = Embeddings("m", np.ones(1_000, np.int64), dense=np.ones((1_000, 100), np.float32))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(StorageFailed, match="could not be written"):
            save_embeddings(tmp_path / "vectors", made)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error_of_storage_but_not_input_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("诗")
    with pytest.raises(StorageFailed, match="cannot be written: Not a directory"):
        embed_to(tmp_path / "file" / "vectors", Characters(), NAMED)

    def locked() -> Iterator[tuple[str, str]]:
        raise PermissionError(13, "Permission denied", "诗.txt")
        yield

    with pytest.raises(PermissionError, match=r"诗\.txt"):
        embed_to(tmp_path / "vectors", Characters(), locked())
    embed_to(tmp_path / "vectors", Characters(), NAMED)     # the lock has been let go of
