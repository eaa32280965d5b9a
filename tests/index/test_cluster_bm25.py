"""BM25 on a server is exact, whatever the candidates' weights were for, and whoever writes meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clusters import in_memory
from numpy.testing import assert_allclose
from poems import bm25_by_hand

from qianru.errors import CollectionDamaged
from qianru.index import cluster_bm25
from qianru.index.cluster import ClusterIndex
from qianru.index.cluster_collection import ClusterCollection
from qianru.index.cluster_opening import create_at, open_at
from qianru.index.cluster_points import ClusterOptions
from qianru.index.cluster_shelf import ClusterShelf, Moved, point_of
from qianru.models.bm25 import BM25, Variant
from qianru.text.analyze import SEARCH
from qianru.types import Document

WORDS = ["黄河", "山", "水", "天", "地", "人", "明月"]


def texts_of(n: int, longest: int, seed: int = 3) -> dict[str, str]:
    random = np.random.default_rng(seed)
    return {f"文{i}": " ".join(random.choice(WORDS, random.integers(1, longest))) for i in range(n)}


def exact(collection: ClusterCollection, texts: dict[str, str], model: BM25 | None = None) -> None:
    """The best nine for a query have the scores of a fresh fit."""
    expected = bm25_by_hand(texts, "黄河 山 明月", model)
    hits = collection.search("黄河 山 明月", k=9)
    assert_allclose([hit.score for hit in hits], sorted(expected.values(), reverse=True)[:9], rtol=1e-6)
    assert_allclose([hit.score for hit in hits], [expected[hit.id] for hit in hits], rtol=1e-6)


def levels(collection: ClusterCollection) -> dict[int, int]:
    return {int(level): n for level, n in collection._index.facet("level").items()}


@pytest.mark.parametrize(
    ("variant", "k1", "b"),
    [("lucene", 1.5, 1.0), ("lucene", 0.0, 0.75), ("robertson", 1.2, 0.75), ("bm25+", 1.5, 0.75)],
)
def test_every_variant_is_exact_while_the_mean_length_moves(variant: Variant, k1: float, b: float) -> None:
    """Weights stay for the mean length of the day that they were written on; nothing is weighed anew."""
    def model() -> BM25:
        return BM25(SEARCH, variant=variant, k1=k1, b=b)

    texts = texts_of(60, 4)
    with create_at(in_memory(), "c", model()) as collection:
        collection._shelf.bm25.settle = lambda *_: 0  # type: ignore[union-attr, method-assign]
        for longest in (4, 30, 3):
            more = {f"{longest}-{id}": text for id, text in texts_of(40, longest, longest).items()}
            collection.add([Document(id, text) for id, text in more.items()])
            texts = more if longest == 4 else texts | more
            exact(collection, texts, model())
        assert len(levels(collection)) > 1


def test_weights_that_are_far_off_are_written_anew() -> None:
    with create_at(in_memory(), "c") as collection:
        short, long = texts_of(50, 3), {f"长{i}": "黄河 天 地 人 " * 9 for i in range(100)}
        collection.add([Document(id, text) for id, text in short.items()])
        before = levels(collection)
        collection.add([Document(id, text) for id, text in long.items()])
        after = levels(collection)
        assert min(after) > max(before) + cluster_bm25.FAR
        exact(collection, short | long)
        collection.prepare()
        assert len(levels(collection)) == 1
        exact(collection, short | long)


def test_a_document_that_is_replaced_while_weights_are_written_stays_as_it_was_written(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    link = in_memory()
    texts = texts_of(30, 3)
    with create_at(link, "c") as collection:
        collection._shelf.bm25.settle = lambda *_: 0  # type: ignore[union-attr, method-assign]
        collection.add([Document(id, text) for id, text in texts.items()])
        texts |= {f"长{i}": "黄河 天 地 人 " * 9 for i in range(60)}
        collection.add([Document(id, text) for id, text in texts.items()])
        other = open_at(link, "c", options=ClusterOptions(fresh_s=0))
        page, replaced = ClusterIndex.page, []

        def meanwhile(self: ClusterIndex, *args: Any, **kwargs: Any) -> Any:
            records = page(self, *args, **kwargs)
            if not replaced:
                replaced.append(True)
                texts["文3"] = "明月 明月 山"
                other._writer.put([Document("文3", texts["文3"])])
            return records

        monkeypatch.setattr(ClusterIndex, "page", meanwhile)
        del collection._shelf.bm25.settle  # type: ignore[union-attr]
        collection.prepare()
        assert replaced
        collection.prepare()
        assert len(levels(collection)) == 1
        exact(collection, texts)
        assert collection.get("文3").text == "明月 明月 山"


def test_words_that_share_a_column_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_bm25, "column_of", lambda word: len(word.encode()) % 3)
    texts = texts_of(80, 9)
    with create_at(in_memory(), "c") as collection:
        collection.add([Document(id, text) for id, text in texts.items()])
        exact(collection, texts)
        assert collection.search("风") == []        # in the column of 山, and in no document


def test_a_search_whose_answers_are_deleted_meanwhile_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    link, texts = in_memory(), texts_of(20, 9)
    documents = ClusterShelf.documents
    with create_at(link, "c", options=ClusterOptions(fresh_s=0)) as collection:
        collection.add([Document(id, text) for id, text in texts.items()])
        best = collection.search("黄河", k=3)[0].id
        deleted: list[str] = []

        def meanwhile(self: ClusterShelf, ns: Any) -> Any:
            if not deleted:
                deleted.append(best)
                link.client.delete("c", [point_of(best)])
            return documents(self, ns)

        monkeypatch.setattr(ClusterShelf, "documents", meanwhile)
        hits = collection.search("黄河", k=3)
        assert len(hits) == 3
        assert best not in [hit.id for hit in hits]
        monkeypatch.setattr(ClusterShelf, "documents", lambda self, ns: self._read([1], ["id"]))
        with pytest.raises(Moved, match="Search again"):
            collection.search("黄河")


def test_a_point_that_is_none_of_ours_is_told_of() -> None:
    link = in_memory()
    with create_at(link, "c", options=ClusterOptions(fresh_s=0)) as collection:
        collection.add([Document("文", "黄河")])
        link.client.delete_payload("c", ["counts"], [point_of("文")])
        with pytest.raises(CollectionDamaged, match="lacks the counts"):
            collection.search("黄河")
