"""Where a collection on a server is: qdrant://host:6333/name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from os import PathLike
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

from qianru.errors import BadInput

if TYPE_CHECKING:
    from qianru.index.cluster_points import ClusterOptions
    from qianru.index.layout import Layout
    from qianru.models.base import Model

KEY = "QIANRU_QDRANT_API_KEY"
PORT = 6333
SCHEMES = {"qdrant": "http", "qdrants": "https", "http": "http", "https": "https"}
NAME = re.compile(r"(?!\.\.?$)[^/\\<>:\"|?*\x00-\x1f]{1,200}")       # what a server makes a folder's name of
C_co = TypeVar("C_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Address:
    """A collection on a server.

    base: of the server, http or https, with its port;  name: of the collection
    """

    base: str
    name: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address that a URL means. Raises BadInput.

        >>> Address.parse("qdrant://db.example/poems")
        Address(base='http://db.example:6333', name='poems')
        >>> str(Address.parse("https://db.example:443/behind/a/proxy/poems"))
        'https://db.example:443/behind/a/proxy/poems'
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:      # brackets or a port that are none
            parts, host, port = urlsplit(url.partition(":")[0] + "://"), None, None
        prefix, _, name = parts.path.rstrip("/").rpartition("/")
        if parts.scheme not in SCHEMES or not host or "@" in parts.netloc or parts.query or parts.fragment:
            raise BadInput(
                f"'{parts.scheme}://{host or ''}' does not name a collection on a server; write "
                f"qdrant://host:{PORT}/name, or https://host:{PORT}/name. A key goes into ${KEY}, not into the address."
            )
        if not NAME.fullmatch(unquote(name)):
            raise BadInput(f"A collection on a server has a name, as in qdrant://{parts.netloc}/name; got {name!r}.")
        shown_host = f"[{host}]" if ":" in host else host
        return cls(f"{SCHEMES[parts.scheme]}://{shown_host}:{port or PORT}{prefix}", unquote(name))

    def __str__(self) -> str:
        scheme, _, rest = self.base.partition("://")
        return f"{'qdrant' if scheme == 'http' else scheme}://{rest}/{self.name}"


def address_of(where: str | PathLike[str]) -> str | None:
    """The address of a collection on a server, None for a folder; also of a Path, which keeps one slash of two.

    >>> address_of("qdrant://localhost/poems"), address_of(PurePath("qdrant://localhost/poems"))
    ('qdrant://localhost/poems', 'qdrant://localhost/poems')
    >>> address_of("poems.qianru") is None
    True
    """
    scheme, slash, rest = (where.as_posix() if isinstance(where, PurePath) else str(where)).partition(":/")
    return f"{scheme}://{rest.lstrip('/')}" if slash and scheme in SCHEMES else None


class Opens(Protocol[C_co]):
    """What makes and opens collections on servers."""

    def create(
        self, url: str, model: Any, layout: Layout, options: ClusterOptions | None, api_key: str | None
    ) -> C_co:
        """A new, empty collection at the address."""
        ...

    def open(self, url: str, model: Model | None, options: ClusterOptions | None, api_key: str | None) -> C_co:
        """The collection at the address."""
        ...


def on_a_server(kind: type[C_co]) -> Opens[C_co]:
    """What makes and opens collections on servers; they are collections, and so made of that class."""
    return cast("Opens[C_co]", import_module("qianru.index.cluster_opening"))
