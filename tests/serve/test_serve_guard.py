"""Who may ask, how much, and from where; what is written down of it."""

from __future__ import annotations

import json
import logging
import re
import socket
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, strategies as st
from live_server import Puppet, live, puppet_server, until
from pydantic import ValidationError

from qianru.errors import BadFile, BadInput
from qianru.serve.app import build
from qianru.serve.bodies import most_parts, parts
from qianru.serve.cohere import RerankAsked
from qianru.serve.collections import DocumentsAsked
from qianru.serve.forms import Form
from qianru.serve.guard import OPEN, PAGE
from qianru.serve.keys import Keys, add_key, hashed, new_key, read_keys, remove_key
from qianru.serve.logs import JsonLines
from qianru.serve.openai import EmbeddingsAsked
from qianru.serve.options import Limits, Options, check_address

BODY = {"model": "puppet", "input": "春眠不觉晓"}
BYTES = ((1 << 10, "KiB"), (1 << 20, "MiB"))


def test_no_route_answers_without_a_key_but_those_that_tell_nothing() -> None:
    server = puppet_server(Puppet(), keys=Keys(plain=["真的钥匙"]))
    app = build(server)
    routes = [(method, path) for path, methods in app.openapi()["paths"].items() for method in methods]
    routes += [("get", "/openapi.json"), ("get", "/nowhere"), ("post", "/ui/"), ("delete", "/")]
    assert len(routes) > 20
    with live(server) as client:
        for method, path in routes:
            for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}, {"authorization": "wrong"}):
                answer = client.request(method, path, headers=headers)
                is_open = method == "get" and (path in OPEN or path.startswith(PAGE))
                assert (answer.status_code == 401) != is_open, (method, path, answer.status_code)
                if not is_open:
                    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_lets_in_by_either_header() -> None:
    key = new_key()
    with live(puppet_server(Puppet(), keys=Keys(plain=[key]))) as client:
        for headers in ({"authorization": f"Bearer {key}"}, {"authorization": f"bearer  {key}"}, {"x-api-key": key}):
            assert client.post("/v1/embeddings", json=BODY, headers=headers).status_code == 200


def test_a_key_is_kept_as_its_hash_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    key = add_key(file, "笔记本")
    assert key not in file.read_text("utf-8")
    assert read_keys(file) == {hashed(key): "笔记本"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert Keys(file).name_of(key) == "笔记本"
    assert Keys(file).name_of(key + "x") is None
    with pytest.raises(BadInput, match="already"):
        add_key(file, "笔记本")
    remove_key(file, "笔记本")
    assert read_keys(file) == {}
    with pytest.raises(BadInput, match="no key called"):
        remove_key(file, "笔记本")


def test_a_key_is_taken_back_while_the_server_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qianru.serve.keys.LOOK_AGAIN_S", 0.0)
    file = tmp_path / "keys.txt"
    key = add_key(file, "一")
    keys = Keys(file)
    assert keys.name_of(key) == "一"
    remove_key(file, "一")
    assert keys.name_of(key) is None
    assert keys.wanted                              # no key at all is not an open door
    file.write_text("nonsense\n")
    assert keys.name_of(key) is None


def test_a_file_that_holds_no_keys_is_named_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# mine\n\nhunter2\n")
    with pytest.raises(BadFile, match="Line 3"):
        Keys(file)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_a_server_that_others_can_reach_wants_keys_or_to_be_told(host: str) -> None:
    with pytest.raises(BadInput, match="without a key"):
        check_address(Options(host=host), has_keys=False)
    check_address(Options(host=host), has_keys=True)
    check_address(Options(host=host, open=True), has_keys=False)
    check_address(Options(host="127.0.0.1"), has_keys=False)


@pytest.mark.parametrize("opened", [{"host": "0.0.0.0", "open": True}, {"open": True}, {"cors": ("*",)}])
def test_what_anybody_can_ask_nobody_may_change(opened: Any) -> None:
    with pytest.raises(BadInput, match="could change and delete collections there"):
        check_address(Options(**opened, allow_write=True), has_keys=False)
    check_address(Options(**opened, allow_write=True), has_keys=True)
    check_address(Options(allow_write=True), has_keys=False)     # only this machine can ask


def test_every_limit_stands_in_the_documents_with_its_default() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8").splitlines()
    for one in fields(Limits):
        (row,) = (line for line in lines if line.startswith("|") and f"`{one.name}`" in line.split("|")[1])
        default = getattr(Limits(), one.name)
        written = [f"{default:,}", f"{default:g}", *(f"{default / size:g} {unit}" for size, unit in BYTES)]
        assert any(re.search(rf"(?<![\d,]){told}(?![\d,]*\d)", row) for told in written), one.name


def test_pages_of_other_sites_may_not_ask_unless_they_are_allowed() -> None:
    lane = Puppet()
    with live(puppet_server(lane)) as client:
        own = str(client.base_url).rstrip("/")
        assert client.post("/v1/embeddings", json=BODY, headers={"origin": "https://evil.example"}).status_code == 403
        for origin in ("null", "http://[", "", own + ".evil.example", own + "@evil.example"):
            assert client.post("/v1/embeddings", json=BODY, headers={"origin": origin}).status_code == 403
        same = client.post("/v1/embeddings", json=BODY, headers={"origin": own})
        assert same.status_code == 200
        assert "access-control-allow-origin" not in same.headers
    app = "chrome-extension://abcdefgh"                     # as apps and extensions of browsers name themselves
    with live(puppet_server(Puppet(), cors=("https://good.example", app))) as client:
        from_app = client.post("/v1/embeddings", json=BODY, headers={"origin": app})
        assert from_app.headers["access-control-allow-origin"] == app
        allowed = client.post("/v1/embeddings", json=BODY, headers={"origin": "https://good.example"})
        assert allowed.headers["access-control-allow-origin"] == "https://good.example"
        before = client.options("/v1/embeddings", headers={"origin": "https://good.example",
                                                           "access-control-request-method": "POST"})
        assert before.status_code == 200
        assert client.post("/v1/embeddings", json=BODY, headers={"origin": "https://evil.example"}).status_code == 403


def test_a_local_server_does_not_answer_to_a_strange_name() -> None:
    """A page whose name has been pointed at 127.0.0.1 sends its own name as Host."""
    with live(puppet_server(Puppet(), hosts=("lab.local",))) as client:
        assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 403
        for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "lab.local"):
            assert client.get("/v1/models", headers={"host": host}).status_code == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    server = puppet_server(Puppet(), Limits(body_bytes=1000))
    with live(server) as client:
        answer = client.post("/v1/embeddings", content=b"x" * 1001)
        assert answer.status_code == 413
        assert "1,000 bytes" in answer.json()["error"]["message"]


