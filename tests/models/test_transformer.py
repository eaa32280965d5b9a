"""What a transformer does with texts, whatever its weights."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from checkpoints import build, tiny  # noqa: E402
from corpora import CORPORA  # noqa: E402
from decoder_checkpoints import tiny_decoder  # noqa: E402

from qianru.errors import BadInput  # noqa: E402
from qianru.models import load, transformer  # noqa: E402
from qianru.models.bm25 import BM25  # noqa: E402
from qianru.models.embedding_folder import EmbedPlan, embed_to, read_shards  # noqa: E402
from qianru.models.joined import JoinedModel  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402
from qianru.runtime.packing import pack  # noqa: E402

EXACT = Runtime(precision="float32", normalize=True, threads=1)
STRANGE = st.lists(st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    ["", " ", "\0", "\ud800", "😀👨‍👩‍👧", "\n\t", "a" * 3000, "月" * 3000, "ﬁ\u200b\ufeff", "1e308",
     "月 moon луна قمر 달"]), max_size=8)


@pytest.fixture(scope="module")
def m3(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    """A small BGE-M3."""
    return Transformer.load(build("bge-m3", tmp_path_factory.mktemp("m3"), data), EXACT)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    """The smallest Mistral."""
    return Transformer.load(tiny_decoder(tmp_path_factory.mktemp("decoder")), EXACT)


@pytest.fixture(scope="module")
def m3e(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small M3E."""
    return build("m3e", tmp_path_factory.mktemp("m3e"), data)


@pytest.fixture(scope="module")
def texts(data: Path) -> list[str]:
    """1,000 real texts, short and long."""
    return [text for corpus in CORPORA.values() for text in corpus(data)[:200]]


def test_a_thousand_real_texts_embed_alike_alone_in_a_batch_and_shuffled(m3e: Path, texts: list[str]) -> None:
    model = Transformer.load(m3e, EXACT)
    together = model.encode(texts).dense
    alone = np.concatenate([model.encode([text]).dense for text in texts])
    assert_allclose(together, alone, atol=1e-6)
    order = random.Random(3).sample(range(len(texts)), len(texts))
    assert_allclose(model.encode([texts[i] for i in order]).dense, together[order], atol=1e-6)
    streamed = np.concatenate([part.dense for part in model.stream(iter(texts), window=64)])
    assert_allclose(streamed, together, atol=1e-6)


def through_files(model: Transformer, texts: list[str], folder: Path) -> np.ndarray:
    """(n, dim) as embed_to writes and read_shards reads them."""
    named = ((str(i), text) for i, text in enumerate(texts))
    embed_to(folder, model, named, EmbedPlan(kinds=("dense",), shard_texts=99))
    shards = list(read_shards(folder))
    assert [int(i) for shard in shards for i in shard.ids] == list(range(len(texts)))
    return np.concatenate([shard.embeddings.dense for shard in shards])


def test_a_thousand_real_texts_embed_alike_through_files(m3e: Path, texts: list[str], tmp_path: Path) -> None:
    model = Transformer.load(m3e, EXACT)
    assert_allclose(through_files(model, texts, tmp_path / "v"), model.encode(texts).dense, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "most"), [("float32", None), ("bfloat16", 1e-3), ("int8", 1e-3)])
def test_at_real_width_a_thousand_texts_embed_alike_in_every_way(
    data: Path, texts: list[str], tmp_path: Path, precision: Any, most: float | None
) -> None:
    model = Transformer.load(build("m3e", tmp_path / "m3e", data, full=True),
                             Runtime(precision=precision, normalize=True, threads=1))
    together = model.encode(texts).dense
    order = random.Random(3).sample(range(len(texts)), len(texts))
    others = {
        "alone": np.concatenate([model.encode([text]).dense for text in texts]),
        "shuffled": model.encode([texts[i] for i in order]).dense[np.argsort(order)],
        "through files": through_files(model, texts, tmp_path / "v"),
    }
    for way, vectors in others.items():
        if most is None:
            assert_allclose(vectors, together, atol=1e-6, err_msg=way)
        else:
            assert (vectors * together).sum(1).min() > 1 - most, way


def test_neighbours_hardly_change_a_vector_in_bfloat16(m3e: Path, texts: list[str]) -> None:
    model = Transformer.load(m3e, Runtime(precision="bfloat16", normalize=True, threads=1))
    alone = np.concatenate([model.encode([text]).dense for text in texts[::10]])
    assert (model.encode(texts).dense[::10] * alone).sum(1).min() > 1 - 1e-3


