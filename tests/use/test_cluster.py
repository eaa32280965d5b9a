"""Clusters: found again where they are known, told by their words, the same for the same seed, wrong input refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.index.collection import Collection
from qianru.types import Document, SparseRows
from qianru.use.cluster import cluster, distinguishing_words
from qianru.use.cluster.page import draw_clusters
from qianru.use.cluster.space import main_axes
from qianru.use.material import from_collection, from_texts, word_model

pytest.importorskip("sklearn")

TOPICS = {
    "菜": ["红烧肉要用五花肉慢炖", "清炒油菜加蒜末炒熟", "番茄炒鸡蛋放少许糖", "红烧肉炖熟以后收汁",
           "油菜和香菇一起炒熟", "鸡蛋打散炒熟再放番茄", "五花肉切块炖熟再放糖"],
    "球": ["足球比赛在今晚举行", "球队赢了篮球比赛", "教练换下了受伤的球员", "这支球队的球员很年轻",
           "足球教练谈今晚的比赛", "球员在比赛中受伤", "篮球队的教练很年轻"],
    "钱": ["银行下调存款利率", "基金和股票都在下跌", "央行公布贷款利率", "股票基金吸引了存款", "贷款买房要看利率",
           "银行的股票今天下跌", "存款和贷款都归银行"],
}
TEXTS = [text for texts in TOPICS.values() for text in texts]
TRUTH = np.repeat(np.arange(3), 7)


def blobs(seed: int = 0, n: int = 60, k: int = 3, spread: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    """n rows around k directions that stand at right angles."""
    truth = np.arange(n) % k
    return np.eye(8)[truth] + np.random.default_rng(seed).normal(0, spread, (n, 8)), truth


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    both = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(both) == len(set(one.tolist())) == len(set(other.tolist()))


def test_topics_are_found_and_named_by_their_words() -> None:
    material = from_texts((str(i), text) for i, text in enumerate(TEXTS))
    found = cluster(material.views, TEXTS, k=3)
    agreeing = max(np.mean([TRUTH[i] == np.bincount(TRUTH[found.labels == label]).argmax()
                            for i, label in enumerate(found.labels)]), 0)
    assert agreeing > 0.8
    words = {word for some in found.words for word in some[:4]}
    assert {"比赛", "利率"} & words
    assert all(len(rows) == 3 for rows in found.central)


def test_the_number_of_clusters_is_the_fewest_near_the_best_silhouette() -> None:
    vectors, truth = blobs()
    found = cluster(vectors, ["字"] * len(vectors))
    assert found.k == 3
    assert same_partition(found.labels, truth)
    assert found.tried[3] == max(found.tried.values())
    assert "at least 90 %" in found.criterion


def test_hdbscan_leaves_what_stands_alone_in_no_cluster() -> None:
    vectors, truth = blobs(spread=0.05)
    vectors[0] = [0, 0, 0, 1, 1, 1, 0, 0]
    found = cluster(vectors, ["字"] * len(vectors), method="hdbscan", min_size=5)
    assert found.labels[0] == -1
    assert np.isnan(found.closeness[0])
    assert same_partition(found.labels[1:], truth[1:])


def test_more_rows_than_hdbscan_takes_go_where_their_neighbours_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qianru.use.cluster.partition.DENSITY_ROWS", 40)
    vectors, truth = blobs(n=90, spread=0.05)
    assert same_partition(cluster(vectors, ["字"] * 90, method="hdbscan", min_size=8).labels, truth)


def test_clusters_are_numbered_by_size_and_the_same_for_the_same_seed() -> None:
    vectors = np.repeat(np.eye(3), [2, 5, 3], axis=0)
    found = cluster(vectors, ["字"] * 10, k=3, seed=4)
    assert found.sizes.tolist() == [5, 3, 2]
    assert found.labels.tolist() == [2, 2, 0, 0, 0, 0, 0, 1, 1, 1]
    vectors, _ = blobs(spread=0.6)
    first, again = (cluster(vectors, ["字"] * 60, k=4, seed=4).labels.tolist() for _ in range(2))
    assert first == again


def test_where_all_is_the_same_there_is_one_cluster_and_where_nothing_is_dense_none() -> None:
    assert cluster(np.ones((9, 4)), ["字"] * 9).sizes.tolist() == [9]
    assert cluster(np.ones((9, 4)), ["字"] * 9, k=3).sizes.tolist() == [9]
    found = cluster(np.eye(12), ["字"] * 12, method="hdbscan")
    assert (found.k, found.names, found.points.shape) == (0, [], (12, 2))


def test_a_text_without_a_vector_is_in_no_cluster() -> None:
    vectors, _ = blobs()
    vectors[7] = 0
    found = cluster(vectors, ["字"] * 60, k=3)
    assert found.labels[7] == -1
    assert found.sizes.sum() == 59


def test_dense_and_sparse_vectors_of_the_same_numbers_give_the_same_clusters() -> None:
    dense, _ = blobs()
    rows = SparseRows.from_rows([dict(enumerate(row.tolist())) for row in dense], 8)
    assert same_partition(cluster(dense, ["字"] * 60, k=3).labels, cluster(rows, ["字"] * 60, k=3).labels)


def test_two_views_tell_apart_what_neither_does_alone() -> None:
    one, other = np.repeat(np.eye(2), 20, axis=0), np.tile(np.eye(2), (20, 1))
    found = cluster((one, other), ["字"] * 40, k=4)
    assert same_partition(found.labels, np.repeat([0, 2], 20) + np.tile([0, 1], 20))
    assert cluster((one, other), ["字"] * 40, method="hdbscan", min_size=5).k == 4
    with pytest.raises(ShapeMismatch):
        cluster((one, other[1:]), ["字"] * 40)


def test_main_axes_keep_the_angles_about_the_mean_when_nothing_is_left_out() -> None:
    rows = np.random.default_rng(1).normal(size=(20, 12))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    unit = unit - unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    turned = main_axes(rows, 12)
    np.testing.assert_allclose(turned @ turned.T, unit @ unit.T, atol=1e-5)
    assert main_axes(rows, 3).shape == (20, 3)


def test_a_word_names_a_cluster_by_its_share_of_texts_not_by_its_count() -> None:
    texts = ["天气 天气 天气 天气 天气", "苹果好吃", "苹果很甜", "比赛开始", "比赛结束"]
    words = distinguishing_words(texts, np.array([0, 0, 0, 1, 1]), n_words=1)
    assert words == [["苹果"], ["比赛"]]


def test_words_of_an_empty_cluster_and_of_texts_without_words_are_none() -> None:
    assert distinguishing_words(["。", "好"], np.array([0, 1]), 3) == [[], [], []]


@pytest.mark.parametrize(("vectors", "options", "said"), [
    (np.eye(3), {"k": 4}, "3 texts cannot make 4 clusters"),
    (np.eye(3), {"k": 0}, "at least 1"),
    (np.array([[1.0, 0], [np.nan, 1], [0, 1]]), {}, "text 1 .* not finite"),
    (np.zeros((3, 2)), {}, "not zero; there are 0"),
    (np.eye(1), {}, "at least 2 texts"),
    (np.eye(3), {"method": "hdbscan", "k": 2}, "itself"),
    (np.eye(3), {"min_size": 2}, "no smallest size"),
    (np.ones(3), {}, "a row for each text"),
])
def test_what_cannot_be_clustered_is_refused(vectors: np.ndarray, options: dict[str, int], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        cluster(vectors, ["字"] * len(vectors), **options)      # type: ignore[arg-type]


def test_a_wrong_method_and_too_few_texts_are_named() -> None:
    with pytest.raises(UnknownName, match="kmeans"):
        cluster(np.eye(3), ["字"] * 3, method="kmean")      # type: ignore[arg-type]
    with pytest.raises(ShapeMismatch, match="3 vectors do not fit 2 texts"):
        cluster(np.eye(3), ["字"] * 2)
    with pytest.raises(BadInput, match="weight that is not finite"):
        cluster(SparseRows.from_rows([{0: 1.0}, {1: float("inf")}], 2), ["字"] * 2)


@pytest.mark.parametrize("k", [None, 3])
def test_equal_texts_are_in_one_cluster_whatever_rounding_makes_of_them(k: int | None, tmp_path: Path) -> None:
    texts = ["今天天气很好"] * 12
    material = from_texts((str(i), text) for i, text in enumerate(texts))
    found = cluster(material.views, texts, k=k)
    assert (found.sizes.tolist(), found.central, found.criterion) == ([12], [[0]], "all texts are the same")
    draw_clusters(found, material.views, texts, tmp_path / "map.html")


def test_the_documents_of_a_collection_are_clustered_by_their_stored_words(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "kept", "bm25") as library:
        library.add([Document(f"{i}", text, {"topic": list(TOPICS)[i // 7]}) for i, text in enumerate(TEXTS)])
        material = from_collection(library)
        assert material.texts == TEXTS
        assert isinstance(material.vectors, SparseRows)
        assert len(from_collection(library, 'topic = "菜"').ids) == 7
        with pytest.raises(BadInput, match="passes the filter"):
            from_collection(library, 'topic = "无"')
    fresh = from_texts(((str(i), text) for i, text in enumerate(TEXTS)), word_model().fit(TEXTS))
    assert isinstance(fresh.vectors, SparseRows)
    assert sorted(map(len, material.vectors)) == sorted(map(len, fresh.vectors))
    assert cluster(material.views, TEXTS, k=3).k == 3


def test_a_map_is_drawn_as_a_picture_and_as_a_page_that_runs_no_text(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    texts = [*TEXTS[:-1], "</script><script>alert(1)</script>银行"]
    material = from_texts((str(i), text) for i, text in enumerate(texts))
    found = cluster(material.views, texts, k=3)
    draw_clusters(found, material.views, texts, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 5_000
    draw_clusters(found, material.views, texts, tmp_path / "map.html")
    page = (tmp_path / "map.html").read_text("utf-8")
    assert "alert(1)</script>" not in page
    inside = page.split('type="application/json">')[1].split("</script>")[0]
    assert json.loads(inside)["texts"] == [" ".join(text.split()) for text in texts]
    assert "http" not in page.replace("http-equiv", "")
    with pytest.raises(BadInput, match="ends in"):
        draw_clusters(found, material.views, texts, tmp_path / "map.gif")
