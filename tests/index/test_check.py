"""A check names what is not as it was written; a repair makes again what follows from the documents, and only that."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from poems import POEMS

from qianru.errors import CollectionError
from qianru.index.collection import Collection
from qianru.models.bm25 import BM25
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import SEARCH
from qianru.types import Document, Embeddings


@pytest.fixture
def both(tmp_path: Path) -> Collection:
    """Words and dense vectors."""
    vectors = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    dense = WordVectorModel(WordVectors(["明月", "黄河", "春", "故乡", "白日"], vectors))
    collection = Collection.create(tmp_path / "both", [BM25(SEARCH, query_stop_lists=("zh", "en")), dense])
    collection.add(POEMS)
    collection.add([Document(str(i), "黄河 " * i + "明月", {"n": i}) for i in range(20)])
    collection.delete("3")
    return collection


def answers(collection: Collection) -> list[tuple[str, float]]:
    return [(hit.id, round(hit.score, 5)) for hit in collection.search("黄河 明月 春", 30)]


def run(collection: Collection, sql: str) -> None:
    collection._storage.connection.execute(sql)


def test_what_is_whole_is_clean(both: Collection, poems: Collection) -> None:
    for collection in (both, poems):
        assert collection.check().clean
        collection.search("黄河")
        collection.add([Document("长", "黄河 明月 " * 300)])      # the mean length has moved far
        collection.delete("春晓")
        assert collection.check().clean
    both.close()
    with Collection.open(both.path, read_only=True) as reader:
        assert reader.check().clean
        with pytest.raises(CollectionError, match="read-only"):
            reader.check(repair=True)


@pytest.mark.parametrize(("sql", "said"), [
    ("UPDATE vectors SET dense = CAST(x'00' || substr(dense, 2) AS BLOB) WHERE n = 2",
     "the vectors of document '春晓' are not"),
    ("DELETE FROM vectors WHERE n = 2", "the vectors of document '春晓' are missing"),
    ("INSERT INTO vectors SELECT 999, n_tokens, dense, terms, weights, checksum FROM vectors WHERE n = 1",
     "1 rows of vectors belong to no document"),
    ("UPDATE terms SET frequency = frequency + 1 WHERE term = '黄河'",
     "BM25 counts 1 words wrongly, such as '黄河' in "),
    ("UPDATE meta SET value = 7 WHERE key = 'n_tokens'", "BM25 counts 7 as n_tokens"),
])
def test_what_follows_from_the_documents_is_named_and_made_again(both: Collection, sql: str, said: str) -> None:
    before = answers(both)
    run(both, sql)
    found = both.check()
    assert not found.lost
    assert len(found.derived) == 1
    assert said in found.derived[0]
    mended = both.check(repair=True)
    assert mended.clean
    assert mended.repaired == found.derived
    assert answers(both) == before
    assert both.check().clean


def test_a_damaged_text_is_named_and_never_made_up(both: Collection) -> None:
    run(both, "UPDATE documents SET text = '假' WHERE id = '静夜思'")
    run(both, "DELETE FROM vectors WHERE n = 2")
    found = both.check(repair=True)
    assert found.lost == ("document '静夜思' is not what was written",)
    assert found.repaired == ("the vectors of document '春晓' are missing",)
    both.delete("静夜思")
    both.add([POEMS[0]])                      # what the person still has
    assert both.check().clean


def test_an_engine_that_differs_is_found(both: Collection) -> None:
    follower = both._follow()
    follower.catch_up()
    assert follower._engine is not None
    follower._engine.delete(np.array([2]))
    found = both.check()
    assert found.derived == ("the search engine holds 22 documents, and there are 23",
                             "the search engine holds 1 documents otherwise than they are stored, such as '春晓'")
    rows = both._storage.vectors([1])
    wrong = Embeddings("", rows.n_tokens, dense=rows.dense, sparse=follower.weighed(rows).sparse)
    assert both.check(repair=True).clean
    assert follower._engine is not None
    follower._engine.add(np.array([4]), wrong, [{"poet": "李白", "lines": 2}])
    assert "such as '将进酒'" in both.check().derived[0]
    assert both.check(repair=True).clean


def test_a_damaged_folder_of_the_engine_is_found_before_it_is_opened(both: Collection) -> None:
    both.search("黄河")
    both.close()
    file = max((f for f in (both.path / "engine" / "shard").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    file.write_bytes(b"x")
    with Collection.open(both.path) as again:
        assert "is damaged" in again.check(repair=True).repaired[0]
        assert again.check().clean
    shutil.rmtree(both.path / "engine")
    with Collection.open(both.path) as again:
        assert again.check().clean            # a lost one is made again, as always


def test_compacting_gives_room_back_and_changes_no_answer(both: Collection) -> None:
    both.add([Document(f"长{i}", f"黄河 词{i} " * 500) for i in range(300)])
    both.search("黄河")
    both.delete([f"长{i}" for i in range(300)])
    before = answers(both)
    old, new = both.compact()
    assert new < old / 2
    assert answers(both) == before
    assert both.check().clean
    both.close()
    with Collection.open(both.path) as again:
        assert answers(again) == before


def test_figures_say_what_there_is(both: Collection) -> None:
    told = both.info()
    assert told["n_documents"] == 23
    assert told["n_chars"] == sum(len(document.text) for document in both.documents(limit=99))
    assert told["n_tokens"] == int(both._storage.meta("n_tokens"))
    assert told["n_truncated"] == 0
    assert told["vector_bytes"]["dense"] == 23 * 6 * 4
