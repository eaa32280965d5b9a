"""Folders of decoders with weights drawn at random, each laid out as a real one. Needs no part of Qianru."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import Tensors, write_dense, write_json, write_modules, write_safetensors, write_shards

N_MERGES = 3000
TINY_WORDS = "床前明月光疑是地上霜举头望低思故乡我爱吃蔬菜松间照清泉石流，。texs"
INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
QWEN_WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
              r"|\s+(?!\S)|\s+")


def decoder_tensors(config: dict[str, Any], seed: int) -> Tensors:
    """A Qwen2's, Qwen3's or Mistral's tensors under Hugging Face's names, large enough that every part matters."""
    rng = np.random.default_rng(seed)
    kind, hidden, inner = config["model_type"], config["hidden_size"], config["intermediate_size"]
    d = config.get("head_dim") or hidden // config["num_attention_heads"]
    query, key = config["num_attention_heads"] * d, config["num_key_value_heads"] * d

    def drawn(*shape: int, scale: float = 1.0) -> np.ndarray:
        return rng.standard_normal(shape, np.float32) * np.float32(scale)

    tensors: Tensors = {"embed_tokens.weight": drawn(config["vocab_size"], hidden)}
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        for name, n_out, n_in in (("q", query, hidden), ("k", key, hidden), ("v", key, hidden), ("o", hidden, query)):
            tensors[f"{layer}.self_attn.{name}_proj.weight"] = drawn(n_out, n_in, scale=1.5 / n_in**0.5)
            if kind == "qwen2" and name != "o":
                tensors[f"{layer}.self_attn.{name}_proj.bias"] = drawn(n_out, scale=0.5)
        for name, n_out, n_in in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
            tensors[f"{layer}.mlp.{name}_proj.weight"] = drawn(n_out, n_in, scale=1.5 / n_in**0.5)
        norms = ["input_layernorm", "post_attention_layernorm"]
        for name in norms:
            tensors[f"{layer}.{name}.weight"] = 1 + drawn(hidden, scale=0.2)
        if kind == "qwen3":
            for name in ("q", "k"):
                tensors[f"{layer}.self_attn.{name}_norm.weight"] = 1 + drawn(d, scale=0.2)
    tensors["norm.weight"] = 1 + drawn(hidden, scale=0.2)
    return tensors


def write_bfloat16_shards(folder: Path, tensors: Tensors, n: int = 2) -> None:
    """As the large decoders are published: bfloat16 in shards, under "model.", with the head for the next token."""
    import torch
    from safetensors.torch import save_file

    named = {f"model.{name}": torch.from_numpy(tensor).bfloat16() for name, tensor in tensors.items()}
    named["lm_head.weight"] = torch.zeros(2, 2, dtype=torch.bfloat16)
    where: dict[str, str] = {}
    for i in range(n):
        shard = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
        names = sorted(named)[i::n]
        save_file({name: named[name] for name in names}, folder / shard, metadata={"format": "pt"})
        where |= dict.fromkeys(names, shard)
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 0}, "weight_map": where})


def write_last_token(folder: Path, size: int) -> None:
    """modules.json with Transformer, Pooling of the last token, Normalize."""
    write_modules(folder, "Transformer", "Pooling", "Normalize", size=size)
    write_json(folder / "1_Pooling" / "config.json",
               {"word_embedding_dimension": size, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
                "pooling_mode_lasttoken": True, "include_prompt": True})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False})


def qwen_files(data: Path) -> tuple[dict[str, int], list[str]]:
    """The real vocabulary and its merges, lines "left right"."""
    real = data / "tokenizers" / "qwen"
    vocabulary: dict[str, int] = json.loads(gzip.decompress((real / "vocab.json.gz").read_bytes()))
    return vocabulary, gzip.decompress((real / "merges.txt.gz").read_bytes()).decode().splitlines()


def write_short_qwen(folder: Path, data: Path, *, closing: str | None) -> int:
    """A tokenizer.json with the first merges of the real one and its special tokens; how many tokens it has.

    closing: the token that its own post-processor puts at the end
    """
    vocabulary, merges = qwen_files(data)
    n = 256 + N_MERGES
    special = [(n + i, token) for i, token in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    template: dict[str, Any] = {"type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                                {"Sequence": {"id": "B", "type_id": 0}}]}
    if closing is not None:
        template |= {
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": closing, "type_id": 0}}],
            "special_tokens": {closing: {"id": closing, "ids": [n], "tokens": [closing]}},
        }
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, token in special],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN_WORDS}, "behavior": "Isolated", "invert": False}, byte_level]},
        "post_processor": byte_level if closing is None else {"type": "Sequence", "processors": [byte_level, template]},
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
                  "vocab": {token: i for token, i in vocabulary.items() if i < n}, "merges": merges[:N_MERGES]},
    })
    return n + len(special)


def gte_qwen2(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """Attention both ways; vocab.json and merges.txt; the last token is asked for by tokenizer_config.json alone."""
    values = json.loads((data / "model_layouts/stella_en_1.5B_v5/config.json").read_text())
    values |= {"is_causal": False, "max_position_embeddings": 1024, **config}
    write_json(folder / "config.json", values)
    real = data / "tokenizers" / "qwen"
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes(gzip.decompress((real / f"{name}.gz").read_bytes()))
    tokens = {str(151643 + i): {"content": token, "lstrip": False, "normalized": False, "rstrip": False,
                                "single_word": False, "special": True}
              for i, token in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))}
    write_json(folder / "tokenizer_config.json", {
        "add_eos_token": True, "added_tokens_decoder": tokens, "bos_token": None, "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>", "model_max_length": 32768, "tokenizer_class": "Qwen2Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_qwen.Qwen2Tokenizer", "tokenization_qwen.Qwen2TokenizerFast"]}})
    write_last_token(folder, values["hidden_size"])
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": INSTRUCT}})
    write_bfloat16_shards(folder, decoder_tensors(values, 11))


def qwen2(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """Plain and causal, with a window in its last layer; of transformers 5, whose config.json spells things anew."""
    values = json.loads((data / "model_layouts/stella_en_1.5B_v5/config.json").read_text())
    for old in ("auto_map", "rope_theta", "torch_dtype"):
        values.pop(old)
    values |= {"vocab_size": write_short_qwen(folder, data, closing="<|endoftext|>"), "max_position_embeddings": 1024,
               "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "use_sliding_window": True,
               "sliding_window": 24, "layer_types": ["full_attention", "sliding_attention"], **config}
    write_json(folder / "config.json", values)
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})
    write_last_token(folder, values["hidden_size"])
    write_safetensors(folder / "model.safetensors", decoder_tensors(values, 12))


def qwen3(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """Qwen3-Embedding: tokenizer.json closes with what is not the eos_token; the prompts of jasper."""
    values = {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151643, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
        "initializer_range": 0.02, "intermediate_size": 3072, "max_position_embeddings": 32768,
        "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 2,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
        "sliding_window": None, "tie_word_embeddings": True, "use_sliding_window": False,
        "vocab_size": write_short_qwen(folder, data, closing="<|endoftext|>") + 5, **config,
    }
    write_json(folder / "config.json", values)
    write_json(folder / "tokenizer_config.json", {"add_bos_token": False, "eos_token": "<|im_end|>",
                                                  "pad_token": "<|endoftext|>", "model_max_length": 131072})
    write_last_token(folder, values["hidden_size"])
    shutil.copyfile(data / "model_layouts/jasper-600m_qwen3/config_sentence_transformers.json",
                    folder / "config_sentence_transformers.json")
    write_safetensors(folder / "model.safetensors", decoder_tensors(values, 13))


def stella(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """Attention both ways, mean, then one of several Dense layers."""
    real = data / "model_layouts" / "stella_en_1.5B_v5"
    values = json.loads((real / "config.json").read_text())
    values |= {"is_causal": False, "max_position_embeddings": 1024,
               "vocab_size": write_short_qwen(folder, data, closing="<|endoftext|>"), **config}
    values.pop("auto_map")   # code of its own, which would be asked for; is_causal says the same
    size = values["hidden_size"]
    write_json(folder / "config.json", values)
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})
    modules = json.loads((real / "modules.json").read_text())
    modules[2]["path"] = "2_Dense_1024"
    write_json(folder / "modules.json", modules)
    pooling = json.loads((real / "1_Pooling/config.json").read_text())
    write_json(folder / "1_Pooling/config.json", pooling | {"word_embedding_dimension": size})
    write_dense(folder / "2_Dense", size, size * 4, 14)
    write_dense(folder / "2_Dense_1024", size, size * 2 // 3, 15)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"s2p_query": INSTRUCT, "query": INSTRUCT}})
    write_safetensors(folder / "model.safetensors", decoder_tensors(values, 14))


def write_small_llama(folder: Path, words: str) -> int:
    """A tokenizer.json like Mistral's: characters, and bytes for those it lacks. It puts <s> first and nothing last."""
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)),
                                                      *dict.fromkeys("▁" + words)])}
    for left, right in zip("▁tes"[:3], "tes"[:3], strict=True):
        vocabulary[left + right] = len(vocabulary)
    special = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, token in enumerate(("<unk>", "<s>", "</s>"))]
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "vocab": vocabulary,
                  "merges": ["▁ t", "t e", "e s"]},
    })
    write_json(folder / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": True, "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>",
        "unk_token": "<unk>", "model_max_length": 1000000000000000019884624838656, "tokenizer_class": "LlamaTokenizer"})
    return len(vocabulary)


