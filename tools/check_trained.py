"""Trains small models and compares what other libraries make of their folders with what Qianru makes of them.

Two environments are needed, because these libraries are none of Qianru's:

    python tools/check_trained.py write /tmp/trained          with Qianru: trains, and writes folders and vectors
    python tools/check_trained.py read /tmp/trained           with sentence-transformers, FlagEmbedding if there

The second prints the largest difference for each layout, and ends with an error if one is above 1e-5.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent.parent
sys.path[:0] = [str(HERE), str(HERE / "tests" / "models")]
TEXTS = ["床前明月光，疑是地上霜。", "你好", "An embedding is a list of numbers that stands for a text.", "月",
         "举头望明月，低头思故乡。" * 60]
LARGEST = 1e-5


def write(place: Path) -> None:
    """Trains one model of each layout for a few steps."""
    import os

    from checkpoints import LAYOUTS, build

    import qianru
    from qianru.runtime.options import Runtime
    from qianru.train import DataConfig, LossConfig, TrainConfig, train

    data = Path(os.environ.get("QIANRU_DATA", HERE.parent / "shared" / "data"))
    pairs = data / "train/pairs/text2vec_bge_finetune_data.jsonl.gz"
    for name in (*LAYOUTS, "new-heads"):
        source = build("m3e" if name == "new-heads" else name, place / f"{name}-source", data)
        heads = name in ("bge-m3", "new-heads")
        loss = LossConfig("three_heads" if heads else "info_nce")
        made = train(TrainConfig(
            str(source), str(place / name), (DataConfig(str(pairs)),), loss,
            batch_size=8, steps=5, n_negatives=1, add_heads=name == "new-heads",
        ))
        model = qianru.load(made.folder, Runtime(precision="float32"))
        arrays = {"document": model.encode(TEXTS).dense, "query": model.encode(TEXTS, role="query").dense}
        if heads:
            multi = model.encode(TEXTS).multi
            arrays |= {f"multi{i}": multi.data[multi.offsets[i]:multi.offsets[i + 1]] for i in range(len(TEXTS))}
        np.savez(place / f"{name}.npz", **arrays)
        print(name, made)


def read(place: Path) -> None:
    """What sentence-transformers, and FlagEmbedding for three heads, make of the same texts."""
    from sentence_transformers import SentenceTransformer

    worst: dict[str, float] = {}
    for path in sorted(place.glob("*.npz")):
        ours, name = np.load(path), path.stem
        model = SentenceTransformer(str(place / name), device="cpu")
        for role, encode in (("document", model.encode_document), ("query", model.encode_query)):
            worst[f"{name}/{role}"] = float(np.abs(encode(TEXTS, batch_size=3) - ours[role]).max())
        if name == "bge-m3" and find_spec("FlagEmbedding"):     # its class pools [CLS], whatever the folder says
            from FlagEmbedding import BGEM3FlagModel

            flag = BGEM3FlagModel(str(place / name), use_fp16=False, devices="cpu")
            made = flag.encode(TEXTS, batch_size=3, max_length=512, return_colbert_vecs=True)
            worst[f"{name}/FlagEmbedding"] = float(np.abs(made["dense_vecs"] - ours["document"]).max())
            worst[f"{name}/FlagEmbedding multi"] = max(
                float(np.abs(vectors - ours[f"multi{i}"]).max()) for i, vectors in enumerate(made["colbert_vecs"]))
    print(json.dumps(worst, indent=2))
    if max(worst.values()) > LARGEST:
        sys.exit("They differ.")


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
