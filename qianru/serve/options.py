"""What the server takes on, and where it listens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path

from qianru.errors import BadInput

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+|\*")       # also chrome-extension://…, app://…


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused. Each bound has one name, here, on the command line and in docs/serving.md.

    body_bytes: of one request;  bodies_bytes: of all that are in the house
    body_lists: lists and objects in one request;  body_names: of values in objects;  body_values: such as token ids
    texts: of one request;  answer_numbers: that one answer may hold, which bounds token vectors
    queue_tokens, queue_numbers: that wait, or are waited for, at most
    queue_s: a request that would wait longer for its first turn is refused with 429
    request_s: from the last byte of the question to the answer;  body_s: from its first byte to the last
    requests: in the house at once
    k: hits, candidates and depth of a search;  queries: of one search;  answers: that are being written at once
    query_chars: of all its queries together; also of a filter
    hits: that a search gives or rescores, of all its queries;  explained: of these with their reasons
    answer_chars: of the texts of all hits or documents in an answer
    collections: after so many requests make no more;  documents: in a collection that requests fill
    text_chars, fields, fields_bytes: of one document, the fields as JSON
    """

    body_bytes: int = 8 << 20
    bodies_bytes: int = 256 << 20
    body_lists: int = 1 << 15
    body_names: int = 1 << 18
    body_values: int = 1 << 20
    texts: int = 2048
    answer_numbers: int = 8_000_000
    queue_tokens: int = 1 << 20
    queue_numbers: int = 64_000_000
    queue_s: float = 1.5
    request_s: float = 60.0
    body_s: float = 30.0
    requests: int = 1024
    k: int = 1000
    queries: int = 64
    query_chars: int = 20_000
    answers: int = 8
    hits: int = 5000
    explained: int = 100
    answer_chars: int = 16_000_000
    collections: int = 256
    documents: int = 1_000_000
    text_chars: int = 100_000
    fields: int = 64
    fields_bytes: int = 16 << 10

    def __post_init__(self) -> None:
        for one in fields(self):
            if not getattr(self, one.name) > 0:
                raise BadInput(f"{one.name} is a limit above 0, not {getattr(self, one.name)!r}.")


@dataclass(frozen=True, slots=True)
class Options:
    """How the server runs.

    host, port: where it listens;  hosts: names besides its own that a browser may call it by without keys
    open: anyone may ask without a key, from anywhere
    allow_write: requests may create, change and delete collections
    collections: the folder that new collections are made in, and those in it are served
    cors: origins whose pages may ask;  stop_s: to finish what it has taken when it is told to stop
    """

    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()
    open: bool = False
    allow_write: bool = False
    collections: Path | None = None
    cors: tuple[str, ...] = ()
    stop_s: float = 30.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for origin in self.cors:
            if not ORIGIN.fullmatch(origin):
                raise BadInput(f"An origin is like https://example.org, without a path, or '*'; {origin!r} is none.")
        if self.collections is not None and self.collections.exists() and not self.collections.is_dir():
            raise BadInput(f"Collections lie in a folder, and {self.collections} is a file. Name another place.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(options: Options, has_keys: bool) -> None:
    """Raises BadInput for a server that anybody could ask without a key and without its owner having said so.

    What anybody can ask nobody may change: a browser's page from anywhere could, on this machine too.
    """
    if has_keys:
        return
    where = f"{options.host}:{options.port}"
    if not is_loopback(options.host) and not options.open:
        raise BadInput(f"Anyone who reaches {where} could ask without a key. Make one with qianru keys new NAME --keys "
                       "FILE and serve with --keys FILE; or say --open if that is meant.")
    if options.allow_write and (options.open or "*" in options.cors):
        raise BadInput(f"Anyone who reaches {where} could change and delete collections there. Make a key with qianru "
                       "keys new NAME --keys FILE and serve with --keys FILE; or leave out --allow-write, or what "
                       "opens the server (--open, --cors '*').")
