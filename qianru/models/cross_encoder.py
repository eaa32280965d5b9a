"""Cross-encoders: query and document read together, one score out. BGE's rerankers and others of their layout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn, Self

import numpy as np

from qianru.errors import BadInput, SpecMismatch, require
from qianru.models.base import ModelSpec
from qianru.models.files import CARD, Stored, fingerprint, read_folder, write_folder
from qianru.models.folder import stated_max_tokens, transformer_config
from qianru.models.json_file import JsonFile, read_json
from qianru.models.labels import Labels
from qianru.models.mapped import LazyArrays, release
from qianru.models.pairs import Cut, PairTokenizer
from qianru.models.tokenizer import TextTokenizer, read_tokenizer
from qianru.models.transformer import AT_ONCE, PROBES, TOKENIZER, WINDOW, check_fidelity, check_limit
from qianru.runtime.options import Device, Runtime
from qianru.types import FloatArray, IntArray, Kind, Progress, Role

if TYPE_CHECKING:
    from qianru.models.weights import Lazy
    from qianru.runtime.loop import Outputs
    from qianru.runtime.packing import Packed

CLASSIFIER = "ForSequenceClassification"     # how architectures in config.json end
log = logging.getLogger("qianru")


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    """What a cross-encoder says of n pairs.

    scores: (n,) larger is better; their sigmoid is the probability that the document answers the query
    logits: (n, n_labels) as the head gives them;  n_tokens: (n,) of both texts before any cut
    n_truncated: how many of the pairs were longer than the model takes
    """

    scores: FloatArray
    logits: FloatArray
    n_tokens: IntArray
    n_truncated: int


class CrossEncoder:
    """A sequence classifier of two texts with its tokenizer.

    network: the torch module;  labels: what its outputs stand for
    """

    family: ClassVar[str] = "cross-encoder"

    def __init__(
        self,
        name: str,
        config: JsonFile,
        tensors: Mapping[str, Lazy],
        tokenizer: PairTokenizer,
        *,
        runtime: Runtime,
    ) -> None:
        from qianru.models.laid_out import lay_out
        from qianru.models.pair_network import PairNetwork

        for option in ("truncate_dim", "normalize"):
            if getattr(runtime, option) is not None:
                raise BadInput(f"{name} makes scores, not vectors: {option} has no meaning for it. Leave it out.")
        self.name, self.runtime, self.tokenizer, self._config = name, runtime, tokenizer, config
        self.device = Device.of(runtime)
        self.network = PairNetwork(config, tensors, str(config.path))
        self.labels = Labels.read(config, self.network.n_labels)
        shape = self.network.backbone.config
        if tokenizer.texts.size > shape.vocab_size:
            raise SpecMismatch(f"The tokenizer beside {config.path} knows {tokenizer.texts.size} tokens and the "
                               f"weights have rows for {shape.vocab_size}. They do not belong together.")
        if tokenizer.n_types > config.whole("type_vocab_size", 2):
            raise SpecMismatch(f"The tokenizer beside {config.path} tells the two texts of a pair apart, and the "
                               "weights do not. They do not belong together.")
        self.network.eval()
        self.network.requires_grad_(False)
        self.network.to(self.device.name)
        backbone, done_with = self.network.backbone, partial(release, self.network.source)
        probes = lay_out(backbone, self.device.precision, done_with, self._probe)
        if probes is not None:
            check_fidelity(name, *probes)
        self._spec: ModelSpec | None = None

    @property
    def spec(self) -> ModelSpec:
        """No kinds: it makes no vectors. The fingerprint leaves out device and precision."""
        if self._spec is None:
            self._spec = ModelSpec(self.name, self.family, (), fingerprint(self._identity()),
                                   max_tokens=self.tokenizer.max_tokens)
            release(self.network.source)
        return self._spec

    def score(self, pairs: Iterable[tuple[str, str]], *, progress: Progress | None = None) -> FloatArray:
        """(n,) float32 scores of n pairs (query, document), larger is better; their sigmoid is a probability.

        With one label the score is its logit, as it is; see `labels.Labels` for more of them.
        """
        return self.judge(pairs, progress=progress).scores

    def judge(self, pairs: Iterable[tuple[str, str]], *, progress: Progress | None = None) -> PairScores:
        """The scores of the pairs, the logits behind them, and how many pairs were cut.

        Any number of pairs will do: only their scores are kept in memory.
        Raises BadInput for what is no pair of two texts, and where weights or precision make a score that is no number.
        """
        total = len(pairs) if isinstance(pairs, Sequence) else None
        waiting, n_done, n_cut = iter(checked(pairs)), 0, 0
        logits: list[FloatArray] = [np.zeros((0, self.network.n_labels), np.float32)]
        n_tokens: list[IntArray] = [np.zeros(0, np.int64)]

        def report(n: int) -> None:
            nonlocal n_done
            n_done += n
            if progress is not None:
                progress(n_done, total)

        while window := list(islice(waiting, WINDOW)):
            made, counted, cut = self._window(window, report)
            logits.append(made)
            n_tokens.append(counted)
            n_cut += cut
        if progress is not None:
            progress(n_done, n_done)
        if n_cut:
            log.warning("%d of %d pairs were longer than %d tokens and were cut.",
                        n_cut, n_done, self.tokenizer.max_tokens)
        every = np.concatenate(logits)
        scores = self.labels.scores(every)
        if not np.isfinite(scores).all():
            strange = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise BadInput(f"{self.name} gives pair {strange} (counting from 0) a score that is not a finite number. "
                           "Look at its weights and precision.")
        return PairScores(scores, every, np.concatenate(n_tokens), n_cut)

    def logits(
        self, rows: Sequence[IntArray], types: Sequence[IntArray], report: Callable[[int], None] = lambda n: None
    ) -> FloatArray:
        """(n, n_labels) of pairs that have been read already: rows and types of the tokenizer."""
        from qianru.runtime.loop import run

        made = run(rows, self._forward, self._blank, self.device, report, types if self.tokenizer.n_types > 1 else None)
        assert made.dense is not None
        return made.dense

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> NoReturn:
        """BadInput: it has no vector of one text alone. It is here so that whoever takes it for a model is told."""
        raise BadInput(f"{self.name} is a reranker: it scores pairs of query and document and makes no vectors. Use it "
                       "to rerank what another model finds: qianru rerank, or score(pairs).")

    def altered(self, *, cut: Cut | None = None, max_tokens: int | None = None) -> Self:
        """The same model that cuts pairs in another way, sharing its weights; None leaves a thing as it is.

        Raises BadInput for more tokens than there are positions for.
        """
        other = copy(self)
        texts = self.tokenizer.texts
        if max_tokens is not None:
            check_limit(self.name, max_tokens, self.network.backbone.config.max_tokens)
            texts = texts.cut_at(max_tokens)
            other.runtime = replace(self.runtime, max_tokens=max_tokens)
        other.tokenizer = PairTokenizer(texts, cut or self.tokenizer.cut)
        other._spec = None
        return other

    def save(self, folder: Path) -> None:
        """Writes the model to a folder that qianru.load reads."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What the folder holds."""
        identity = self._identity()
        settings = {**identity.settings, "name": self.name, "config": dict(self._config.values),
                    "precision": self.runtime.precision}
        return Stored(self.family, settings, identity.arrays, files=identity.files)

    @classmethod
    def from_stored(cls, stored: Stored, runtime: Runtime | None = None) -> Self:
        """The model that a folder holds, in the precision that it was saved in unless a runtime says another."""
        require("torch", "torch", "Running a reranker")
        from torch import from_numpy

        place = f"{stored.folder or 'a stored model'}/{CARD}"
        values = JsonFile(place, stored.settings)
        if TOKENIZER not in stored.files:
            raise SpecMismatch(f"{place} names no {TOKENIZER}. Save the model again.")
        runtime = runtime or Runtime(values.text("precision"))   # type: ignore[arg-type]   # Runtime checks it
        texts = TextTokenizer(
            stored.files[TOKENIZER], runtime.max_tokens or values.whole("max_tokens"),
            lower_case=values.flag("lower_case"),
        )
        cut = JsonFile(place, values.mapping("cut"))
        query = cut.whole("max_query_tokens") if cut.has("max_query_tokens") else None
        return cls(
            values.text("name"), JsonFile(place, values.mapping("config")),
            {name: partial(from_numpy, array) for name, array in stored.arrays.items()},
            PairTokenizer(texts, Cut(cut.text("which"), query)),   # type: ignore[arg-type]   # Cut checks it
            runtime=runtime,
        )

    @classmethod
    def load(cls, folder: Path, runtime: Runtime | None = None, *, name: str | None = None) -> Self:
        """The reranker in a folder of Hugging Face, or of our own.

        name: for people; else the folder's
        Raises MissingExtra without torch, BadFile for damaged files, SpecMismatch for files that do not fit each other
        or that we have no code for.
        """
        require("torch", "torch", "Running a reranker")
        folder = Path(folder)
        if (folder / CARD).exists():
            return cls.from_stored(read_folder(folder, cls.family), runtime)
        from qianru.models.backbone import module_of
        from qianru.models.pair_network import check_supported
        from qianru.models.weights import find_weights, open_weights

        runtime = runtime or Runtime()
        config = JsonFile.read(folder / "config.json")
        check_supported(config)
        prompts = JsonFile.read_if_there(folder / "config_sentence_transformers.json")
        if prompts.has("default_prompt_name"):
            raise SpecMismatch(f"{prompts.path} asks for the prompt '{prompts.text('default_prompt_name')}', which is "
                               "not supported for rerankers. Use another one.")
        shape, limits = module_of(config).read_config(config, None), transformer_config(folder)
        limit = min(stated_max_tokens(folder, limits) or shape.max_tokens, shape.max_tokens)
        name = name or folder.absolute().name
        if runtime.max_tokens is not None:
            check_limit(name, runtime.max_tokens, shape.max_tokens)
        content, special = read_tokenizer(folder, config.text("model_type"))
        texts = TextTokenizer(content, runtime.max_tokens or limit, lower_case=limits.flag("do_lower_case", False),
                              special=special)
        return cls(name, config, open_weights(find_weights(folder)), PairTokenizer(texts), runtime=runtime)

    def _window(
        self, pairs: list[tuple[str, str]], report: Callable[[int], None]
    ) -> tuple[FloatArray, IntArray, int]:
        """(logits, n_tokens, how many were cut) of so many pairs."""
        tokens = [self.tokenizer.rows(pairs[at : at + AT_ONCE]) for at in range(0, len(pairs), AT_ONCE)]
        made = self.logits([row for part in tokens for row in part.rows],
                           [types for part in tokens for types in part.types], report)
        return made, np.concatenate([part.n_tokens for part in tokens]), sum(part.n_cut for part in tokens)

    def _forward(self, batch: Packed) -> Outputs:
        from qianru.runtime.loop import Outputs

        return Outputs(dense=self.network(batch).float().cpu().numpy())

    def _blank(self, n: int) -> Outputs:
        """Of no row at all: a pair of two empty texts still has its special tokens."""
        from qianru.runtime.loop import Outputs

        assert n == 0
        return Outputs(dense=np.zeros((n, self.network.n_labels), np.float32))

    def _probe(self) -> FloatArray:
        """(n, hidden) states of length 1 of a few pairs, to compare precisions by."""
        import torch
        from torch.nn.functional import normalize

        from qianru.runtime.packing import pack

        tokens = self.tokenizer.rows(list(zip(PROBES, reversed(PROBES), strict=True)))
        order = sorted(range(len(tokens.rows)), key=lambda i: -len(tokens.rows[i]))
        types = [tokens.types[i] for i in order] if self.tokenizer.n_types > 1 else None
        with torch.inference_mode():
            batch = pack([tokens.rows[i] for i in order], self.device.name, types)
            made: FloatArray = normalize(self.network.backbone.first_tokens(batch).float()).cpu().numpy()
            return made

    def _identity(self) -> Stored:
        """All that the scores depend on."""
        texts = self.tokenizer.texts
        settings = {
            "max_tokens": texts.max_tokens, "lower_case": texts.lower_case, "cut": asdict(self.tokenizer.cut),
            "relevant": self.labels.relevant, "shape": self.network.backbone.config.settings(),
        }
        arrays = LazyArrays(self.network.source, unchanged=True)
        return Stored(self.family, settings, arrays, files={TOKENIZER: texts.content})


def is_classifier(folder: Path) -> bool:
    """Whether a folder's config.json says that it is a sequence classifier: a reranker, not an embedding model."""
    if not (folder / "config.json").is_file() or not _is_one_module(folder / "modules.json"):
        return False
    named = JsonFile.read(folder / "config.json").values.get("architectures")
    return isinstance(named, list) and any(isinstance(name, str) and name.endswith(CLASSIFIER) for name in named)


def _is_one_module(path: Path) -> bool:
    """Whether a modules.json, if there is one, names a transformer alone, as sentence-transformers saves rerankers."""
    if not path.is_file():
        return True
    match read_json(path):
        case [{"type": str(name)}]:
            return name.endswith(".Transformer")
    return False


def checked(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """The pairs one by one; BadInput at the first that is none."""
    for i, pair in enumerate(pairs):
        whole = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        if not whole:
            raise BadInput(f"Pair {i} (counting from 0) is a query and a document, two texts, not {pair!r:.60}.")
        yield pair[0], pair[1]
