"""The spellings of FlagEmbedding, sentence-transformers and ModelScope: their examples run with the import changed.

    from qianru.compat import BGEM3FlagModel, FlagModel, FlagReranker        # for: from FlagEmbedding import …
    from qianru.compat import CrossEncoder, SentenceTransformer, util        # for: from sentence_transformers import …
    from qianru.compat import Tasks, pipeline                                # for: from modelscope… import …

Thin: each call is one of Qianru's own, and what it returns has their names and shapes. Nothing is downloaded, no code
of a folder is run, texts that are cut are told of in a warning, and an argument that nothing obeys is an error.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qianru.compat import util
    from qianru.compat.flag_embedding import BGEM3FlagModel, FlagAutoModel, FlagModel
    from qianru.compat.modelscope import Tasks, pipeline
    from qianru.compat.rerankers import CrossEncoder, FlagReranker
    from qianru.compat.sentence_transformers import SentenceTransformer

__all__ = ["BGEM3FlagModel", "CrossEncoder", "FlagAutoModel", "FlagModel", "FlagReranker", "SentenceTransformer",
           "Tasks", "pipeline", "util"]

_HOMES = {
    "BGEM3FlagModel": "flag_embedding",
    "CrossEncoder": "rerankers",
    "FlagAutoModel": "flag_embedding",
    "FlagModel": "flag_embedding",
    "FlagReranker": "rerankers",
    "SentenceTransformer": "sentence_transformers",
    "Tasks": "modelscope",
    "pipeline": "modelscope",
    "util": "util",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'qianru.compat' has no attribute '{name}'")
    module = import_module(f"qianru.compat.{_HOMES[name]}")
    return module if name == "util" else getattr(module, name)