def test_an_endless_body_is_refused_as_soon_as_it_is_too_large() -> None:
    server = puppet_server(Puppet(), Limits(body_bytes=1000))
    most = 0

    def endless() -> Any:
        nonlocal most
        for _ in range(200):
            most = max(most, server.held_bytes)
            yield b"x" * 10_000

    with live(server) as client:
        assert client.post("/embed", content=endless()).status_code == 413
        until(lambda: server.held_bytes == 0)
    assert most < 200_000


def test_bodies_together_are_bounded() -> None:
    server = puppet_server(Puppet(), Limits(bodies_bytes=1000))
    with live(server) as client:
        refused = client.post("/v1/embeddings", content=b"x" * 1500)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert client.post("/v1/embeddings", json=BODY).status_code == 200


def test_a_body_that_comes_too_slowly_is_refused() -> None:
    server = puppet_server(Puppet(), Limits(body_s=0.1))
    with live(server) as client, socket.create_connection((client.base_url.host, client.base_url.port)) as slow:
        slow.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        assert b" 408 " in slow.recv(1000)


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff\xfe", b"[" * 10_000, b'{"model":', b'{"model":"puppet"}',
    b'{"model":"puppet","input":"\\ud800"}', b'{"model":"puppet","input":{}}', b'{"model":3,"input":"x"}',
    b'{"model":"puppet","input":"x","dimensions":0}', b'{"model":"puppet","input":"x","dimensions":1e999}',
    b'{"model":"puppet","input":"x","encoding_format":"hex"}', b'{"model":"puppet","input":"x","kinds":[]}',
], ids=lambda body: repr(body[:30]))
def test_garbage_is_answered_with_400_and_never_repeated(client: httpx.Client, body: bytes) -> None:
    for path in ("/v1/embeddings", "/embed", "/v1/rerank", "/v1/score", "/tokenize", "/", "/v1/similarity"):
        answer = client.post(path, content=body)
        assert answer.status_code in (400, 404, 422), (path, answer.status_code, answer.text)


@pytest.mark.parametrize(("path", "body"), [
    ("/v1/embeddings", b'{"model":"puppet","input":[' + b"[]," * 9 + b"[]]}"),
    ("/", b'{"inputs":[' + b'"\xe6\x9c\x88",' * 16 + b'"x"]}'),
    ("/collections/laws/documents", b'{"documents":[' + b'{"text":""},' * 9 + b"{}]}"),
    ("/collections/laws/search", b'{"plan":{' + b'"":1,' * 9 + b'"":1}}'),
])
def test_a_body_of_too_many_parts_is_refused_before_it_is_read(path: str, body: bytes) -> None:
    with live(puppet_server(Puppet(), Limits(body_lists=8, body_names=9, body_values=16))) as client:
        refused = client.post(path, content=body)
        assert refused.status_code == 413
        assert "the server reads 8, 9 and 16" in refused.text
        text = "[{,:\\\"" * 20                       # in a string they are letters
        assert client.post("/v1/embeddings", json={**BODY, "input": text}).status_code == 200


