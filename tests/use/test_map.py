"""A collection on a plane: what is alike lies together, the same seed draws the same, and maps are kept."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from qianru.errors import BadInput, RequestRefused
from qianru.index import push_ends
from qianru.index.collection import Collection
from qianru.types import Document
from qianru.use.layout import MIDDLE_SCALE, NEAR_SCALE, _pull, _push, layout, main_plane, near_neighbours
from qianru.use.map import Map, Maps, Working, map_of, title
from qianru.use.material import from_collection

FOOD = ["红烧肉", "清蒸鱼", "麻婆豆腐", "宫保鸡丁", "酸辣汤"]
LAWS = ["合同", "物权", "继承", "婚姻", "侵权"]


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "notes", "bm25") as made:
        for i, (dish, law) in enumerate(zip(FOOD, LAWS, strict=True)):
            made.add(Document(f"菜{i}{j}", f"{dish}要加盐、酱油和糖，做菜第{j}步") for j in range(10))
            made.add(Document(f"法{i}{j}", f"{law}的当事人依照法律承担民事责任，第{j}条") for j in range(10))
        yield made


def rows(n: int, seed: int = 0) -> np.ndarray:
    """Unit rows around a few centres."""
    generator = np.random.default_rng(seed)
    made = generator.normal(size=(6, 16))[generator.integers(0, 6, n)] + 0.5 * generator.normal(size=(n, 16))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def nearest(points: np.ndarray, k: int) -> np.ndarray:
    far = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(far, np.inf)
    return np.argsort(far, axis=1)[:, :k]


def test_documents_about_one_thing_lie_together(collection: Collection) -> None:
    made = map_of(collection)
    about = np.array([id[0] for id in made.ids])
    assert made.points.shape == (100, 2)
    assert np.mean(about[nearest(made.points, 5)] == about[:, None]) > 0.95


def test_clusters_are_told_by_their_words(collection: Collection) -> None:
    made = map_of(collection)
    assert [label.size for label in made.labels] == np.bincount(made.clusters).tolist()
    words = {word for label in made.labels for word in label.words}
    assert words & {"酱油", "做菜", *FOOD}
    assert words & {"法律", "民事", "当事人", "责任", *LAWS}
    for label in made.labels:       # where the words stand, there are documents of theirs
        far = np.linalg.norm(made.points[made.clusters == label.cluster] - [label.x, label.y], axis=1)
        assert far.min() < 0.3


def test_the_same_seed_draws_the_same_map(collection: Collection) -> None:
    first, second, other = map_of(collection), map_of(collection), map_of(collection, seed=1)
    np.testing.assert_array_equal(first.points, second.points)
    assert first.labels == second.labels
    assert not np.array_equal(first.points, other.points)


def test_of_more_documents_than_the_limit_a_sample_is_drawn(collection: Collection) -> None:
    made = map_of(collection, limit=30)
    assert len(made.ids) == len(made.titles) == len(made.points) == len(made.clusters) == 30
    assert made.n_documents == 100
    assert {id[0] for id in made.ids} == {"菜", "法"}
    with pytest.raises(BadInput, match="at least 1"):
        map_of(collection, limit=0)


def test_of_a_sample_nothing_else_is_read_and_others_are_let_in_between(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_ends, "AT_ONCE", 5)
    read: list[list[str]] = []
    told = push_ends.Cargo.__init__

    def spied(self: push_ends.Cargo, documents: list[Document], *more: object) -> None:
        read.append([one.id for one in documents])
        told(self, documents, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(push_ends.Cargo, "__init__", spied)
    counts: list[int] = []

    def others(done: int, total: int | None) -> None:
        with ThreadPoolExecutor(1) as pool:
            counts.append(pool.submit(collection.count).result(timeout=10))
            pool.submit(collection.delete, ["法48"]).result(timeout=10)
        assert total == 30

    places = np.sort(np.random.default_rng(0).choice(100, 30, replace=False))
    expected = [one.id for one in np.array(collection.documents(limit=100), object)[places] if one.id != "法48"]
    material = from_collection(collection, most=30, progress=others)
    assert material.ids == expected
    assert sum(map(len, read)) == 2 * len(expected)         # as read, and those of them that pass the filter
    assert counts == [100, *[99] * 5]


def test_an_empty_text_belongs_to_no_cluster(collection: Collection) -> None:
    collection.add([Document("空", "……")])
    made = map_of(collection)
    assert made.clusters[list(made.ids).index("空")] == -1
    assert np.isfinite(made.points).all()


def test_a_few_documents_have_a_map_too(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "small", "bm25") as small:
        with pytest.raises(BadInput, match="no documents"):
            map_of(small)
        for n in (1, 2, 3):
            small.add([Document(str(n), "春眠不觉晓"[: n + 1])])
            made = map_of(small)
            assert made.points.shape == (n, 2)
            assert np.isfinite(made.points).all()
            assert made.labels == []


def test_a_map_becomes_the_json_that_the_page_reads(collection: Collection) -> None:
    made = map_of(collection)
    told = made.to_dict()
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(told["points"]), "<f4").reshape(-1, 2), made.points)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(told["clusters"]), "<i2"), made.clusters)
    assert told["titles"][0] == "红烧肉要加盐、酱油和糖，做菜第0步"
    assert set(told["labels"][0]) == {"cluster", "words", "x", "y", "size"}


def test_a_long_text_is_named_by_its_first_letters() -> None:
    assert title("春" * 61) == "春" * 59 + "…"
    assert len(title("春 \n" * 100)) == 60


# the picture


def test_neighbours_are_those_of_the_slow_loop() -> None:
    """Up to the scale, which orders them: of Gaussian points all neighbourhoods are about as wide."""
    given = rows(300)
    near = near_neighbours(given, np.random.default_rng(0))
    slow = np.argsort(-(given @ given.T - 3 * np.eye(300)), axis=1)[:, :30]
    assert all(set(mine) <= set(theirs) for mine, theirs in zip(near.tolist(), slow.tolist(), strict=True))
    assert np.mean([one in slow[i, :10] for i in range(300) for one in near[i]]) > 0.8


def test_of_many_rows_the_cells_find_most_of_the_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    given = rows(2_000)
    whole = near_neighbours(given, np.random.default_rng(0))
    monkeypatch.setattr("qianru.use.layout.WHOLE", 500)
    some = near_neighbours(given, np.random.default_rng(0))
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(whole.tolist(), some.tolist(), strict=True)]) > 0.9


def test_the_gradient_is_that_of_the_loss() -> None:
    """Against differences of the loss as the paper writes it, pair by pair."""
    generator = np.random.default_rng(3)
    places, others = generator.normal(size=(9, 2)), generator.integers(0, 9, (9, 4))

    def loss(at: np.ndarray) -> float:
        total = 0.0
        for i in range(9):
            for j in others[i]:
                d = 1 + ((at[i] - at[j]) ** 2).sum()
                total += 2 * d / (NEAR_SCALE + d) + 3 * d / (MIDDLE_SCALE + d) + 5 / (1 + d)
        return float(total)

    slow = np.zeros_like(places)
    for i in range(9):
        for axis in (0, 1):
            step = np.zeros_like(places)
            step[i, axis] = 1e-5
            slow[i, axis] = (loss(places + step) - loss(places - step)) / 2e-5
    fast = _pull(places, others, 2, NEAR_SCALE) + _pull(places, others, 3, MIDDLE_SCALE) + _push(places, others, 5)
    np.testing.assert_allclose(fast, slow, atol=1e-6)


def test_a_picture_keeps_more_neighbours_than_the_main_plane() -> None:
    given = rows(300)
    right = nearest(given, 10)

    def kept(points: np.ndarray) -> float:
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(right, nearest(points, 10), strict=True)]))

    assert kept(layout(given)) > 1.3 * kept(main_plane(given))


# maps that are kept


def finished(maps: Maps, collection: Collection) -> Map:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        made = maps.ask("notes", collection)
        if isinstance(made, Map):
            return made
        assert isinstance(made, Working)
        assert 0 <= made.progress <= 1
        time.sleep(0.02)
    raise AssertionError("no map within a minute")


def test_a_map_is_drawn_in_the_background_and_kept(collection: Collection) -> None:
    maps = Maps()
    assert isinstance(maps.ask("notes", collection), Working)
    first = finished(maps, collection)
    assert maps.ask("notes", collection) is first
    maps.close()


def test_so_many_maps_wait_to_be_drawn_and_no_more(collection: Collection) -> None:
    maps = Maps(most_waiting=2)
    try:
        with collection.entered():                  # the first waits for its turn
            for limit in (10, 20, 10):
                assert isinstance(maps.ask("诗", collection, limit), Working)
            with pytest.raises(RequestRefused, match="2 maps are to be drawn already"):
                maps.ask("诗", collection, 30)
    finally:
        maps.close()


def test_a_change_makes_a_map_be_drawn_anew_behind_the_old_one(collection: Collection) -> None:
    maps = Maps(fresh_s=0)
    first = finished(maps, collection)
    before = collection.sequence
    collection.add([Document("新", "继承的新条款")])
    assert collection.sequence != before
    assert maps.ask("notes", collection) is first
    until = time.monotonic() + 60
    while maps.ask("notes", collection) is first and time.monotonic() < until:
        time.sleep(0.02)
    assert "新" in finished(maps, collection).ids
    maps.close()


def test_what_stops_the_drawing_is_told(tmp_path: Path) -> None:
    maps = Maps()
    with Collection.create(tmp_path / "nothing", "bm25") as nothing, pytest.raises(BadInput, match="no documents"):
        finished(maps, nothing)
    maps.close()
