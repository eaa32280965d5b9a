"""Collections over HTTP: searches as offline, changes where they are allowed, several searches in one pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from live_server import live, make_server, until

from qianru.errors import StorageFailed
from qianru.index.collection import Collection
from qianru.runtime.options import Runtime
from qianru.serve.batched import Batched
from qianru.serve.keys import Keys
from qianru.serve.models import Models
from qianru.serve.options import Limits, Options
from qianru.serve.run import made
from qianru.serve.server import Server
from qianru.serve.shelf import Shelf
from qianru.types import Document

POEMS = {
    "静夜思": "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "春晓": "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "登鹳雀楼": "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "水调歌头": "明月几时有，把酒问青天。",
    "山居秋暝": "明月松间照，清泉石上流。", "蔬菜": "我爱吃蔬菜。",
}


@pytest.fixture(scope="module")
def poems(tmp_path_factory: pytest.TempPathFactory, places: dict[str, Path]) -> Path:
    """A collection of words and vectors, its transformer named."""
    path = tmp_path_factory.mktemp("collections") / "poems"
    with Collection.create(path, ["bm25", str(places["tiny"])]) as library:
        library.add(Document(name, text, {"n": i}) for i, (name, text) in enumerate(POEMS.items()))
    return path


@pytest.fixture(scope="module")
def open_server(poems: Path, places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server of the collection and of its model, which may make more of them."""
    options = Options(port=0, collections=tmp_path_factory.mktemp("shelf"), allow_write=True,
                      limits=Limits(k=50, queries=4, texts=100, hits=60, explained=5, answer_chars=120, documents=8,
                                    collections=3, text_chars=60, fields=3, fields_bytes=200))
    return made([str(places["tiny"]), str(places["reranker"]), str(poems)], options, Keys(), Runtime("float32"))


@pytest.fixture(scope="module")
def shelf(open_server: Server) -> Iterator[httpx.Client]:
    """Its client."""
    with live(open_server) as client:
        yield client


def test_what_there_is_is_listed(shelf: httpx.Client) -> None:
    assert {"name": "poems", "n_documents": 6, "kinds": ["dense", "sparse"], "model": "bm25 + tiny",
            "writable": True} in shelf.get("/collections").json()["collections"]
    facts = shelf.get("/collections/poems").json()
    assert (facts["n_documents"], facts["dim"]) == (6, 32)
    assert "path" not in facts


def test_a_collection_that_is_busy_does_not_hold_up_the_list(shelf: httpx.Client, open_server: Server) -> None:
    with open_server.shelf.get("poems").library.entered():              # nobody else is let in meanwhile
        told = shelf.get("/collections", timeout=10).json()["collections"]
        assert [(one["name"], one["n_documents"]) for one in told] == [("poems", 6)]