def test_int8_stays_close_and_neighbours_hardly_change_a_vector(m3e: Path, texts: list[str]) -> None:
    exact = Transformer.load(m3e, EXACT).encode(texts[::10]).dense
    model = Transformer.load(m3e, Runtime(precision="int8", normalize=True, threads=1))
    together = model.encode(texts).dense[::10]
    assert (together * exact).sum(1).min() > 0.99
    alone = np.concatenate([model.encode([text]).dense for text in texts[::10]])
    assert (together * alone).sum(1).min() > 1 - 1e-3


def test_neighbours_do_not_change_a_short_texts_vector_in_int8(m3e: Path, texts: list[str]) -> None:
    model = Transformer.load(m3e, Runtime(precision="int8", normalize=True, threads=1))
    short = [text[:20] for text in texts[:60]]
    among_long = model.encode([*short, *texts[60:70]]).dense[:60]
    assert_allclose(among_long, np.concatenate([model.encode([text]).dense for text in short]), atol=1e-6)


def test_int8_is_refused_where_it_changes_the_worst_text_too_much(m3e: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "INT8_COSINE", 0.9999999)
    with pytest.raises(BadInput, match=r"loses too much in int8: a cosine of 0\.99\d+ to float32 for the worst of 8"):
        Transformer.load(m3e, Runtime(precision="int8"))


