"""The graph of dense vectors is built beside the collection, which is searched and changed meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qianru.errors import CollectionError
from qianru.index.collection import Collection
from qianru.index.layout import Layout
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.types import Document

N, DIM = 1_500, 32


def word(i: int) -> str:
    """The i-th word, which no segmenter takes apart."""
    return "zq" + "".join(chr(97 + int(digit)) for digit in f"{i:04}")


@pytest.fixture(scope="module")
def words() -> WordVectorModel:
    """Words of vectors in 40 clumps, so that neighbours mean something."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((40, DIM))
    vectors = centres[np.arange(N + 50) % 40] + 0.6 * random.standard_normal((N + 50, DIM))
    return WordVectorModel(WordVectors([word(i) for i in range(N + 50)], vectors.astype(np.float32)))


@pytest.fixture(params=["float32", "float16", "int8", "binary"])
def many(
    request: pytest.FixtureRequest, words: WordVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Collection]:
    monkeypatch.setattr("qianru.index.engine.GRAPH_ABOVE_KB", 50)
    with Collection.create(tmp_path / "c", words, layout=Layout(dense=request.param)) as collection:
        collection.add([Document(str(i), word(i), {"half": i % 2}) for i in range(N)])
        yield collection


def recall(collection: Collection, words: WordVectorModel, gone: set[int], **how: Any) -> float:
    """Of the ten nearest of 50 words, how many a search finds; its scores are cosines in float32."""
    vectors = words.encode([word(i) for i in range(N)]).dense
    assert vectors is not None
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alive = [i for i in range(N) if i not in gone and (not how or i % 2 == 0)]
    found = 0
    for i in range(50):
        nearest = sorted(alive, key=lambda j: -float(vectors[i] @ vectors[j]))[:10]
        hits = collection.search(word(i), 10, **how)
        found += len({hit.id for hit in hits} & {str(j) for j in nearest})
        for hit in hits[:3]:
            assert hit.score == pytest.approx(float(vectors[i] @ vectors[int(hit.id)]), abs=1e-5)
    return found / 500


def test_a_graph_finds_the_nearest_and_what_came_meanwhile(many: Collection, words: WordVectorModel) -> None:
    least = 0.8 if many._layout.dense == "binary" else 0.95           # 32 numbers are 32 bits
    assert recall(many, words, set()) > (least if many._layout.dense == "binary" else 0.99)
    assert many.optimize(wait=False)
    many.delete(["3", "4"])                                          # while it is being built
    many.add([Document("新", word(N))])
    assert many.search(word(N), 1)[0].id == "新"
    assert many.optimize(wait=True)
    assert many.search(word(N), 1)[0].id == "新"
    assert not {"3", "4"} & {hit.id for hit in many.search(word(3), 20)}
    engine = many._follow()._engine
    assert engine is not None
    assert engine._opened().info().indexed_vectors_count > N / 2
    many.delete("新")
    assert recall(many, words, {3, 4}) > least
    assert recall(many, words, {3, 4}, where="half = 0") > least
    many.close()
    assert not list(many.path.glob("engine.*"))
    with Collection.open(many.path) as again:
        assert recall(again, words, {3, 4}) > least
        assert not again.optimize()                                   # nothing is left to do


def test_an_index_that_is_empty_is_an_index(words: WordVectorModel, tmp_path: Path) -> None:
    """An engine without documents has length 0 and must not pass for none: a second one stood in its folder."""
    with Collection.create(tmp_path / "c", words) as collection:
        follower = collection._follow()
        assert follower._engine is not None
        assert follower._index is follower._engine


def test_vectors_get_a_graph_also_beside_words(
    words: WordVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine counts sparse vectors as indexed from the start; with them the dense ones never got a graph."""
    monkeypatch.setattr("qianru.index.engine.GRAPH_ABOVE_KB", 50)
    with Collection.create(tmp_path / "c", ["bm25", words]) as collection:
        collection.add([Document(str(i), word(i)) for i in range(N)])
        assert collection.optimize()
        assert not collection.optimize()
        collection.add([Document(f"又{i}", word(i)) for i in range(450)])       # 57 KB outside
        assert collection.optimize()
    with Collection.open(tmp_path / "c") as again:
        assert not again.optimize()
        engine = again._follow()._engine
        assert engine is not None
        assert list(engine._path.glob("shard/segments/*/vector_index-dense/graph*"))


def test_more_vectors_and_filters_are_searched_with_more_effort(words: WordVectorModel, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", words) as collection:
        engine = collection._follow()._engine
        assert engine is not None
        few, filtered = engine._effort(10, filtered=False), engine._effort(10, filtered=True)
        assert filtered == 3 * few
        assert engine._effort(few, filtered=False) == 2 * few        # the engine wants some more than it gives
        engine._size = 320_000
        assert engine._effort(10, filtered=False) == 2 * few
        assert engine._effort(10, filtered=True) == 6 * few


def test_few_vectors_get_no_graph(words: WordVectorModel, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", words) as collection:
        collection.add([word(1), word(2)])
        assert not collection.optimize()
    with Collection.create(tmp_path / "d") as collection:
        collection.add(["只有词"])
        assert not collection.optimize()
    with Collection.open(tmp_path / "d", read_only=True) as reader, pytest.raises(CollectionError, match="read-only"):
        reader.optimize()


@pytest.mark.parametrize("many", ["float32"], indirect=True)
def test_closing_throws_an_unfinished_graph_away(many: Collection) -> None:
    many.optimize(wait=False)
    build = many._follow()._build
    assert build is not None
    many.close()
    assert not list(many.path.glob("engine.*"))
    with Collection.open(many.path) as again:
        assert again.search(word(7), 1)[0].id == "7"


@pytest.mark.parametrize("many", ["float32"], indirect=True)
def test_a_child_that_is_killed_leaves_all_as_it_was(many: Collection, caplog: pytest.LogCaptureFixture) -> None:
    many.optimize(wait=False)
    build = many._follow()._build
    assert build is not None
    build._process.kill()
    while not build.done:
        time.sleep(0.01)
    assert many.search(word(7), 1)[0].id == "7"
    assert "could not be built" in caplog.text
    assert many.optimize()
    assert many.search(word(7), 1)[0].id == "7"


@pytest.mark.parametrize("many", ["float32"], indirect=True)
def test_the_child_runs_nothing_of_the_folder_that_it_is_started_in(
    many: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name in ("numpy", "secrets", "qianru"):
        (tmp_path / "elsewhere" / f"{name}.py").write_text("raise SystemExit('你好')")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert many.optimize()
    assert not many.optimize()


@pytest.mark.parametrize("many", ["float32"], indirect=True)
def test_a_child_that_was_left_alone_does_not_write_into_the_next_ones_copy(many: Collection) -> None:
    many.optimize(wait=False)
    left = many._follow()._build
    assert left is not None
    many._follow()._build = None        # as after a kill: nobody waits for it
    assert many.optimize(wait=False)
    build = many._follow()._build
    assert build is not None
    assert build._new != left._new
    assert not left._new.exists()
    left._process.wait()
    left._said.close()
    assert many.optimize()
    assert many.search(word(7), 1)[0].id == "7"
    many.close()
    assert not list(many.path.glob("engine.*"))
