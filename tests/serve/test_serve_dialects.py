"""TEI's routes, asked by Hugging Face's own client; Cohere's and Jina's; ModelScope's; our own about texts."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from live_server import TEXTS, TOO_LONG
from numpy.testing import assert_allclose

QUERY, DOCUMENTS = "月", ["床前明月光", "我爱吃蔬菜", "举头望明月"]


def unit(vectors: Any) -> Any:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def probabilities(models: Any, query: str, documents: list[str]) -> Any:
    return 1 / (1 + np.exp(-models["reranker"].score([(query, text) for text in documents]).astype(float)))


@pytest.mark.parametrize("path", ["/embed", "/"])
def test_hugging_faces_client_embeds(client: httpx.Client, models: Any, path: str) -> None:
    hub = pytest.importorskip("huggingface_hub")
    official = hub.InferenceClient(f"{client.base_url}{path}")
    own = models["tiny"].encode(["床前明月光"]).dense
    assert_allclose(official.feature_extraction("床前明月光"), unit(own), atol=1e-6)
    assert_allclose(official.feature_extraction("床前明月光", normalize=False), own, atol=1e-6)
    assert official.feature_extraction(TOO_LONG, truncate=True).shape == (1, 32)


def test_hugging_faces_client_compares_sentences(client: httpx.Client, models: Any) -> None:
    hub = pytest.importorskip("huggingface_hub")
    got = hub.InferenceClient(f"{client.base_url}/similarity").sentence_similarity("床前明月光", DOCUMENTS)
    own = unit(models["tiny"].encode(["床前明月光", *DOCUMENTS]).dense)
    assert_allclose(got, own[1:] @ own[0], atol=1e-6)


def test_embed_takes_many_texts(client: httpx.Client, models: Any) -> None:
    got = client.post("/embed", json={"inputs": TEXTS}).json()
    assert_allclose(got, unit(models["tiny"].encode(TEXTS).dense), atol=1e-6)


def test_embed_refuses_what_is_too_long_with_413(client: httpx.Client) -> None:
    answer = client.post("/embed", json={"inputs": ["月", TOO_LONG]})
    assert answer.status_code == 413
    assert answer.json()["error_type"] == "validation"
    assert "64 tokens" in answer.json()["error"]
    assert "has 100" in answer.json()["error"]


def test_embed_all_gives_the_state_of_every_token(client: httpx.Client, models: Any) -> None:
    (got,) = client.post("/embed_all", json={"inputs": "明月光"}).json()
    assert_allclose(got, models["tiny"].encode(["明月光"], kinds=["tokens"]).tokens.row(0), atol=1e-6)


def test_embed_sparse_gives_the_terms(m3_client: httpx.Client, m3: Any) -> None:
    (got,) = m3_client.post("/embed_sparse", json={"inputs": "床前明月光"}).json()
    terms, weights = m3.encode(["床前明月光"]).sparse.row(0)
    assert [one["index"] for one in got] == terms.tolist() != []
    assert_allclose([one["value"] for one in got], weights, atol=1e-6)


def test_a_model_without_sparse_vectors_says_so_as_tei_does(client: httpx.Client) -> None:
    answer = client.post("/embed_sparse", json={"inputs": "月"})
    assert (answer.status_code, answer.json()["error_type"]) == (424, "backend")


def test_rerank_gives_probabilities_or_raw_scores_best_first(client: httpx.Client, models: Any) -> None:
    own = probabilities(models, QUERY, DOCUMENTS)
    got = client.post("/rerank", json={"query": QUERY, "texts": DOCUMENTS, "return_text": True}).json()
    assert [one["index"] for one in got] == np.argsort(-own, kind="stable").tolist()
    assert_allclose([one["score"] for one in got], np.sort(own)[::-1], atol=1e-6)
    assert [one["text"] for one in got] == [DOCUMENTS[one["index"]] for one in got]
    raw = client.post("/rerank", json={"query": QUERY, "texts": DOCUMENTS, "raw_scores": True}).json()
    assert_allclose([one["score"] for one in raw], np.log(np.sort(own)[::-1] / (1 - np.sort(own)[::-1])), atol=1e-4)


def test_tokenize_tells_where_each_token_stands(client: httpx.Client) -> None:
    (row,) = client.post("/tokenize", json={"inputs": "明月 text"}).json()
    assert [(one["text"], one["start"], one["stop"]) for one in row] == [
        ("[CLS]", None, None), ("明", 0, 1), ("月", 1, 2), ("t", 3, 4), ("e", 4, 5), ("x", 5, 6), ("t", 6, 7),
        ("[SEP]", None, None)]
    (bare,) = client.post("/tokenize", json={"inputs": ["明"], "add_special_tokens": False}).json()
    assert [one["text"] for one in bare] == ["明"]


def test_tokens_are_shown_of_so_many_letters_and_no_more(client: httpx.Client) -> None:
    answer = client.post("/tokenize", json={"inputs": ["月" * 125_000, "光" * 125_001]})
    assert (answer.status_code, "250,001 characters" in answer.json()["error"]) == (413, True)


def test_info_tells_the_limits(client: httpx.Client) -> None:
    told = client.get("/info").json()
    assert (told["model_id"], told["max_input_length"], told["max_client_batch_size"]) == ("tiny", 64, 2048)
    assert told["model_type"] == {"embedding": {"pooling": "mean"}}


@pytest.mark.parametrize("body", [{"inputs": "月", "prompt_name": "poem"},
                                  {"inputs": "月", "truncate": True, "truncation_direction": "Left"}])
def test_what_cannot_be_done_is_refused(client: httpx.Client, body: Any) -> None:
    assert client.post("/embed", json=body).status_code == 422


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_a_client_of_cohere_or_jina_gets_documents_in_order(client: httpx.Client, models: Any, path: str) -> None:
    body = {"model": "reranker", "query": QUERY, "documents": [DOCUMENTS[0], {"text": DOCUMENTS[1]}, DOCUMENTS[2]],
            "top_n": 2, "return_documents": True, "max_tokens_per_doc": 4096}
    got = client.post(path, json=body).json()
    own = probabilities(models, QUERY, DOCUMENTS)
    best = np.argsort(-own, kind="stable")[:2]
    assert [one["index"] for one in got["results"]] == best.tolist()
    assert_allclose([one["relevance_score"] for one in got["results"]], own[best], atol=1e-6)
    assert [one["document"]["text"] for one in got["results"]] == [DOCUMENTS[i] for i in best]


def test_rerank_by_an_embedding_model_compares_vectors(client: httpx.Client, models: Any) -> None:
    got = client.post("/v1/rerank", json={"model": "tiny", "query": QUERY, "documents": DOCUMENTS}).json()["results"]
    own = unit(models["tiny"].encode([QUERY, *DOCUMENTS]).dense)
    cosines = own[1:] @ own[0]
    assert [one["index"] for one in got] == np.argsort(-cosines, kind="stable").tolist()


def test_an_error_has_coheres_shape_on_its_route(client: httpx.Client) -> None:
    answer = client.post("/v2/rerank", json={"model": "nobody", "query": "月", "documents": ["月"]})
    assert answer.status_code == 404
    assert list(answer.json()) == ["message"]


def test_modelscopes_dictionary(client: httpx.Client, models: Any) -> None:
    body = {"source_sentence": ["床前明月光"], "sentences_to_compare": DOCUMENTS}
    own = models["tiny"].encode(["床前明月光", *DOCUMENTS]).dense
    for sent in (body, {"input": body}):
        got = client.post("/pipelines/sentence-embedding", json=sent).json()
        assert_allclose(got["text_embedding"], own, atol=1e-6)
        assert_allclose(got["scores"], own[1:] @ own[0], rtol=1e-5)
    alone = client.post("/pipelines/sentence-embedding", json={"source_sentence": ["月"]}).json()
    assert alone["scores"] == []


def test_score_is_a_rerankers_probability_or_a_models_similarity(client: httpx.Client, models: Any) -> None:
    got = client.post("/v1/score", json={"model": "reranker", "text_1": QUERY, "text_2": DOCUMENTS}).json()["data"]
    assert_allclose([one["score"] for one in got], probabilities(models, QUERY, DOCUMENTS), atol=1e-6)
    pairs = client.post("/v1/score", json={"model": "tiny", "text_1": ["月", "光"], "text_2": ["月", "光"]}).json()
    assert_allclose([one["score"] for one in pairs["data"]], [1, 1], atol=1e-6)
    uneven = client.post("/v1/score", json={"model": "tiny", "text_1": ["月", "光"], "text_2": ["月"] * 3})
    assert uneven.status_code == 400


def test_score_is_the_mean_of_the_kinds_that_are_asked_for(m3_client: httpx.Client, m3: Any) -> None:
    from qianru.scores import kind_scores

    body = {"model": "m3", "text_1": QUERY, "text_2": DOCUMENTS, "kinds": ["dense", "sparse", "multi"]}
    got = [one["score"] for one in m3_client.post("/v1/score", json=body).json()["data"]]
    scores = kind_scores(m3.encode([QUERY], role="query"), m3.encode(DOCUMENTS))
    assert_allclose(got, np.mean([rows[0] for rows in scores.values()], axis=0), atol=1e-5)


@pytest.mark.parametrize(("metric", "expected"), [("cosine", 1.0), ("euclidean", 0.0)])
def test_similarity_is_a_matrix(client: httpx.Client, metric: str, expected: float) -> None:
    got = client.post("/v1/similarity", json={"model": "tiny", "texts": ["月", "光", "月"], "metric": metric}).json()
    matrix = np.array(got["matrix"])
    assert matrix.shape == (3, 3)
    assert_allclose(matrix, matrix.T, atol=1e-5)
    assert matrix[0, 2] == pytest.approx(expected, abs=2e-3)     # of a distance that is a root of a rounded zero


def test_align_says_which_token_answers_which(client: httpx.Client, m3_client: httpx.Client) -> None:
    for asked, model in ((client, "tiny"), (m3_client, "m3")):
        got = asked.post("/v1/align", json={"model": model, "query": "明月", "passage": "明月光"}).json()
        matrix = np.array(got["matrix"])
        assert matrix.shape == (len(got["query_tokens"]), len(got["passage_tokens"]))
        assert got["best"] == matrix.argmax(1).tolist()
        assert got["score"] == pytest.approx(matrix.max(1).mean(), abs=1e-3)
    assert client.post("/v1/align", json={"model": "tiny", "query": "明月", "passage": "明月光"}).json()[
        "passage_tokens"] == ["明", "月", "光"]
