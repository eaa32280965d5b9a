"""What OpenAPI says is true: its examples work, and nothing that it allows or forbids ends in a 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from live_server import live

from qianru.index.collection import Collection
from qianru.serve.keys import Keys
from qianru.serve.options import Options
from qianru.serve.run import made
from qianru.types import Document

schemathesis = pytest.importorskip("schemathesis")
RENAMED = {"m3e-base": "tiny", "bge-m3": "tiny", "bge-reranker-base": "reranker", "laws": "laws"}


@pytest.fixture(scope="module")
def every(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that has everything."""
    folder = tmp_path_factory.mktemp("every")
    with Collection.create(folder / "laws") as library:
        library.add([Document("民法典#577", "当事人一方不履行合同义务的，应当承担违约责任。", {"line": 577})])
    with live(made([str(place) for place in places.values()],
                   Options(port=0, collections=folder, allow_write=True), Keys())) as client:
        yield client


def operations(client: httpx.Client) -> list[tuple[str, str, Any]]:
    schema = client.get("/openapi.json").json()
    return [(method, path, told) for path, methods in schema["paths"].items() for method, told in methods.items()]


def test_every_route_is_told_with_examples(every: httpx.Client) -> None:
    for method, path, told in operations(every):
        assert told["tags"], path
        assert told.get("summary"), path
        for status in (code for code in told["responses"] if code.startswith("2")):
            assert any("example" in content for content in told["responses"][status]["content"].values()), path
        if method == "post":
            assert told["requestBody"]["content"]["application/json"]["examples"], path


def test_the_examples_are_answered(every: httpx.Client) -> None:
    for method, path, told in operations(every):
        if method != "post" or path in ("/collections", "/collections/{name}/documents/delete"):
            continue
        for example in told["requestBody"]["content"]["application/json"]["examples"].values():
            body = {**example["value"]}
            if "model" in body:
                body["model"] = RENAMED[body["model"]]
            if "kinds" in body:
                body["kinds"] = ["dense"]
            if "plan" in body:
                body["plan"] = {}
            answer = every.post(path.replace("{name}", "laws"), json=body)
            expected = (424,) if path == "/embed_sparse" else (200, 202)
            assert answer.status_code in expected, (path, body, answer.text)


def fuzz(client: httpx.Client, n_examples: int) -> int:
    """Asks every route what its schema allows and what it forbids; how many requests that were."""
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    n = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=n_examples, deadline=None, database=None, phases=[Phase.generate], derandomize=True,
                  suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal n
            n += 1
            if case.method == "DELETE":
                return              # the collection is needed
            sent = case.as_transport_kwargs(base_url=str(client.base_url))
            sent.pop("cookies", None)           # there are none
            answer = client.request(**sent)
            assert answer.status_code < 500 or answer.status_code == 503, (case.method, case.path, answer.text)
            if answer.status_code >= 400 and not case.path.startswith("/ui"):
                answer.json()

        ask()
    return n


def test_nothing_ends_in_a_500(every: httpx.Client) -> None:
    assert fuzz(every, 2) > 40


@pytest.mark.slow
def test_nothing_ends_in_a_500_however_long_one_tries(every: httpx.Client) -> None:
    assert fuzz(every, 300) > 3000
