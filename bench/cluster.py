"""A collection pushed to a Qdrant server and searched there, beside the same one in a folder.

    QDRANT_URL=http://localhost:6333 python bench/cluster.py [n_passages]     # one line of JSON; both collections go
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from common import data_folder, percentiles_ms, report
from index import latencies, passages, questions

from qianru import Collection, Document
from qianru.index.cluster_collection import ClusterCollection
from qianru.index.cluster_link import Link
from qianru.index.push import place_on, push
from qianru.models import load
from qianru.models.vector_files import read_npz
from qianru.models.word_vector_model import WordVectorModel

N_PASSAGES = 20_000
N_ASKED = 200
NAME = "qianru-bench"


def agreement(one: Collection, other: Collection, asked: list[str]) -> float:
    """The share of queries with the same ten ids in the same order."""
    same = [[hit.id for hit in one.search(query)] == [hit.id for hit in other.search(query)] for query in asked]
    return sum(same) / len(same)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else N_PASSAGES
    texts = passages(300)[:n]
    asked = questions(texts)[:N_ASKED]
    words = WordVectorModel(read_npz(data_folder() / "vectors" / "tencent_char_4762x200.npz"))
    link = Link.to(os.environ["QDRANT_URL"])
    figures = {}
    with tempfile.TemporaryDirectory() as place, Collection.create(
        Path(place) / "folder", [load("bm25"), words]
    ) as folder:
        folder.add([Document(str(i), text) for i, text in enumerate(texts)])
        folder.prepare()
        try:
            cluster: ClusterCollection = place_on(link, NAME, folder)
            start = time.perf_counter()
            pushed = push(folder, cluster)
            figures["push_and_verify_documents_s"] = round(pushed.verified / (time.perf_counter() - start), 1)
            for kinds in (["sparse"], ["dense"], ["sparse", "dense"]):
                for name, collection in (("folder", folder), ("cluster", cluster)):
                    seconds = latencies(lambda query, c=collection, k=kinds: c.search(query, kinds=k), asked)
                    figures[f"{name}_{'+'.join(kinds)}"] = percentiles_ms(seconds)
            figures["same_ten"] = agreement(folder, cluster, asked)
        finally:
            for name in (NAME, f"{NAME}__meta"):
                link.client.delete_collection(name)
    report("cluster", ["qianru", "qdrant-client", "qdrant-edge-py"], n_documents=len(texts), n_queries=len(asked),
           **figures)


if __name__ == "__main__":
    main()
