"""The kind tokens, and MCLS: the states of a text's tokens, and the mean of those of several [CLS]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from checkpoints import TEXTS, build, tiny  # noqa: E402
from decoder_checkpoints import tiny_decoder  # noqa: E402

from qianru.errors import BadInput  # noqa: E402
from qianru.models import load  # noqa: E402
from qianru.models.embedding_files import load_embeddings, save_embeddings  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402
from qianru.runtime.packing import pack  # noqa: E402

EXACT = Runtime(precision="float32", threads=1)
POEM = ["床前明月光", "", "举头望明月低头思故乡"]


@pytest.fixture(scope="module")
def m3(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    """A small BGE-M3."""
    return Transformer.load(build("bge-m3", tmp_path_factory.mktemp("m3"), data), EXACT)


def states_of(model: Transformer, row: Any) -> np.ndarray:
    """(length, hidden) states of one row, computed alone."""
    with torch.inference_mode():
        return np.asarray(model.network.backbone(pack([np.asarray(row, np.int64)])))


# The kind tokens


@pytest.mark.parametrize("make", [tiny, tiny_decoder])
def test_tokens_are_the_last_layers_states_and_pool_to_the_dense_vector(make: Any, tmp_path: Path) -> None:
    model = Transformer.load(make(tmp_path / "tiny"), Runtime(precision="float32", threads=1, normalize=False))
    made = model.encode(POEM, kinds=["dense", "tokens"])
    assert made.kinds == ("dense", "tokens")
    assert np.diff(made.tokens.offsets).tolist() == [len(told) for told in model.tokens(POEM)]
    for i in (0, 2):
        states = made.tokens.row(i)
        assert_allclose(states, states_of(model, model.tokenizer.rows([POEM[i]]).rows[0]), atol=1e-5)
        expected = states[-1] if model.recipe.pooling == ("lasttoken",) else states.mean(0)
        assert_allclose(made.dense[i], expected, atol=1e-5)
    assert made.tokens.row(1).shape == (0, model.network.backbone.config.hidden_size)


def test_tokens_are_made_only_if_asked_for_and_named_by_the_model(m3: Transformer) -> None:
    assert m3.spec.on_request == ("tokens",)
    assert m3.encode(POEM).kinds == ("dense", "sparse", "multi") == m3.spec.kinds
    assert m3.encode(POEM, kinds=("tokens",)).kinds == ("tokens",)
    with pytest.raises(BadInput, match="Ask for dense, sparse, multi, tokens, or load"):
        m3.encode(POEM, kinds=["words"])   # type: ignore[list-item]


def test_every_row_of_tokens_has_its_token_for_explanation(m3: Transformer) -> None:
    told = m3.tokens(["向量", "What is BGE M3?", ""])
    assert [tokens[0] for tokens in told[:2]] == ["<s>", "<s>"]
    assert [tokens[-1] for tokens in told[:2]] == ["</s>", "</s>"]
    assert "".join(told[1][1:-1]) == "WhatisBGEM3?"
    assert told[2] == []


def test_all_four_kinds_come_back_from_a_file(m3: Transformer, tmp_path: Path) -> None:
    made = m3.encode(TEXTS[:3], kinds=["dense", "sparse", "multi", "tokens"])
    save_embeddings(tmp_path / "v.safetensors", made)
    again = load_embeddings(tmp_path / "v.safetensors").embeddings
    assert again.kinds == ("dense", "sparse", "multi", "tokens")
    assert_array_equal(again.tokens.data, made.tokens.data)
    assert_array_equal(again.tokens.offsets, made.tokens.offsets)


def test_streams_join_tokens_in_order(m3: Transformer) -> None:
    whole = m3.encode(TEXTS, kinds=["tokens"]).tokens
    parts = [part.tokens for part in m3.stream(iter(TEXTS), kinds=["tokens"], window=3)]
    assert_allclose(np.concatenate([part.data for part in parts]), whole.data, atol=1e-5)


# MCLS


def by_hand(model: Transformer, text: str, every: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean of the [CLS] states, states of all tokens but them), slowly: one row, one [CLS] after the other."""
    (cls,), (sep,) = model.tokenizer.prefix, model.tokenizer.suffix
    ids = model.tokenizer.ids([text])[0]
    row: list[int] = []
    places: list[int] = []
    for i, token in enumerate(ids):
        if i % every == 0:
            places.append(len(row))
            row.append(cls)
        row.append(token)
    row.append(sep)
    states = states_of(model, row)
    others = [place for place in range(len(row)) if place not in places]
    return states[places].mean(0), states[others]


@pytest.mark.parametrize("every", [1, 3, 5, 256])
def test_mcls_is_the_mean_of_the_states_of_a_cls_before_every_so_many_tokens(m3: Transformer, every: int) -> None:
    model = m3.altered(cls_every=every, normalize=False)
    made = model.encode(TEXTS, kinds=["dense", "multi"])
    for i in (0, 1, 3, 5, 7):        # those that are not cut
        mean, others = by_hand(model, TEXTS[i], every)
        assert_allclose(made.dense[i], mean, atol=1e-5)
        assert len(made.multi.row(i)) == len(others)


def test_mcls_of_a_text_within_the_first_stretch_is_the_plain_vector(m3: Transformer) -> None:
    assert_allclose(m3.altered(cls_every=256).encode(TEXTS[:2]).dense, m3.encode(TEXTS[:2]).dense, atol=1e-6)


@pytest.mark.parametrize("max_tokens", range(3, 20))
def test_mcls_counts_its_cls_among_the_tokens_that_a_model_reads(m3: Transformer, max_tokens: int) -> None:
    model = m3.altered(max_tokens=max_tokens, cls_every=4)
    tokens = model.tokenizer.rows(["月 " * 50])
    assert len(tokens.rows[0]) in (max_tokens, max_tokens - 1)      # no [CLS] without a token after it
    assert (tokens.rows[0] == model.tokenizer.prefix[0]).sum() == -(-(len(tokens.rows[0]) - 1) // 5)
    assert tokens.n_cut == 1


def test_mcls_is_another_model_that_can_be_saved(m3: Transformer, tmp_path: Path) -> None:
    model = m3.altered(cls_every=4)
    assert model.spec.fingerprint != m3.spec.fingerprint
    model.save(tmp_path / "mcls")
    again = load(tmp_path / "mcls", EXACT)
    assert again.spec.fingerprint == model.spec.fingerprint
    assert_array_equal(again.encode(TEXTS).dense, model.encode(TEXTS).dense)


def test_mcls_needs_a_model_that_pools_cls(tmp_path: Path, m3: Transformer) -> None:
    with pytest.raises(BadInput, match="this model pools by mean, which sees every token anyway"):
        Transformer.load(tiny(tmp_path / "tiny"), EXACT).altered(cls_every=256)
    with pytest.raises(BadInput, match="cls_every must be at least 1"):
        m3.altered(cls_every=0)
