"""Static token tables: a text is the mean of its tokens' rows. Reads model2vec's and sentence-transformers' folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadFile, SpecMismatch
from qianru.models.base import ModelSpec, as_texts
from qianru.models.counting import Tally, checked
from qianru.models.files import CARD, Stored, fingerprint, read_folder, write_folder
from qianru.models.pooling import sif_weights, weighted_sums
from qianru.text.normalize import fold
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Progress, Role, SparseRows

if TYPE_CHECKING:
    from tokenizers import Tokenizer

AT_ONCE = 1024   # texts tokenized together
CONFIG, TOKENIZER, TENSORS, MODULES = "config.json", "tokenizer.json", "model.safetensors", "modules.json"
MEND = "Fetch the model again."
_TYPES = "sentence_transformers.models."
_SURROGATE = re.compile("[\ud800-\udfff]")


class StaticModel:
    """A table with a row for each token of a tokenizer: dense vectors without a neural network.

    table: (v, d) float32, float16 or int8
    tokenizer: the bytes of a tokenizer.json
    normalized: whether a text's vector has length 1
    weights: (tokens,) what each token's row is multiplied with;  mapping: (tokens,) its row, if tokens share rows
    drop_unknown: unknown tokens are passed over, as model2vec does; sentence-transformers gives them a row
    simplified: Traditional characters are read as Simplified ones; model2vec reads such a folder without that
    name: for people

    Texts are read whole: model2vec cuts them at 512 tokens unless told otherwise, this never does.
    """

    family: ClassVar[str] = "static"

    def __init__(
        self,
        table: NDArray[Any],
        tokenizer: bytes,
        *,
        normalized: bool = False,
        weights: FloatArray | None = None,
        mapping: IntArray | None = None,
        drop_unknown: bool = True,
        simplified: bool = False,
        name: str = family,
    ) -> None:
        self.table, self.weights, self.mapping = table, weights, mapping
        self.normalized, self.drop_unknown, self.simplified, self.name = normalized, drop_unknown, simplified, name
        self._tokenizer_json = tokenizer
        self._tokenizer, self._unknown, self._n = _made_tokenizer(tokenizer)
        self._spec: ModelSpec | None = None
        self._check()

    @property
    def spec(self) -> ModelSpec:
        """Family "static", kind dense."""
        if self._spec is None:
            identity = Stored(self.family, self._settings(), self._tensors(), files={TOKENIZER: self._tokenizer_json})
            self._spec = ModelSpec(self.name, self.family, ("dense",), fingerprint(identity), self.table.shape[1])
        return self._spec

    def with_sif(self, texts: Iterable[str], a: float = 1e-3) -> StaticModel:
        """The same table, each token weighted by a / (a + its share of all tokens of the texts).

        Source: Arora, Liang and Ma 2017. Tables that model2vec distilled have such a weighting inside already.
        """
        counts, _ = self.counts(as_texts(texts), None)
        occurrences = np.bincount(counts.terms, counts.weights, counts.width).astype(np.int64)
        return StaticModel(
            self.table, self._tokenizer_json, normalized=self.normalized, mapping=self.mapping,
            weights=sif_weights(occurrences, a).astype(np.float32), drop_unknown=self.drop_unknown,
            simplified=self.simplified, name=self.name,
        )

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """(n, dim) float32; queries and documents alike. A text without known tokens is the zero vector."""
        listed = checked(self.spec, texts, role, kinds, instruction)
        ids, lengths, n_tokens = self._tokens(listed, progress)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        rows = ids if self.mapping is None else self.mapping[ids]
        weights = np.ones(len(ids), np.float32) if self.weights is None else self.weights[ids]
        dense = weighted_sums(SparseRows(offsets, rows, weights, len(self.table)), self.table)   # a word may come twice
        dense /= np.maximum(lengths, 1)[:, None].astype(np.float32)
        if self.normalized:
            lengths = np.sqrt(np.square(dense).sum(1, keepdims=True))
            dense = dense / np.where(lengths > 0, lengths, 1)
        return Embeddings(self.spec.name, n_tokens, dense=dense)

    def save(self, folder: Path) -> None:
        """Writes the model to a folder that model2vec reads as well."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What the folder holds."""
        from safetensors.numpy import save

        modules = [{"idx": 0, "name": "0", "path": ".", "type": _TYPES + "StaticEmbedding"}]
        if self.normalized:
            modules.append({**modules[0], "idx": 1, "name": "1", "path": "1_Normalize", "type": _TYPES + "Normalize"})
        config = {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": self.normalized,
                  "max_length": None, "hidden_dim": self.table.shape[1], "embedding_dtype": self.table.dtype.name}
        if self.mapping is not None:
            config["vocabulary_quantization"] = len(self.table)
        settings = self._settings() if self.name == self.family else {**self._settings(), "name": self.name}
        return Stored(self.family, settings, files={
            CONFIG: json.dumps(config, indent=2).encode(),
            MODULES: json.dumps(modules, indent=2).encode(),
            TOKENIZER: self._tokenizer_json,
            TENSORS: bytes(save({name: np.ascontiguousarray(array) for name, array in self._tensors().items()})),
        })

    @classmethod
    def from_stored(cls, stored: Stored) -> Self:
        """The model that a folder holds."""
        for name in (TENSORS, TOKENIZER):
            if name not in stored.files:
                raise SpecMismatch(f"{stored.folder} names no {name}. Save the model again.")
        tensors = _tensors(stored.files[TENSORS], f"{stored.folder}")
        return cls(
            _named(tensors, "embeddings", f"{stored.folder}"), stored.files[TOKENIZER],
            normalized=stored.setting("normalized", bool), weights=tensors.get("weights"),
            mapping=tensors.get("mapping"), drop_unknown=stored.setting("drop_unknown", bool),
            simplified="simplified" in stored.settings and stored.setting("simplified", bool),
            name=stored.setting("name", str) if "name" in stored.settings else cls.family,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model in a folder that Qianru, model2vec or sentence-transformers wrote."""
        folder = Path(folder)
        if (folder / CARD).exists():
            return cls.from_stored(read_folder(folder, cls.family))
        modules = _static_modules(folder)
        if (folder / CONFIG).is_file() and (folder / TENSORS).is_file():
            tensors = _tensors(_bytes(folder / TENSORS), str(folder / TENSORS))
            if "embeddings" in tensors or modules is None:
                config = _parsed(folder / CONFIG)
                return cls(
                    _named(tensors, "embeddings", str(folder / TENSORS)), _bytes(folder / TOKENIZER),
                    normalized=config.get("normalize") is True,   # older folders leave it out
                    weights=tensors.get("weights"), mapping=tensors.get("mapping"),
                )
        if modules is None:
            raise SpecMismatch(f"{folder} is no static model: it has neither {CONFIG} with {TENSORS} nor a {MODULES} "
                               "that begins with StaticEmbedding. Give another folder.")
        place, normalized = modules
        tensors = _tensors(_bytes(place / TENSORS), str(place / TENSORS))
        return cls(_named(tensors, "embedding.weight", str(place / TENSORS)), _bytes(place / TOKENIZER),
                   normalized=normalized, drop_unknown=False)

    def counts(self, texts: list[str], progress: Progress | None = None) -> tuple[SparseRows, IntArray]:
        """How often each text has each token that counts, and how many tokens it has in all."""
        ids, lengths, n_tokens = self._tokens(texts, progress)
        return Tally([], ids, lengths).rows(np.arange(self._n), self._n), n_tokens

    def _tokens(self, texts: list[str], progress: Progress | None) -> tuple[IntArray, IntArray, IntArray]:
        """(total,) tokens that count, end to end; (n,) how many of each text; (n,) and how many it has in all."""
        ids: list[IntArray] = []
        n_tokens: list[int] = []
        for start in range(0, len(texts), AT_ONCE):
            if progress is not None:
                progress(start, len(texts))
            batch = [_writable(text, self.simplified) for text in texts[start : start + AT_ONCE]]
            encodings = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            n_tokens += map(len, encodings)
            ids.append(np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int64))
        if progress is not None:
            progress(len(texts), len(texts))
        flat = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        every = np.array(n_tokens, np.int64)
        if not self.drop_unknown or self._unknown is None:
            return flat, every, every
        known = flat != self._unknown
        kept = np.diff(np.concatenate([[0], np.cumsum(known)])[np.concatenate([[0], np.cumsum(every)])])
        return flat[known], kept, every

    def _settings(self) -> dict[str, Any]:
        settings = {"normalized": self.normalized, "drop_unknown": self.drop_unknown}
        return {**settings, "simplified": True} if self.simplified else settings   # without it as older folders are

    def _tensors(self) -> dict[str, NDArray[Any]]:
        optional = {"weights": self.weights, "mapping": self.mapping}
        return {"embeddings": self.table, **{name: array for name, array in optional.items() if array is not None}}

    def _check(self) -> None:
        """Raises SpecMismatch unless table, weights, mapping and tokenizer fit each other."""
        n = self._n
        if self.table.ndim != 2 or self.table.dtype.kind not in "fi":
            raise SpecMismatch(f"A table of {self.table.dtype} of shape {self.table.shape} is none of vectors. {MEND}")
        if self.table.dtype.kind == "f" and not np.isfinite(self.table).all():
            raise BadFile(f"The table holds numbers that are not finite. {MEND}")
        for name, array, kinds in (("weights", self.weights, "f"), ("mapping", self.mapping, "iu")):
            if array is not None and (array.ndim != 1 or len(array) < n or array.dtype.kind not in kinds):
                raise SpecMismatch(f"{n} tokens need as many {name}, not {array.dtype} of shape {array.shape}. {MEND}")
        if self.mapping is None and len(self.table) != n:
            raise SpecMismatch(f"The tokenizer has {n} tokens and the table {len(self.table)} rows. {MEND}")
        if self.mapping is not None and not np.isin(self.mapping, np.arange(len(self.table))).all():
            raise SpecMismatch(f"The mapping names rows that the table of {len(self.table)} lacks. {MEND}")


def _writable(text: str, simplified: bool) -> str:
    """The text as the tokenizer is given it: with U+FFFD for lone surrogates, which it cannot take."""
    return fold(text, width=False, script=simplified) if simplified or _SURROGATE.search(text) else text


def is_static(folder: Path) -> bool:
    """Whether a folder of another program holds a static model: by its tensors' names and its list of modules."""
    if _static_modules(folder) is not None:
        return True
    if not ((folder / CONFIG).is_file() and (folder / TENSORS).is_file()):
        return False
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / TENSORS, framework="numpy") as tensors:
            return "embeddings" in list(tensors.keys())   # it is no mapping
    except (SafetensorError, OSError) as error:
        raise BadFile(f"{folder / TENSORS} is not a file of arrays: {error}. {MEND}") from error


