"""Folders of transformer models with weights drawn at random, each laid out as a real one. Needs no part of Qianru.

The same seed gives the same numbers everywhere, so that a reference environment records what the tests compare with.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TINY_WORDS = "床前明月光疑是地上霜举头望低思故乡我爱吃蔬菜"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "床前明月光，疑是地上霜。",
    "你好",
    "向量检索把文字变成数字，再找最近的邻居；相似的文字有相近的向量，于是一次查询只要算几个点积。",
    "An embedding is a list of numbers that stands for a text.",
    "BGE-M3 支持 100 多种语言、8192 个 token，Café ＡＢＣ １２３ 😀 龘",
    "月",
    "举头望明月，低头思故乡。" * 60,
    "What is BGE M3?",
]
"""For every comparison: short, long, mixed, cut at 512 tokens, characters that no vocabulary has."""
Tensors = dict[str, np.ndarray]


def encoder_tensors(config: dict[str, Any], seed: int) -> Tensors:
    """A BERT's or XLM-RoBERTa's tensors under Hugging Face's names, large enough that every part matters."""
    rng = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]

    def drawn(*shape: int, scale: float = 1.0) -> np.ndarray:
        return rng.standard_normal(shape, np.float32) * np.float32(scale)

    tensors: Tensors = {}

    def linear(name: str, n_out: int, n_in: int) -> None:
        tensors[f"{name}.weight"] = drawn(n_out, n_in, scale=1.5 / n_in**0.5)
        tensors[f"{name}.bias"] = drawn(n_out, scale=0.1)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = 1 + drawn(hidden, scale=0.1)
        tensors[f"{name}.bias"] = drawn(hidden, scale=0.1)

    for name, n in (("word", "vocab_size"), ("position", "max_position_embeddings"), ("token_type", "type_vocab_size")):
        tensors[f"embeddings.{name}_embeddings.weight"] = drawn(config[n], hidden)
    norm("embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", hidden, hidden)
        linear(f"{layer}.attention.output.dense", hidden, hidden)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", inner, hidden)
        linear(f"{layer}.output.dense", hidden, inner)
        norm(f"{layer}.output.LayerNorm")
    linear("pooler.dense", hidden, hidden)
    return tensors


def write_safetensors(path: Path, tensors: Tensors) -> None:
    """One file."""
    from safetensors.numpy import save_file

    save_file(tensors, path, metadata={"format": "pt"})


def write_shards(folder: Path, tensors: Tensors, n: int = 3) -> None:
    """Several files and the index that says which tensor is where."""
    names = sorted(tensors)
    where: dict[str, str] = {}
    for i in range(n):
        shard = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
        write_safetensors(folder / shard, {name: tensors[name] for name in names[i::n]})
        where |= dict.fromkeys(names[i::n], shard)
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 0}, "weight_map": where})


def write_bin(path: Path, tensors: Tensors, *, zipped: bool = True) -> None:
    """PyTorch's own format; not zipped as before 2020."""
    import torch

    torch.save({name: torch.from_numpy(a) for name, a in tensors.items()}, path, _use_new_zipfile_serialization=zipped)


def write_json(path: Path, value: object) -> None:
    """Indented, as the hubs do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), "utf-8")


def write_modules(folder: Path, *names: str, pooling: str = "mean", size: int = 32, **options: Any) -> None:
    """modules.json and 1_Pooling/config.json."""
    places = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense", "Normalize": f"{len(names) - 1}_Normalize"}
    write_json(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": places[name], "type": f"sentence_transformers.models.{name}"}
        for i, name in enumerate(names)
    ])
    modes = {f"pooling_mode_{mode}": mode.startswith(pooling)
             for mode in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")}
    modes["pooling_mode_mean_sqrt_len_tokens"] = False
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": size, **modes, **options})


def write_dense(folder: Path, n_in: int, n_out: int, seed: int, activation: str = "linear.Identity") -> None:
    """A Dense with its weights."""
    rng = np.random.default_rng(seed)
    write_json(folder / "config.json", {"in_features": n_in, "out_features": n_out, "bias": True,
                                        "activation_function": f"torch.nn.modules.{activation}"})
    write_safetensors(folder / "model.safetensors", {
        "linear.weight": rng.standard_normal((n_out, n_in), np.float32) / np.float32(n_in**0.5),
        "linear.bias": rng.standard_normal(n_out, np.float32) * np.float32(0.1),
    })


def tiny(folder: Path, *, seed: int = 7, **config: Any) -> Path:
    """The smallest BERT, whose vocabulary is a few characters; needs no real data. Mean pooling."""
    words = [*SPECIAL, *dict.fromkeys(TINY_WORDS), "t", "##e", "##x", "##t", "##s"]
    values = {"model_type": "bert", "vocab_size": len(words), "max_position_embeddings": 64, "type_vocab_size": 2,
              "hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute", **SMALL, **config}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", values)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    write_safetensors(folder / "model.safetensors", encoder_tensors(values, seed))
    write_modules(folder, "Transformer", "Pooling", size=values["hidden_size"])
    return folder


def m3e(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """sentence-transformers with its older .bin; also ModelScope's configuration.json."""
    real = data / "model_layouts" / "m3e-small"
    shutil.copytree(real, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    values = json.loads((real / "config.json").read_text()) | config
    write_json(folder / "config.json", values)
    write_modules(folder, "Transformer", "Pooling", size=values["hidden_size"])
    write_bin(folder / "pytorch_model.bin", encoder_tensors(values, 1))


def bge_zh(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """CLS and Normalize, vocab.txt in place of tokenizer.json, a prompt for queries."""
    values = json.loads((data / "model_layouts/bge-small-zh-v1.5/config.json").read_text()) | config
    write_json(folder / "config.json", values)
    shutil.copyfile(data / "tokenizers/bert-base-chinese/vocab.txt", folder / "vocab.txt")
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True, "tokenizer_class": "BertTokenizer",
                                                  "model_max_length": 512, "cls_token": "[CLS]", "pad_token": "[PAD]"})
    write_modules(folder, "Transformer", "Pooling", "Normalize", pooling="cls", size=values["hidden_size"])
    write_json(folder / "config_sentence_transformers.json",
               {"prompts": {"query": "为这个句子生成表示以用于检索相关文章：", "document": ""}})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": True})
    write_safetensors(folder / "model.safetensors", encoder_tensors(values, 2))


