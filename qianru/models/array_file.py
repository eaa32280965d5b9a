"""Arrays in a safetensors file: written one at a time and mapped if large, so that a model stands in memory once.

    8 bytes   length of the header, little-endian
    header    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}, filled up with spaces
    data      every array, little-endian

Source: the format's description at github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping
from hashlib import file_digest, sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadFile

Array = NDArray[Any]
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
         "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"}
"""The format's name of a type -> NumPy's."""
ALIGNED = 64            # bytes; the beginning of the data
WORTH_MAPPING = 1 << 26  # bytes of a file; smaller ones are read, so that nobody can change them behind our back


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> str:
    """Writes a new file and syncs it; returns its SHA-256. Each array is asked for twice and let go of at once."""
    names = {np.dtype(kind): name for name, kind in TYPES.items()}
    shapes = {name: (np.dtype(array.dtype.newbyteorder("<")), array.shape) for name, array in arrays.items()}
    header: dict[str, Any] = {}
    at = 0
    for name in sorted(shapes, key=lambda name: (-shapes[name][0].itemsize, name)):     # so that each is aligned
        kind, shape = shapes[name]
        size = prod(shape) * kind.itemsize
        header[name] = {"dtype": names[kind], "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    told = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    told += b" " * (-(8 + len(told)) % ALIGNED)
    digest = sha256()
    with path.open("xb") as file:
        begin = len(told).to_bytes(8, "little") + told
        digest.update(begin)
        file.write(begin)
        for name in header:
            block = np.ascontiguousarray(arrays[name], shapes[name][0]).reshape(-1).view(np.uint8).data
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """The SHA-256 of what the file holds."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def read_arrays(path: Path, mend: str) -> dict[str, Array]:
    """Every array by its name; BadFile for what is no such file. Large ones are read when they are looked at.

    mend: what to do about a damaged file
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load

    try:
        if path.stat().st_size < WORTH_MAPPING:
            return dict(load(path.read_bytes()))
        with safe_open(path, framework="numpy"):      # checks every number of the header against the file's size
            return _mapped(path)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:   # the last three: types that NumPy lacks
        raise BadFile(f"{path} is not a file of arrays: {error}. {mend}") from error


def _mapped(path: Path) -> dict[str, Array]:
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)       # what is written to it stays here
    begin = 8 + int.from_bytes(content[:8], "little")
    arrays: dict[str, Array] = {}
    for name, told in json.loads(content[8:begin]).items():
        if name != "__metadata__":
            shape, start = told["shape"], begin + told["data_offsets"][0]
            kind = np.dtype(TYPES[told["dtype"]])
            arrays[name] = np.frombuffer(content, kind, prod(shape), start).reshape(shape)
    return arrays
