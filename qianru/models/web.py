"""HTTP, the only place that opens a connection: one exchange, told plainly when it fails, tried again where that helps.

Nothing here runs unless the user asked for a download or for a remote model.
"""

from __future__ import annotations

import json
import logging
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from socket import EAI_AGAIN, gaierror
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from qianru import __version__
from qianru.errors import BadInput, ServerFailed

WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
FINAL_CODES = {"insufficient_quota"}      # OpenAI says 429 for an empty account as well
SHOWN_CHARS = 200          # of what a server says
READ_OF_ERROR = 65_536
WORTH_TELLING_S = 5
DRIPPING = 10              # timeouts that one whole answer may take
log = logging.getLogger("qianru")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on with a server that fails.

    timeout_s: without a single byte;  attempts: in a row without progress
    first_wait_s: doubled each time, and up to twice that at random;  longest_wait_s: also when the server asks for more
    """

    timeout_s: float = 30.0
    attempts: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 120.0


class Failure(ServerFailed):
    """An exchange that failed.

    status: of the answer, None if there was none;  code, said: what its headers and body say
    transient: whether another try may do;  wait_s: how long the server asks to be left alone
    """

    def __init__(self, message: str, *, status: int | None = None, code: str = "", said: str = "",
                 transient: bool = False, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.said, self.transient, self.wait_s = status, code, said, transient, wait_s


class Tries:
    """Attempts in a row: waits before the next one, or says that there is none."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.failed = 0

    def after(self, failure: Failure) -> None:
        """Waits as long as it should; raises the failure if it is final or there were too many."""
        self.failed += 1
        if not failure.transient or self.failed >= self.patience.attempts:
            raise failure
        wait_s = self.patience.first_wait_s * 2 ** (self.failed - 1) * (1 + random.random())   # apart from the others
        wait_s = min(wait_s, self.patience.longest_wait_s)
        if failure.wait_s is not None:
            if failure.wait_s > self.patience.longest_wait_s:
                raise Failure(f"{failure} It asks to be left alone for {failure.wait_s:.0f} seconds; try again then.",
                              status=failure.status, said=failure.said) from failure
            wait_s = max(failure.wait_s, 0.0)
        if wait_s > WORTH_TELLING_S:      # not the failure's words, which may repeat a secret
            log.warning("The server fails (%s); trying again in %.0f seconds.", failure.status or "no answer", wait_s)
        time.sleep(wait_s)

    def progress(self) -> None:
        """Something was achieved: the count begins anew."""
        self.failed = 0


def try_again(exchange: Callable[[], T], patience: Patience) -> T:
    """What the exchange returns, tried again where that may help."""
    tries = Tries(patience)
    while True:
        try:
            return exchange()
        except Failure as failure:
            tries.after(failure)


class Answer:
    """A server's answer; reading it fails with a Failure."""

    def __init__(self, url: str, response: HTTPResponse, timeout_s: float) -> None:
        self.url, self.timeout_s, self._response = url, timeout_s, response
        self.host = _host(url)
        self.status = response.status

    def header(self, name: str) -> str:
        """Its value, empty if the answer has none."""
        return self._response.headers.get(name) or ""

    def read(self, n_bytes: int) -> bytes:
        """The next bytes, at most so many and as soon as there are any; none at the end."""
        try:
            return self._response.read1(n_bytes)
        except (OSError, HTTPException) as error:
            raise _broken(self.host, error, self.timeout_s) from None


