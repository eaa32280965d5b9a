"""Rerankers: the references' ids and scores, pairs that are cut, files that do not fit, round trips."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch", reason="rerankers need torch: pip install 'qianru[torch]'")

from checkpoints import write_json, write_safetensors  # noqa: E402
from hypothesis import given, strategies as st  # noqa: E402
from reranker_checkpoints import FULL, LAYOUTS, PAIRS, bert_tensors, build, tiny_reranker  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from qianru.errors import BadInput, SpecMismatch, UnknownName  # noqa: E402
from qianru.models import load  # noqa: E402
from qianru.models.base import Model, Reranker  # noqa: E402
from qianru.models.cross_encoder import CrossEncoder  # noqa: E402
from qianru.models.labels import Labels  # noqa: E402
from qianru.models.pairs import Cut  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402

EXACT = Runtime(precision="float32", threads=1)
GOLDENS = Path(__file__).parent.parent / "goldens" / "rerankers.npz"
CASES = [*LAYOUTS, *(f"{name}-full" for name in FULL)]
POEMS = [("明月", "床前明月光"), ("故乡", "低头思故乡"), ("我爱吃蔬菜", ""), ("月", "举头望明月" * 30), ("", "")]


@pytest.fixture(scope="module")
def goldens() -> Any:
    """What transformers, sentence-transformers and FlagEmbedding made."""
    return np.load(GOLDENS)


@pytest.fixture(scope="module")
def folder_of(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a layout; not to be changed by a test."""

    @cache
    def built(name: str) -> Path:
        return build(name.removesuffix("-full"), tmp_path_factory.mktemp(name), data, full=name.endswith("-full"))

    return built


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> tuple[str, CrossEncoder]:
    """(name, model) of every layout."""
    model = load(folder_of(request.param), EXACT)
    assert isinstance(model, CrossEncoder)
    return request.param, model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    """One without real data."""
    return CrossEncoder.load(tiny_reranker(tmp_path_factory.mktemp("tiny") / "tiny"), EXACT)


def probability(scores: Any) -> Any:
    return 1 / (1 + np.exp(-scores.astype(np.float64)))


def test_logits_are_those_of_transformers(case: tuple[str, CrossEncoder], goldens: Any) -> None:
    name, model = case
    judged = model.judge(PAIRS)
    assert_allclose(judged.logits, goldens[f"{name}/logits"], atol=1e-5)
    full = [len(goldens[f"{name}/ids{i}"]) == 512 for i in range(len(PAIRS))]
    assert judged.n_truncated == sum(full) >= 2
    assert judged.scores.dtype == np.float32


def test_pairs_have_transformers_ids_and_segments(case: tuple[str, CrossEncoder], goldens: Any) -> None:
    name, model = case
    made = model.tokenizer.rows(PAIRS)
    for i, (row, types) in enumerate(zip(made.rows, made.types, strict=True)):
        assert_array_equal(row, goldens[f"{name}/ids{i}"])
        expected = goldens[f"{name}/types{i}"] if f"{name}/types{i}" in goldens else np.zeros(len(row))
        assert_array_equal(types, expected)


def test_the_sigmoid_of_a_score_is_a_labels_probability(case: tuple[str, CrossEncoder], goldens: Any) -> None:
    name, model = case
    logits = goldens[f"{name}/logits"].astype(np.float64)
    relevant = {1: 0, 2: 1, 3: 1}[logits.shape[1]]           # the only one; the second; entailment
    if logits.shape[1] == 1:
        expected = probability(logits[:, 0])
    else:
        expected = np.exp(logits[:, relevant]) / np.exp(logits).sum(1)
    assert_allclose(probability(model.score(PAIRS)), expected, atol=1e-5)


