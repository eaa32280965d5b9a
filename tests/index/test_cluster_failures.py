"""A server that fails is asked again; what it has not confirmed is not stored; the error says what to do.

The server is a stand-in on this machine: real HTTP, the client library's own memory behind it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from poems import POEMS, bm25_by_hand
from qdrant_server import QdrantServer
from servers import says, serving, sleeps

from qianru.errors import BadInput, ClusterFailed, CollectionError, ServerFailed
from qianru.index.address import Address
from qianru.index.cluster_collection import ClusterCollection
from qianru.index.cluster_link import Link
from qianru.index.cluster_opening import create_at, open_at
from qianru.index.cluster_points import ClusterOptions
from qianru.index.collection import Collection
from qianru.index.layout import Layout
from qianru.index.push import Pushed, place_on, push
from qianru.models.vectors import WordVectors
from qianru.models.web import Patience
from qianru.models.word_vector_model import WordVectorModel
from qianru.types import Document

HASTY = Patience(timeout_s=1, attempts=4, first_wait_s=0.01, longest_wait_s=5)


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    server = QdrantServer()
    with serving(server.handler()) as url:
        server.url = url
        yield server


@pytest.fixture
def link(server: QdrantServer) -> Iterator[Link]:
    link = Link.to(server.url, patience=HASTY)
    yield link
    link.close()


@pytest.fixture
def poems(link: Link) -> ClusterCollection:
    collection = create_at(link, "诗", options=ClusterOptions(parallel=3))
    collection.add(POEMS)
    return collection


def answered(collection: ClusterCollection) -> None:
    """Everything is there once, and scores are right."""
    expected = bm25_by_hand({document.id: document.text for document in POEMS}, "黄河 明月")
    assert collection.count() == 4
    assert_allclose([hit.score for hit in collection.search("黄河 明月")], sorted(expected.values())[::-1], rtol=1e-6)


def test_over_http_it_answers_as_in_memory(poems: ClusterCollection) -> None:
    answered(poems)
    assert poems.fields() == ["lines", "poet"]
    assert [document.id for document in poems.documents("lines = 4", limit=2)] == ["静夜思", "春晓"]
    assert poems.delete("春晓") == 1
    assert poems.count() == 3


def test_fields_and_own_keys_are_indexed_on_the_server_once(server: QdrantServer, poems: ClusterCollection) -> None:
    own = {"id", "digest", "names", "terms", "order", "length", "level"}
    assert set(server.schemas["诗"]) == own | {"t_poet", "n_lines"}
    n = len(server.asked)
    poems.add([Document("新", "新的", {"poet": "杜甫"})])
    assert not [what for what in server.asked[n:] if what.endswith("/index")]


def test_options_reach_the_server(server: QdrantServer, link: Link) -> None:
    words = WordVectorModel(WordVectors(["黄河", "江"], np.array([[1, 0], [0.9, 0.1]], np.float32)))
    options = ClusterOptions(shards=6, replicas=3, on_disk=True, graph_links=24, graph_effort=200)
    create_at(link, "河", words, layout=Layout(dense="int8"), options=options)
    made = server.made["河"]
    assert (made["shard_number"], made["replication_factor"], made["write_consistency_factor"]) == (6, 3, 2)
    dense = made["vectors"]["dense"]
    assert (dense["size"], dense["distance"], dense["on_disk"]) == (2, "Dot", True)
    assert (dense["hnsw_config"]["m"], dense["hnsw_config"]["ef_construct"]) == (24, 200)
    assert dense["quantization_config"]["scalar"]["type"] == "int8"
    assert server.made["河__meta"]["replication_factor"] == 3
    with pytest.raises(BadInput, match="float16"):
        create_at(link, "别", words, layout=Layout(dense="float16"))
    assert set(server.made) == {"河", "河__meta"}
    with pytest.raises(BadInput, match="at least 1"):
        ClusterOptions(replicas=0)


@pytest.mark.parametrize("trick", [
    says(500, {"status": {"error": "a shard is down"}}), says(503), says(502, b"<h1>Bad Gateway</h1>"), sleeps(0),
    says(429, {"status": {"error": "slow down"}}),
], ids=["500", "503", "proxy", "drop", "429"])
def test_a_failure_that_passes_is_not_noticed(server: QdrantServer, poems: ClusterCollection, trick: Any) -> None:
    server.tricks = {"PUT /collections/": [trick], "query": [trick], "facet": [trick], "count": [trick]}
    poems.add([Document("静夜思", POEMS[0].text, {"changed": True})])
    answered(poems)
    assert not any(server.tricks.values())


def test_an_answer_that_comes_too_late_is_asked_for_again(server: QdrantServer, poems: ClusterCollection) -> None:
    server.tricks = {"query": [sleeps(1.3)]}
    answered(poems)


def test_an_answer_that_is_lost_does_no_harm(server: QdrantServer, link: Link) -> None:
    """The server has done the work, and the client cannot know."""
    server.lost = {"PUT /collections/": 3, "points/payload": 1, "points/delete": 1}
    collection = create_at(link, "诗")
    collection.add([*POEMS, Document("多余", "黄河")])
    collection.delete("多余")
    assert not any(server.lost.values())
    answered(collection)


def test_retry_after_is_kept_to_as_seconds_and_as_a_date(server: QdrantServer, poems: ClusterCollection) -> None:
    server.tricks = {"count": [says(429, {"status": {"error": "slow down"}}, Retry_After="1")]}
    began = time.monotonic()
    assert poems.count() == 4
    assert time.monotonic() - began >= 1
    server.tricks = {"count": [says(429, b"", Retry_After=formatdate(time.time() + 2, usegmt=True))]}
    began = time.monotonic()
    assert poems.count() == 4
    assert time.monotonic() - began >= 0.9


def test_a_server_that_asks_for_too_long_a_wait_is_an_error_at_once(server: QdrantServer, poems: Any) -> None:
    server.tricks = {"count": [says(429, {"status": {"error": "quota"}}, Retry_After="3600")]}
    with pytest.raises(ClusterFailed, match="asks to be left alone for 3600 seconds"):
        poems.count()


def test_a_server_that_stays_down_is_an_error_that_says_what_to_do(server: QdrantServer, poems: Any) -> None:
    server.tricks = {"PUT /collections/": [says(503, {"status": {"error": "no leader"}})] * 9}
    why = r"could not be told of 1 documents of 诗.*503.*no leader.*run it again"
    with pytest.raises(ClusterFailed, match=why) as told:
        poems.add([Document("新", "新的")])
    assert told.value.status == 503
    assert isinstance(told.value, CollectionError)
    assert isinstance(told.value, ServerFailed)
    assert len(server.tricks["PUT /collections/"]) == 9 - HASTY.attempts
    server.tricks = {}
    answered(poems)      # nothing of the batch was acknowledged, nothing of it is there


def test_what_progress_has_told_of_is_stored_when_a_later_batch_fails(server: QdrantServer, link: Link) -> None:
    collection = create_at(link, "c")
    told: list[int] = []

    def watch(done: int, total: int | None) -> None:
        told.append(done)
        server.tricks = {"PUT /collections/c/points": [says(500)] * 99}

    documents = [Document(f"文{i}", f"山 水 {i}") for i in range(1500)]
    with pytest.raises(ClusterFailed):
        collection.add(documents, progress=watch)
    server.tricks = {}
    assert told == [1000]
    assert collection.count() == 1000
    report = collection.add(documents)
    assert (report.added, report.unchanged) == (500, 1000)


def test_a_refusal_is_told_at_once(server: QdrantServer, poems: ClusterCollection) -> None:
    server.tricks = {"query": [says(400, {"status": {"error": "Wrong input: vector dimension"}})]}
    with pytest.raises(ClusterFailed, match=r"400.*Wrong input"):
        poems.search("黄河")
    server.tricks = {"query": [says(200, b"<html>a page</html>")]}
    with pytest.raises(ClusterFailed, match="Is there a Qdrant server at"):
        poems.search("黄河")
    server.tricks = {"query": [says(200, {"status": "ok"})]}
    with pytest.raises(ClusterFailed, match="Is there a Qdrant server at"):
        poems.search("黄河")


def test_nobody_listens(link: Link) -> None:
    nowhere = Link.to("http://127.0.0.1:9", patience=HASTY)
    with pytest.raises(ClusterFailed, match=r"127.0.0.1:9.*The connection failed"):
        open_at(nowhere, "诗")


def test_there_is_no_such_collection(link: Link) -> None:
    with pytest.raises(CollectionError, match=r"There is no collection '词' at .*Make one"):
        open_at(link, "词")


def test_a_push_survives_a_server_that_stumbles(server: QdrantServer, link: Link, tmp_path: Path) -> None:
    stumbling = [says(500), sleeps(0), says(429)]
    with Collection.create(tmp_path / "poems") as folder:
        folder.add([*POEMS, *(Document(f"水{i}", f"黄河 水 {i}") for i in range(700))])
        server.tricks = {"PUT /collections/": list(stumbling), "points/scroll": list(stumbling)}
        server.lost = {"PUT /collections/poems/points": 2}
        cluster = place_on(link, "poems", folder)
        assert push(folder, cluster) == Pushed(copied=704, verified=704)
        assert [hit.id for hit in cluster.search("黄河 明月")] == [hit.id for hit in folder.search("黄河 明月")]


def test_a_collection_is_made_and_opened_by_its_address(server: QdrantServer) -> None:
    address = server.url.replace("http://", "qdrant://") + "/诗"
    with Collection.create(address, cluster=ClusterOptions(fresh_s=0)) as made:
        made.add(POEMS)
        with Collection.open(address) as opened, Collection.open(Path(address)) as again:
            assert isinstance(opened, ClusterCollection)
            answered(opened)
            answered(again)
    with pytest.raises(CollectionError, match="already holds a collection '诗'"):
        Collection.create(address)
    with pytest.raises(CollectionError, match="is closed"):
        made.search("月")


# the key

def test_the_key_is_sent_and_never_shown(server: QdrantServer, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setenv("QIANRU_QDRANT_API_KEY", "s3cr3t")
    link = Link.to(server.url, patience=HASTY)
    server.tricks = {"exists": [says(403, {"status": {"error": "Forbidden: s3cr3t may not do this"}})]}
    with pytest.raises(ClusterFailed, match="QIANRU_QDRANT_API_KEY") as told:
        open_at(link, "诗")
    assert server.keys == ["s3cr3t"]
    for shown in (str(told.value), repr(link), caplog.text):
        assert "s3cr3t" not in shown
    Link.to(server.url, api_key="another", patience=HASTY).client.collection_exists("诗")
    assert server.keys[-1] == "another"


def test_a_key_is_not_sent_for_everybody_to_read() -> None:
    with pytest.raises(BadInput, match="https"):
        Link.to("http://db.example:6333", api_key="s3cr3t")


@pytest.mark.parametrize(("url", "base"), [
    ("qdrant://db.example/诗", "http://db.example:6333"), ("qdrants://db.example:7/诗", "https://db.example:7"),
    ("https://db.example/base/%E8%AF%97", "https://db.example:6333/base"), ("qdrant://[::1]:7/诗", "http://[::1]:7"),
])
def test_addresses(url: str, base: str) -> None:
    assert Address.parse(url) == Address(base, "诗")


@pytest.mark.parametrize("url", ["qdrant://db.example", "qdrant:///x", "qdrant://key@db.example/x", "ftp://db.example/x",
                                 "qdrant://db.example:99999999/x", "qdrant://db.example/a%2Fb", "qdrant://h/x?api_key=1",
                                 "qdrant://db.example/..", "qdrant://db.example/%2E", "qdrant://[db.example/x"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(BadInput):
        Address.parse(url)