@contextmanager
def opened(url: str, *, headers: Mapping[str, str], token: str | None = None, body: bytes | None = None,
           timeout_s: float, follow: bool = True) -> Iterator[Answer]:
    """The answer to one request, to be read in the block; a Failure if there is none or it is a refusal.

    token: sent to this host alone, not to where it redirects;  follow: whether it may redirect
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
        raise BadInput(f"'{parts.scheme}://{_host(url)}' is not an address: it begins with http:// or https:// and the "
                       "name of a host, without a user.")
    request = Request(url, data=body, headers={"User-Agent": f"qianru/{__version__}", **headers})
    if token is not None:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        response = _opener(follow).open(request, timeout=timeout_s)
    except Failure:
        raise
    except HTTPError as error:
        with error:
            raise _refusal(_host(url), error) from None
    except (OSError, HTTPException) as error:      # an URLError is an OSError
        raise _broken(_host(url), error, timeout_s) from None
    with response:
        answer = Answer(url, response, timeout_s)
        if answer.header("Content-Encoding") not in ("", "identity"):
            raise Failure(f"{answer.host} sends {answer.header('Content-Encoding')} where plain bytes were asked for. "
                          "Try another mirror.")
        yield answer


def is_private(url: str) -> bool:
    """Whether what is sent there can be read on the way by nobody else: encrypted, or to this machine.

    >>> is_private("http://127.0.0.1:8000/v1"), is_private("http://example.com/v1")
    (True, False)
    """
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def get_json(url: str, *, token: str | None = None, patience: Patience, limit_bytes: int = 32 << 20) -> Any:
    """The JSON document at that address."""
    def exchange() -> Any:
        with opened(url, headers={"Accept": "application/json"}, token=token, timeout_s=patience.timeout_s) as answer:
            return parsed(answer, limit_bytes)

    return try_again(exchange, patience)


def parsed(answer: Answer, limit_bytes: int) -> Any:
    """The JSON document of an answer; a Failure that shows what it says if it is something else."""
    content = bytearray()
    deadline = time.monotonic() + DRIPPING * answer.timeout_s
    while len(content) <= limit_bytes and (block := answer.read(1 << 20)):
        content += block
        if time.monotonic() > deadline:
            raise Failure(f"{answer.host} is still not done after {DRIPPING * answer.timeout_s:.0f} seconds.",
                          transient=True)
    promised = answer.header("Content-Length")
    if len(content) > limit_bytes:
        raise Failure(f"{answer.host} answers with more than {limit_bytes >> 20} MB. Is it the right address: "
                      f"{answer.url}?")
    if promised.isdigit() and len(content) < int(promised):
        raise Failure(f"{answer.host} broke off after {len(content)} of {promised} bytes.", transient=True)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        kind = answer.header("Content-Type").partition(";")[0] or "something"
        raise Failure(f"{answer.host} answers {kind}, not JSON: '{shown(bytes(content))}'. Is it the right address: "
                      f"{answer.url}?") from None


def shown(content: bytes) -> str:
    """The beginning of what a server says, on one line, without tags and without what a terminal would obey."""
    text = re.sub(r"<[^>]*>", " ", content[:READ_OF_ERROR].decode("utf-8", "replace"))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"


class _Redirects(HTTPRedirectHandler):
    max_redirections = 8

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if old.scheme == "https" and new.scheme != "https":
            raise Failure(f"{old.netloc} redirects to {new.scheme}://{new.netloc}, which is not encrypted. "
                          "Use another mirror.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if request is not None and token is not None and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", token)   # a renamed model, still the same host
        return request


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _opener(follow: bool) -> OpenerDirector:
    """One that knows http and https only: the usual one would follow a redirect to ftp and read file://."""
    opener = OpenerDirector()
    handlers = [ProxyHandler(), HTTPHandler(), HTTPSHandler(), HTTPErrorProcessor(), HTTPDefaultErrorHandler(),
                UnknownHandler(), *([_Redirects()] if follow else [])]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _refusal(host: str, error: HTTPError) -> Failure:
    """What an answer of 300 and above means."""
    try:
        said = error.read(READ_OF_ERROR)
    except (OSError, HTTPException):
        said = b""
    message, code = _message(said)
    words = shown(message)
    if 300 <= error.code < 400:
        return Failure(f"{host} redirects to {error.headers.get('Location', 'nowhere')}. Use that address.",
                       status=error.code)
    return Failure(f"{host} answers {error.code} {error.reason}" + (f": '{words}'." if words else "."),
                   status=error.code, code=error.headers.get("X-Error-Code") or code, said=words,
                   transient=error.code in WORTH_ANOTHER_TRY and code not in FINAL_CODES,
                   wait_s=asked_wait(error.headers.get("Retry-After")))


def _message(content: bytes) -> tuple[bytes, str]:
    """(message, code) of an error's JSON, as {"error": {"message": …, "code": …}} or {"Message": …}; else all of it."""
    try:
        said = json.loads(content)
        said = next(filter(None, (said.get(name) for name in ("error", "message", "Message", "detail"))), None)
        code = said.get("code") if isinstance(said, dict) else None
        said = said.get("message") if isinstance(said, dict) else said
    except (ValueError, AttributeError, RecursionError):
        return content, ""
    message = said.encode("utf-8", "replace") if isinstance(said, str) else content
    return message, code if isinstance(code, str) else ""


def asked_wait(value: str | None) -> float | None:
    """Seconds, from a number or a date.

    >>> asked_wait("7"), asked_wait("soon"), asked_wait("Wed, 21 Oct 2015 07:28:00 GMT")
    (7.0, None, 0.0)
    """
    if not value:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value.strip()):
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def _broken(host: str, error: Exception, timeout_s: float) -> Failure:
    """What a connection that could not be made or kept means."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, gaierror):
        return Failure(f"The name {host} cannot be resolved: {reason.strerror}. Is this machine online?",
                       transient=reason.errno == EAI_AGAIN)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Failure(f"{host} does not prove that it is {host}: {reason.verify_message}. Nothing was sent or taken.")
    if isinstance(reason, TimeoutError):
        return Failure(f"{host} sent nothing for {timeout_s:.0f} seconds.", transient=True)
    if isinstance(reason, OSError) and reason.strerror:
        reason = reason.strerror
    return Failure(f"The connection to {host} failed: {reason or type(reason).__name__}.", transient=True)
