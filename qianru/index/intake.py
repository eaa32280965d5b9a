"""What may go into a collection: documents made clean, their fields checked, in batches."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import NamedTuple

from qianru.errors import BadInput
from qianru.text.normalize import clean
from qianru.types import Document

BATCH_DOCUMENTS = 1_000
BATCH_CHARS = 2_000_000


class SourceFile(NamedTuple):
    """A file whose passages path#1 … path#n are all stored.

    digest: of its content and of how it was read
    """

    path: str
    digest: bytes
    n_passages: int


def batches(documents: Iterable[str | Document]) -> Iterator[list[Document]]:
    """The documents made clean, in pieces of bounded count and size."""
    if isinstance(documents, str):
        raise BadInput("add takes a list of documents; put the single text into a list.")
    batch: list[Document] = []
    n_chars = 0
    for document in documents:
        batch.append(tidy(document))
        n_chars += len(batch[-1].text)
        if len(batch) == BATCH_DOCUMENTS or n_chars >= BATCH_CHARS:
            yield batch
            batch, n_chars = [], 0
    if batch:
        yield batch


def fields_json(document: Document) -> str:
    """The document's fields as JSON, always the same for equal fields."""
    for name, value in document.fields.items():
        if not isinstance(name, str) or not name:
            raise BadInput(f"A field of document {document.id!r} is named {name!r}; name it with a text, not empty.")
        values = value if isinstance(value, list) else [value]
        for v in values:
            fits = isinstance(v, str | bool) or (isinstance(v, float) and math.isfinite(v))
            if not fits and not (isinstance(v, int) and -(2**63) <= v < 2**63):
                raise BadInput(
                    f"Field {name!r} of document {document.id!r} holds {v!r}; a field holds text, a finite number (if "
                    "whole, of 64 bits), true or false, or a list of these."
                )
    return clean(json.dumps(dict(document.fields), ensure_ascii=False, sort_keys=True, separators=(",", ":")))


def document_digest(text: str, fields: str) -> bytes:
    """16 bytes that change with the text or the fields."""
    hasher = blake2b(digest_size=16)
    hasher.update(len(text).to_bytes(8, "little") + text.encode())
    hasher.update(fields.encode())
    return hasher.digest()


def searchable(document: Document) -> str:
    """What the model reads: the text under its headings, since the word that one looks for often stands only there.

    >>> searchable(Document("民法典#7", "居住权不得转让、继承。", {"heading": "物权 > 居住权"}))
    '物权\\n居住权不得转让、继承。'
    """
    heading = document.fields.get("heading")
    missing = [part for part in heading.split(" > ") if part not in document.text] if isinstance(heading, str) else []
    return "\n".join([*missing, document.text])


def tidy(document: str | Document) -> Document:
    """A document that SQLite can hold, without halves of surrogate pairs; a plain text gets its own digest as id."""
    if isinstance(document, str):
        text = clean(document)
        return Document(blake2b(text.encode(), digest_size=12).hexdigest(), text)
    if not isinstance(document, Document):
        raise BadInput(f"A collection takes texts and Documents, not {type(document).__name__}.")
    text, id = clean(document.text), clean(document.id)
    return document if text is document.text and id is document.id else Document(id, text, document.fields)
