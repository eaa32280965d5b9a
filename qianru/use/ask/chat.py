"""A chat model behind any endpoint that speaks OpenAI's POST /chat/completions, streamed.

Question and passages are sent there. The key is kept out of errors, logs and the repr; it goes only over an encrypted
connection or to this machine.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from qianru.errors import BadInput
from qianru.models import environment
from qianru.models.web import DRIPPING, Answer, Failure, Patience, Tries, is_private, opened, shown

PATIENCE = Patience(timeout_s=60, attempts=4, first_wait_s=0.5, longest_wait_s=30)
LINE_BYTES = 1 << 20          # of one event
ANSWER_CHARS = 200_000
BLOCK_BYTES = 65_536
log = logging.getLogger("qianru")
THOUGHT = ("<think>", "</think>")      # how models that think aloud fence it; it is no part of the answer


class Message(NamedTuple):
    """What somebody said."""

    role: Literal["system", "user", "assistant"]
    content: str


class Chat:
    """A chat model.

    url: up to and without /chat/completions;  model: its name there
    key: else $QIANRU_CHAT_KEY, or $OPENAI_API_KEY where the url is OpenAI's or $OPENAI_BASE_URL; else none is sent
    Raises BadInput for an address that is none, a missing name, a key that would travel unencrypted.
    """

    def __init__(
        self, url: str, model: str, key: str | None = None, *, patience: Patience = PATIENCE, temperature: float = 0.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            told = f"'{parts.scheme}://{parts.hostname}'" if parts.hostname else "What is given"     # it may be a key
            raise BadInput(f"{told} is not the address of a chat endpoint: it begins with https:// and holds no key, "
                           "e.g. http://localhost:11434/v1")
        if not model:
            raise BadInput(f"A chat model needs the name that {parts.netloc} knows it by. Give --chat-model, or set "
                           "$QIANRU_CHAT_MODEL.")
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self.model, self.patience, self.temperature = model, patience, temperature
        self._key = key or environment.chat_key(self.url)
        if self._key is not None and not is_private(self.url):
            raise BadInput(f"The key for the chat model would be sent to {parts.netloc} for everybody on the way to "
                           "read. Use https, or give no key if none is needed.")

    @classmethod
    def from_environment(
        cls, url: str | None = None, model: str | None = None, key: str | None = None
    ) -> Chat | None:
        """The chat model of $QIANRU_CHAT_URL and $QIANRU_CHAT_MODEL, or of what is given; None if no url is."""
        url = url or environment.chat_url()
        return None if url is None else cls(url, model or environment.chat_model(), key)

    def __repr__(self) -> str:
        return f"Chat({self.url!r}, {self.model!r})"

    def complete(self, messages: Sequence[Message]) -> str:
        """The whole answer."""
        return "".join(self.stream(messages))

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The answer in pieces as they come, without what the model thinks aloud before it.

        A server that fails before the first piece is asked again where that may help; after it, the Failure is raised,
        for what was passed on cannot be taken back. Answers that come whole, as plain JSON, are taken too.
        Raises ServerFailed if it cannot be reached, refuses, breaks off or answers nonsense.
        """
        tries = Tries(self.patience)
        while True:
            begun = False
            try:
                for piece in without_thoughts(self._pieces(messages)):
                    begun = begun or bool(piece.strip())
                    yield piece
                if not begun:
                    raise Failure(f"{urlsplit(self.url).netloc} answers with no text. Does it know the model "
                                  f"'{self.model}'?", transient=True)
                return
            except Failure as failure:
                told = self._without_key(failure)
                if begun:
                    raise told from None
                try:
                    tries.after(told)
                except Failure as last:
                    raise last from None

    def _pieces(self, messages: Sequence[Message]) -> Iterator[str]:
        body = {"model": self.model, "messages": [message._asdict() for message in messages], "stream": True,
                "temperature": self.temperature}
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        with opened(f"{self.url}/chat/completions", headers=headers, token=self._key, body=_bytes(body),
                    timeout_s=self.patience.timeout_s, follow=False) as answer:
            n_chars = 0
            for event in events(answer):
                piece = _piece(event, answer.host)
                n_chars += len(piece)
                if n_chars > ANSWER_CHARS:
                    raise Failure(f"{answer.host} answers with more than {ANSWER_CHARS:,} characters and does not "
                                  "stop. Ask for less, or try another model.")
                if piece:
                    yield piece

    def _without_key(self, failure: Failure) -> Failure:
        """The same failure; some servers repeat the key that they refuse."""
        if self._key is None or self._key not in f"{failure}{failure.said}":
            return failure
        return Failure(str(failure).replace(self._key, "…"), status=failure.status, code=failure.code,
                       transient=failure.transient, wait_s=failure.wait_s)


