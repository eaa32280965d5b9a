"""One contract, one suite: what every model family owes to whoever calls encode."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

from qianru.errors import BadInput, QianruError, UnknownName
from qianru.models.base import Model
from qianru.types import Embeddings

TEXTS = ["床前明月光，疑是地上霜", "我爱吃蔬菜", "", "texts that mean the same", "我爱吃蔬菜", "龘"]
ROLES = ["query", "document"]
POISONS = [None, True, -1, 10**400, 1e308, "", "word", [], ["的", 3], {}, {"unit": 1}]
LONG = "明月松间照，清泉石上流。" * 20_000


def dense_rows(embeddings: Embeddings) -> list[np.ndarray]:
    """Each text's vectors, all kinds end to end, so that any two families are compared alike.

    Dense ones at length 1 where they are longer: that is how their agreement is promised.
    """
    parts = [[] for _ in range(len(embeddings))]
    for i, row in enumerate(parts):
        if embeddings.dense is not None:
            row.append(embeddings.dense[i] / max(np.linalg.norm(embeddings.dense[i]), 1))
        if embeddings.sparse is not None:
            terms, weights = embeddings.sparse.row(i)
            row += [terms, weights]
        if embeddings.multi is not None:
            row.append(embeddings.multi.row(i).ravel())
    return [np.concatenate(row).astype(np.float64) for row in parts]


def assert_alike(left: list[np.ndarray], right: list[np.ndarray]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert_allclose(one, other, atol=1e-6)


def test_it_is_a_model(model: Any) -> None:
    assert isinstance(model, Model)
    assert re.fullmatch("[0-9a-f]{64}", model.spec.fingerprint)
    assert model.spec.family == model.family


@pytest.mark.parametrize("role", ROLES)
def test_a_text_embeds_alike_alone_and_in_a_batch(model: Any, role: Any) -> None:
    together = dense_rows(model.encode(TEXTS, role=role))
    alone = [dense_rows(model.encode([text], role=role))[0] for text in TEXTS]
    assert_alike(together, alone)


@pytest.mark.parametrize("role", ROLES)
def test_order_is_kept_and_duplicates_are_alike(model: Any, role: Any) -> None:
    there = dense_rows(model.encode(TEXTS, role=role))
    back = dense_rows(model.encode(TEXTS[::-1], role=role))
    assert_alike(there, back[::-1])
    assert_alike([there[1]], [there[4]])


def test_every_kind_that_it_promises_is_made(model: Any) -> None:
    embeddings = model.encode(TEXTS)
    assert embeddings.kinds == model.spec.kinds
    assert len(embeddings) == len(TEXTS)
    assert embeddings.model == model.spec.name
    if embeddings.dense is not None:
        assert embeddings.dense.shape == (len(TEXTS), model.spec.dim)
        assert embeddings.dense.dtype == np.float32
        assert np.isfinite(embeddings.dense).all()
    if embeddings.sparse is not None:
        for terms, weights in embeddings.sparse:
            assert (np.diff(terms) > 0).all()
            assert np.isfinite(weights).all()
            assert ((terms >= 0) & (terms < embeddings.sparse.width)).all()


@pytest.mark.parametrize("role", ROLES)
def test_an_empty_text_is_a_text_without_tokens(model: Any, role: Any) -> None:
    embeddings = model.encode([""], role=role)
    assert embeddings.n_tokens.tolist() == [0]
    if embeddings.sparse is not None:
        assert len(embeddings.sparse.terms) == 0
    if embeddings.dense is not None:
        assert not embeddings.dense.any()


@pytest.mark.parametrize("role", ROLES)
def test_no_texts_give_no_vectors(model: Any, role: Any) -> None:
    embeddings = model.encode([], role=role)
    assert len(embeddings) == 0
    assert embeddings.kinds == model.spec.kinds


def test_a_very_long_text_is_read_whole_or_counted_as_cut(model: Any) -> None:
    embeddings = model.encode([LONG])
    assert embeddings.n_tokens[0] > 50_000
    assert embeddings.n_truncated == (0 if model.spec.max_tokens is None else 1)


def test_a_generator_will_do(model: Any) -> None:
    assert_alike(dense_rows(model.encode(text for text in TEXTS)), dense_rows(model.encode(TEXTS)))


def test_one_text_in_place_of_a_list_is_refused(model: Any) -> None:
    with pytest.raises(BadInput, match="A list of texts is needed"):
        model.encode("床前明月光")


@pytest.mark.parametrize("stranger", [None, 3, b"bytes", ["list"]])
def test_what_is_no_text_is_named_by_its_position(model: Any, stranger: Any) -> None:
    with pytest.raises(BadInput, match=f"Text 1 .counting from 0. is {type(stranger).__name__}"):
        model.encode(["好", stranger])


def test_kinds_are_checked(model: Any) -> None:
    for kind in model.spec.kinds:
        assert model.encode(TEXTS, kinds=[kind]).kinds == (kind,)
    with pytest.raises(BadInput, match="not multi"):
        model.encode(TEXTS, kinds=["multi"])
    with pytest.raises(BadInput, match="not none"):
        model.encode(TEXTS, kinds=[])
    with pytest.raises(BadInput, match="kinds is a list"):
        model.encode(TEXTS, kinds="sparse")


def test_a_misspelt_role_is_named(model: Any) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'document'"):
        model.encode(TEXTS, role="documents")


def test_an_instruction_that_nobody_would_follow_is_refused(model: Any) -> None:
    with pytest.raises(BadInput, match="takes no instruction"):
        model.encode(TEXTS, instruction="为这个句子生成表示")


def test_progress_ends_at_the_total(model: Any) -> None:
    seen: list[tuple[int, int | None]] = []
    model.encode(TEXTS, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(TEXTS), len(TEXTS))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("role", ROLES)
def test_a_saved_model_gives_the_same_vectors_when_loaded(model: Any, role: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    for one, other in zip(
        dense_rows(loaded.encode(TEXTS, role=role)), dense_rows(model.encode(TEXTS, role=role)), strict=True
    ):
        assert_allclose(one, other, atol=1e-6)      # sums of float32 depend on the number of threads at work
    assert loaded.spec == model.spec


def test_saving_twice_changes_nothing(model: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    model.save(tmp_path / "model")
    type(model).load(tmp_path / "model").save(tmp_path / "again")
    for path in sorted((tmp_path / "model").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "model")).read_bytes()


@pytest.fixture(scope="module")
def saved(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model.save(folder)
    return folder


@pytest.mark.parametrize("poison", POISONS, ids=lambda value: f"{value!r:.12}")
def test_settings_that_make_no_sense_are_refused_by_name_or_harmless(model: Any, poison: Any, saved: Path) -> None:
    card = json.loads((saved / "qianru.json").read_text("utf-8"))
    for settings_ in [card["settings"], *(value for value in card["settings"].values() if isinstance(value, dict))]:
        for name, right in list(settings_.items()):
            settings_[name] = poison
            (saved / "qianru.json").write_text(json.dumps(card), "utf-8")
            with suppress(QianruError):
                type(model).load(saved)
            settings_[name] = right
    (saved / "qianru.json").write_text(json.dumps(card), "utf-8")


@given(texts=st.lists(st.text(st.characters(), max_size=30), max_size=6), role=st.sampled_from(ROLES))
@settings(max_examples=15, deadline=None)
def test_strange_texts_keep_order_and_count(model: Any, texts: list[str], role: Any) -> None:
    embeddings = model.encode([*texts, *texts], role=role)
    rows = dense_rows(embeddings)
    assert len(rows) == 2 * len(texts)
    assert all(np.isfinite(row).all() for row in rows)
    assert_alike(rows[: len(texts)], rows[len(texts) :])
