"""A model from nothing: BERT's shape, a vocabulary, weights drawn at random."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadFile, BadInput, StorageFailed
from qianru.train.checkpoint import write_json

Tensors: TypeAlias = dict[str, NDArray[np.float32]]
SPREAD = 0.02      # Devlin et al. 2019
HEAD = 64          # numbers of an attention head, as in all BERTs
INNER = 4          # times as wide as a state is the layer within


def create_encoder(
    folder: Path, vocab: Path, n_layers: int, hidden_size: int, *, max_tokens: int = 512, pooling: str = "cls",
    seed: int = 42,
) -> Path:
    """Writes a folder that qianru.load and transformers read; its vectors mean nothing before it has been trained.

    vocab: BERT's vocab.txt, one token a line;  pooling: "cls" or "mean"
    Raises BadInput for a width that 64 does not divide, or if the folder holds something.
    """
    if hidden_size % HEAD or n_layers < 1:
        raise BadInput(f"A model has at least one layer and a width that {HEAD} divides; asked for are {n_layers} and "
                       f"{hidden_size}.")
    if pooling not in ("cls", "mean"):
        raise BadInput(f"The pooling is 'cls' or 'mean', not {pooling!r:.40}.")
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty. Choose another folder.")
    if not vocab.is_file():
        raise BadFile(f"{vocab} does not exist.")
    vocab_size = len(vocab.read_text("utf-8").rstrip("\n").split("\n"))
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": vocab_size, "hidden_size": hidden_size,
        "num_hidden_layers": n_layers, "num_attention_heads": hidden_size // HEAD,
        "intermediate_size": INNER * hidden_size, "max_position_embeddings": max_tokens, "type_vocab_size": 2,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "pad_token_id": 0,
        "attention_probs_dropout_prob": 0.1, "position_embedding_type": "absolute",
    }
    try:
        _write(folder, vocab, config, _weights(config, seed), pooling, max_tokens)
    except OSError as error:
        raise StorageFailed(f"{folder} could not be written: {error.strerror or error}.") from error
    return folder


def _write(
    folder: Path, vocab: Path, config: dict[str, Any], weights: Tensors, pooling: str, max_tokens: int
) -> None:
    from safetensors.numpy import save_file

    (folder / "1_Pooling").mkdir(parents=True)
    write_json(folder / "config.json", config)
    shutil.copyfile(vocab, folder / "vocab.txt")
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": max_tokens,
        "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
    })
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    write_json(folder / "1_Pooling" / "config.json", {
        "word_embedding_dimension": config["hidden_size"], "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
    })
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ])


def _weights(config: dict[str, Any], seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        f"embeddings.{name}_embeddings.weight": (config[size], hidden)
        for name, size in (("word", "vocab_size"), ("position", "max_position_embeddings"),
                           ("token_type", "type_vocab_size"))
    }
    norms = ["embeddings.LayerNorm"]
    linears = {"pooler.dense": (hidden, hidden)}
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        linears |= {f"{layer}.attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        linears |= {f"{layer}.attention.output.dense": (hidden, hidden), f"{layer}.intermediate.dense": (inner, hidden),
                    f"{layer}.output.dense": (hidden, inner)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    shapes |= {f"{name}.weight": shape for name, shape in linears.items()}
    made = {name: (rng.standard_normal(shape) * SPREAD).astype(np.float32) for name, shape in shapes.items()}
    made |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in linears.items()}
    made |= {f"{name}.weight": np.ones(hidden, np.float32) for name in norms}
    return made | {f"{name}.bias": np.zeros(hidden, np.float32) for name in norms}
