"""Remote models: any endpoint that speaks OpenAI's POST /embeddings, asked over HTTP. The texts leave this machine.

The key is read from the environment at each request. It is kept nowhere: not in the model, its folder, or an error.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

import numpy as np

from qianru.errors import BadInput, ServerFailed, ShapeMismatch, SpecMismatch
from qianru.models import environment
from qianru.models.base import ModelSpec, as_texts, check_role, chosen_kinds
from qianru.models.catalogue import Card, known
from qianru.models.files import Stored, fingerprint, read_folder, write_folder
from qianru.models.web import Failure, Patience, is_private, opened, parsed, try_again
from qianru.types import Embeddings, FloatArray, Kind, Progress, Role

KEY = "OPENAI_API_KEY"
ANSWER_BYTES = 512 << 20
TOO_MUCH = {400, 413, 422}         # what a part of the texts may still get through
ASCII_PER_TOKEN = 4                # letters of English; a character of Chinese is about one token
SHOWN_CHARS = 40
_LETTERS = re.compile(r"[\x00-\x7f]")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """How an endpoint is asked; none of it changes a vector.

    batch_texts, batch_tokens: of one request at most; tokens are estimated
    encoding: base64 is a third of the size, float is what every server knows
    """

    batch_texts: int = 256
    batch_tokens: int = 100_000
    encoding: Literal["base64", "float"] = "base64"
    patience: Patience = field(default_factory=lambda: Patience(timeout_s=60, attempts=6, first_wait_s=0.5))

    def __post_init__(self) -> None:
        if min(self.batch_texts, self.batch_tokens) < 1 or self.encoding not in ("base64", "float"):
            raise BadInput(f"A request needs at least one text and one token and base64 or float numbers, not {self}.")


class RemoteModel:
    """A model behind an HTTP endpoint.

    model: its name there;  url: up to and without /embeddings; else $OPENAI_BASE_URL, else OpenAI
    dimensions: fewer than it has, for models that can
    card: what is known of it, prompts above all; else what the catalogue knows
    key_variable: the environment variable that holds the key; without one none is sent
    """

    family: ClassVar[str] = "remote"

    def __init__(self, model: str, url: str | None = None, *, dimensions: int | None = None, card: Card | None = None,
                 key_variable: str = KEY, config: RemoteConfig | None = None) -> None:
        self.model, self.url = model, _checked_url(url or environment.openai_url())
        self.card = card or known(model) or Card(model, "remote")
        self.dimensions, self.key_variable, self.config = dimensions, key_variable, config or RemoteConfig()
        if not model:
            raise BadInput("A remote model needs the name that its server knows it by.")
        largest = self.card.dim
        if dimensions is not None and not 1 <= dimensions <= (largest or dimensions):
            raise BadInput(f"{model} makes no {dimensions} dimensions. Ask for 1 to {largest or 'as many as it has'}.")
        self._dim = dimensions or largest
        self._vouched = True           # the user has named the server; a folder's word is not enough

    @property
    def spec(self) -> ModelSpec:
        """What it is; the size is learnt from the first answer where it is not known."""
        return ModelSpec(self.model, self.family, ("dense",), fingerprint(Stored(self.family, self._settings())),
                         self._dim, self.card.max_tokens)

    def __repr__(self) -> str:
        return f"RemoteModel({self.model!r}, {self.url!r}, dimensions={self.dimensions})"

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """The texts' vectors. Texts without a visible character are not sent; their vectors are zero.

        n_tokens is an estimate, since a server counts tokens by request. Texts that are too long for the server are
        refused with its own words, never cut.
        Raises ServerFailed if it cannot be reached, refuses or answers nonsense, ShapeMismatch for vectors of another
        size than before.
        """
        check_role(role)
        chosen_kinds(self.spec, kinds)
        prompt = self.card.prompts.before(role, instruction)
        listed = as_texts(texts)
        self._check_trust()
        sent = [i for i, text in enumerate(listed) if text.strip()]
        inputs = {i: _SURROGATES.sub("\ufffd", prompt + listed[i]) for i in sent}
        parts: list[FloatArray] = []
        done = 0
        for batch in _batches({i: estimated_tokens(text) for i, text in inputs.items()}, self.config):
            parts.append(self._vectors({i: inputs[i] for i in batch}))
            done += len(batch)
            if progress is not None:
                progress(done, len(listed))
        if listed and self._dim is None:
            self._vectors({0: "?"})    # nothing was sent, and a zero vector needs a size as well
        dense = np.zeros((len(listed), self._dim or 0), np.float32)
        if parts:
            dense[sent] = np.concatenate(parts)
        if progress is not None:
            progress(len(listed), len(listed))
        n_tokens = np.array([estimated_tokens(text) for text in listed], np.int64)
        return Embeddings(self.spec.name, n_tokens, dense=dense)

    def save(self, folder: Path) -> None:
        """Writes the settings to a folder that qianru.load reads, without the key."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What is saved: how to ask, nothing secret."""
        config = {"batch_texts": self.config.batch_texts, "batch_tokens": self.config.batch_tokens,
                  "encoding": self.config.encoding}
        learnt = {"dim": self._dim, "max_tokens": self.card.max_tokens, "key_variable": self.key_variable}
        return Stored(self.family, {**self._settings(), **learnt, **config})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model that a folder describes. Nothing is sent before encode."""
        return cls.from_stored(read_folder(folder, cls.family))

    @classmethod
    def from_stored(cls, stored: Stored) -> Self:
        """The model that a folder describes; it asks a server only if the user's environment names that server too."""
        encoding = stored.setting("encoding", str)
        config = RemoteConfig(stored.setting("batch_texts", int), stored.setting("batch_tokens", int),
                        "base64" if encoding == "base64" else "float")
        model = stored.setting("model", str)
        card = Card(model, "remote", dim=stored.optional("dim", int), max_tokens=stored.optional("max_tokens", int),
                    query=stored.setting("query", str), document=stored.setting("document", str),
                    instruction=stored.setting("instruction", str))
        if encoding not in ("base64", "float") or (card.dim is not None and card.dim < 1):
            raise SpecMismatch(f"{stored.folder} asks for {encoding!r:.20} vectors of size {card.dim}. "
                               "Save the model again.")
        loaded = cls(model, stored.setting("url", str), dimensions=stored.optional("dimensions", int), card=card,
                     key_variable=stored.setting("key_variable", str), config=config)
        loaded._vouched = False
        return loaded

    def _settings(self) -> dict[str, Any]:
        """All that changes a vector."""
        return {"url": self.url, "model": self.model, "dimensions": self.dimensions, "query": self.card.query,
                "document": self.card.document, "instruction": self.card.instruction}

    def _check_trust(self) -> None:
        """Raises BadInput if only a folder says that texts and the key are to be sent to this server."""
        host = urlsplit(self.url).hostname or ""
        if not (self._vouched or host in ("localhost", "127.0.0.1", "::1") or self.url == environment.openai_url()
                or host in environment.trusted_hosts()):
            raise BadInput(f"This model's folder wants your texts, and the key in ${self.key_variable} if there is "
                           f"one, sent to {host}. If that is right, set QIANRU_TRUSTED_HOSTS={host}")

    def _key(self) -> str | None:
        key = environment.secret(self.key_variable)
        if key is None and self.url == environment.OPENAI:
            raise BadInput(f"{self.model} needs a key. Set ${self.key_variable} to it.")
        if key is not None and not is_private(self.url):
            raise BadInput(f"The key in ${self.key_variable} would be sent to {self.url} for everybody on the way to "
                           "read. Use https, or unset the variable if no key is needed.")
        return key

    def _vectors(self, inputs: dict[int, str]) -> FloatArray:
        """(n, d) vectors of the texts; those that a server refuses together are sent by halves, to find the one."""
        try:
            vectors = self._ask(list(inputs.values()))
        except Failure as failure:
            places = list(inputs)
            if failure.status not in TOO_MUCH:
                raise
            if len(places) == 1:
                text = inputs[places[0]]
                raise ServerFailed(f"{failure} That was text {places[0]} (counting from 0) alone: "
                                   f"'{' '.join(text[:SHOWN_CHARS].split())}…', {len(text):,} characters. Shorten it, "
                                   "or check the settings.") from None
            middle = len(places) // 2
            halves = [{i: inputs[i] for i in part} for part in (places[:middle], places[middle:])]
            return np.concatenate([self._vectors(half) for half in halves])
        if self._dim is None:
            self._dim = vectors.shape[1]
        if vectors.shape[1] != self._dim:
            raise ShapeMismatch(f"{self.model} at {self.url} was to make {self._dim} dimensions and makes "
                                f"{vectors.shape[1]}. Check the name of the model, or whether it can make fewer.")
        return vectors

    def _ask(self, texts: list[str]) -> FloatArray:
        """(n, d) vectors of one request, tried again where that may help."""
        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": self.config.encoding}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        content = json.dumps(body).encode()
        url, key = f"{self.url}/embeddings", self._key()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        timeout_s = self.config.patience.timeout_s

        def exchange() -> FloatArray:
            with opened(url, headers=headers, token=key, body=content, timeout_s=timeout_s, follow=False) as answer:
                return _read(parsed(answer, ANSWER_BYTES), len(texts), answer.host)

        try:
            return try_again(exchange, self.config.patience)
        except Failure as failure:
            if key is not None and key in str(failure):      # some servers repeat the key that they refuse
                raise Failure(str(failure).replace(key, "…"), status=failure.status) from None
            raise


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its ASCII characters and all others; 0 without a visible one.

    >>> estimated_tokens("床前明月光, moonlight"), estimated_tokens(" ")
    (8, 0)
    """
    if not text.strip():
        return 0
    n_ascii = len(_LETTERS.findall(text)) if not text.isascii() else len(text)
    return len(text) - n_ascii + -(-n_ascii // ASCII_PER_TOKEN)


def _batches(n_tokens: dict[int, int], config: RemoteConfig) -> Iterator[list[int]]:
    """The texts, in order, in requests that are not too large; a text that is too long alone goes alone."""
    batch: list[int] = []
    total = 0
    for i, n in n_tokens.items():
        if batch and (len(batch) == config.batch_texts or total + n > config.batch_tokens):
            yield batch
            batch, total = [], 0
        batch.append(i)
        total += n
    if batch:
        yield batch


def _read(answer: Any, n: int, host: str) -> FloatArray:
    """(n, d) vectors of an answer, in the order of their indices."""
    if isinstance(answer, dict) and isinstance(answer.get("data"), list):
        rows = answer["data"]
    else:
        raise Failure(f"{host} answers without 'data': {json.dumps(answer)[:120]}. Is it an endpoint for embeddings?")
    if len(rows) != n:
        raise Failure(f"{host} was sent {n} texts and answers with {len(rows)} vectors.")
    try:
        vectors = {int(row.get("index", i)): _vector(row["embedding"]) for i, row in enumerate(rows)}
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, binascii.Error) as error:
        raise Failure(f"{host} answers with vectors in a form that is not known here: {error!r:.120}.") from error
    if sorted(vectors) != list(range(n)):
        raise Failure(f"{host} answers with vectors whose indices are not 0 to {n - 1}.")
    sizes = {len(vector) for vector in vectors.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise Failure(f"{host} answers with vectors of the sizes {', '.join(map(str, sorted(sizes)))} at once.")
    dense = np.stack([vectors[i] for i in range(n)])
    if not np.isfinite(dense).all():
        raise Failure(f"{host} answers with numbers that are not finite.")
    return dense


def _vector(value: Any) -> FloatArray:
    """(d,) float32, from a list of numbers or from base64 of little-endian float32."""
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
    vector = np.asarray(value)
    if vector.ndim != 1 or vector.dtype.kind not in "fi":
        raise TypeError(f"a vector of {vector.dtype} and shape {vector.shape}")
    with np.errstate(over="ignore"):      # what is too large becomes infinite, and that is refused
        return vector.astype(np.float32)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        raise BadInput(f"'{parts.scheme}://{parts.hostname or ''}' is not the address of an endpoint: it begins with "
                       "https:// and holds no key, e.g. https://api.openai.com/v1")
    return url.rstrip("/").removesuffix("/embeddings")
