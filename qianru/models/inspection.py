"""What is in a model's folder, what will be applied to a text, and whether it works: for people who wonder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from qianru.errors import BadFile, BadInput, QianruError, SpecMismatch
from qianru.models import load
from qianru.models.base import Model
from qianru.models.cross_encoder import CrossEncoder, is_classifier
from qianru.models.files import CARD
from qianru.models.folder import TOKEN_HEADS, TRANSFORMER_CONFIGS, ModelFolder
from qianru.models.named import facts, folder_of
from qianru.models.recipe import Recipe
from qianru.runtime.options import Device, Runtime
from qianru.types import Embeddings

SAMPLE = "床前明月光 hello"
PROBES = ("床前明月光，疑是地上霜。", "月", "What is BGE M3?", "举头望明月，低头思故乡。" * 3)
ALIKE = 1e-3           # of a vector's length: what a text's neighbours in a batch may change
ALIKE_ROUNDED = 0.05   # the same where numbers are rounded, which is a cosine of .999
NOT_TAKEN = (".py", ".onnx", ".h5", ".msgpack", ".ot", ".gguf")      # code, and weights in other formats


@dataclass(frozen=True, slots=True)
class Inspection:
    """facts: name -> what the files say;  check: name -> what a run gave, None if it was not asked for;
    problem: why it cannot be used, None if it can
    """

    facts: dict[str, Any]
    check: dict[str, Any] | None
    problem: str | None


@runtime_checkable
class _Runs(Protocol):
    """A model that is computed on a device: a transformer."""

    device: Device


def inspect_model(name: str | Path, *, check: bool = True) -> Inspection:
    """All of that for a folder, or for a downloaded model by its name.

    check: load it and embed a few texts, alone and together
    What is wrong with the folder is in the result; BadFile only if there is no such folder.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = (folder_of(str(name)) if isinstance(name, str) and not folder.exists() else None) or folder
    if not folder.is_dir():
        raise BadFile(f"There is no folder {folder}. Name a folder, or a model of qianru models that was downloaded.")
    told: dict[str, Any] = {"folder": str(folder)}
    try:
        if is_classifier(folder):
            told["layout"] = "Hugging Face's classifier of pairs of texts"
        elif _is_transformer(folder):
            _transformer_facts(folder, told)
        checked: dict[str, Any] | None = None
        begun = time.perf_counter()
        if check or not _is_transformer(folder):
            model = load(folder)
            took = time.perf_counter() - begun
            spec = model.spec
            told |= {"layout": told.get("layout", f"Qianru's {spec.family}"), "name": spec.name, "family": spec.family,
                     "kinds": list(spec.kinds), "dim": spec.dim, "max_tokens": spec.max_tokens,
                     "fingerprint": spec.fingerprint}
            if check:
                checked = {"seconds to load": took, **check_model(model), **_int8(folder, model)}
        return Inspection(_known(told), checked, None)
    except QianruError as error:
        return Inspection(_known(told), None, str(error))


def check_model(model: Model) -> dict[str, Any]:
    """Embeds a few texts together and alone; SpecMismatch if that differs or a number is not finite."""
    if isinstance(model, CrossEncoder):
        return _check_reranker(model)
    together = model.encode(PROBES)
    alone = [_difference(together, i, model.encode([text])) for i, text in enumerate(PROBES)]
    worst = float(np.max(alone))       # which hands on what is no number; max may not
    precision = model.device.precision if isinstance(model, _Runs) else "float32"
    if not worst <= (ALIKE if precision == "float32" else ALIKE_ROUNDED):       # also if it is no number
        raise SpecMismatch(f"{model.spec.name} makes other vectors of a text alone than among others: they differ by "
                           f"{worst:.2g}. Do not use it, and report this.")
    told: dict[str, Any] = {"precision": precision, "texts": len(PROBES), "largest difference alone": worst}
    if together.dense is not None:
        lengths = np.linalg.norm(together.dense, axis=1)
        told["lengths of dense vectors"] = f"{lengths.min():.4f} to {lengths.max():.4f}"
    if together.sparse is not None:
        told["terms of sparse vectors"] = np.diff(together.sparse.offsets).tolist()
    if together.multi is not None:
        told["vectors of multi"] = np.diff(together.multi.offsets).tolist()
    return told


def _int8(folder: Path, model: Model) -> dict[str, str]:
    """Whether it may run in int8: the cosine to float32 of the worst of a few texts, or why not."""
    from qianru.models.transformer import INT8_COSINE, PROBES, Transformer

    if not isinstance(model, Transformer):
        return {}
    try:
        lower = load(folder, Runtime("int8", device="cpu"))
    except BadInput as refused:      # the processor cannot, or the vectors change too much
        return {"int8": f"no: {refused}"}
    assert isinstance(lower, Transformer)
    return {"int8": f"cosine {lower.int8_cosine:.4f} to float32 for the worst of {len(PROBES)} texts, where "
                    f"{INT8_COSINE} is asked for"}


