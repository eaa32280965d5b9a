"""What is in a model's folder, read and checked, nothing loaded yet.

    plain Hugging Face      config.json, weights, tokenizer files
    sentence-transformers   and modules.json with Transformer, Pooling, Dense, Normalize, each with a folder
    BGE-M3                  and sparse_linear.pt, colbert_linear.pt
    ModelScope              and configuration.json
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qianru.errors import BadFile, SpecMismatch
from qianru.models.backbone import check_supported
from qianru.models.json_file import JsonFile, read_json
from qianru.models.recipe import POOLINGS, SLOT, DenseSpec, Known, Prompts, Recipe

TOKEN_HEADS = ("sparse_linear.pt", "colbert_linear.pt")
TRANSFORMER_CONFIGS = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlm-roberta_config.json")
LEGACY_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
DENSE_ACTIVATIONS = {"Identity": "none", "Tanh": "tanh", "GELU": "gelu", "ReLU": "relu", "SiLU": "silu"}
STRATEGIES = {"last_mean": "mean", "cls": "cls"}   # uniem's names, which M3E's config.json has
PLAIN_PATH = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)?")
MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")
TASKS = ("{instruction}", "{task}", "{task_description}")      # where a prompt leaves room for it
INSTRUCTED = re.compile(r"Instruct: [^\n]+(?P<end>\nQuery: ?)")  # E5-mistral's form, which GTE and Qwen3 have as well
MAX_LENGTH = 1 << 30   # transformers writes 1e30 for "no limit"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder's own account of itself.

    home: where config.json, the weights and the tokenizer are
    max_tokens: None if no file says
    """

    folder: Path
    home: Path
    name: str
    config: JsonFile
    recipe: Recipe
    prompts: Prompts
    max_tokens: int | None
    lower_case: bool

    @classmethod
    def read(cls, folder: Path, known: Known | None = None) -> ModelFolder:
        """BadFile for what is missing or damaged, SpecMismatch for what we have no code for."""
        known = known or Known()
        modules = _modules(folder)
        home = folder / modules[0][1] if modules else folder
        config = JsonFile.read(home / "config.json")
        check_supported(config)
        recipe = _recipe(folder, home, config, modules, known)
        limits = transformer_config(home)
        return cls(
            folder, home, known.name or folder.absolute().name, config, recipe,
            known.prompts or _prompts(JsonFile.read_if_there(folder / "config_sentence_transformers.json")),
            known.max_tokens or stated_max_tokens(home, limits), limits.flag("do_lower_case", False),
        )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """(type, path) of every entry of modules.json; none without that file."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    entries = read_json(path)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SpecMismatch(f"{path} is not a list of modules.")
    found: list[tuple[str, str]] = []
    for entry in entries:
        module = JsonFile(path, entry)
        package, _, name = module.text("type").rpartition(".")
        if name not in MODULES or package.partition(".")[0] != "sentence_transformers":
            raise SpecMismatch(f"{path} asks for the module {module.text('type')!r:.80}; supported are "
                               f"{', '.join(MODULES)} of sentence_transformers. Code from a folder is never run.")
        place = module.text("path", "").rstrip("/")
        if not PLAIN_PATH.fullmatch(place) or (name in ("Pooling", "Dense") and not (folder / place).is_dir()):
            raise BadFile(f"{path} names the folder {place!r:.80}, which is not there. Download the folder again.")
        found.append((name, place))
    names = [name for name, _ in found if name != "Dropout"]   # does nothing once a model is trained
    if names[0] != "Transformer" or names[1:2] != ["Pooling"] or {"Transformer", "Pooling"} & set(names[2:]):
        raise SpecMismatch(f"{path} has the modules {', '.join(names)}; supported is Transformer, Pooling, then Dense "
                           "layers and Normalize.")
    if "Normalize" in names[:-1]:
        raise SpecMismatch(f"{path} has a module after Normalize, which is supported only at the end.")
    return found


def _recipe(folder: Path, home: Path, config: JsonFile, modules: list[tuple[str, str]], known: Known) -> Recipe:
    heads = [name for name in TOKEN_HEADS if (folder / name).is_file()]
    if (heads and len(heads) < len(TOKEN_HEADS)) or (not heads and "sparse" in known.kinds):
        missing = next(name for name in TOKEN_HEADS if name not in heads)
        raise SpecMismatch(f"{folder} lacks {missing}: without it sparse and multi vectors would come from random "
                           "numbers. Download the folder again.")
    normalize = False
    if modules:
        place = next(path for name, path in modules if name == "Pooling")
        pooling, include_prompt = _pooling(JsonFile.read(folder / place / "config.json"), config)
        normalize = any(name == "Normalize" for name, _ in modules)
        if known.pooling and pooling != (known.pooling,):
            raise SpecMismatch(f"{folder} says its pooling is {' + '.join(pooling)}; {known.name or 'this model'} is "
                               f"known to have {known.pooling}. Is it another model?")
    elif heads:
        pooling, include_prompt, normalize = ("cls",), True, True   # BGE-M3
    elif known.pooling:
        pooling, include_prompt = (known.pooling,), True
    else:
        pooling, include_prompt, normalize = (*_pooling_without_modules(folder, home, config),)
    return Recipe(
        pooling, include_prompt,
        tuple(_dense(folder, path) for name, path in modules if name == "Dense"),
        normalize if known.normalize is None else known.normalize, bool(heads),
    )


def _pooling_without_modules(folder: Path, home: Path, config: JsonFile) -> tuple[tuple[str, ...], bool, bool]:
    """(pooling, include_prompt, normalize) of a folder without modules.json; SpecMismatch if no file says."""
    path = folder / "1_Pooling" / "config.json"
    if path.is_file():
        return (*_pooling(JsonFile.read(path), config), (folder / "2_Normalize").is_dir())
    if config.has("uniem_embedding_strategy"):
        strategy = config.text("uniem_embedding_strategy")
        if strategy not in STRATEGIES:
            raise SpecMismatch(f"{config.path} asks for uniem's strategy '{strategy}'; supported are "
                               f"{', '.join(STRATEGIES)}.")
        return (STRATEGIES[strategy],), True, False
    scope = JsonFile.read_if_there(home / "configuration.json")
    if scope.has("task") and scope.text("task") == "sentence-embedding":
        model = JsonFile(scope.path, scope.mapping("model", {}))
        return (model.text("emb_pooler_type", "cls"),), True, model.flag("normalize", False)
    raise SpecMismatch(f"{folder} does not say how its tokens become one vector: it has no modules.json. Say so, e.g. "
                       "Known(pooling='mean'), or 'cls'.")


def _pooling(values: JsonFile, config: JsonFile) -> tuple[tuple[str, ...], bool]:
    """(poolings, include_prompt) of a Pooling's config.json."""
    size = values.whole("embedding_dimension" if values.has("embedding_dimension") else "word_embedding_dimension")
    if size != config.whole("hidden_size"):
        raise SpecMismatch(f"{values.path} pools {size} dimensions; the transformer has {config.whole('hidden_size')}. "
                           "The files do not belong together.")
    stated = values.values.get("pooling_mode")
    if stated is None:
        unknown = [name for name in values.values if name.startswith("pooling_mode_") and name not in LEGACY_POOLINGS]
        if any(values.flag(name, False) for name in unknown):
            raise SpecMismatch(f"{values.path} asks for {', '.join(unknown)}; supported are "
                               f"{', '.join(LEGACY_POOLINGS)}.")
        stated = [pooling for name, pooling in LEGACY_POOLINGS.items() if values.flag(name, False)] or ["mean"]
    poolings = [stated] if isinstance(stated, str) else stated
    if not isinstance(poolings, list) or not poolings or not set(map(str, poolings)) <= set(POOLINGS):
        raise SpecMismatch(f"{values.path} asks for the pooling {stated!r:.80}; supported are {', '.join(POOLINGS)}.")
    return tuple(poolings), values.flag("include_prompt", True)