def test_without_onednns_operators_plain_torch_gives_the_same_vectors(
    m3e: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Transformer.load(m3e, EXACT).encode(texts[::20]).dense
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert_allclose(Transformer.load(m3e, EXACT).encode(texts[::20]).dense, exact, atol=1e-5)
    lower = Transformer.load(m3e, Runtime(precision="bfloat16", normalize=True)).encode(texts[::20]).dense
    assert (lower * exact).sum(1).min() > 0.999


def test_all_kinds_embed_alike_alone_and_in_a_batch(m3: Transformer, texts: list[str]) -> None:
    together = m3.encode(texts[::20])
    assert together.sparse is not None
    assert together.multi is not None
    for i, text in enumerate(texts[::20]):
        alone = m3.encode([text])
        assert_allclose(alone.dense[0], together.dense[i], atol=1e-6)
        assert_array_equal(alone.sparse.row(0)[0], together.sparse.row(i)[0])
        assert_allclose(alone.sparse.row(0)[1], together.sparse.row(i)[1], atol=1e-6)
        assert_allclose(alone.multi.row(0), together.multi.row(i), atol=1e-6)


def test_multi_has_a_vector_of_length_one_for_each_token_and_the_end(m3: Transformer) -> None:
    made = m3.encode(["床前明月光", "", "What is BGE M3?"])
    assert np.diff(made.multi.offsets).tolist() == [made.n_tokens[0] + 1, 0, made.n_tokens[2] + 1]
    assert_allclose(np.linalg.norm(made.multi.data, axis=1), 1, atol=1e-6)


def test_texts_that_are_cut_are_counted_and_announced_once(m3e: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Transformer.load(m3e, Runtime(precision="float32", max_tokens=8))
    with caplog.at_level(logging.WARNING, "qianru"):
        made = model.encode(["床前明月光疑是地上霜", "低头", "举头望明月低头思故乡"])
    assert made.n_truncated == 2
    assert made.n_tokens.tolist() == [10, 2, 10]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["2 of 3 texts were longer than 8 tokens and were cut."]


def test_a_stream_takes_no_more_texts_than_a_window_holds(m3e: Path) -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield "床前明月光"

    stream = Transformer.load(m3e, EXACT).stream(endless(), window=7)
    assert len(next(stream)) == 7
    assert taken == 7


def test_a_stream_refuses_one_text_and_a_window_of_none(m3e: Path) -> None:
    model = Transformer.load(m3e, EXACT)
    with pytest.raises(BadInput, match="not one text"):
        model.stream("床前明月光")
    with pytest.raises(BadInput, match="at least one text, not 0"):
        model.stream(["床前明月光"], window=0)


@given(texts=STRANGE)
@settings(max_examples=40, deadline=None)
def test_strange_texts_never_crash_and_keep_order_and_count(m3: Transformer, texts: list[str]) -> None:
    made = m3.encode([*texts, *texts])
    assert len(made) == 2 * len(texts)
    assert np.isfinite(made.dense).all()
    assert_allclose(made.dense[: len(texts)], made.dense[len(texts) :], atol=1e-6)
    assert_array_equal(made.dense.any(1), made.n_tokens > 0)


@given(texts=STRANGE)
@settings(max_examples=25, deadline=None)
def test_strange_texts_never_crash_a_decoder_and_keep_order_and_count(decoder: Transformer, texts: list[str]) -> None:
    made = decoder.encode([*texts, *texts], kinds=["dense", "tokens"])
    assert len(made) == 2 * len(texts)
    assert np.isfinite(made.dense).all()
    assert_allclose(made.dense[: len(texts)], made.dense[len(texts) :], atol=1e-6)
    assert_array_equal(made.dense.any(1), made.n_tokens > 0)
    assert_array_equal(np.diff(made.tokens.offsets) > 0, made.n_tokens > 0)


def test_a_decoder_cuts_a_megabyte_on_one_line_and_keeps_its_last_token(decoder: Transformer) -> None:
    made = decoder.encode(["床前明月光，疑是地上霜。" * 28_000, "月"], kinds=["tokens"])
    assert made.n_truncated == 1
    assert len(made.tokens.row(0)) == decoder.tokenizer.max_tokens
    assert decoder.tokenizer.rows(["月" * 9999]).rows[0][-1] == decoder.tokenizer.suffix[-1]


def test_a_megabyte_on_one_line_is_cut_and_counted(m3e: Path) -> None:
    made = Transformer.load(m3e, EXACT).encode(["床前明月光，疑是地上霜。" * 28_000, "月"])
    assert made.n_tokens[0] == 12 * 28_000
    assert made.n_truncated == 1


def test_a_model_of_three_kinds_is_the_same_after_a_round_trip(m3: Transformer, tmp_path: Path) -> None:
    m3.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.spec == m3.spec
    one, other = m3.encode(["床前明月光"]), again.encode(["床前明月光"])
    assert_array_equal(one.dense, other.dense)
    assert_array_equal(one.sparse.weights, other.sparse.weights)
    assert_array_equal(one.multi.data, other.multi.data)


def test_the_fingerprint_tells_weights_and_recipe_and_not_the_machine(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "one")
    same = [Transformer.load(folder, options).spec.fingerprint for options in
            (Runtime(), Runtime(precision="float32"), Runtime(threads=1, batch_tokens=5))]
    assert len(set(same)) == 1
    others = [Transformer.load(folder, options).spec.fingerprint for options in
              (Runtime(truncate_dim=8), Runtime(normalize=True), Runtime(max_tokens=9))]
    others.append(Transformer.load(tiny(tmp_path / "two", seed=8)).spec.fingerprint)
    assert len({*same, *others}) == 5


def test_a_transformer_joins_other_models(tmp_path: Path) -> None:
    dense = Transformer.load(tiny(tmp_path / "tiny"), EXACT)
    joined = JoinedModel([BM25().fit(["床前明月光", "我爱吃蔬菜"]), dense])
    joined.save(tmp_path / "joined")
    made = load(tmp_path / "joined").encode(["明月"])
    assert set(made.kinds) == {"dense", "sparse"}


def test_a_network_that_is_not_packed_carries_gradients_to_every_parameter(m3e: Path) -> None:
    model = Transformer.load(m3e, EXACT, packed=False)
    rows = model.tokenizer.rows(["举头望明月", "床前明月光", "低头"]).rows
    batch = pack(rows)
    vectors = model.network.dense_vectors(model.network.backbone(batch), batch)
    (vectors @ torch.randn(32)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.network.parameters())


def test_a_network_that_is_not_packed_gives_the_same_vectors_and_saves_what_it_learnt(
    m3e: Path, tmp_path: Path
) -> None:
    packed, plain = Transformer.load(m3e, EXACT), Transformer.load(m3e, EXACT, packed=False)
    texts = ["床前明月光", "我爱吃蔬菜"]
    assert_allclose(packed.encode(texts).dense, plain.encode(texts).dense, atol=1e-6)
    assert packed.spec == plain.spec
    with torch.no_grad():
        for parameter in plain.network.parameters():
            parameter.mul_(1.1)
    changed = plain.encode(texts).dense
    plain.save(tmp_path / "trained")
    assert_allclose(load(tmp_path / "trained").encode(texts).dense, changed, atol=1e-6)
