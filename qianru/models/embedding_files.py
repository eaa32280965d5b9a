"""Embeddings in a file: one safetensors with the arrays, and ids and facts as JSON in its header.

    dense           (n, d) float32
    sparse.offsets  (n + 1,), sparse.terms (nnz,), sparse.weights (nnz,)
    multi.data      (total, d), multi.offsets (n + 1,);  tokens.data and tokens.offsets alike
    n_tokens        (n,)
    header "qianru" {"format": 1, "model": …, "ids": […], "n_truncated": …, "width": …, and what the writer adds}
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qianru.errors import BadFile, ShapeMismatch, SpecMismatch, StorageFailed
from qianru.types import Embeddings, Ragged, SparseRows

FORMAT = 1
DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
KEY = "qianru"      # the only key of the header, whose keys have no order


class Named(NamedTuple):
    """Embeddings with the names of their texts.

    facts: what else the writer noted
    """

    ids: list[str]
    embeddings: Embeddings
    facts: dict[str, Any]


def save_embeddings(
    path: Path, embeddings: Embeddings, ids: Sequence[str] | None = None, facts: Mapping[str, Any] | None = None
) -> None:
    """Writes the file whole or not at all; the same embeddings give the same bytes.

    ids: of the texts, e.g. "poems.txt:3"; their numbers from 0 if none
    Raises StorageFailed if the disk is full or read-only.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    names = [str(i) for i in range(len(embeddings))] if ids is None else list(ids)
    if len(names) != len(embeddings):
        raise ShapeMismatch(f"{len(names)} ids do not fit {len(embeddings)} texts.")
    header = {**(facts or {}), "format": FORMAT, "model": embeddings.model, "ids": names,
              "n_truncated": embeddings.n_truncated}
    arrays: dict[str, Any] = {"n_tokens": embeddings.n_tokens}
    if embeddings.dense is not None:
        arrays["dense"] = embeddings.dense
    if embeddings.sparse is not None:
        rows = embeddings.sparse
        arrays |= {"sparse.offsets": rows.offsets, "sparse.terms": rows.terms, "sparse.weights": rows.weights}
        header["width"] = rows.width
    for kind, ragged in (("multi", embeddings.multi), ("tokens", embeddings.tokens)):
        if ragged is not None:
            arrays |= {f"{kind}.data": ragged.data, f"{kind}.offsets": ragged.offsets}
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")     # two may write the same: neither spoils it
    told = json.dumps(header, ensure_ascii=True, sort_keys=True)
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, new, metadata={KEY: told})
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except (OSError, SafetensorError) as error:      # the latter where the library meets a full disk
        new.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or error
        raise StorageFailed(f"The vectors could not be written to {path}: {why}. What stood there before is intact; "
                            "free some space or choose another folder.") from error


def load_embeddings(path: Path) -> Named:
    """What save_embeddings wrote; BadFile for what is no such file, SpecMismatch for a newer format."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = _header(path, file.metadata())
            arrays = {name: file.get_tensor(name) for name in file.keys()}   # noqa: SIM118   # it is no mapping
    except (SafetensorError, OSError) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"{path} cannot be read as embeddings: {error}. Make it again.") from error
    return _named(path, header, arrays)


def map_embeddings(path: Path) -> Named:
    """The same without reading the arrays, but for where rows begin: a number is read when it is looked at.

    The arrays cannot be written to, and hold as long as the file is not overwritten in place.
    """
    header, arrays = _mapped(path)
    return _named(path, header, arrays)


def read_facts(path: Path) -> dict[str, Any]:
    """The header alone: ids, model and what else the writer noted."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return _header(path, file.metadata())
    except (SafetensorError, OSError) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"{path} cannot be read as embeddings: {error}. Make it again.") from error


def _header(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        header = json.loads((metadata or {})[KEY])
    except (KeyError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("ids"), list):
        raise BadFile(f"{path} holds no embeddings that Qianru wrote. Name another file.")
    if header.pop("format", None) != FORMAT:
        raise SpecMismatch(f"{path} has a newer format than {FORMAT}. Upgrade Qianru.")
    return header


def _mapped(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(header, arrays) of a file, each array a view of it.

    A safetensors file is 8 bytes with the length of its header, the header, and the arrays one after the other.
    """
    try:
        content = np.memmap(path, np.uint8, "r")
        begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
        if begin > len(content):
            raise ValueError("it ends before its header does")
        told = json.loads(content[8:begin].tobytes())
        header = _header(path, told.pop("__metadata__", None))
        arrays = {}
        for name, entry in told.items():
            start, end = entry["data_offsets"]
            flat = content[begin:][start:end].view(DTYPES[entry["dtype"]])
            arrays[name] = flat.reshape(entry["shape"])
    except (BadFile, SpecMismatch):
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(f"{path} cannot be read as embeddings: {error}. Make it again.") from error
    return header, arrays


def _named(path: Path, header: dict[str, Any], arrays: dict[str, Any]) -> Named:
    try:
        sparse = None
        if "sparse.offsets" in arrays:
            offsets, terms, weights = (arrays[f"sparse.{part}"] for part in ("offsets", "terms", "weights"))
            _check_offsets(offsets)
            sparse = SparseRows(offsets, terms, weights, header.pop("width"))
        multi, tokens = (_ragged(arrays, kind) if f"{kind}.offsets" in arrays else None for kind in ("multi", "tokens"))
        ids, model, n_truncated = header.pop("ids"), header.pop("model"), header.pop("n_truncated")
        if not isinstance(model, str) or type(n_truncated) is not int or not all(isinstance(name, str) for name in ids):
            raise ShapeMismatch("its ids, its model or its number of cut texts are none")
        if arrays["n_tokens"].ndim != 1 or ("dense" in arrays and arrays["dense"].ndim != 2):
            raise ShapeMismatch("its numbers of tokens or its dense vectors do not stand in rows")
        made = Embeddings(model, arrays["n_tokens"], n_truncated, arrays.get("dense"), sparse, multi, tokens)
        if len(ids) != len(made):
            raise ShapeMismatch(f"{len(ids)} ids do not fit {len(made)} texts.")
    except (KeyError, ShapeMismatch) as error:
        raise BadFile(f"{path} is damaged: {error}. Make it again.") from error
    return Named(ids, made, header)


def _ragged(arrays: Mapping[str, Any], kind: str) -> Ragged:
    data, offsets = arrays[f"{kind}.data"], arrays[f"{kind}.offsets"]
    _check_offsets(offsets)
    if data.ndim != 2:
        raise ShapeMismatch(f"its {kind} vectors do not stand in rows")
    return Ragged(data, offsets)


def _check_offsets(offsets: Any) -> None:
    """ShapeMismatch for offsets that would lead out of the arrays; whether they end where these do is checked later."""
    whole = offsets.ndim == 1 and len(offsets) and offsets.dtype.kind == "i"
    if not whole or offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
        raise ShapeMismatch("its offsets do not begin at 0, or fall")