def events(answer: Answer) -> Iterator[Any]:
    """The JSON of each event of a stream, up to [DONE]; of an answer that is no stream, its JSON.

    Which of both it is, the first letters tell, since servers mistake the content type.
    Raises Failure for anything else, and for a stream that ends before it is finished.
    """
    data: list[str] = []
    finished = False
    for n, line in enumerate(_lines(answer)):
        if n == 0 and line.startswith("{"):
            yield _whole(line, answer)
            return
        name, colon, value = line.partition(":")
        if n == 0 and (not colon or name not in ("data", "event", "id", "retry", "")):
            kind = answer.header("Content-Type").partition(";")[0] or "something"
            raise Failure(f"{answer.host} answers {kind}, not a stream of events: '{shown(line.encode())}'. Is it the "
                          f"right address: {answer.url}?")
        if name == "data" and colon:
            data.append(value.removeprefix(" "))
        if not line and data:
            whole, data = "\n".join(data), []
            if whole.strip() == "[DONE]":
                return
            event = _parsed(whole, answer)
            finished = _finished(event) or finished
            yield event
    if data and "\n".join(data).strip() == "[DONE]":
        return
    if data:           # the last event lacks its empty line
        event = _parsed("\n".join(data), answer)
        finished = _finished(event) or finished
        yield event
    if not finished:
        raise Failure(f"{answer.host} broke off in the middle of its answer.", transient=True)


def without_thoughts(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces without a leading <think>…</think>, however they are cut.

    >>> list(without_thoughts(iter(["<th", "ink>先想", "想</thi", "nk>\\n七", "天"])))
    ['七', '天']
    """
    begin, end = THOUGHT
    held, thought = "", False
    for piece in pieces:
        held = (held + piece).lstrip()
        if not thought and held.startswith(begin):
            if end not in held:
                continue
            held, thought = held.partition(end)[2].lstrip(), True
        if not held or (not thought and begin.startswith(held)):     # nothing yet, or the fence's beginning
            continue
        yield held
        yield from pieces
        return
    if held and not held.startswith(begin):
        yield held


def _lines(answer: Answer) -> Iterator[str]:
    """The lines of an answer as they come; of one that begins with { all of it at once."""
    deadline = time.monotonic() + DRIPPING * answer.timeout_s
    held = b""
    first = True
    while block := answer.read(BLOCK_BYTES):
        held += block
        if first:
            held = held.lstrip(b"\xef\xbb\xbf \r\n")
            if not held:
                continue
        first = False
        if time.monotonic() > deadline:
            raise Failure(f"{answer.host} is still not done after {DRIPPING * answer.timeout_s:.0f} seconds.")
        if not held.startswith(b"{"):
            *lines, held = held.replace(b"\r\n", b"\n").split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
        if len(held) > LINE_BYTES:
            raise Failure(f"{answer.host} sends more than {LINE_BYTES >> 10} KB without an end of line. Is it the "
                          f"right address: {answer.url}?")
    if held:
        yield held.decode("utf-8", "replace")


def _whole(line: str, answer: Answer) -> Any:
    said = _parsed(line, answer)
    if isinstance(said, dict) and "error" not in said and not said.get("choices"):
        raise Failure(f"{answer.host} answers without 'choices': '{shown(line.encode())}'. Is it a chat endpoint?")
    return said


def _parsed(text: str, answer: Answer) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Failure(f"{answer.host} sends what is no JSON: '{shown(text.encode())}'.", transient=True) from None


def _piece(event: Any, host: str) -> str:
    """The text of one event."""
    if isinstance(event, dict) and event.get("error"):
        error = event["error"]
        said = error.get("message") if isinstance(error, dict) else error
        raise Failure(f"{host} fails while it answers: '{shown(str(said).encode())}'.", transient=True)
    try:
        choices = event["choices"]
        if not choices:        # some servers end with an event that tells what was used
            return ""
        said = choices[0].get("delta") or choices[0].get("message") or {}
        content = said.get("content")
    except (KeyError, TypeError, AttributeError, IndexError):
        raise Failure(f"{host} sends an event in a form that is not known here: "
                      f"'{shown(json.dumps(event, ensure_ascii=False).encode())}'.") from None
    if isinstance(content, list):      # parts of text
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if content is not None and not isinstance(content, str):
        raise Failure(f"{host} sends a text that is {type(content).__name__}.")
    return content or ""


def _finished(event: Any) -> bool:
    try:
        reason = event["choices"][0].get("finish_reason")
    except (KeyError, TypeError, AttributeError, IndexError):
        return False
    if reason == "length":
        log.warning("The answer is cut off: the chat model has written as much as its server lets it.")
    return bool(reason)


def _bytes(body: Any) -> bytes:
    return json.dumps(body).encode()      # in ASCII, so that halves of surrogate pairs pass
