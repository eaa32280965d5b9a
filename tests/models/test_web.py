"""The places that open connections."""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path

import pytest
from servers import Quiet, serving

import qianru
from qianru.errors import BadInput, ServerFailed
from qianru.models.web import Patience, get_json, opened, shown

PACKAGE = Path(qianru.__file__).parent
CONNECTS = {"socket", "http.client", "urllib.request", "requests", "httpx", "httpx2", "aiohttp", "huggingface_hub",
            "modelscope", "openai", "ftplib", "smtplib"}
MAY = {"models/web.py", "index/cluster_link.py"}      # the second: to the server that a collection's address names
QUICK = Patience(timeout_s=5, attempts=2, first_wait_s=0.001)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_file_can_open_a_connection(path: Path) -> None:
    place = str(path.relative_to(PACKAGE))
    if place in MAY or place.startswith("serve/"):       # a server listens, it calls nobody
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    named |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not named & CONNECTS
    assert "from_pretrained(" not in path.read_text(encoding="utf-8")       # of tokenizers: it downloads


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "https://me:secret@example.org", "/etc"])
def test_only_http_is_opened_and_a_password_never_shown(url: str) -> None:
    with pytest.raises(BadInput, match="is not an address") as caught, opened(url, headers={}, timeout_s=1):
        pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_leads_to_http_or_nowhere(target: str) -> None:
    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send(b"", 302, Location=target)

    with serving(Handler) as address, pytest.raises(ServerFailed):
        get_json(address, patience=QUICK)


def test_a_redirect_that_goes_in_circles_ends() -> None:
    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send(b"", 302, Location="/again")

    with serving(Handler) as address, pytest.raises(ServerFailed, match="redirects"):
        get_json(address, patience=QUICK)


def test_an_answer_without_end_is_cut_and_refused() -> None:
    class Handler(Quiet):
        def do_GET(self) -> None:
            with suppress(OSError):      # who was asked to read it has gone
                self.send(b"[" + b"1," * 2_000_000 + b"1]")

    with serving(Handler) as address, pytest.raises(ServerFailed, match="more than 1 MB"):
        get_json(address, patience=QUICK, limit_bytes=1 << 20)


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    class Handler(Quiet):
        broken = True

        def do_GET(self) -> None:
            if Handler.broken:
                Handler.broken = False
                self.send(b"[1", Content_Length="100")
                self.close_connection = True
            else:
                self.send_json([1])

    with serving(Handler) as address:
        assert get_json(address, patience=QUICK) == [1]


def test_what_a_server_says_cannot_drive_a_terminal() -> None:
    assert shown(b"<b>no</b>\x1b[2J\r\nentry" + b"!" * 300).startswith("no [2J entry!!!")
    assert len(shown(b"a" * 5000)) == 201