def _made_tokenizer(content: bytes) -> tuple[Tokenizer, int | None, int]:
    """The tokenizer, without cutting and padding, the id of its unknown token, and how many ids there are."""
    from tokenizers import Tokenizer

    try:
        parsed = json.loads(content)
        model = parsed["model"]
        tokenizer = Tokenizer.from_str(content.decode())
        vocab = model["vocab"]       # not get_vocab, which takes a quarter of the time that loading does
        ids = [len(vocab) - 1] if isinstance(vocab, list) else [max(vocab.values(), default=-1)]
        n = 1 + max(ids + [added["id"] for added in parsed.get("added_tokens") or []])
    except Exception as error:   # the library raises plain Exception
        raise BadFile(f"{TOKENIZER} is not a tokenizer: {error}. {MEND}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    name = model.get("unk_token")
    return tokenizer, model.get("unk_id") if name is None else tokenizer.token_to_id(name), n


def _static_modules(folder: Path) -> tuple[Path, bool] | None:
    """(where the table stands, whether a Normalize follows) if modules.json begins with a StaticEmbedding."""
    if not (folder / MODULES).is_file():
        return None
    modules = _parsed(folder / MODULES)
    try:
        types = [module["type"].rpartition(".")[2] for module in modules]
        paths = [module["path"] for module in modules]
    except (TypeError, KeyError, AttributeError):
        raise BadFile(f"{folder / MODULES} is not a list of modules. {MEND}") from None
    if types[:1] != ["StaticEmbedding"]:
        return None
    if types[1:] not in ([], ["Normalize"]):
        raise SpecMismatch(f"{folder / MODULES} asks for {', '.join(types[1:])} after the table; only Normalize can "
                           "follow. Use another model.")
    return folder / paths[0], len(types) > 1


def _tensors(content: bytes, place: str) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(content))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:   # the last three: types that NumPy lacks
        raise BadFile(f"{place} is not a file of arrays that NumPy knows: {error}. {MEND}") from error


def _named(tensors: dict[str, NDArray[Any]], name: str, place: str) -> NDArray[Any]:
    if name not in tensors:
        raise SpecMismatch(f"{place} holds {', '.join(tensors) or 'nothing'} and no '{name}'. Is it a static model?")
    return tensors[name]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}. {MEND}") from error


def _parsed(path: Path) -> Any:
    try:
        return json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON: {error}. {MEND}") from error
