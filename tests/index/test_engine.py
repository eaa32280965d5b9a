"""What is special about the index on disk: reopening, crashes, damage, full disks, graphs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from by_hand import vectors

from qianru.errors import CollectionDamaged, CollectionError, StorageFailed
from qianru.index import engine, engine_seal
from qianru.index.engine import EngineIndex
from qianru.index.engine_filter import translated
from qianru.index.exact import ExactIndex
from qianru.index.filter import Filter, field

HERE = Path(__file__).parent


def some(start: int, n: int) -> tuple:
    span = range(start, start + n)
    return (
        np.array(span),
        vectors([[i, -i] for i in span], [{i % 5: 1.0 + i} for i in span]),
        [{"path": f"卷{i % 3}/{i}"} for i in span],
    )


def found(index: EngineIndex, term: int = 2) -> list[int]:
    (ranking,) = index.search(vectors(sparse=[{term: 1.0}]), "sparse", 1000)
    return sorted(ranking.ids.tolist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed index of 100 documents at transaction 7."""
    index = EngineIndex.create(tmp_path / "index", ["dense", "sparse"], 2)
    index.add(*some(0, 100))
    index.mark(7)
    index.close()
    return tmp_path / "index"


# reopening

def test_what_was_marked_is_there_after_reopening(folder: Path) -> None:
    index = EngineIndex.load(folder)
    assert (index.sequence, len(index), index.kinds) == (7, 100, ("dense", "sparse"))
    assert found(index) == list(range(2, 100, 5))
    (ranking,) = index.search(vectors(dense=[[1, 0]]), "dense", 2, field("path").startswith("卷1/"))
    assert ranking.ids.tolist() == [97, 94]
    index.close()


def test_reopening_again_and_again_changes_nothing(folder: Path) -> None:
    for i in range(4):
        index = EngineIndex.load(folder)
        assert found(index) == [n for n in range(2, 100, 5) if n // 10 >= i]
        index.delete(np.arange(10 * i, 10 * i + 10))
        index.mark(8 + i)
        index.close()


def test_what_came_after_the_mark_may_be_added_again(folder: Path) -> None:
    for _ in range(3):
        index = EngineIndex.load(folder)
        assert index.sequence == 7
        index.add(*some(100, 10))
        index.delete(np.array([2]))
        assert found(index) == [*range(7, 100, 5), 102, 107]
        index.close()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "论文.txt").write_text("三年的心血")
    with pytest.raises(CollectionError, match="is not empty"):
        EngineIndex.create(tmp_path, ["sparse"])
    assert (tmp_path / "论文.txt").read_text() == "三年的心血"


# crashes

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_engine import EngineIndex, change
index = EngineIndex.load(Path(sys.argv[1]))
sequence = index.sequence
while True:
    sequence += 1
    print(sequence, flush=True)
    change(index, sequence)
    if sequence % 9 == 0:
        index.mark(sequence)
