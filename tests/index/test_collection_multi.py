"""Dense, sparse and token vectors of one model in one collection, from one pass over the texts."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from poems import POEMS

from qianru.errors import BadInput, CollectionDamaged, ModelMismatch
from qianru.index.collection import Collection
from qianru.index.explanation import SENTENCES, snippet
from qianru.index.layout import Layout
from qianru.models import load
from qianru.models.base import Model
from qianru.models.matching import score_pairs
from qianru.runtime.options import Runtime
from qianru.scores import kind_scores
from qianru.types import Document, Embeddings

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))      # checkpoints.py
from checkpoints import build


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as BGE-M3, its weights drawn at random."""
    torch = pytest.importorskip("torch", reason="transformer models need torch")
    torch.set_num_threads(1)
    return build("bge-m3", tmp_path_factory.mktemp("models") / "bge-m3", data)


@pytest.fixture(scope="module")
def m3(folder: Path) -> Model:
    return load(folder, Runtime(precision="float32"))


@pytest.fixture
def three(folder: Path, m3: Model, tmp_path: Path) -> Iterator[Collection]:
    Collection.create(tmp_path / "three", str(folder)).close()
    with Collection.open(tmp_path / "three", model=m3) as collection:
        collection.add(POEMS)
        yield collection


def test_the_three_scores_are_those_of_the_model(three: Collection, m3: Model) -> None:
    hits = three.search("明月和黄河", plan="bge-m3")
    expected = kind_scores(m3.encode(["明月和黄河"], role="query"), m3.encode([poem.text for poem in POEMS]))
    for hit in hits:
        place = [poem.id for poem in POEMS].index(hit.id)
        for kind, found in hit.scores.items():
            assert_allclose(found, expected[kind][0][place], atol=2e-3 if kind == "multi" else 1e-5)  # type: ignore[index]
    mean, _ = score_pairs(m3, [("明月和黄河", hit.text) for hit in hits], {"dense": 0.4, "sparse": 0.2, "multi": 0.4})
    assert_allclose([hit.score for hit in hits], mean, atol=1e-3)


def test_each_text_is_read_once_for_all_kinds(three: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], Sequence[str]]] = []
    encode = three.model.encode

    def counted(texts: Sequence[str], **how: Any) -> Embeddings:
        calls.append((list(texts), how["kinds"]))
        return encode(texts, **how)

    monkeypatch.setattr(three.model, "encode", counted)
    three.add([Document("新", "空山不见人")])
    three.search("山", k=2)
    assert calls == [(["空山不见人"], ("dense", "sparse", "multi")), (["山"], ["dense", "sparse", "multi"])]


def test_token_vectors_alone_look_at_every_document(three: Collection) -> None:
    alone = three.search("黄河", kinds=["multi"])
    assert {hit.id for hit in alone} == {poem.id for poem in POEMS}
    rescored = three.search("黄河", plan={"kinds": ["dense"], "rescore": "maxsim"})
    assert [hit.id for hit in rescored] == [hit.id for hit in alone]
    assert_allclose([hit.score for hit in rescored], [hit.score for hit in alone], rtol=1e-6)
    assert [hit.fields["poet"] for hit in three.search("黄河", kinds=["multi"], where='poet = "李白"')] == ["李白"] * 2


def test_a_reader_and_a_reopened_collection_say_the_same(three: Collection, m3: Model) -> None:
    before = [(hit.id, round(hit.score, 6)) for hit in three.search("床前")]
    with Collection.open(three.path, model=m3, read_only=True) as reader:
        assert [(hit.id, round(hit.score, 6)) for hit in reader.search("床前")] == before
    three.close()
    with Collection.open(three.path, model=m3) as again:
        assert [(hit.id, round(hit.score, 6)) for hit in again.search("床前")] == before
        again.delete("静夜思")
        assert "静夜思" not in {hit.id for hit in again.search("床前")}
        again.rebuild()


@pytest.mark.parametrize(("precision", "off"), [("float16", 1e-3), ("int8", 1e-2)])
def test_stored_token_vectors_are_off_by_little(
    m3: Model, folder: Path, tmp_path: Path, precision: Any, off: float
) -> None:
    with Collection.create(tmp_path / "c", str(folder), layout=Layout(multi=precision)) as collection:
        collection.add(POEMS)
        expected = kind_scores(m3.encode(["举头"], role="query"), m3.encode([poem.text for poem in POEMS]))["multi"][0]
        found = {hit.id: hit.score for hit in collection.search("举头", kinds=["multi"])}
        assert_allclose([found[poem.id] for poem in POEMS], expected, atol=off)