def _dense(folder: Path, name: str) -> DenseSpec:
    values = JsonFile.read(folder / name / "config.json")
    activation = "none"
    if "activation_function" not in values.values:
        activation = "tanh"   # sentence-transformers' default
    elif values.has("activation_function"):
        package, _, kind = values.text("activation_function").rpartition(".")
        if kind not in DENSE_ACTIVATIONS or not package.startswith("torch.nn"):
            raise SpecMismatch(f"{values.path} asks for the activation {values.text('activation_function')!r:.80}; "
                               f"supported are {', '.join(DENSE_ACTIVATIONS)} of torch.nn.")
        activation = DENSE_ACTIVATIONS[kind]
    for key in ("module_input_name", "module_output_name"):
        if values.text(key, "sentence_embedding") != "sentence_embedding":
            raise SpecMismatch(f"{values.path} says {key} {values.text(key)!r:.40}; supported is 'sentence_embedding'.")
    return DenseSpec(name, values.whole("in_features"), values.whole("out_features"), values.flag("bias", True),
                     activation, values.flag("use_residual", False))


def transformer_config(home: Path) -> JsonFile:
    """sentence-transformers' settings of its Transformer, by any of its names; empty if there are none."""
    for name in TRANSFORMER_CONFIGS:
        if (home / name).is_file():
            return JsonFile.read(home / name)
    return JsonFile(home / TRANSFORMER_CONFIGS[0], {})


def stated_max_tokens(home: Path, limits: JsonFile) -> int | None:
    """The longest text by sentence-transformers' settings, else by the tokenizer's; None if neither says."""
    if limits.has("max_seq_length"):
        return limits.whole("max_seq_length")
    tokenizer = JsonFile.read_if_there(home / "tokenizer_config.json")
    if tokenizer.has("model_max_length") and 0 < tokenizer.number("model_max_length") < MAX_LENGTH:
        return int(tokenizer.number("model_max_length"))
    return None


def _prompts(values: JsonFile) -> Prompts:
    """By the names that sentence-transformers' encode_query and encode_document look for.

    A query's prompt with a place for the task, or with a task in the usual form, says how to put another task there.
    """
    prompts: Mapping[str, Any] = values.mapping("prompts", {})
    named = JsonFile(values.path, prompts)
    usual = named.text(values.text("default_prompt_name"), "") if values.has("default_prompt_name") else ""
    document = next((name for name in ("document", "passage", "corpus") if named.has(name)), "document")
    query, slot = named.text("query", usual), next((slot for slot in TASKS if slot in named.text("query", usual)), None)
    if slot is not None:
        query = query.replace(slot, SLOT)
    instructed = INSTRUCTED.fullmatch(query)
    template = f"Instruct: {SLOT}{instructed['end']}" if instructed else query if slot is not None else None
    return Prompts(query, named.text(document, usual), template)