def test_a_collection_that_fails_does_not_hide_the_others(
    shelf: httpx.Client, open_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> int:
        raise StorageFailed("the disk is gone")

    monkeypatch.setattr(open_server.shelf.get("poems").library, "count", count)
    told = shelf.get("/collections").json()["collections"]
    assert [(one["name"], one["n_documents"]) for one in told] == [("poems", 6)]


def test_errors_name_the_right_collection_in_place_of_where_it_lies(tmp_path: Path) -> None:
    shelf = Shelf(Models(Limits()))
    for place, name in (("诗", "唐诗"), ("诗集", "宋词")):
        Collection.create(tmp_path / place, "bm25").close()
        shelf.add(str(tmp_path / place), name)
    try:
        words = f"{tmp_path / '诗集'} is busy, {tmp_path / '诗'} is not."
        assert shelf.without_places(words) == "宋词 is busy, 唐诗 is not."
    finally:
        shelf.close()


def test_errors_do_not_tell_which_server_a_collection_lies_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("qdrant_client", reason="collections on servers need qdrant-client")
    from qdrant_client import QdrantClient

    from qianru.index.cluster_link import Link
    from qianru.index.cluster_opening import create_at

    shelf = Shelf(Models(Limits()))
    at = "http://10.1.2.3:6333"
    library = create_at(Link(QdrantClient(":memory:"), at), "poems")
    monkeypatch.setattr(Collection, "open", lambda place, **how: library)
    shelf.add("qdrant://10.1.2.3:6333/poems", "唐诗")
    try:
        assert shelf.without_places(f"{at}: it could not be read. {library.address} is closed.") == \
            "its server: it could not be read. 唐诗 is closed."
    finally:
        shelf.close()


def test_a_search_finds_what_it_finds_offline(shelf: httpx.Client, open_server: Server) -> None:
    got = shelf.post("/collections/poems/search", json={"query": "明月", "k": 3}).json()["results"][0]
    own = open_server.shelf.get("poems").library.search("明月", 3)
    assert [(hit["id"], hit["text"], hit["fields"]) for hit in got["hits"]] == [
        (hit.id, hit.text, dict(hit.fields)) for hit in own]
    for hit, mine in zip(got["hits"], own, strict=True):
        assert hit["score"] == pytest.approx(mine.score)
        assert hit["scores"] == pytest.approx(dict(mine.scores), abs=1e-5)
        assert hit["ranks"] == dict(mine.ranks)
        assert all("明月" in hit["text"][start:end] for start, end in hit["highlights"])


def test_several_queries_a_filter_a_plan_and_reasons(shelf: httpx.Client) -> None:
    body = {"queries": ["明月", "春"], "k": 2, "filter": "n < 3", "plan": {"kinds": ["sparse"]}, "explain": True}
    moon, spring = shelf.post("/collections/poems/search", json=body).json()["results"]
    assert [hit["id"] for hit in moon["hits"]] == ["静夜思"]
    assert [hit["id"] for hit in spring["hits"]] == ["春晓"]
    assert moon["hits"][0]["explanation"]["scores"]["sparse"] == pytest.approx(moon["hits"][0]["score"], rel=1e-4)


def test_a_plan_may_use_the_servers_reranker_and_never_name_one(shelf: httpx.Client, models: Any) -> None:
    got = shelf.post("/collections/poems/search", json={"query": "月", "plan": {"rescore": "reranker"}}).json()
    hits = got["results"][0]["hits"]
    own = models["reranker"].score([("月", hit["text"]) for hit in hits])
    assert [hit["score"] for hit in hits] == pytest.approx(own.tolist(), abs=1e-5)
    for plan in ({"rescore": "reranker", "reranker": "/etc"}, '{"reranker": "/etc"}'):
        answer = shelf.post("/collections/poems/search", json={"query": "月", "plan": plan})
        assert answer.status_code == 403
        assert "may not name a reranker" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("body", "status"), [
    ({"query": "月", "k": 51}, 422), ({"query": "月", "plan": {"candidates": 101}}, 422),
    ({"query": "月", "plan": {"depth": 10**9}}, 422), ({"query": "月", "plan": {"nonsense": 1}}, 422),
    ({"query": "月", "plan": "nonsense"}, 422), ({"query": "月", "filter": "n >>"}, 400),
    ({"query": "月", "plan": {"kinds": ["multi"]}}, 400), ({"query": "月", "queries": ["月"]}, 400), ({}, 400),
    ({"queries": ["月"] * 5}, 413), ({"query": "月", "k": 0}, 422), ({"query": "月", "nonsense": 1}, 422),
    ({"query": "月", "filter": "(" * 1000}, 400),
])
def test_a_search_that_asks_too_much_or_nonsense_is_refused(shelf: httpx.Client, body: Any, status: int) -> None:
    answer = shelf.post("/collections/poems/search", json=body)
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"type", "message"}


@pytest.mark.parametrize(("body", "said"), [
    ({"queries": ["月", "春"], "k": 31}, "2 queries with k = 31 make 62 hits; the server gives 60"),
    ({"queries": ["月", "春"], "k": 1, "plan": {"rescore": "reranker"}}, "plan.depth = 50 make 100 hits"),
    ({"query": "月", "k": 6, "explain": True}, "6 hits to be explained; the server explains 5"),
    ({"query": "月" * 2001, "k": 1, "explain": True}, "2,001 characters cannot be explained; one of 2,000 can"),
    ({"queries": ["明月", "春晓", "青天"]}, "more than 120 characters of text"),
])
def test_a_search_whose_answer_would_be_too_large_or_dear_is_refused(
    shelf: httpx.Client, body: Any, said: str
) -> None:
    answer = shelf.post("/collections/poems/search", json=body)
    assert (answer.status_code, said in answer.text) == (413, True), answer.text