def test_cut_as_flag_embedding_cuts_the_scores_are_its_own(case: tuple[str, CrossEncoder], goldens: Any) -> None:
    name, model = case
    if f"{name}/flag" not in goldens:
        pytest.skip("FlagReranker takes one label only")
    for key, n in (("flag", 512), ("flag/48", 48)):
        flag = model.altered(cut=Cut("document", n * 3 // 4), max_tokens=n)
        assert_allclose(flag.score(PAIRS), goldens[f"{name}/{key}"], atol=1e-5)


def test_bfloat16_and_int8_rank_nearly_as_float32(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("bge-reranker-full")
    pairs = [pair for pair in PAIRS if len("".join(pair)) < 200]
    exact = CrossEncoder.load(folder, EXACT).score(pairs)
    for precision, near in (("bfloat16", 0.03), ("int8", 0.15)):
        rounded = CrossEncoder.load(folder, Runtime(precision=precision, threads=1)).score(pairs)   # type: ignore[arg-type]
        assert np.abs(rounded - exact).max() < near * np.ptp(exact)


def test_a_pair_scores_alike_alone_and_among_others(tiny: CrossEncoder) -> None:
    together = tiny.score(POEMS)
    assert_allclose([tiny.score([pair])[0] for pair in POEMS], together, atol=1e-6)
    assert_allclose(tiny.score(POEMS[::-1])[::-1], together, atol=1e-6)


def test_the_order_of_the_two_texts_matters(tiny: CrossEncoder) -> None:
    one, other = tiny.score([("明月", "故乡"), ("故乡", "明月")])
    assert abs(one - other) > 1e-3


def test_pairs_that_are_cut_are_counted_and_told(tiny: CrossEncoder, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[int, int | None]] = []
    with caplog.at_level(logging.WARNING, "qianru"):
        judged = tiny.judge(POEMS, progress=lambda done, total: told.append((done, total)))
    assert judged.n_tokens.tolist() == [7, 7, 5, 151, 0]
    assert judged.n_truncated == 1
    assert "1 of 5 pairs were longer than 64 tokens and were cut." in caplog.text
    assert told[-1] == (5, 5)


def test_no_pairs_give_no_scores_and_a_generator_will_do(tiny: CrossEncoder) -> None:
    assert tiny.score([]).shape == (0,)
    assert_array_equal(tiny.score(pair for pair in POEMS), tiny.score(POEMS))


@pytest.mark.parametrize("pairs", [["明月", "故乡"], [("明月",)], [("明月", "故乡", "光")], [("明月", 3)], [None]])
def test_what_is_no_pair_is_refused(tiny: CrossEncoder, pairs: Any) -> None:
    with pytest.raises(BadInput, match=r"Pair 0 \(counting from 0\) is a query and a document"):
        tiny.score(pairs)


def test_it_is_a_reranker_without_kinds_and_says_so_to_whoever_wants_vectors(tiny: CrossEncoder) -> None:
    assert isinstance(tiny, Reranker)
    assert isinstance(tiny, Model)
    assert (tiny.spec.kinds, tiny.spec.family, tiny.spec.max_tokens) == ((), "cross-encoder", 64)
    with pytest.raises(BadInput, match="tiny is a reranker: it scores pairs"):
        tiny.encode(["明月"])


def test_saved_and_loaded_it_scores_the_same(tiny: CrossEncoder, tmp_path: Path) -> None:
    changed = tiny.altered(cut=Cut("document", 20), max_tokens=40)
    changed.save(tmp_path / "saved")
    back = load(tmp_path / "saved", EXACT)
    assert isinstance(back, CrossEncoder)
    assert_allclose(back.score(POEMS), changed.score(POEMS), atol=1e-6)
    assert back.spec == changed.spec
    assert back.spec.fingerprint != tiny.spec.fingerprint
    assert back.tokenizer.cut == Cut("document", 20)


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.pop("classifier.weight"), "lacks the tensor 'classifier.weight'"),
    (lambda t: t.pop("bert.pooler.dense.bias"), "lacks the tensor 'pooler.dense.bias'"),
    (lambda t: t.update({"extra.weight": np.zeros((2, 2), np.float32)}), "holds 1 tensors that .* no place for: extra"),
    (lambda t: t.update({"classifier.bias": np.zeros(3, np.float32)}), r"the tensor 'classifier.bias' is .* \[3\]"),
])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    folder = tiny_reranker(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(SpecMismatch, match=message):
        load(folder)


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for config, message in (
        ({"id2label": {"0": "A", "1": "B"}}, "names 2 labels, and the head has 1 outputs"),
        ({"model_type": "qwen3"}, "classifier of the type 'qwen3'; supported are bert, roberta, xlm-roberta"),
        ({"hidden_act": "mish"}, "asks for the activation 'mish'"),
    ):
        folder = tiny_reranker(tmp_path / "m")
        values = json.loads((folder / "config.json").read_text())
        write_json(folder / "config.json", values | config)
        with pytest.raises(SpecMismatch, match=message):
            load(folder)
    for options, message in (({"truncate_dim": 8}, "makes scores, not vectors"), ({"max_tokens": 65}, "at most 64")):
        with pytest.raises(BadInput, match=message):
            load(tiny_reranker(tmp_path / "m"), Runtime(**options))


def test_which_label_counts_is_read_never_guessed(tmp_path: Path) -> None:
    for names, relevant in ((["LABEL_0", "LABEL_1"], 1), (["entailment", "not_entailment"], 0),
                            (["contradiction", "neutral", "ENTAILMENT"], 2)):
        n = len(names)
        folder = tiny_reranker(tmp_path / "m", id2label={str(i): name for i, name in enumerate(names)})
        values = json.loads((folder / "config.json").read_text())
        write_safetensors(folder / "model.safetensors", bert_tensors(values, n, 7))
        assert CrossEncoder.load(folder).labels == Labels(tuple(names), relevant)
    folder = tiny_reranker(tmp_path / "m", n_labels=3)
    with pytest.raises(SpecMismatch, match=r"LABEL_0, LABEL_1, LABEL_2; which of them .* cannot be told"):
        load(folder)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(2, 50))
def test_the_longest_is_cut_as_the_tokenizers_library_does(n_query: int, n_document: int, room: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(room, strategy="longest_first")
    ids = tokenizer.encode("a " * n_query, "b " * n_document).ids
    assert Cut().lengths(n_query, n_document, room) == (ids.count(0), ids.count(1))


def test_only_the_document_is_cut_and_never_to_nothing() -> None:
    assert Cut("document").lengths(10, 90, 50) == (10, 40)
    assert Cut("document", 8).lengths(10, 90, 50) == (8, 42)
    assert Cut("document").lengths(10, 40, 50) == (10, 40)
    with pytest.raises(BadInput, match="nothing of the document would be read"):
        Cut("document").lengths(50, 5, 50)
    with pytest.raises(UnknownName, match="Did you mean 'longest'"):
        Cut("longst")   # type: ignore[arg-type]


def test_a_score_that_is_no_number_is_an_error(tiny: CrossEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    classified = tiny.network.classified
    monkeypatch.setattr(tiny.network, "classified", lambda states: classified(states) * float("nan"))
    with pytest.raises(BadInput, match=r"gives pair 0 \(counting from 0\) a score that is not a finite number"):
        tiny.score([("明月", "床前明月光")])