def acge(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """BERT in shards, mean, then Dense: the layout of stella, xiaobu and acge; here with an activation."""
    real = data / "model_layouts" / "acge_text_embedding"
    values = json.loads((data / "model_layouts/bert-base-chinese/config.json").read_text())
    values |= {"max_position_embeddings": 1024, **config}
    write_json(folder / "config.json", values)
    for name in ("modules.json", "sentence_bert_config.json"):
        shutil.copyfile(real / name, folder / name)
    shutil.copyfile(data / "model_layouts/m3e-small/tokenizer.json", folder / "tokenizer.json")
    shutil.copyfile(data / "model_layouts/m3e-small/tokenizer_config.json", folder / "tokenizer_config.json")
    pooling = json.loads((real / "1_Pooling/config.json").read_text())
    write_json(folder / "1_Pooling/config.json", pooling | {"word_embedding_dimension": values["hidden_size"]})
    write_dense(folder / "2_Dense", values["hidden_size"], values["hidden_size"] * 7 // 4, 3, "activation.Tanh")
    write_shards(folder, encoder_tensors(values, 3))


def _xlm_roberta(folder: Path, data: Path, config: dict[str, Any], seed: int) -> dict[str, Any]:
    """Files of an XLM-RoBERTa around a real, smaller sentencepiece model."""
    real = data / "model_layouts" / "bge-m3"
    values = json.loads((real / "config.json").read_text())
    values |= {"vocab_size": 32000, "max_position_embeddings": 514, **config}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", values)
    shutil.copyfile(real / "tokenizer_config.json", folder / "tokenizer_config.json")
    shutil.copyfile(data / "tokenizers/barthez-spm-standin/sentencepiece.bpe.model", folder / "sentencepiece.bpe.model")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False})
    write_bin(folder / "pytorch_model.bin", encoder_tensors(values, seed))
    return values


def bge_m3(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """XLM-RoBERTa with the sparse and the multi head beside it."""
    values = _xlm_roberta(folder, data, config, 4)
    size = values["hidden_size"]
    rng = np.random.default_rng(4)
    for name, n_out in (("sparse_linear", 1), ("colbert_linear", size)):
        weight = rng.standard_normal((n_out, size), np.float32) / np.float32(size**0.5)
        bias = rng.standard_normal(n_out, np.float32) * np.float32(0.1)
        write_bin(folder / f"{name}.pt", {"weight": weight, "bias": bias})
    write_modules(folder, "Transformer", "Pooling", "Normalize", pooling="cls", size=size)


def multilingual_e5(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """XLM-RoBERTa, mean, Normalize, a prompt for both roles."""
    values = _xlm_roberta(folder, data, config, 5)
    write_modules(folder, "Transformer", "Pooling", "Normalize", pooling="mean", size=values["hidden_size"])
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "passage": "passage: "}})


def gte(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """ModelScope's: no modules.json, names from TensorFlow, the heads of pre-training still there."""
    values = json.loads((data / "model_layouts/bert-base-chinese/config.json").read_text()) | config
    write_json(folder / "config.json", values)
    shutil.copyfile(data / "tokenizers/bert-base-chinese/vocab.txt", folder / "vocab.txt")
    write_json(folder / "configuration.json", {"framework": "pytorch", "task": "sentence-embedding",
                                               "pipeline": {"type": "sentence-embedding"}, "model": {"type": "bert"}})
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors: Tensors = {}
    for name, tensor in encoder_tensors(values, 6).items():
        for new, before in old.items():
            name = name.replace(new, before)
        tensors[f"bert.{name}"] = tensor
    tensors["cls.predictions.bias"] = np.zeros(values["vocab_size"], np.float32)
    tensors["bert.embeddings.position_ids"] = np.arange(values["max_position_embeddings"])[None]
    write_bin(folder / "pytorch_model.bin", tensors, zipped=False)


LAYOUTS: dict[str, Callable[[Path, Path, dict[str, Any]], None]] = {
    "m3e": m3e, "bge-zh": bge_zh, "acge": acge, "bge-m3": bge_m3, "multilingual-e5": multilingual_e5, "gte": gte,
}
"""name -> writes such a folder: (folder, real data, changes to config.json)."""
FULL = {
    "m3e": {},                                                        # the real sizes: 4 x 512
    "bge-m3": {"num_hidden_layers": 2},                               # 2 x 1024
    "gte": {"num_hidden_layers": 2},                                  # 2 x 768
    "bge-zh": {},                                                     # the real sizes: 4 x 512
    "acge": {"hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16, "intermediate_size": 4096},
}
"""name -> the same at full width: at least two layers of the real model's sizes."""


def build(name: str, folder: Path, data: Path, *, full: bool = False) -> Path:
    """The folder of that layout, small or at full width."""
    folder.mkdir(parents=True, exist_ok=True)
    LAYOUTS[name](folder, data, FULL[name] if full else SMALL)
    return folder
