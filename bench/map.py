"""A collection drawn as a map: seconds and memory, and how many neighbours the picture keeps, beside the main plane.

    python bench/map.py [--documents 50000]

Real reviews (62,774 in ten categories) in a BM25 collection. Kept: of a document's 10 nearest on the main axes how many
are among its 10 nearest on the picture; pure: how many of these are of its category. Taken over a sample of 2,000.
Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import resource
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from common import data_folder

SAMPLE, K = 2_000, 10


def reviews(n: int) -> tuple[list[str], list[str]]:
    """n texts and their categories, in an order drawn by a seed."""
    file = data_folder() / "classification" / "online_shopping_10_cats.zip"
    with zipfile.ZipFile(file) as packed:
        text = packed.read(next(name for name in packed.namelist() if name.endswith(".csv"))).decode("utf-8")
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["review"].strip()]
    order = np.random.default_rng(0).permutation(len(rows))[:n]
    return [rows[i]["review"] for i in order], [rows[i]["cat"] for i in order]


def nearest(points: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(m, K) the nearest rows of the chosen ones."""
    points = points.astype(np.float32)
    lengths = np.einsum("nd,nd->n", points, points)
    found = []
    for part in np.array_split(chosen, 20):
        far = lengths[None] - 2 * points[part] @ points.T
        far[np.arange(len(part)), part] = np.inf
        found.append(np.argpartition(far, K, axis=1)[:, :K])
    return np.concatenate(found)


def judged(points: np.ndarray, right: np.ndarray, chosen: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """What a picture keeps."""
    there = nearest(points, chosen)
    kept = np.mean([len(set(a) & set(b)) / K for a, b in zip(there.tolist(), right.tolist(), strict=True)])
    pure = (labels[there] == labels[chosen][:, None]).mean()
    return {"kept": round(float(kept), 3), "pure": round(float(pure), 3)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=50_000)
    args = parser.parse_args()
    from qianru.index.collection import Collection
    from qianru.types import Document
    from qianru.use.cluster.space import main_axes
    from qianru.use.layout import main_plane
    from qianru.use.map import map_of
    from qianru.use.material import from_collection

    texts, categories = reviews(args.documents)
    labels = np.array(categories)
    with tempfile.TemporaryDirectory() as folder, Collection.create(Path(folder) / "c", "bm25") as collection:
        collection.add(Document(str(i), text) for i, text in enumerate(texts))
        begun, begun_cpu = time.perf_counter(), time.process_time()
        steps: dict[int, float] = {}
        made = map_of(collection, limit=len(texts),
                      progress=lambda done, _: steps.setdefault(done, round(time.perf_counter() - begun, 1)))
        seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
        rows = np.array([int(id) for id in made.ids])
        space = main_axes(from_collection(collection).vectors)
    chosen = np.sort(np.random.default_rng(1).choice(len(rows), min(SAMPLE, len(rows)), replace=False))
    right = nearest(space, chosen)
    figures: dict[str, Any] = {
        "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1),
        "at_percent": {percent: steps.get(percent) for percent in (5, 30, 80)},
        "map": judged(made.points, right, chosen, labels[rows]),
        "main_plane": judged(main_plane(space), right, chosen, labels[rows]),
        "clusters": len(made.labels), "json_bytes": len(json.dumps(made.to_dict(), ensure_ascii=False).encode()),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps({"bench": "map", "documents": len(rows), "machine": platform.machine(), "cores": os.cpu_count(),
                      "numpy": np.__version__, **figures}))


if __name__ == "__main__":
    main()
