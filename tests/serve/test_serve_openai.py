"""OpenAI's routes, asked by OpenAI's own client."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from live_server import TEXTS, TOO_LONG
from numpy.testing import assert_allclose, assert_array_equal

from qianru.serve import answers, asking

openai = pytest.importorskip("openai")


@pytest.fixture
def official(client: httpx.Client) -> Any:
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="any", max_retries=0) as official:
        yield official


@pytest.mark.parametrize("form", ["float", "base64"])
def test_the_official_client_gets_the_models_own_vectors(official: Any, models: Any, form: str) -> None:
    answer = official.embeddings.create(model="tiny", input=TEXTS, encoding_format=form)
    got = [row.embedding for row in answer.data]
    if form == "base64":
        import base64

        got = [np.frombuffer(base64.b64decode(row), "<f4") for row in got]
    assert_allclose(got, models["tiny"].encode(TEXTS).dense, atol=1e-6)
    assert [row.index for row in answer.data] == list(range(len(TEXTS)))


def test_the_client_that_asks_for_nothing_gets_floats(official: Any, models: Any) -> None:
    answer = official.embeddings.create(model="tiny", input="床前明月光")       # it asks for base64 and unpacks it
    assert_allclose(answer.data[0].embedding, models["tiny"].encode(["床前明月光"]).dense[0], atol=1e-6)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 7          # five letters, [CLS] and [SEP]


def test_fewer_dimensions_are_the_first_ones(official: Any, models: Any) -> None:
    row = official.embeddings.create(model="tiny", input="月", dimensions=8).data[0].embedding
    assert_allclose(row, models["tiny"].encode(["月"]).dense[0, :8], atol=1e-6)


def test_fewer_dimensions_of_a_normalised_vector_have_length_1_again(client: httpx.Client, models: Any) -> None:
    body = {"model": "tiny", "input": "月", "dimensions": 8, "normalize": True}
    row = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    own = models["tiny"].encode(["月"]).dense[0, :8]
    assert_allclose(row, own / np.linalg.norm(own), atol=1e-6)


def test_more_dimensions_than_there_are_is_an_error_with_the_number(official: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="makes 32 dimensions, fewer than 33"):
        official.embeddings.create(model="tiny", input="月", dimensions=33)


def test_token_ids_are_the_models_own(official: Any, models: Any) -> None:
    ids = models["tiny"].tokenizer.ids(["床前明月光", "月"])
    got = official.embeddings.create(model="tiny", input=ids, encoding_format="float").data
    assert_allclose([row.embedding for row in got], models["tiny"].encode(["床前明月光", "月"]).dense, atol=1e-6)
    framed = [int(i) for i in models["tiny"].tokenizer.rows(["月"]).rows[0]]
    one = official.embeddings.create(model="tiny", input=framed, encoding_format="float").data
    assert_allclose(one[0].embedding, got[1].embedding, atol=1e-6)


def test_a_token_id_that_there_is_not_is_an_error(official: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="outside 0 to"):
        official.embeddings.create(model="tiny", input=[[1, 10**6]])


def test_an_unknown_model_is_named_with_the_one_that_was_meant(official: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="Did you mean 'tiny'"):
        official.embeddings.create(model="tinny", input="月")


def test_a_text_that_is_too_long_is_refused_with_both_numbers(official: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="reads 64 tokens, special ones among them, and the longest text "
                                                     "has 100"):
        official.embeddings.create(model="tiny", input=["月", TOO_LONG])


def test_a_text_is_cut_only_if_that_is_asked_for_and_then_it_is_told(client: httpx.Client, models: Any) -> None:
    answer = client.post("/v1/embeddings", json={"model": "tiny", "input": TOO_LONG, "truncate": True})
    assert_allclose(answer.json()["data"][0]["embedding"], models["tiny"].encode([TOO_LONG]).dense[0], atol=1e-6)
    assert answer.headers["x-truncated-texts"] == "1"


def test_a_reranker_makes_no_embeddings(official: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="is a reranker"):
        official.embeddings.create(model="reranker", input="月")


@pytest.mark.parametrize("input", [[], [[]], "", ["月", 3], [1.5], {"a": 1}, None, [None]])
def test_input_that_is_no_text_is_an_error_or_a_zero_vector(client: httpx.Client, input: Any) -> None:
    answer = client.post("/v1/embeddings", json={"model": "tiny", "input": input})
    if input in ("", [[]]):
        assert not np.any(answer.json()["data"][0]["embedding"])
    else:
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_models_are_listed_with_what_they_can_do(official: Any) -> None:
    tiny, reranker = official.models.list().data
    assert (tiny.id, tiny.object, tiny.owned_by) == ("tiny", "model", "qianru")
    assert tiny.qianru == {"family": "transformer", "kinds": ["dense"], "on_request": ["tokens"], "dim": 32,
                           "max_tokens": 64, "role": "embedder"}
    assert reranker.qianru["role"] == "reranker"


def test_one_pass_gives_all_three_kinds(m3_client: httpx.Client, m3: Any) -> None:
    texts = ["床前明月光", "What is BGE M3?"]
    body = {"model": "m3", "input": texts, "kinds": ["dense", "sparse", "multi"], "role": "query"}
    rows = m3_client.post("/v1/embeddings", json=body).json()["data"]
    own = m3.encode(texts, role="query")
    assert_allclose([row["embedding"] for row in rows], own.dense, atol=1e-6)
    for i, row in enumerate(rows):
        terms, weights = own.sparse.row(i)
        assert_array_equal(row["sparse"]["indices"], terms)
        assert_allclose(row["sparse"]["values"], weights, atol=1e-6)
        assert_allclose(row["multi"], own.multi.row(i), atol=1e-6)


def test_matrices_in_base64_tell_their_shape(m3_client: httpx.Client, m3: Any) -> None:
    import base64

    body = {"model": "m3", "input": "床前明月光", "kinds": ["multi"], "encoding_format": "base64"}
    row = m3_client.post("/v1/embeddings", json=body).json()["data"][0]
    assert "embedding" not in row
    got = np.frombuffer(base64.b64decode(row["multi"]["base64"]), "<f4").reshape(row["multi"]["shape"])
    assert_allclose(got, m3.encode(["床前明月光"]).multi.row(0), atol=1e-6)


def test_a_kind_that_the_model_lacks_is_an_error(client: httpx.Client) -> None:
    answer = client.post("/v1/embeddings", json={"model": "tiny", "input": "月", "kinds": ["sparse"]})
    assert answer.status_code == 400
    assert "not sparse" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("path", "body"), [
    ("/v1/embeddings", {"model": "m3", "input": TEXTS, "kinds": ["dense", "sparse", "multi"]}),
    ("/embed", {"inputs": TEXTS}), ("/embed_all", {"inputs": TEXTS}), ("/embed_sparse", {"inputs": TEXTS}),
    ("/tokenize", {"inputs": TEXTS}), ("/v1/similarity", {"model": "m3", "texts": TEXTS}),
    ("/v1/align", {"model": "m3", "query": "明月", "passage": "举头望明月"}),
    ("/v1/score", {"model": "m3", "text_1": "月", "text_2": TEXTS, "kinds": ["dense", "multi"]}),
])
def test_a_large_answer_is_written_in_a_thread_and_in_pieces(
    m3_client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str, body: Any
) -> None:
    at_once = m3_client.post(path, json=body).json()
    seen: list[tuple[str, int]] = []
    dumps = answers.orjson.dumps

    def spied(value: Any, **more: Any) -> bytes:
        seen.append((threading.current_thread().name, len(written := dumps(value, **more))))
        return written

    monkeypatch.setattr(answers, "orjson", SimpleNamespace(dumps=spied, OPT_SERIALIZE_NUMPY=0x10))
    for module in (answers, asking):
        monkeypatch.setattr(module, "PIECE", 0)
    in_pieces = m3_client.post(path, json=body).json()
    for made in (at_once, in_pieces):
        made.pop("id", None) if isinstance(made, dict) else None       # a request's own
    assert in_pieces == at_once
    if path != "/v1/score":                         # its answer is small, only its numbers are many
        assert {name.partition("_")[0] for name, _ in seen} == {"qianru-reader"}
        assert len(seen) > 3
        assert max(size for _, size in seen) < 1000     # a row of 32 numbers