def test_a_collections_own_plan_may_not_cost_more_than_a_plan_that_is_sent(
    shelf: httpx.Client, open_server: Server
) -> None:
    library = open_server.shelf.get("poems").library
    library.set_plan({"rescore": "reranker", "depth": 50})
    try:
        answer = shelf.post("/collections/poems/search", json={"queries": ["月", "春"], "k": 1})
        assert (answer.status_code, "plan.depth = 50 make 100 hits" in answer.text) == (413, True), answer.text
        assert shelf.post("/collections/poems/search", json={"query": "月", "k": 1}).status_code == 200
    finally:
        library.set_plan({})


def test_documents_that_are_too_many_or_too_large_are_refused_whole(shelf: httpx.Client) -> None:
    assert shelf.post("/collections", json={"name": "满", "model": "bm25"}).status_code == 201
    poem = {"id": "春晓", "text": POEMS["春晓"]}
    for documents, said in (
        ([{**poem, "fields": dict.fromkeys("甲乙丙丁", 1)}], "'春晓' has 4 fields; the server keeps 3"),
        ([{**poem, "fields": {"甲": "乙" * 70}}], "take 220 bytes; the server keeps 200"),
        ([{**poem, "text": "诗" * 61}], "'春晓' has 61 characters; the server keeps 60 (--limit text_chars=N)"),
        ([poem] * 101, "101 documents; the server takes 100 at once"),
        ([{"text": str(i)} for i in range(9)], "would hold 9 documents; the server keeps 8"),
    ):
        answer = shelf.post("/collections/满/documents", json={"documents": documents})
        assert (answer.status_code, said in answer.text) == (413, True), answer.text
    assert shelf.get("/collections/满").json()["n_documents"] == 0
    eight = {"documents": [{"id": str(i), "text": str(i)} for i in range(8)]}
    for _ in range(2):                              # what is there already takes no more room
        assert shelf.post("/collections/满/documents", json=eight).status_code == 200
    assert shelf.post("/collections/满/documents", json={"documents": [poem]}).status_code == 413
    for name in ("又", "再"):
        last = shelf.post("/collections", json={"name": name, "model": "bm25"})
    assert (last.status_code, "has 3 collections" in last.text) == (409, True)
    for name in ("满", "又"):
        assert shelf.delete(f"/collections/{name}").status_code == 200


def test_two_that_add_at_once_do_not_fill_a_collection_beyond_its_limit(
    shelf: httpx.Client, open_server: Server
) -> None:
    assert shelf.post("/collections", json={"name": "挤", "model": "bm25"}).status_code == 201
    opened = open_server.shelf.get("挤")
    halves = [{"documents": [{"id": f"{who}{i}", "text": "诗"} for i in range(6)]} for who in "甲乙"]
    with ThreadPoolExecutor(2) as pool:
        with opened.library.entered():                              # both look for room before either has added
            asked = [pool.submit(shelf.post, "/collections/挤/documents", json=half) for half in halves]
            until(lambda: len(opened.desk._errands) == 1)           # and one that the thread is at
        assert sorted(one.result().status_code for one in asked) == [200, 413]
    assert opened.library.count() == 6
    assert shelf.delete("/collections/挤").status_code == 200


def test_documents_whose_texts_are_too_long_together_are_not_given(shelf: httpx.Client) -> None:
    body = {"ids": list(POEMS)}
    assert shelf.post("/collections/poems/documents/get", json=body).status_code == 200
    made = shelf.post("/collections", json={"name": "长", "model": "bm25"})
    assert made.status_code == 201
    shelf.post("/collections/长/documents", json={"documents": [{"id": i, "text": i * 60} for i in "一二三"]})
    refused = shelf.post("/collections/长/documents/get", json={"ids": ["一", "二", "三"]})
    assert (refused.status_code, "more than 120 characters" in refused.text) == (413, True)
    shelf.delete("/collections/长")


def test_explain_tells_words_and_scores(shelf: httpx.Client) -> None:
    told = shelf.post("/collections/poems/explain", json={"query": "明月", "id": "静夜思"}).json()
    assert told["scores"]["sparse"] == pytest.approx(sum(adds for _, adds in told["terms"]))
    assert shelf.post("/collections/poems/explain", json={"query": "明月", "id": "无"}).status_code == 404