@given(st.recursive(st.none() | st.integers() | st.text('[{:,"\\月'), lambda inner:
                    st.lists(inner) | st.dictionaries(st.text('[{:,"\\月'), inner), max_leaves=20))
def test_the_parts_of_a_body_are_counted_without_reading_it(value: Any) -> None:
    def count(value: Any) -> tuple[int, int, int]:
        if not isinstance(value, list | dict):
            return 0, 0, 1
        inner = [count(one) for one in (value.values() if isinstance(value, dict) else value)]
        lists, names, values = (sum(column) for column in zip(*inner, strict=True)) if inner else (0, 0, 0)
        return lists + 1, names + (len(value) if isinstance(value, dict) else 0), values + 1

    lists, names, values = count(value)
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, separators=(",", ":"))):
        found = parts(text.encode())
        assert (found.lists, found.names) == (lists, names)
        assert values <= found.values <= values + lists + 1
        assert all(n <= most for n, most in zip(found, most_parts(text.encode()), strict=True))


@pytest.mark.parametrize(("form", "body"), [
    (EmbeddingsAsked, {"model": "tiny", "input": [[1]] * 9 + ["春"] * 9}),
    (RerankAsked, {"model": "tiny", "query": "春", "documents": [1] * 9}),
    (DocumentsAsked, {"documents": [{"text": "春", "fields": {str(i): {} for i in range(9)}}]}),
    (DocumentsAsked, {"documents": [{}] * 9}),
])
def test_a_list_that_is_wrong_is_described_by_its_first_wrong_item(form: type[Form], body: Any) -> None:
    with pytest.raises(ValidationError) as told:
        form.model_validate_json(json.dumps(body))
    assert told.value.error_count() <= 4        # of a union one for each kind; of two million items gigabytes


def test_a_body_that_is_wrong_in_very_many_places_is_not_described(client: httpx.Client) -> None:
    answer = client.post("/collections/laws/search", json={"query": "春", **dict.fromkeys(map(str, range(2000)), 1)})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "The body is not what is asked for, in 2,000 places."


def test_a_path_that_there_is_not_is_answered_in_json(client: httpx.Client) -> None:
    assert client.get("/nowhere").json()["error"]["type"] == "RequestRefused"
    assert client.get("/v1/embeddings").status_code == 405


def test_the_log_tells_all_but_texts_and_keys(caplog: pytest.LogCaptureFixture) -> None:
    key = new_key()
    server = puppet_server(Puppet(), keys=Keys(plain=[key]))
    with caplog.at_level(logging.INFO, "qianru.serve"), live(server) as client:
        client.post("/v1/embeddings?secret=诗", json=BODY, headers={"x-api-key": key, "x-request-id": "abc-1"})
        client.post("/v1/embeddings", json={**BODY, "input": "雪人☃"}, headers={"x-api-key": key})
    lines = [JsonLines().format(record) for record in caplog.records]
    told = next(json.loads(line) for line in lines if '"request"' in line)
    assert told.items() >= {"id": "abc-1", "method": "POST", "route": "/v1/embeddings", "status": 200,
                            "model": "puppet", "n_texts": 1, "n_tokens": 5}.items()
    assert told["key"] == "QIANRU_API_KEYS[0]"
    everything = "\n".join(lines)
    assert '"where"' in everything                  # of the snowman's failure, its place
    for secret in ("春眠", "雪人", "snowman", "secret", key):
        assert secret not in everything


def test_metrics_count_what_happened() -> None:
    with live(puppet_server(Puppet())) as client:
        client.post("/v1/embeddings", json={"model": "puppet", "input": ["春", "眠不"]})
        client.post("/v1/embeddings", json={"model": "nobody", "input": "春"})
        told = client.get("/metrics").text
    for line in ('qianru_requests_total{route="/v1/embeddings",status="200"} 1.0',
                 'qianru_requests_total{route="/v1/embeddings",status="404"} 1.0',
                 'qianru_texts_total{model="puppet"} 2.0', 'qianru_tokens_total{model="puppet"} 3.0',
                 "qianru_batch_tokens_sum 3.0", "qianru_batch_texts_count 1.0", "qianru_queue_tokens 0.0",
                 'qianru_request_seconds_count{route="/v1/embeddings"} 2.0'):
        assert line in told


def test_health_and_ready(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
