"""Several models as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from qianru.errors import BadInput, NotFitted, SpecMismatch
from qianru.models import load
from qianru.models.base import ModelSpec
from qianru.models.bm25 import BM25
from qianru.models.joined import JoinedModel
from qianru.models.lexical import TfIdf
from qianru.models.vectors import WordVectors
from qianru.models.word2vec import Word2Vec
from qianru.models.word_vector_model import WordVectorModel
from qianru.types import Embeddings

TEXTS = ["我爱吃蔬菜", "我不爱吃肉", ""]
VECTORS = WordVectors(["我", "爱", "吃", "肉"], np.eye(4))


@pytest.fixture
def joined() -> JoinedModel:
    return JoinedModel([BM25().fit(TEXTS), WordVectorModel(VECTORS)])


class Truncating:
    """A model of multi vectors that reads two tokens and cannot be saved."""

    spec = ModelSpec("cutter", "cutter", ("multi",), "0" * 64, max_tokens=2)

    def encode(self, texts: list[str], **_: Any) -> Embeddings:
        from qianru.types import Ragged

        offsets = np.arange(len(texts) + 1)
        return Embeddings("cutter", np.full(len(texts), 9), len(texts), multi=Ragged(np.ones((len(texts), 3)), offsets))


def test_each_kind_comes_from_the_part_that_makes_it(joined: JoinedModel) -> None:
    bm25, vectors = joined.parts
    assert joined.spec.kinds == ("dense", "sparse")
    assert (joined.spec.name, joined.spec.dim) == ("bm25 + word2vec", 4)
    for role in ("query", "document"):
        both = joined.encode(TEXTS, role=role)
        assert_array_equal(both.dense, vectors.encode(TEXTS, role=role).dense)
        assert_array_equal(both.sparse.to_dense(), bm25.encode(TEXTS, role=role).sparse.to_dense())
        assert_array_equal(both.n_tokens, bm25.encode(TEXTS).n_tokens)


def test_a_part_that_is_not_asked_does_no_work() -> None:
    joined = JoinedModel([BM25().fit(TEXTS), Word2Vec()])
    assert joined.encode(TEXTS, kinds=["sparse"]).kinds == ("sparse",)
    with pytest.raises(NotFitted):
        joined.encode(TEXTS)


def test_what_one_part_cuts_is_counted() -> None:
    joined = JoinedModel([BM25().fit(TEXTS), Truncating()])
    assert joined.spec.max_tokens == 2
    assert joined.encode(TEXTS).n_truncated == 3
    assert joined.encode(TEXTS, kinds=["sparse"]).n_truncated == 0


def test_two_models_of_one_kind_are_refused() -> None:
    with pytest.raises(BadInput, match="bm25 and tfidf both make sparse vectors"):
        JoinedModel([BM25(), TfIdf()])
    with pytest.raises(BadInput, match="at least one model"):
        JoinedModel([])


def test_joined_models_are_joined_flat(joined: JoinedModel) -> None:
    assert [part.spec.name for part in JoinedModel([joined, Truncating()]).parts] == ["bm25", "word2vec", "cutter"]


def test_the_fingerprint_is_that_of_the_parts_and_their_order(joined: JoinedModel) -> None:
    bm25, vectors = joined.parts
    assert JoinedModel([bm25, vectors]).spec.fingerprint == joined.spec.fingerprint
    other = WordVectorModel(WordVectors(["我"], np.ones((1, 4))))
    assert JoinedModel([bm25, other]).spec.fingerprint != joined.spec.fingerprint


def test_it_is_saved_with_a_folder_for_each_part(joined: JoinedModel, tmp_path: Path) -> None:
    joined.save(tmp_path / "both")
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"qianru.json", "sparse", "dense"}
    again = load(tmp_path / "both")
    assert isinstance(again, JoinedModel)
    assert [type(part) for part in again.parts] == [BM25, WordVectorModel]
    assert again.spec == joined.spec
    assert type(load(tmp_path / "both" / "dense")) is WordVectorModel


def test_parts_that_are_not_those_promised_are_refused(joined: JoinedModel, tmp_path: Path) -> None:
    joined.save(tmp_path / "both")
    card = tmp_path / "both" / "qianru.json"
    content = json.loads(card.read_text("utf-8"))
    content["settings"]["parts"] = ["sparse", "multi"]
    card.write_text(json.dumps(content), "utf-8")
    with pytest.raises(SpecMismatch, match="names the parts"):
        load(tmp_path / "both")


def test_a_part_that_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cutter cannot be saved"):
        JoinedModel([BM25(), Truncating()]).save(tmp_path / "both")


def test_progress_goes_over_all_parts_in_texts(joined: JoinedModel) -> None:
    seen: list[tuple[int, int | None]] = []
    joined.encode(TEXTS * 4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 12), (6, 12), (6, 12), (12, 12)]
