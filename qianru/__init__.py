"""Qianru 嵌入: text embeddings for Chinese and English, from word counts to search, offline.

    import qianru
    with qianru.Collection.create("library", "bm25") as library:
        library.add(["床前明月光", "疑是地上霜"])
        hits = library.search("明月")

Importing this loads nothing heavier than NumPy, and not even that before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qianru.errors import QianruError
    from qianru.index.collection import Collection
    from qianru.models import load
    from qianru.types import Document, Embeddings, Hit

__version__ = "0.1.0"
__all__ = ["Collection", "Document", "Embeddings", "Hit", "QianruError", "__version__", "load"]

_HOMES = {
    "Collection": "qianru.index.collection",
    "Document": "qianru.types",
    "Embeddings": "qianru.types",
    "Hit": "qianru.types",
    "QianruError": "qianru.errors",
    "load": "qianru.models",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'qianru' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