"""


def change(index: EngineIndex | ExactIndex, sequence: int) -> None:
    """One transaction, the same whenever it is asked for: adds up to 60 of 600 documents, or deletes them."""
    random = np.random.default_rng(sequence)
    ids = random.choice(600, random.integers(1, 60), replace=False)
    if sequence % 4 == 0:
        index.delete(ids)
        return
    sparse = [dict(zip(range(8), random.integers(0, 3, 8).astype(float).tolist(), strict=True)) for _ in ids]
    index.add(ids, vectors(random.integers(-9, 9, (len(ids), 2)), sparse), [{"s": sequence}] * len(ids))


def test_killed_at_any_moment_a_replay_makes_it_whole(tmp_path: Path) -> None:
    path, truth, done = tmp_path / "index", ExactIndex(["dense", "sparse"], 2), 0
    EngineIndex.create(path, ["dense", "sparse"], 2).close()
    environment = os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[2])}
    for i in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(HERE)], stdout=subprocess.PIPE, text=True, env=environment)
        said = [child.stdout.readline()]
        time.sleep(0.05 + 0.07 * i)
        child.kill()
        said += child.stdout.read().split()
        child.stdout.close()
        child.wait()
        last = int(said[-1])
        index = EngineIndex.load(path)
        assert index.sequence <= last
        for sequence in range(index.sequence + 1, last + 1):
            change(index, sequence)
        while done < last:
            done += 1
            change(truth, done)
        assert len(index) == len(truth)
        for kind, queries in (
            ("dense", vectors(dense=[[1, 0], [0, 1], [3, 7]])), ("sparse", vectors(sparse=[{0: 1.0, 5: 2.0}, {7: 1.0}]))
        ):
            for where in (None, field("s") > last - 10):
                for a, b in zip(*(x.search(queries, kind, 700, where) for x in (index, truth)), strict=True):
                    assert a.ids.tolist() == b.ids.tolist()
                    assert a.scores.tolist() == b.scores.tolist()
        index.mark(last)
        index.close()


def test_left_unsealed_by_another_run_of_the_machine_it_must_be_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = EngineIndex.load(folder)
    index.add(*some(100, 1))
    index.close()
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(engine_seal, "BOOT_ID", tmp_path / "boot")
    with pytest.raises(CollectionDamaged, match="middle of a change"):
        EngineIndex.load(folder)


# damage

@pytest.mark.parametrize("how", ["empty", "half", "garbled", "gone"])
def test_damage_to_any_file_is_named_or_does_no_harm(folder: Path, tmp_path: Path, how: str) -> None:
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 15
    for i, name in enumerate(files):
        copy = tmp_path / str(i)
        subprocess.run(["cp", "-r", "--sparse=always", folder, copy], check=True)
        file = copy / name
        if how == "gone":
            file.unlink()
        elif how == "garbled":
            with file.open("r+b") as stream:
                start = stream.read(4096)
                stream.seek(0)
                stream.write(bytes(byte ^ 0x5A for byte in start))
        else:
            os.truncate(file, 0 if how == "empty" else file.stat().st_size // 2)
        if file.name in engine_seal.PASSED_OVER | engine_seal.SIZE_ONLY:
            with suppress(CollectionDamaged):
                index = EngineIndex.load(copy)
                assert found(index) == list(range(2, 100, 5))
                index.close()
        else:
            with pytest.raises(CollectionDamaged, match=f"{re.escape(str(copy))} is damaged.*qianru rebuild"):
                EngineIndex.load(copy)


def test_an_intruding_segment_is_noticed(folder: Path, tmp_path: Path) -> None:
    other = EngineIndex.create(tmp_path / "other", ["dense", "sparse"], 2)
    other.add(*some(500, 3))
    other.mark(1)
    other.close()
    (segment,) = (tmp_path / "other" / "shard" / "segments").iterdir()
    shutil.copytree(segment, folder / "shard" / "segments" / segment.name)
    with pytest.raises(CollectionDamaged, match="103 of 100"):
        EngineIndex.load(folder)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "kinds": 3}', "\x00"])
def test_a_seal_that_is_none_is_named(folder: Path, content: str) -> None:
    (folder / "index.json").write_text(content)
    with pytest.raises(CollectionDamaged, match=r"index\.json cannot be used"):
        EngineIndex.load(folder)


def test_a_folder_that_is_no_index_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(CollectionDamaged, match=r"index\.json"):
            EngineIndex.load(path)


def test_a_panic_of_the_engine_becomes_an_error_of_ours(folder: Path) -> None:
    (status,) = folder.glob("shard/segments/*/vector_storage-dense/vectors/status.dat")
    os.truncate(status, 0)
    seal = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(seal | {"files": None, "n_points": None, "boot": engine_seal.boot()}))
    with pytest.raises(CollectionDamaged, match="cannot load it"):
        EngineIndex.load(folder)


# disks

def test_too_little_room_is_refused_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = EngineIndex.load(folder)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 << 20, 90 << 20, 10 << 20))
    with pytest.raises(StorageFailed, match=r"10 MB left.*needs 64 MB"):
        index.add(*some(100, 10))
    with pytest.raises(StorageFailed, match="10 MB left"):
        EngineIndex.create(folder.parent / "other", ["sparse"])
    assert found(index) == list(range(2, 100, 5))
    index.close()
    assert len(EngineIndex.load(folder)) == 100


def test_a_write_that_fails_becomes_an_error_of_ours(tmp_path: Path) -> None:
    code = dedent("""
        import resource, signal, sys
        from pathlib import Path
        from qianru.errors import StorageFailed
        from qianru.index.engine import EngineIndex
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            EngineIndex.create(Path(sys.argv[1]), ["sparse"])
        except StorageFailed as error:
            print(error)
    """)
    environment = os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[2])}
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "i")], capture_output=True, text=True, check=True, env=environment)
    assert "could not be made: the disk is full" in said.stdout


def test_a_folder_that_cannot_be_written_says_so(folder: Path) -> None:
    folder.chmod(0o500)
    (folder / "shard").chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write anywhere")
        with pytest.raises(StorageFailed, match="may be read and written"):
            EngineIndex.load(folder)
    finally:
        folder.chmod(0o700)
        (folder / "shard").chmod(0o700)


# graphs

def test_optimised_dense_vectors_are_still_found_and_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "GRAPH_ABOVE_KB", 100)
    index = EngineIndex.create(tmp_path / "index", ["dense", "sparse"], 16)
    random = np.random.default_rng(0)
    array = random.standard_normal((3000, 16)).astype(np.float32)
    embeddings = vectors(array, [{i % 7: 1.0 + i} for i in range(3000)])
    index.add(np.arange(3000), embeddings, [{"n": i} for i in range(3000)])
    index.mark(3)
    seen: list[tuple[int, int | None]] = []
    assert index.optimize(lambda done, total: seen.append((done, total)))
    assert seen == [(0, 1), (1, 1)]
    queries = vectors(random.standard_normal((50, 16)), [{}] * 50)
    rankings = index.search(queries, "dense", 10)
    best = np.argsort(-(queries.dense.astype(np.float32) @ array.T), axis=1)[:, :10]
    assert np.mean([len(set(a.ids) & set(b)) / 10 for a, b in zip(rankings, best, strict=True)]) > 0.99

    index.delete(np.arange(0, 1000))            # from the graph's segment; what is new lies in another
    index.add(np.arange(2000, 3000), vectors(np.full((1000, 16), -9.0), [{50: 1.0}] * 1000), [{}] * 1000)
    assert len(index) == 2000
    for again in range(2):
        assert found(index, 3) == [i for i in range(1000, 2000) if i % 7 == 3]
        assert found(index, 50) == list(range(2000, 3000))
        (ranking,) = index.search(vectors([[1.0] * 16]), "dense", 3000)
        assert sorted(ranking.ids.tolist()) == list(range(1000, 3000))
        assert ranking.ids[-1000:].tolist() == list(range(2000, 3000))
        if not again:
            index.mark(4)
            index.close()
            index = EngineIndex.load(tmp_path / "index")
    index.close()


def test_sparse_vectors_alone_need_no_optimising(tmp_path: Path) -> None:
    index = EngineIndex.create(tmp_path / "index", ["sparse"])
    assert not index.optimize()
    index.close()


# filters

@pytest.mark.parametrize(("text", "exact"), [
    ('path ^= "民法典/" and (year >= 2020 or lang in ("zh", "en")) and not draft = true', True),
    ("score = 0.1 or year in (2020, 2021.0)", True),
    ("n = 9007199254740993", True),
    ("n > 9007199254740993", False),
    ('date >= "2024-01-31"', False),
    ('not date >= "2024-01-31"', False),
    ('year = 1 and date >= "2024-01-31"', False),
])
def test_the_engine_itself_checks_what_it_can_say_exactly(text: str, exact: bool) -> None:
    assert translated(Filter.parse(text)).exact is exact


def test_fields_beyond_those_indexed_are_filtered_all_the_same(tmp_path: Path) -> None:
    index = EngineIndex.create(tmp_path / "index", ["dense"], 2)
    n = engine.FIELDS_INDEXED + 5
    index.add(np.arange(n), vectors(dense=[[1, 1]] * n), [{f"field{i:02}": "花", "n": i} for i in range(n)])
    for i in (0, n - 1):
        (ranking,) = index.search(vectors(dense=[[1, 1]]), "dense", 10, field(f"field{i:02}").startswith("花"))
        assert ranking.ids.tolist() == [i]
    index.close()
