"""How the page's files are handed out: policy, caching, packing, and nothing else."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import qianru
from qianru.errors import BadFile
from qianru.serve import pages

BUILT = Path(qianru.__file__).parent / "serve" / "page"


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = Starlette()
    pages.mount(app)
    return TestClient(app)


def script() -> str:
    return next(path.name for path in (BUILT / "assets").glob("main-*.js"))


def test_the_root_leads_to_the_page_also_behind_a_prefix(client: TestClient) -> None:
    answer = client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (302, "ui/")
    assert client.get("/ui").url.path == "/ui/"


def test_nothing_but_its_own_files_may_run(client: TestClient) -> None:
    for path in ("/ui/", f"/ui/assets/{script()}", "/ui/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert client.get(path).headers["x-content-type-options"] == "nosniff"


def test_the_index_is_asked_for_anew_and_its_files_never_again(client: TestClient) -> None:
    index, file = client.get("/ui/"), client.get(f"/ui/assets/{script()}")
    assert index.headers["cache-control"] == "no-cache"
    assert "immutable" in file.headers["cache-control"]
    again = client.get("/ui/", headers={"if-none-match": f'W/"other", {index.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/ui/", headers={"if-none-match": '"other"'}).status_code == 200


def test_files_are_packed_for_those_who_take_it(client: TestClient) -> None:
    path = f"/ui/assets/{script()}"
    plain = client.get(path, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == (BUILT / "assets" / script()).read_bytes()
    with client.stream("GET", path, headers={"accept-encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
    assert packed.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content)


def test_types_are_told(client: TestClient) -> None:
    assert client.get("/ui/").headers["content-type"] == "text/html; charset=utf-8"
    for name in (path.name for path in (BUILT / "assets").iterdir()):
        kind = {"js": "text/javascript", "css": "text/css"}[name.rpartition(".")[2]]
        assert client.get(f"/ui/assets/{name}").headers["content-type"] == f"{kind}; charset=utf-8"


@pytest.mark.parametrize("path", ["/ui/manifest.json", "/ui/assets/", "/ui/..%2f..%2ferrors.py", "/ui/../pages.py",
                                  "/ui/assets/%2e%2e/index.html", "/ui//etc/passwd", "/ui/nothing.js"])
def test_nothing_else_is_handed_out(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_page_is_only_read(client: TestClient) -> None:
    assert client.post("/ui/").status_code == 405
    assert client.head("/ui/").status_code == 200


def test_a_package_without_its_page_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "files", lambda _: tmp_path)
    with pytest.raises(BadFile, match="make page"):
        pages.mount(Starlette())