def test_a_kind_that_the_layout_leaves_out_is_neither_made_nor_searched(folder: Path, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", str(folder), layout=Layout(kinds=("dense",))) as collection:
        collection.add(POEMS)
        assert collection.info()["kinds"] == ["dense"]
        assert collection.search("月")[0].ranks == {"dense": 1}
        with pytest.raises(BadInput, match="not multi"):
            collection.search("月", kinds=["multi"])
        with pytest.raises(BadInput, match="no multi ones"):
            collection.set_plan({"rescore": "maxsim"})
    with pytest.raises(BadInput, match="not multi"):
        Collection.create(tmp_path / "d", "bm25", layout=Layout(kinds=("multi",)))


def test_a_flipped_bit_in_token_vectors_is_found(three: Collection) -> None:
    three._storage.connection.execute("UPDATE multi SET data = CAST(x'00' || substr(data, 2) AS BLOB) WHERE n = 1")
    with pytest.raises(CollectionDamaged, match="token vectors of document"):
        three.search("月")
    with pytest.raises(CollectionDamaged, match="token vectors of document"):
        three.rebuild()


def test_a_large_model_is_named_and_told_when_it_is_gone(folder: Path, m3: Model, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "m3")
    with Collection.create(tmp_path / "c", str(moved)) as collection:
        collection.add(POEMS[:1])
        assert collection.info()["named_models"] == [str(moved)]
    assert not (tmp_path / "c" / "model").exists()
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelMismatch, match=r"cannot be loaded any more.*Collection.open\(path, model="):
        Collection.open(tmp_path / "c")
    with Collection.open(tmp_path / "c", model=load(tmp_path / "elsewhere")) as collection:
        assert collection.search("月", k=1)[0].id == "静夜思"
    shutil.copytree(tmp_path / "elsewhere", moved)
    config = (moved / "sentence_bert_config.json")
    config.write_text(config.read_text().replace("512", "64"))
    with pytest.raises(ModelMismatch, match="not the model that made"):
        Collection.open(tmp_path / "c")


def test_an_explanation_aligns_tokens_and_adds_up(three: Collection) -> None:
    english = "Nobody is here. The moon shines over the river."      # the small tokenizer knows no Chinese
    three.add([Document("en", english, {"lang": "en"})])
    hit = three.search("moon", k=5, plan="bge-m3", where='lang = "en"')[0]
    why = three.explain("moon", hit.id)
    assert_allclose([why.scores[kind] for kind in hit.scores], list(hit.scores.values()), atol=1e-5)
    assert_allclose(sum(word.adds for word in why.terms), why.scores["sparse"], rtol=1e-5)
    assert why.alignment is not None
    assert why.alignment.similarities.shape == (len(why.alignment.query), len(why.alignment.document))
    assert "".join(why.alignment.query) == "moon</s>"
    assert "moon" in why.alignment.document
    assert_allclose(np.mean([pair.score for pair in why.alignment.pairs]), why.scores["multi"], rtol=1e-5)
    start, end = why.snippet
    assert hit.text[start:end] == "The moon shines over the river."
    assert {"scores", "terms", "alignment", "snippet", "tokens"} == set(why.to_dict(matrix=True))


def test_of_a_book_only_the_first_sentences_are_embedded_for_the_likest() -> None:
    embedded: list[str] = []

    class Moons:
        """(1, 0) for a sentence with a moon, (0, 1) for one without."""

        def encode(self, texts: list[str], **_: object) -> Embeddings:
            embedded.extend(texts)
            dense = np.array([[1, 0] if "月" in text else [0, 1] for text in texts], np.float32)
            return Embeddings("moons", np.ones(len(texts), np.int64), dense=dense)

    asked = Embeddings("moons", np.ones(1, np.int64), dense=np.array([[1, 0]], np.float32))
    book = "花开。" * 200 + "明月。" + "花开。" * 2000
    assert snippet(Moons(), "moon", asked, book) == (600, 603)  # type: ignore[arg-type]   # all that is asked of it
    assert len(embedded) == SENTENCES
