"""Remote models against a server that misbehaves: order kept, nothing cut in silence, the key seen by nobody else."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from servers import EmbeddingServer, says, serving, sleeps

from qianru.errors import BadInput, QianruError, ServerFailed, ShapeMismatch
from qianru.models.catalogue import Card
from qianru.models.files import read_folder
from qianru.models.remote import RemoteConfig, RemoteModel
from qianru.models.web import Patience

SECRET = "sk-床前明月光".encode().hex()
QUICK = RemoteConfig(patience=Patience(timeout_s=5, attempts=3, first_wait_s=0.001, longest_wait_s=5))
TEXTS = ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡", "moonlight before my bed"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    """An endpoint that OPENAI_BASE_URL leads to, and a key."""
    endpoint = EmbeddingServer()
    with serving(endpoint.handler()) as address:
        monkeypatch.setenv("OPENAI_BASE_URL", address + "/v1/")
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        monkeypatch.delenv("QIANRU_TRUSTED_HOSTS", raising=False)
        monkeypatch.delenv("http_proxy", raising=False)
        yield endpoint


def model(**options: Any) -> RemoteModel:
    return RemoteModel("some-model", config=options.pop("config", QUICK), **options)


def batches_of(n: int, n_tokens: int = 10**6) -> RemoteConfig:
    return RemoteConfig(n, n_tokens, patience=QUICK.patience)


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_vectors_come_in_the_order_of_the_texts(server: EmbeddingServer, encoding: Any) -> None:
    made = model(config=RemoteConfig(2, encoding=encoding, patience=QUICK.patience)).encode(TEXTS)
    assert made.dense is not None
    assert made.dense.dtype == np.float32
    assert_array_equal(made.dense, [server.vector(text, 6) for text in TEXTS])      # the server answers backwards
    assert [body["input"] for body in server.bodies] == [TEXTS[:2], TEXTS[2:4], TEXTS[4:]]
    assert {body["encoding_format"] for body in server.bodies} == {encoding}


def test_a_server_that_knows_only_lists_of_numbers_will_do(server: EmbeddingServer) -> None:
    server.tricks = [says(200, {"data": [{"embedding": [1, 2, 3]}]})]
    made = model().encode(["床前"])
    assert made.dense is not None
    assert made.dense.tolist() == [[1, 2, 3]]


def test_a_request_holds_no_more_tokens_than_allowed(server: EmbeddingServer) -> None:
    model(config=batches_of(100, 10)).encode(TEXTS)              # of 5, 5, 5, 5 and 6 tokens
    assert [len(body["input"]) for body in server.bodies] == [2, 2, 1]


def test_dimensions_are_asked_for_and_checked(server: EmbeddingServer) -> None:
    short = model(dimensions=4)
    assert short.spec.dim == 4
    assert short.encode(TEXTS).dense.shape == (5, 4)             # type: ignore[union-attr]
    server.tricks = [says(200, {"data": [{"index": 0, "embedding": [1.0] * 6}]})]
    with pytest.raises(ShapeMismatch, match="was to make 4 dimensions and makes 6"):
        short.encode(TEXTS[:1])


def test_what_the_catalogue_knows_is_used(server: EmbeddingServer) -> None:
    large = RemoteModel("text-embedding-3-large", dimensions=256, config=QUICK)
    assert (large.spec.dim, large.spec.max_tokens) == (256, 8191)
    assert RemoteModel("text-embedding-3-large").spec.dim == 3072
    with pytest.raises(BadInput, match=r"makes no 4096 dimensions. Ask for 1 to 3072"):
        RemoteModel("text-embedding-3-large", dimensions=4096)
    follows = RemoteModel("Qwen/Qwen3-Embedding-0.6B", config=QUICK, dimensions=8)
    follows.encode(["月"], role="query", instruction="找诗")
    assert server.bodies[-1]["input"] == ["Instruct: 找诗\nQuery:月"]


def test_prompts_of_a_card_stand_before_the_texts(server: EmbeddingServer) -> None:
    asked = model(card=Card("e5", "remote", query="query: ", document="passage: "))
    asked.encode(["月"], role="query")
    asked.encode(["月"])
    assert [body["input"] for body in server.bodies] == [["query: 月"], ["passage: 月"]]


def test_texts_without_a_character_are_not_sent(server: EmbeddingServer) -> None:
    made = model().encode(["", "床前", " \n"])
    assert made.dense is not None
    assert server.bodies[0]["input"] == ["床前"]
    assert made.dense[[0, 2]].any() == np.False_
    assert made.n_tokens.tolist() == [0, 2, 0]


def test_a_text_that_is_refused_is_found_and_named_with_the_servers_words(server: EmbeddingServer) -> None:
    texts = [*TEXTS, "太长了☃" * 20, *TEXTS]
    with pytest.raises(ServerFailed, match=r"'maximum context length is 8192 tokens'. That was text 5 .*'太长了☃"):
        model().encode(texts)


def test_texts_that_are_refused_only_together_are_sent_apart(server: EmbeddingServer) -> None:
    server.tricks = [says(413, {"error": "too large"}), says(413, {"error": "too large"})]
    made = model().encode(TEXTS)
    assert_array_equal(made.dense, [server.vector(text, 6) for text in TEXTS])


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_failure_that_may_pass_is_tried_again(server: EmbeddingServer, status: int) -> None:
    server.tricks = [says(status, {"error": {"message": "busy"}}), says(status, b"<html>busy</html>")]
    assert len(model().encode(TEXTS)) == 5
    assert len(server.bodies) == 3
    server.tricks = [says(status, {"error": {"message": "busy"}})] * 3
    with pytest.raises(ServerFailed, match=f"{status}.*'busy'"):
        model().encode(TEXTS)


def test_the_server_says_how_long_to_wait(server: EmbeddingServer) -> None:
    server.tricks = [says(429, {"error": {"message": "slow down"}}, Retry_After="1")]
    begun = time.monotonic()
    model().encode(TEXTS)
    assert time.monotonic() - begun >= 1
    server.tricks = [says(429, {"error": {"message": "slow down"}}, Retry_After="600")]
    with pytest.raises(ServerFailed, match="left alone for 600 seconds"):
        model().encode(TEXTS)


def test_an_empty_account_is_not_tried_again(server: EmbeddingServer) -> None:
    server.tricks = [says(429, {"error": {"message": "check your plan", "code": "insufficient_quota"}})]
    with pytest.raises(ServerFailed, match="check your plan"):
        model().encode(TEXTS)
    assert len(server.bodies) == 1


def test_a_server_that_hangs_or_is_not_there_is_given_up(server: EmbeddingServer) -> None:
    impatient = RemoteConfig(patience=Patience(timeout_s=0.1, attempts=2, first_wait_s=0.001))
    server.tricks = [sleeps(0.3)] * 2
    with pytest.raises(ServerFailed, match="sent nothing for 0 seconds"):
        model(config=impatient).encode(TEXTS)
    with pytest.raises(ServerFailed, match=r"127.0.0.1:9 failed: Connection refused"):
        model(url="http://127.0.0.1:9/v1", config=impatient).encode(TEXTS)


ONE = {"index": 0, "embedding": [1.0, 2.0]}


@pytest.mark.parametrize(("answer", "words"), [
    (says(200, b"<html><title>Sign in</title>"), "answers something, not JSON: 'Sign in'. Is it the right address"),
    (says(404, b"<html><h1>Not here</h1>"), "404 Not Found: 'Not here'"),
    (says(307, b"", Location="https://elsewhere.example/v1"), "redirects to https://elsewhere.example/v1. Use"),
    (says(200, []), "answers without 'data'"),
    (says(200, {"error": {"message": "no such model"}}), "without 'data': .*no such model"),
    (says(200, {"data": [ONE]}), "was sent 2 texts and answers with 1 vectors"),
    (says(200, {"data": [ONE, ONE]}), "indices are not 0 to 1"),
    (says(200, {"data": [ONE, {"index": 7, "embedding": [1.0, 2.0]}]}), "indices are not 0 to 1"),
    (says(200, {"data": [ONE, {"index": 1, "embedding": [1.0]}]}), "of the sizes 1, 2 at once"),
    (says(200, {"data": [ONE, {"index": 1, "embedding": []}]}), "form that is not known|sizes 0, 2"),
    (says(200, {"data": [ONE, {"index": 1, "embedding": [1.0, float("nan")]}]}), "not finite"),
    (says(200, {"data": [ONE, {"index": 1, "embedding": [1.0, 1e300]}]}), "not finite"),
    (says(200, {"data": [ONE, {"index": 1, "embedding": "no base64!"}]}), "in a form that is not known"),
    (says(200, {"data": [ONE, {"index": 1, "embedding": ["1", "2"]}]}), "in a form that is not known"),
    (says(200, {"data": [ONE, {"index": 1, "embedding": [[1.0, 2.0]]}]}), "in a form that is not known"),
    (says(200, {"data": [ONE, None]}), "in a form that is not known"),
    (says(200, {"data": [ONE, {"index": 1}]}), "in a form that is not known"),
])
def test_an_answer_that_is_none_is_told_as_such(server: EmbeddingServer, answer: Any, words: str) -> None:
    server.tricks = [answer]
    with pytest.raises(ServerFailed, match=words):
        model().encode(TEXTS[:2])
    assert len(server.bodies) == 1


def test_the_key_is_sent_in_its_header_and_kept_nowhere(server: EmbeddingServer, tmp_path: Path) -> None:
    asked = model()
    asked.encode(TEXTS)
    asked.save(tmp_path / "model")
    assert server.keys == [f"Bearer {SECRET}"]
    assert SECRET not in repr(asked) + repr(vars(asked)) + repr(asked.spec) + str(server.bodies)
    assert all(SECRET.encode() not in path.read_bytes() for path in (tmp_path / "model").iterdir())


def test_a_server_that_repeats_the_key_does_not_get_it_into_the_error(server: EmbeddingServer) -> None:
    for status, again in ((401, 1), (400, 3), (429, 3), (200, 1)):
        server.tricks = [says(status, {"error": {"message": f"Incorrect API key provided: {SECRET}."}})] * again
        with pytest.raises(QianruError, match="Incorrect API key provided: …") as caught:
            model().encode(TEXTS[:1])
        shown = "".join(traceback.format_exception(caught.value))
        assert SECRET not in shown


def test_a_key_is_not_sent_where_others_can_read_it(server: EmbeddingServer) -> None:
    with pytest.raises(BadInput, match=r"The key in \$OPENAI_API_KEY would be sent to http://example.invalid/v1"):
        model(url="http://example.invalid/v1").encode(TEXTS)


def test_a_key_of_another_name_or_none_at_all(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "other")
    model(key_variable="OTHER_KEY").encode(TEXTS)
    monkeypatch.delenv("OTHER_KEY")
    model(key_variable="OTHER_KEY").encode(TEXTS)         # a server of one's own needs none
    assert server.keys == ["Bearer other", None]


def test_openai_itself_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(BadInput, match=r"needs a key. Set \$OPENAI_API_KEY"):
        RemoteModel("text-embedding-3-small").encode(TEXTS)


@pytest.mark.parametrize("url", ["ftp://example.org/v1", "example.org", "https://me:secret@example.org/v1",
                                 "https://example.org/v1?key=secret", "file:///etc/passwd", "https://"])
def test_what_is_no_address_is_refused_without_repeating_a_secret(url: str) -> None:
    with pytest.raises(BadInput, match="not the address of an endpoint") as caught:
        RemoteModel("m", url)
    assert "secret" not in str(caught.value)


def test_the_whole_address_of_the_endpoint_will_do(server: EmbeddingServer) -> None:
    assert RemoteModel("m", "https://api.example.org/v1/embeddings/").url == "https://api.example.org/v1"


def test_the_fingerprint_follows_address_name_size_and_prompts() -> None:
    url = "https://api.example.org/v1"
    made = {RemoteModel("m", url).spec.fingerprint, RemoteModel("n", url).spec.fingerprint,
            RemoteModel("m", url + "2").spec.fingerprint, RemoteModel("m", url, dimensions=5).spec.fingerprint,
            RemoteModel("m", url, card=Card("m", "remote", query="q: ")).spec.fingerprint}
    assert len(made) == 5
    assert RemoteModel("m", url, config=RemoteConfig(1), key_variable="K").spec.fingerprint in made


def test_a_folder_that_names_a_server_is_asked_about_before_anything_is_sent(
    server: EmbeddingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = model().url
    elsewhere = there.replace("127.0.0.1", "127.0.0.2")          # this machine as well, but not by a usual name
    RemoteModel("some-model", elsewhere, config=QUICK, key_variable="NONE").save(tmp_path / "model")
    loaded = RemoteModel.load(tmp_path / "model")
    assert loaded.spec.name == "some-model"
    with pytest.raises(BadInput, match=r"wants your texts, .* sent to 127.0.0.2. If .* QIANRU_TRUSTED_HOSTS=127.0.0.2"):
        loaded.encode(TEXTS)
    monkeypatch.setenv("OPENAI_BASE_URL", elsewhere)
    loaded._check_trust()
    monkeypatch.setenv("OPENAI_BASE_URL", there)
    monkeypatch.setenv("QIANRU_TRUSTED_HOSTS", "example.org, 127.0.0.2")
    loaded._check_trust()
    assert server.bodies == []


def test_what_is_saved_is_what_is_loaded(server: EmbeddingServer, tmp_path: Path) -> None:
    asked = model(dimensions=4, config=RemoteConfig(7, 77, "float", QUICK.patience), key_variable="MY_KEY",
                  card=Card("some-model", "remote", query="q: ", instruction="I: {instruction} Q: "))
    asked.save(tmp_path / "model")
    loaded = RemoteModel.load(tmp_path / "model")
    assert loaded.stored().settings == asked.stored().settings
    assert loaded.spec == asked.spec
    assert read_folder(tmp_path / "model").settings["key_variable"] == "MY_KEY"
    assert_array_equal(loaded.encode(TEXTS).dense, asked.encode(TEXTS).dense)