def _check_reranker(model: CrossEncoder) -> dict[str, Any]:
    """The same of scores of pairs."""
    pairs = list(zip(PROBES, reversed(PROBES), strict=True))
    together = model.score(pairs)
    alone = np.concatenate([model.score([pair]) for pair in pairs])
    worst = float(np.max(np.abs(together - alone) / np.maximum(np.abs(together), 1)))
    if not worst <= (ALIKE if model.device.precision == "float32" else ALIKE_ROUNDED):      # also if it is no number
        raise SpecMismatch(f"{model.spec.name} scores a pair differently alone and among others: by {worst:.2g}. Do "
                           "not use it, and report this.")
    return {"precision": model.device.precision, "pairs": len(pairs), "largest difference alone": worst,
            "scores": f"{together.min():.4f} to {together.max():.4f}"}


def _is_transformer(folder: Path) -> bool:
    from qianru.models.static import is_static

    there = (folder / "config.json").exists() or (folder / "modules.json").exists()
    return there and not (folder / CARD).exists() and not is_static(folder) and not is_classifier(folder)


def _transformer_facts(folder: Path, told: dict[str, Any]) -> None:
    """Adds what the files of a transformer say, as far as they can be read."""
    from qianru.models.tokenizer import TextTokenizer, read_tokenizer

    told["layout"] = _layout(folder)
    known = facts(folder)
    if known is not None:
        told["catalogue"] = known.name
    weights = _weights(folder)
    told["weights"] = [f"{path.relative_to(folder)} ({path.stat().st_size / 1e6:,.1f} MB)" for path in weights]
    others = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in NOT_TAKEN)
    if others:
        told["not taken"] = [*others[:8], *([f"and {len(others) - 8} more"] if len(others) > 8 else [])]
    found = ModelFolder.read(folder, known)
    config = found.config
    told["architecture"] = config.text("model_type")
    sizes = {"layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads",
             "vocabulary": "vocab_size"}
    told["shape"] = {name: config.whole(key) for name, key in sizes.items() if config.has(key)}
    told["applied"] = applied(found.recipe, config.whole("hidden_size"))
    told["kinds"], told["dim"] = list(found.recipe.kinds), found.recipe.dim(config.whole("hidden_size"))
    told["max_tokens"] = found.max_tokens
    prompts = {"query": found.prompts.query, "document": found.prompts.document,
               "instruction": found.prompts.instruction or ""}
    told["prompts"] = [f"{role}: {text!r}" for role, text in prompts.items() if text] or ["none"]
    content, special = read_tokenizer(found.home, config.text("model_type"))
    tokenizer = TextTokenizer(content, found.max_tokens or 512, lower_case=found.lower_case, special=special)
    row = tokenizer.rows([SAMPLE]).rows[0].tolist()
    told["tokens"] = f"{SAMPLE} -> " + " ".join(f"{tokenizer.tokenizer.id_to_token(i)}({i})" for i in row)


def applied(recipe: Recipe, hidden: int) -> str:
    """What happens to a text, step by step.

    >>> applied(Recipe(("mean",), normalize=True), 384)
    'Transformer -> mean of 384 -> length 1'
    """
    steps = ["Transformer", " + ".join(f"{pooling} of {hidden}" for pooling in recipe.pooling)]
    for dense in recipe.dense:
        activation = "" if dense.activation == "none" else f" {dense.activation}"
        steps.append(f"Dense {dense.n_in} to {dense.n_out}{activation}" + (" + residual" if dense.residual else ""))
    steps += ["length 1"] if recipe.normalize else []
    heads = "; sparse and multi heads on every token" if recipe.token_heads else ""
    without = "" if recipe.include_prompt else "; the prompt's tokens do not count"
    return " -> ".join(steps) + heads + without


def _layout(folder: Path) -> str:
    if all((folder / name).is_file() for name in TOKEN_HEADS):
        return "BGE-M3"
    if (folder / "modules.json").is_file():
        return "sentence-transformers"
    if (folder / "configuration.json").is_file():
        return "ModelScope"
    older = any((folder / name).is_file() for name in TRANSFORMER_CONFIGS)
    return "Hugging Face" + (" with a sentence-transformers config" if older else "")


def _weights(folder: Path) -> list[Path]:
    suffixes = (".safetensors", ".bin", ".pt")
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file())


def _known(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}


def _difference(together: Embeddings, i: int, alone: Embeddings) -> float:
    """How far row i is from the same text's row alone, as a part of its length; the worst of the kinds."""
    rows: list[tuple[Any, Any]] = []
    if together.dense is not None and alone.dense is not None:
        rows.append((together.dense[i], alone.dense[0]))
    if together.sparse is not None and alone.sparse is not None:
        rows.append((together.sparse.take([i]).to_dense(), alone.sparse.to_dense()))
    if together.multi is not None and alone.multi is not None:
        rows.append((together.multi.row(i), alone.multi.row(0)))
    parts = [float(np.linalg.norm(one - other) / max(float(np.linalg.norm(one)), 1e-12)) for one, other in rows]
    return float(np.max(parts)) if parts else 0.0