def e5_mistral(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """E5-mistral: <s> by tokenizer.json, </s> by tokenizer_config.json; no modules.json's prompts."""
    values = {
        "architectures": ["MistralModel"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768,
        "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 2, "num_key_value_heads": 8,
        "pad_token_id": 2, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096,
        "tie_word_embeddings": False, "torch_dtype": "float16", "use_cache": False,
        "vocab_size": write_small_llama(folder, TINY_WORDS), **config,
    }
    write_json(folder / "config.json", values)
    write_last_token(folder, values["hidden_size"])
    write_shards(folder, decoder_tensors(values, 16))


def mistral_window(folder: Path, data: Path, config: dict[str, Any]) -> None:
    """The same with a window that is shorter than most texts."""
    e5_mistral(folder, data, config | {"sliding_window": 7})


def tiny_decoder(folder: Path, **config: Any) -> Path:
    """The smallest decoder, a Mistral whose vocabulary is bytes and a few characters; needs no real data."""
    folder.mkdir(parents=True, exist_ok=True)
    e5_mistral(folder, folder, SMALL["e5-mistral"] | {"max_position_embeddings": 128} | config)
    return folder


LAYOUTS: dict[str, Callable[[Path, Path, dict[str, Any]], None]] = {
    "gte-qwen2": gte_qwen2, "qwen2": qwen2, "qwen3": qwen3, "stella": stella, "e5-mistral": e5_mistral,
    "mistral-window": mistral_window,
}
"""name -> writes such a folder: (folder, real data, changes to config.json)."""
_QWEN2 = {"hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2, "max_window_layers": 1}   # 12 heads, 2
_MISTRAL = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 8, "num_key_value_heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "gte-qwen2": _QWEN2, "qwen2": _QWEN2, "stella": _QWEN2,
    "qwen3": {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16},   # 16 heads, 8 key heads: wider than hidden
    "e5-mistral": _MISTRAL, "mistral-window": _MISTRAL,
}
"""name -> the sizes that the tests use: narrow, with the real number of heads or the real share of key heads."""
FULL: dict[str, dict[str, Any]] = {"qwen3": {}, "stella": {"num_hidden_layers": 2}, "e5-mistral": {}}
"""name -> the same at full width: two layers of Qwen3-Embedding-0.6B's, gte-Qwen2-1.5B's and E5-mistral's sizes."""


def build(name: str, folder: Path, data: Path, *, full: bool = False) -> Path:
    """The folder of that layout, small or at full width."""
    folder.mkdir(parents=True, exist_ok=True)
    LAYOUTS[name](folder, data, FULL[name] if full else SMALL[name])
    return folder
