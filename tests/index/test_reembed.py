"""Another model takes over in one step: until then the old one answers, and nothing that comes meanwhile is missed."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qianru.errors import BadInput, CollectionError, StorageFailed
from qianru.index import reembed
from qianru.index.collection import Collection
from qianru.index.layout import Layout
from qianru.index.plan import Plan
from qianru.index.storage import Storage
from qianru.models.bm25 import BM25
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import SEARCH
from qianru.types import Document, Embeddings, Role

WORDS = ["明月", "黄河", "春", "故乡", "千里", "风雨", "花", "白日", "新", "酒"]


def dense_model(seed: int = 0) -> WordVectorModel:
    vectors = np.random.default_rng(seed).standard_normal((len(WORDS), 8)).astype(np.float32)
    return WordVectorModel(WordVectors(WORDS, vectors))


def own_bm25(**how: Any) -> BM25:
    return BM25(SEARCH, query_stop_lists=("zh", "en"), **how)


def answers(collection: Collection) -> list[list[tuple[str, float]]]:
    return [[(hit.id, round(hit.score, 5)) for hit in hits]
            for hits in collection.search_many(["黄河", "明月 故乡", "春风 花", "词3"], k=30)]


def made_afresh(path: Path, model: Any, documents: Sequence[Document]) -> list[list[tuple[str, float]]]:
    """What a collection answers that has had the model from the beginning."""
    with Collection.create(path, model) as fresh:
        fresh.add(documents)
        return answers(fresh)


@pytest.fixture
def many(poems: Collection, monkeypatch: pytest.MonkeyPatch) -> Collection:
    """A collection that takes several batches."""
    monkeypatch.setattr(reembed, "DOCUMENTS_AT_ONCE", 7)
    poems.add([Document(f"水{i}", "黄河 " * (i % 5) + f"明月 词{i % 7}", {"n": i}) for i in range(30)])
    return poems


@pytest.mark.parametrize("given", [[own_bm25(k1=2.0)], [own_bm25(), dense_model()], [dense_model()]])
def test_the_new_model_answers_as_if_it_had_been_there_always(many: Collection, given: Any, tmp_path: Path) -> None:
    before = many.documents(limit=99)
    assert many.reembed(given) == 34
    expected = made_afresh(tmp_path / "afresh", given, before)
    assert answers(many) == expected
    many.close()
    with Collection.open(many.path) as again:
        assert answers(again) == expected
        assert again.documents(limit=99) == before
        assert again.info()["model"] == (given[0].spec.name if len(given) == 1 else "bm25 + word2vec")
        again.rebuild()
        assert answers(again) == expected
    assert sorted(path.name for path in many.path.iterdir()) == ["collection.sqlite", "generation-1", "lock"]


def test_models_may_take_over_again_and_again(many: Collection) -> None:
    first = answers(many)
    assert many.reembed(dense_model()) == 34
    assert many.reembed(own_bm25()) == 34
    assert answers(many) == first
    assert many.reembed(own_bm25()) == 0            # it is there already
    many.add([Document("新", "花间一壶酒")])
    assert many.search("壶")[0].id == "新"
    with sqlite3.connect(many.path / "collection.sqlite") as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    database.close()
    assert not [name for name in tables if name.startswith(("next_", "old_"))]
    assert [path.name for path in many.path.glob("generation-*")] == ["generation-2"]


def interrupt(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> None:
    """Has the model to come do something at its third batch of documents."""
    encode, batches = WordVectorModel.encode, []

    def encoding(self: WordVectorModel, texts: Iterable[str], *, role: Role = "document", **how: Any) -> Embeddings:
        if role == "document":
            batches.append(texts)
            if len(batches) == 3:
                what()
        return encode(self, texts, role=role, **how)

    monkeypatch.setattr(WordVectorModel, "encode", encoding)


def stop() -> None:
    raise KeyboardInterrupt


def test_what_is_changed_meanwhile_is_taken_in(
    many: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = answers(many)

    def change() -> None:
        def elsewhere() -> None:        # another thread; this one is inside no lock while it embeds
            assert answers(many) == old
            many.delete(["水1", "水3", "水29"])
            many.add([Document("水2", "白日 千里"), Document("水20", "千里"), Document("新", "花 新")])
            many.add([Document("水29", "故乡")])

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()

    interrupt(monkeypatch, change)
    many.reembed([own_bm25(), dense_model()])
    monkeypatch.undo()
    now = many.documents(limit=99)
    assert len(now) == 33
    assert answers(many) == made_afresh(tmp_path / "afresh", [own_bm25(), dense_model()], now)


def test_what_was_interrupted_goes_on_and_nothing_is_embedded_twice(
    many: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = answers(many)
    with monkeypatch.context() as patched:
        interrupt(patched, stop)
        with pytest.raises(KeyboardInterrupt):
            many.reembed([own_bm25(), dense_model()])
    assert answers(many) == old
    assert many.info()["reembedding"] == {"model": "bm25 + word2vec", "n_embedded": 14}
    many.close()
    with Collection.open(many.path) as again:
        assert answers(again) == old
        again.delete("水1")                            # embedded already
        again.add([Document("水2", "白日 千里")])       # likewise
        with pytest.raises(BadInput, match="with bm25 \\+ word2vec already"):
            again.reembed(dense_model(1))
        assert again.reembed() == 34 - 14 + 1
        assert answers(again) == made_afresh(tmp_path / "afresh", [own_bm25(), dense_model()],
                                             again.documents(limit=99))
        with pytest.raises(BadInput, match="is not being re-embedded"):
            again.reembed()


def test_what_was_interrupted_can_be_given_up(many: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    old = answers(many)
    with monkeypatch.context() as patched:
        interrupt(patched, stop)
        with pytest.raises(KeyboardInterrupt):
            many.reembed(dense_model())
    assert many.stop_reembedding()
    assert not many.stop_reembedding()
    assert "reembedding" not in many.info()
    assert not list(many.path.glob("generation-*"))
    many.add([Document("新", "新词")])
    many.delete("新")
    assert answers(many) == old


def test_a_kill_right_after_the_change_over_leaves_only_what_is_removed_at_opening(
    many: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembed, "clear_away", lambda *_: None)
    many.reembed(dense_model())
    expected = answers(many)
    many.close()
    assert (many.path / "model").exists()
    with Collection.open(many.path) as again:
        assert answers(again) == expected
        assert not (many.path / "model").exists()
        assert not again._storage.query("SELECT 1 FROM sqlite_master WHERE name = 'old_vectors'")


def test_a_change_over_that_fails_leaves_the_old_model(many: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    old = answers(many)
    with monkeypatch.context() as patched:
        def full(_: Storage) -> int:
            raise StorageFailed("The disk is full.")

        patched.setattr(Storage, "next_sequence", full)
        with pytest.raises(StorageFailed):
            many.reembed(dense_model())
    assert answers(many) == old
    assert many.reembed(dense_model()) == 0             # all is embedded
    assert many.info()["model"] == "word2vec"


def test_readers_go_over_to_the_new_model(many: Collection) -> None:
    with Collection.open(many.path, read_only=True) as reader:
        assert reader.search("黄河")
        many.reembed(dense_model())
        assert answers(reader) == answers(many)
        assert reader.model.spec.name == "word2vec"


@pytest.mark.parametrize("plan", [Plan(kinds=("sparse",), candidates=77), Plan(weights={"sparse": 2})])
def test_a_plan_that_the_new_model_cannot_do_is_put_aside(
    plan: Plan, many: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    many.set_plan(plan)
    many.reembed(dense_model())
    assert many.plan == Plan()
    assert "does not suit its new model" in caplog.text


def test_the_layout_may_change_with_the_same_model(many: Collection) -> None:
    many.reembed([own_bm25(), dense_model()])
    assert many.reembed([own_bm25(), dense_model()], layout=Layout(kinds=("dense",))) == 34
    assert many.info()["kinds"] == ["dense"]


def test_only_a_writer_re_embeds_and_a_model_that_cannot_be_kept_changes_nothing(many: Collection) -> None:
    with Collection.open(many.path, read_only=True) as reader, pytest.raises(CollectionError, match="read-only"):
        reader.reembed(dense_model())

    class Unsaved:
        spec = dense_model().spec

        def encode(self, *_: Any, **__: Any) -> Any: ...

    with pytest.raises(BadInput, match="cannot be saved"):
        many.reembed(Unsaved())      # type: ignore[arg-type]
    assert not list(many.path.glob("generation-*"))


def test_a_lost_engine_of_a_later_generation_is_made_again(many: Collection) -> None:
    many.reembed(dense_model())
    expected = answers(many)
    many.close()
    shutil.rmtree(many.path / "generation-1" / "engine")
    with Collection.open(many.path) as again:
        assert answers(again) == expected


def test_a_graph_is_built_for_the_new_vectors_too(
    many: Collection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("qianru.index.engine.GRAPH_ABOVE_KB", 1)
    many.reembed(dense_model())
    many.add([Document(f"多{i}", WORDS[i % 10] + f" {WORDS[i * 7 % 10]}") for i in range(200)])
    assert many.optimize()
    assert many._follow().has_graph()
    many.reembed(dense_model(1))
    assert many._follow().has_graph()
    assert not caplog.text


def test_a_full_disk_leaves_the_old_model(many: Collection) -> None:
    """A limit on the size of files stands in for a full disk."""
    dense_model().save(many.path.parent / "dense")
    many.add([Document(f"多{i}", "明月 黄河" * 200) for i in range(300)])
    old = answers(many)
    many.close()
    code = f"""
import resource, signal
from qianru import Collection
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Collection.open({str(many.path)!r}) as collection:
    collection.search("黄河")
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    collection.reembed(["bm25", {str(many.path.parent / "dense")!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StorageFailed" in done.stderr, done.stderr
    with Collection.open(many.path) as again:
        assert answers(again) == old
        assert again.check().clean
        again.reembed(["bm25", str(many.path.parent / "dense")])
        assert again.info()["kinds"] == ["dense", "sparse"]
        assert again.check().clean