def test_an_error_does_not_tell_where_collections_lie(
    shelf: httpx.Client, open_server: Server, poems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(id: str) -> Document:
        raise StorageFailed(f"{poems}/collection.sqlite and {open_server.shelf.folder}/诗 cannot be read.")

    monkeypatch.setattr(open_server.shelf.get("poems").library, "get", lost)
    answer = shelf.get("/collections/poems/documents/静夜思")
    assert (answer.status_code, answer.json()["error"]) == (
        507, {"type": "StorageFailed", "message": "poems/collection.sqlite and 诗 cannot be read."})


def test_documents_are_read_by_their_ids(shelf: httpx.Client) -> None:
    assert shelf.get("/collections/poems/documents/静夜思").json() == {
        "id": "静夜思", "text": POEMS["静夜思"], "fields": {"n": 0}}
    got = shelf.post("/collections/poems/documents/get", json={"ids": ["春晓", "无", "春晓"]}).json()["documents"]
    assert [document["id"] for document in got] == ["春晓"]
    assert shelf.get("/collections/poems/documents/无").status_code == 404
    assert shelf.get("/collections/nothing/documents/静夜思").status_code == 404


def test_a_collections_life(shelf: httpx.Client, open_server: Server) -> None:
    made = shelf.post("/collections", json={"name": "诗", "model": ["bm25", "tiny"]})
    assert (made.status_code, made.json()["n_documents"]) == (201, 0)
    assert shelf.post("/collections", json={"name": "诗", "model": "bm25"}).status_code == 409
    documents: list[Any] = [{"id": name, "text": text, "fields": {"len": len(text)}} for name, text in POEMS.items()]
    added = shelf.post("/collections/诗/documents", json={"documents": [*documents, {"text": "无名的诗"}]}).json()
    assert added == {"added": 7, "updated": 0, "unchanged": 0}
    again = shelf.post("/collections/诗/documents", json={"documents": documents[:2]}).json()
    assert again == {"added": 0, "updated": 0, "unchanged": 2}
    hits = shelf.post("/collections/诗/search", json={"query": "无名的诗", "k": 1}).json()["results"][0]["hits"]
    assert hits[0]["text"] == "无名的诗"
    assert shelf.post("/collections/诗/documents/delete", json={"ids": ["春晓", "无"]}).json() == {"deleted": 1}
    folder = open_server.shelf.get("诗").library.path
    assert folder.is_dir()
    assert shelf.delete("/collections/诗").json() == {"deleted": "诗"}
    assert not folder.exists()
    assert shelf.get("/collections/诗").status_code == 404


def test_changes_of_the_shelf_come_one_after_another_and_what_was_taken_is_finished(
    shelf: httpx.Client, open_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = {"name": "诗", "model": "bm25"}
    assert shelf.post("/collections", json=new).status_code == 201
    shelf.post("/collections/诗/documents", json={"documents": [{"text": "春眠不觉晓"}]})
    opened = open_server.shelf.get("诗")
    put, asked = opened.desk._put, threading.Event()
    monkeypatch.setattr(opened.desk, "_put", lambda errand: (put(errand), asked.set()))
    with ThreadPoolExecutor(4) as pool:
        with opened.library.entered():
            found = pool.submit(shelf.post, "/collections/诗/search", json={"query": "春"})
            assert asked.wait(10)
            until(lambda: not opened.desk._errands)         # the desk is at it
            first = pool.submit(shelf.delete, "/collections/诗")
            until(lambda: "诗" not in [one.name for one in open_server.shelf])
            second = pool.submit(shelf.delete, "/collections/诗")
            again = pool.submit(shelf.post, "/collections", json=new)
            until(lambda: open_server.n_requests == 4)
            assert shelf.post("/collections/诗/search", json={"query": "春"}).status_code == 404
        assert len(found.result().json()["results"][0]["hits"]) == 1
        assert first.result().status_code == 200
        after = (second.result().status_code, again.result().status_code)
    assert after in ((404, 201), (200, 201))        # whichever came first
    assert shelf.get("/collections/诗").status_code == (200 if after[0] == 404 else 404)
    shelf.delete("/collections/诗")


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "a" * 65, "x\n"])
def test_a_collection_has_a_name_that_is_no_path(shelf: httpx.Client, name: str) -> None:
    assert shelf.post("/collections", json={"name": name, "model": "bm25"}).status_code == 400


def test_a_new_collection_has_models_that_are_served(shelf: httpx.Client) -> None:
    for model in ("/etc/passwd", "reranker", "tinny", []):
        assert shelf.post("/collections", json={"name": "x", "model": model}).status_code in (400, 404, 422)


