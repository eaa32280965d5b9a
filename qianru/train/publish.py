"""The trained model as a folder that sentence-transformers, FlagEmbedding and Qianru load to the same vectors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qianru.errors import BadFile, StorageFailed
from qianru.models.files import sync
from qianru.models.folder import DENSE_ACTIVATIONS, LEGACY_POOLINGS
from qianru.models.json_file import JsonFile
from qianru.models.recipe import SLOT
from qianru.models.transformer import Transformer
from qianru.models.weights import find_weights, open_weights
from qianru.train.checkpoint import write_json, write_tensors

CARD = "README.md"
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
                   "sentencepiece.bpe.model", "added_tokens.json")
ACTIVATIONS = {ours: f"torch.nn.modules.{'linear' if theirs == 'Identity' else 'activation'}.{theirs}"
               for theirs, ours in DENSE_ACTIVATIONS.items()}
Tensors = dict[str, Tensor]


def publish(model: Transformer, folder: Path, source: Path, card: str) -> None:
    """Writes the model's files into the folder, modules.json last, so that half of them are no model.

    source: the folder that the training began with, for the tokenizer's files
    Raises StorageFailed if the disk does not take them.
    """
    new = folder / ".new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        _write_backbone(model, new, _home(source))
        _write_modules(model, new)
        (new / CARD).write_text(card, "utf-8")
        for path in sorted(new.iterdir(), key=lambda path: path.name == "modules.json"):
            sync(path)
            old = folder / path.name
            if old.is_dir():
                shutil.rmtree(old)
            path.replace(old)
        new.rmdir()
        sync(folder)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise StorageFailed(f"The model could not be written to {folder}: {error.strerror or error}. Its weights are "
                            "in the last checkpoint; make room and resume.") from error


def _write_backbone(model: Transformer, new: Path, source: Path) -> None:
    write_json(new / "config.json", {
        name: "float32" if name in ("dtype", "torch_dtype") else value for name, value in model._config.values.items()
    })
    by_part: dict[str, Tensors] = {}
    for place, tensor in model.network.named_tensors().items():
        part, _, name = place.partition("/")
        by_part.setdefault(part, {})[name] = tensor
    write_tensors(new / "model.safetensors", by_part["backbone"] | _unused(source))
    for name in ("sparse_linear", "colbert_linear"):
        if name in by_part:     # the format that FlagEmbedding reads; tensors alone, which load without running code
            torch.save({key: tensor.cpu().clone() for key, tensor in by_part[name].items()}, new / f"{name}.pt")
    for spec in model.recipe.dense:
        (new / spec.name).mkdir()
        write_tensors(new / spec.name / "model.safetensors", by_part[spec.name])
        write_json(new / spec.name / "config.json", {
            "in_features": spec.n_in, "out_features": spec.n_out, "bias": spec.bias,
            "activation_function": ACTIVATIONS[spec.activation],
            **({"use_residual": True} if spec.residual else {}),
        })
    (new / "tokenizer.json").write_bytes(model.tokenizer.content)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, new / name)
    told = JsonFile.read_if_there(source / "tokenizer_config.json")
    special = {role: token for role, token in model.tokenizer.special.items() if not told.has(role)}
    write_json(new / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", **told.values, **special,
        "model_max_length": model.tokenizer.max_tokens,
    })


def _unused(source: Path) -> Tensors:
    """The pooler, which no embedding depends on: without it transformers warns of weights drawn at random."""
    try:
        tensors = open_weights(find_weights(source))
    except BadFile:
        return {}
    return {name[name.index("pooler.") :]: read().clone() for name, read in tensors.items() if ".pooler." in f".{name}"}


def _home(source: Path) -> Path:
    """Where config.json and the tokenizer are: in old folders one deeper."""
    return next((path.parent for path in (source / "config.json", source / "0_Transformer" / "config.json")
                 if path.is_file()), source)


def _write_modules(model: Transformer, new: Path) -> None:
    """The files of sentence-transformers."""
    recipe = model.recipe
    size = model.network.backbone.config.hidden_size
    modes = {theirs: ours in recipe.pooling for theirs, ours in LEGACY_POOLINGS.items()}
    (new / "1_Pooling").mkdir()
    write_json(new / "1_Pooling" / "config.json",
               {"word_embedding_dimension": size, **modes, "include_prompt": recipe.include_prompt})
    entries = [("Transformer", ""), ("Pooling", "1_Pooling"), *(("Dense", spec.name) for spec in recipe.dense)]
    if recipe.normalize:
        entries.append(("Normalize", f"{len(entries)}_Normalize"))
        (new / entries[-1][1]).mkdir()
    write_json(new / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(entries)
    ])
    write_json(new / "sentence_bert_config.json",
               {"max_seq_length": model.tokenizer.max_tokens, "do_lower_case": model.tokenizer.lower_case})
    prompts: dict[str, Any] = {"query": model.prompts.query, "document": model.prompts.document}
    if model.prompts.instruction is not None:
        prompts["instruction"] = model.prompts.instruction.replace(SLOT, "{instruction}")
    write_json(new / "config_sentence_transformers.json",
               {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"})
