"""Qdrant without a server: the client library's own imitation in memory; and the real one that QDRANT_URL names.

Where the imitation differs from a server: it looks at every vector (no graph, no quantization), keeps no indexes of
fields, counts no replicas and takes one request at a time. Filters, ties, facets and zero scores were made to agree.
"""

from __future__ import annotations

import os

from qianru.index.cluster_link import Link

QDRANT_URL = os.environ.get("QDRANT_URL", "")


def in_memory() -> Link:
    """A server of its own, empty, gone when the link is."""
    from qdrant_client import QdrantClient

    return Link(QdrantClient(":memory:"), "memory")


def on_server() -> Link:
    """The server that QDRANT_URL names."""
    return Link.to(QDRANT_URL)
