"""Folders of cross-encoders with weights drawn at random, each laid out as a real one. Needs no part of Qianru."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import (
    SMALL,
    SPECIAL,
    TEXTS,
    TINY_WORDS,
    Tensors,
    encoder_tensors,
    write_bin,
    write_json,
    write_safetensors,
)

QUERY = "明月几时有"
DOCUMENTS = [*TEXTS[:6], TEXTS[7]]
PAIRS = [
    (QUERY, TEXTS[0]),
    (TEXTS[7], TEXTS[4]),
    ("月", "月"),
    (TEXTS[2], TEXTS[6]),                    # the document is cut
    (TEXTS[6], TEXTS[1]),                    # the query is cut
    (TEXTS[6], TEXTS[6] + TEXTS[3]),         # both are cut
    (TEXTS[6] + TEXTS[3], TEXTS[6]),
    (TEXTS[3], f"{TEXTS[3]} " * 60),
    (f"{TEXTS[3]} " * 60, f"{TEXTS[7]} " * 90),
    ("", TEXTS[0]),
    (TEXTS[0], ""),
    ("", ""),
]
"""For every comparison: short, long on either side, empty, cut at 512 tokens."""


def head(tensors: Tensors, hidden: int, n_labels: int, seed: int, inner: str, outer: str) -> Tensors:
    """The two layers of a classification head, large enough that scores differ."""
    rng = np.random.default_rng(seed + 100)
    for name, n_out in ((inner, hidden), (outer, n_labels)):
        if f"{name}.weight" not in tensors:
            tensors[f"{name}.weight"] = rng.standard_normal((n_out, hidden), np.float32) * np.float32(2 / hidden**0.5)
            tensors[f"{name}.bias"] = rng.standard_normal(n_out, np.float32) * np.float32(0.1)
    return tensors


def roberta_tensors(values: dict[str, Any], n_labels: int, seed: int) -> Tensors:
    """XLM-RoBERTa's names: no pooler, a head of its own."""
    tensors = {f"roberta.{name}": tensor for name, tensor in encoder_tensors(values, seed).items()
               if not name.startswith("pooler")}
    return head(tensors, values["hidden_size"], n_labels, seed, "classifier.dense", "classifier.out_proj")


def bert_tensors(values: dict[str, Any], n_labels: int, seed: int) -> Tensors:
    """BERT's names: the pooler is the inner layer."""
    tensors = {f"bert.{name}": tensor for name, tensor in encoder_tensors(values, seed).items()}
    return head(tensors, values["hidden_size"], n_labels, seed, "bert.pooler.dense", "classifier")


def bge_reranker(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """BAAI/bge-reranker-base, -large, -v2-m3 and maidalun1020/bce-reranker-base_v1: one label, sigmoid after."""
    real = data / "model_layouts" / "bge-m3"
    values = json.loads((real / "config.json").read_text())
    values |= {"architectures": ["XLMRobertaForSequenceClassification"], "vocab_size": 32000,
               "max_position_embeddings": 514, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, **config}
    write_json(folder / "config.json", values)
    write_json(folder / "tokenizer_config.json",
               json.loads((real / "tokenizer_config.json").read_text()) | {"model_max_length": 512})
    shutil.copyfile(data / "tokenizers/barthez-spm-standin/sentencepiece.bpe.model", folder / "sentencepiece.bpe.model")
    write_safetensors(folder / "model.safetensors", roberta_tensors(values, 1, 21))


def _bert(folder: Path, data: Path, config: dict[str, Any], labels: list[str], **more: Any) -> dict[str, Any]:
    values = json.loads((data / "model_layouts/bert-base-chinese/config.json").read_text())
    values |= {"architectures": ["BertForSequenceClassification"], **more, **config,
               "id2label": {str(i): n for i, n in enumerate(labels)}, "label2id": {n: i for i, n in enumerate(labels)}}
    write_json(folder / "config.json", values)
    shutil.copyfile(data / "tokenizers/bert-base-chinese/vocab.txt", folder / "vocab.txt")
    write_json(folder / "tokenizer_config.json",
               {"do_lower_case": True, "tokenizer_class": "BertTokenizer", "model_max_length": 512})
    return values


def bert_reranker(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """One label and no sigmoid, as sentence-transformers' ms-marco models say it."""
    values = _bert(folder, data, config, ["LABEL_0"],
                   sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"})
    write_bin(folder / "pytorch_model.bin", bert_tensors(values, 1, 22))


def bert_two_labels(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """Not relevant, relevant."""
    values = _bert(folder, data, config, ["LABEL_0", "LABEL_1"])
    write_safetensors(folder / "model.safetensors", bert_tensors(values, 2, 23))


def bert_entailment(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """Natural language inference: three labels, one of them entailment."""
    values = _bert(folder, data, config, ["contradiction", "entailment", "neutral"])
    write_safetensors(folder / "model.safetensors", bert_tensors(values, 3, 24))


def tiny_reranker(folder: Path, *, seed: int = 7, n_labels: int = 1, **config: Any) -> Path:
    """The smallest BERT classifier, whose vocabulary is a few characters; needs no real data."""
    words = [*SPECIAL, *dict.fromkeys(TINY_WORDS), "t", "##e", "##x", "##t", "##s"]
    values = {"model_type": "bert", "vocab_size": len(words), "max_position_embeddings": 64, "type_vocab_size": 2,
              "hidden_act": "gelu", "layer_norm_eps": 1e-12, "architectures": ["BertForSequenceClassification"],
              "id2label": {str(i): f"LABEL_{i}" for i in range(n_labels)}, **SMALL, **config}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", values)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    write_safetensors(folder / "model.safetensors", bert_tensors(values, n_labels, seed))
    return folder


LAYOUTS: dict[str, Callable[[Path, Path, dict[str, Any]], None]] = {
    "bge-reranker": bge_reranker, "bert-reranker": bert_reranker, "bert-two-labels": bert_two_labels,
    "bert-entailment": bert_entailment,
}
"""name -> writes such a folder: (folder, real data, changes to config.json)."""
FULL = {
    "bge-reranker": {"num_hidden_layers": 2},                         # 2 x 1024
    "bert-reranker": {"num_hidden_layers": 2},                        # 2 x 768
}
"""name -> the same at full width."""


def build(name: str, folder: Path, data: Path, *, full: bool = False) -> Path:
    """The folder of that layout, small or at full width."""
    folder.mkdir(parents=True, exist_ok=True)
    LAYOUTS[name](folder, data, FULL[name] if full else SMALL)
    return folder