def test_a_collection_that_was_given_is_never_deleted(shelf: httpx.Client, poems: Path) -> None:
    assert shelf.delete("/collections/poems").status_code == 403
    assert (poems / "collection.sqlite").exists()


def test_nothing_changes_without_leave(poems: Path, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "words") as library:
        library.add(["春眠不觉晓"])
    for options in (Options(port=0, collections=tmp_path), ):
        with live(made([], options, Keys())) as client:
            assert client.get("/collections").json()["collections"][0]["writable"] is False
            for method, path, body in (
                ("post", "/collections", {"name": "x", "model": "bm25"}), ("delete", "/collections/words", None),
                ("post", "/collections/words/documents", {"documents": [{"text": "x"}]}),
                ("post", "/collections/words/documents/delete", {"ids": ["x"]}),
            ):
                assert client.request(method, path, json=body).status_code == 403
            assert client.post("/collections/words/search", json={"query": "春"}).json()["results"][0]["hits"]
            assert client.get("/info").status_code == 424


def test_a_collection_that_another_program_writes_is_only_read(poems: Path, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "words") as library:
        library.add(["春眠不觉晓"])
        with live(made([str(tmp_path / "words")], Options(port=0, allow_write=True), Keys())) as client:
            assert client.get("/collections").json()["collections"][0]["writable"] is False
            body = {"documents": [{"text": "x"}]}
            assert client.post("/collections/words/documents", json=body).status_code == 409
            library.add(["处处闻啼鸟"])
            assert len(client.post("/collections/words/search", json={"query": "啼鸟"}).json()["results"][0]["hits"])


def test_the_model_of_a_collection_is_the_one_that_is_served(open_server: Server) -> None:
    part = open_server.shelf.get("poems").library.model.parts[1]  # type: ignore[attr-defined]   # it is joined
    assert isinstance(part, Batched)
    assert part.lane is open_server.models.get("tiny").lane


def test_what_the_worker_embeds_for_a_collection_is_what_the_model_makes(models: Any) -> None:
    server = make_server({"tiny": models["tiny"]})
    server.models.start()
    served = server.models.get("tiny")
    texts = ["床前明月光", "", "月" * 100]
    got = Batched(served.lane, served.worker).encode(texts)  # type: ignore[arg-type]   # it is a transformer's
    own = models["tiny"].encode(texts)
    assert (got.n_tokens.tolist(), got.n_truncated) == (own.n_tokens.tolist(), own.n_truncated) == ([5, 0, 100], 1)
    assert got.dense == pytest.approx(own.dense, abs=1e-6)
    server.models.stop(5)


def test_searches_that_wait_become_one(
    shelf: httpx.Client, open_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_server.shelf.get("poems")
    calls: list[int] = []
    waiting: list[Any] = []
    search_many, put = opened.library.search_many, opened.desk._put

    def spied(queries: Any, *args: Any, **more: Any) -> Any:
        calls.append(len(queries))
        return search_many(queries, *args, **more)

    monkeypatch.setattr(opened.library, "search_many", spied)
    monkeypatch.setattr(opened.desk, "_put", lambda errand: (put(errand), waiting.append(errand)))
    with ThreadPoolExecutor(12) as pool:
        with opened.library.entered():       # nobody else is let in meanwhile
            answers = [pool.submit(shelf.post, "/collections/poems/search", json={"query": query, "k": 1})
                       for query in list(POEMS.values()) * 2]
            until(lambda: len(waiting) == 12)
        found = [answer.result().json()["results"][0]["hits"][0]["id"] for answer in answers]
    assert found == list(POEMS) * 2
    assert len(calls) == 2
    assert sum(calls) == 12


def test_questions_and_filters_that_would_hold_the_collection_up_are_refused(shelf: httpx.Client) -> None:
    long = "违约" * 10_001
    for route, body in (
        ("search", {"query": long}), ("search", {"queries": ["违" * 11_000, "约" * 11_000]}),
        ("search", {"query": "违约", "filter": f'source = "{long}"'}), ("ask", {"question": long}),
    ):
        answer = shelf.post(f"/collections/poems/{route}", json=body)
        assert (answer.status_code, "20,000" in answer.text) == (413, True), route
    answer = shelf.post("/collections/poems/explain", json={"query": long, "id": "静夜思"})
    assert (answer.status_code, "2,000" in answer.text) == (413, True)
