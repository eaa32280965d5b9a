"""Transformer models of any supported family: a folder in, Embeddings out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from qianru.errors import BadInput, SpecMismatch, require
from qianru.models.backbone import module_of
from qianru.models.base import ModelSpec, as_texts, check_role, chosen_kinds
from qianru.models.files import CARD, Stored, fingerprint, read_folder, write_folder
from qianru.models.folder import TOKEN_HEADS, ModelFolder
from qianru.models.json_file import JsonFile
from qianru.models.mapped import LazyArrays, release
from qianru.models.recipe import Known, Prompts, Recipe, part_names
from qianru.models.tokenizer import TextTokenizer, read_tokenizer
from qianru.runtime.options import Device, Runtime
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Progress, Ragged, Role, SparseRows

if TYPE_CHECKING:
    from qianru.models.network import Parts
    from qianru.models.weights import Lazy
    from qianru.runtime.loop import Outputs

WINDOW = 16384   # texts sorted by length together; bounds what a stream of texts keeps in memory
AT_ONCE = 1024   # texts for the tokenizer
TOKENIZER = "tokenizer.json"
INT8_COSINE = 0.99   # to float32, for the worst of the probes; MiniLM has .997
PROBES = (
    "床前明月光，疑是地上霜。", "月", "怎样找回银行卡密码", "BGE-M3 支持 100 多种语言、8192 个 token，价格 ¥3.50 😀",
    "What is the difference between dense and sparse retrieval?", "1234567890 !!! ??? ...",
    "第五百零九条 当事人应当按照约定全面履行自己的义务。当事人应当遵循诚信原则，根据合同的性质、目的和交易习惯履行。",
    "The quick brown fox jumps over the lazy dog. " * 8,
)
log = logging.getLogger("qianru")


class Transformer:
    """A transformer with its tokenizer, prompts, pooling and heads.

    network: the torch module; carries gradients if packed is False
    int8_cosine: to float32, of the worst of PROBES; None unless it runs in int8
    """

    family: ClassVar[str] = "transformer"

    def __init__(
        self,
        name: str,
        config: JsonFile,
        recipe: Recipe,
        parts: Parts,
        tokenizer: TextTokenizer,
        *,
        prompts: Prompts,
        runtime: Runtime,
        packed: bool,
        causal: bool | None = None,
        from_files: bool = False,
    ) -> None:
        from qianru.models.laid_out import lay_out
        from qianru.models.network import Network
        from qianru.runtime.linear import pack

        self.name, self.runtime, self.recipe, self.prompts, self.tokenizer = name, runtime, recipe, prompts, tokenizer
        self._config, self._causal, self._packed = config, causal, packed
        self._unchanged = packed and from_files      # tensors of a model in memory may be those that another one trains
        self.device = Device.of(runtime)
        self.int8_cosine: float | None = None
        self.network = Network(config, recipe, parts, str(config.path), causal)
        shape = self.network.backbone.config
        if tokenizer.size > shape.vocab_size:
            raise SpecMismatch(f"The tokenizer beside {config.path} knows {tokenizer.size} tokens and the weights have "
                               f"rows for {shape.vocab_size}. They do not belong together.")
        if runtime.truncate_dim is not None:
            _check_dim(name, runtime.truncate_dim, self.network.dim)
        self.network.eval()
        self.network.to(self.device.name)
        if packed:
            self.network.requires_grad_(False)
            probes = lay_out(self.network.backbone, self.device.precision, self._release, self._probe)
            pack(self.network.heads, "float32")   # they weigh nothing, and a rounded weight of a term would be seen
            if probes is not None:
                self.int8_cosine = check_fidelity(name, *probes)
        else:
            self.network.float()   # gradients of a checkpoint in bfloat16 would be lost in rounding
        self._outline = ModelSpec(
            name, self.family, recipe.kinds, "", runtime.truncate_dim or self.network.dim, tokenizer.max_tokens,
            on_request=("tokens",),
        )
        self._spec: ModelSpec | None = None

    @property
    def spec(self) -> ModelSpec:
        """Kinds as the heads allow. The fingerprint leaves out device and precision, which change vectors slightly."""
        if self._spec is None:
            self._spec = replace(self._outline, fingerprint=fingerprint(self._identity()))
            self._release()
        return self._spec

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """The texts' vectors. A text without tokens is the zero vector; one that is too long is cut, and counted.

        dense: (n, dim) float32;  sparse: a weight for each token id of the vocabulary;  multi: one vector per token
        tokens: the last layer's state of each token, also of prompts and special ones; only if asked for
        """
        listed = as_texts(texts)
        stream = self.stream(listed, role=role, kinds=kinds, instruction=instruction, progress=progress)
        return Embeddings.concat(list(stream))

    def stream(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
        window: int = WINDOW,
    ) -> Iterator[Embeddings]:
        """The same for any number of texts in bounded memory: one Embeddings for each `window` of them, or for none."""
        if isinstance(texts, str | bytes):
            as_texts(texts)     # which refuses one text in place of many
        if window < 1:
            raise BadInput(f"A window holds at least one text, not {window}.")
        check_role(role)
        chosen = chosen_kinds(self._outline, kinds)
        prompt = self.prompts.before(role, instruction)
        total = len(texts) if isinstance(texts, Sequence) else None
        return self._windows(iter(texts), chosen, prompt, progress or _ignore, total, window)

    def altered(
        self,
        *,
        prompts: Prompts | None = None,
        max_tokens: int | None = None,
        truncate_dim: int | None = None,
        normalize: bool | None = None,
        cls_every: int | None = None,
    ) -> Self:
        """The same model used in another way, sharing its weights; None leaves a thing as it is.

        cls_every: put a [CLS] before every so many tokens and average their states (BGE-M3's MCLS, with 256): for texts
            longer than those that the model was trained on. Only where [CLS] is pooled.
        Raises BadInput for more tokens or dimensions than there are.
        """
        now = self.runtime
        other = copy(self)
        other.runtime = replace(
            now, max_tokens=now.max_tokens if max_tokens is None else max_tokens,
            truncate_dim=now.truncate_dim if truncate_dim is None else truncate_dim,
            normalize=now.normalize if normalize is None else normalize,
        )
        other.prompts = prompts or self.prompts
        if max_tokens is not None:
            check_limit(self.name, max_tokens, self.network.backbone.config.max_tokens)
            other.tokenizer = self.tokenizer.cut_at(max_tokens)
        if truncate_dim is not None:
            _check_dim(self.name, truncate_dim, self.network.dim)
        if normalize is not None:
            other.recipe = replace(self.recipe, normalize=normalize)
        if cls_every is not None:
            if cls_every < 1:
                raise BadInput(f"cls_every must be at least 1; it is {cls_every}. BGE-M3's authors take 256.")
            other.recipe = replace(other.recipe, cls_every=cls_every)
            other.tokenizer = other.tokenizer.with_cls_every(cls_every)
        dim = other.runtime.truncate_dim or self.network.dim
        other._outline = replace(self._outline, dim=dim, max_tokens=other.tokenizer.max_tokens)
        other._spec = None
        return other

    def outputs(
        self, rows: Sequence[IntArray], kinds: tuple[Kind, ...], prompt: str = "",
        report: Callable[[int], None] = lambda n: None,
    ) -> Outputs:
        """What encode makes of texts, for callers that have read them already: the second half of it.

        rows: of the tokenizer, behind that prompt;  report: told how many more rows are ready
        """
        from qianru.runtime.loop import run

        skip = 0 if self.recipe.include_prompt else self.tokenizer.prompt_length(prompt)
        forward = partial(
            self.network.outputs, kinds=kinds, recipe=self.recipe, skip=skip, truncate_dim=self.runtime.truncate_dim,
            unused=self.tokenizer.special_ids(),
        )
        return run(rows, forward, partial(self._blank, kinds), self.device, report)

    def tokens(
        self, texts: Iterable[str], *, role: Role = "document", instruction: str | None = None
    ) -> list[list[str]]:
        """For each text the tokens that it is read as, in text: those that the rows of the kind tokens stand for."""
        check_role(role)
        rows = self.tokenizer.rows(as_texts(texts), self.prompts.before(role, instruction)).rows
        return [[self.tokenizer.token(int(i)) for i in row] for row in rows]

    def save(self, folder: Path) -> None:
        """Writes the model to a folder that qianru.load reads."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What the folder holds."""
        identity = self._identity()
        settings = {**identity.settings, "name": self.name, "config": dict(self._config.values),
                    "causal": self._causal, "precision": self.runtime.precision}
        return Stored(self.family, settings, identity.arrays, files=identity.files)

    @classmethod
    def from_stored(cls, stored: Stored, runtime: Runtime | None = None, *, packed: bool = True) -> Self:
        """The model that a folder holds, in the precision that it was saved in unless a runtime says another."""
        from torch import from_numpy

        place = f"{stored.folder or 'a stored model'}/{CARD}"
        values = JsonFile(place, stored.settings)
        recipe = Recipe.read(JsonFile(place, values.mapping("recipe")))
        if TOKENIZER not in stored.files:
            raise SpecMismatch(f"{place} names no {TOKENIZER}. Save the model again.")
        parts: dict[str, dict[str, Lazy]] = {name: {} for name in part_names(recipe)}
        for name, array in stored.arrays.items():
            part, _, tensor = name.partition("/")
            parts.setdefault(part, {})[tensor] = partial(from_numpy, array)
        runtime = runtime or Runtime(values.text("precision"))   # type: ignore[arg-type]   # Runtime checks it
        if runtime.truncate_dim is None and values.has("truncate_dim"):
            runtime = replace(runtime, truncate_dim=values.whole("truncate_dim"))
        special = {role: str(token) for role, token in values.mapping("special").items()}
        tokenizer = TextTokenizer(
            stored.files[TOKENIZER], runtime.max_tokens or values.whole("max_tokens"),
            lower_case=values.flag("lower_case"), special=special, cls_every=recipe.cls_every,
        )
        return cls(
            values.text("name"), JsonFile(place, values.mapping("config")), recipe, parts, tokenizer,
            prompts=Prompts.read(JsonFile(place, values.mapping("prompts"))), runtime=runtime, packed=packed,
            causal=values.flag("causal") if values.has("causal") else None, from_files=stored.folder is not None,
        )

    @classmethod
    def load(
        cls, folder: Path, runtime: Runtime | None = None, *, known: Known | None = None, packed: bool = True
    ) -> Self:
        """The model in a folder of Hugging Face, sentence-transformers, BGE-M3, ModelScope or our own.

        known: facts that the folder's files leave out
        packed: False for a model whose parameters can be trained, in float32
        Raises MissingExtra without torch, BadFile for damaged files, SpecMismatch for files that do not fit each other
        or that we have no code for.
        """
        require("torch", "torch", "Running a transformer model")
        folder = Path(folder)
        if (folder / CARD).exists():
            return cls.from_stored(read_folder(folder, cls.family), runtime, packed=packed)
        from qianru.models.weights import find_weights, open_weights

        runtime = runtime or Runtime()
        found = ModelFolder.read(folder, known)
        recipe = found.recipe if runtime.normalize is None else replace(found.recipe, normalize=runtime.normalize)
        parts: dict[str, dict[str, Lazy]] = {
            "backbone": open_weights(find_weights(found.home)),
            **{dense.name: open_weights(find_weights(folder / dense.name)) for dense in recipe.dense},
            **{name.removesuffix(".pt"): open_weights(folder / name) for name in TOKEN_HEADS if recipe.token_heads},
        }
        content, special = read_tokenizer(found.home, found.config.text("model_type", ""))
        shape = module_of(found.config).read_config(found.config, known.causal if known else None)
        limit = min(found.max_tokens or shape.max_tokens, shape.max_tokens)
        if runtime.max_tokens is not None:
            check_limit(found.name, runtime.max_tokens, shape.max_tokens)
        return cls(
            found.name, found.config, recipe, parts,
            TextTokenizer(content, runtime.max_tokens or limit, lower_case=found.lower_case, special=special),
            prompts=found.prompts, runtime=runtime, packed=packed, causal=known.causal if known else None,
            from_files=True,
        )

    def _release(self) -> None:
        """Gives back the memory of weights that were read from files and laid out elsewhere."""
        if self._unchanged:
            release(self.network.source)

    def _probe(self) -> FloatArray:
        """(n, dim) vectors of length 1 of a few texts, to compare precisions by."""
        import torch
        from torch.nn.functional import normalize

        from qianru.runtime.packing import pack

        rows = sorted((row for row in self.tokenizer.rows(PROBES).rows if len(row)), key=len, reverse=True)
        with torch.inference_mode():
            batch = pack(rows, self.device.name)
            made: FloatArray = normalize(self.network.dense_vectors(self.network.backbone(batch), batch)).numpy()
            return made

    def _windows(
        self, texts: Iterator[str], kinds: tuple[Kind, ...], prompt: str, progress: Progress, total: int | None,
        window: int,
    ) -> Iterator[Embeddings]:
        done = n_cut = 0

        def report(n: int) -> None:
            nonlocal done
            done += n
            progress(done, total)

        while (listed := as_texts(islice(texts, window))) or done == 0:
            part = self._window(listed, kinds, prompt, report)
            n_cut += part.n_truncated
            yield part
            if not listed:
                break
        progress(done, done)
        if n_cut:
            log.warning("%d of %d texts were longer than %d tokens and were cut.",
                        n_cut, done, self.tokenizer.max_tokens)

    def _window(
        self, texts: list[str], kinds: tuple[Kind, ...], prompt: str, report: Callable[[int], None]
    ) -> Embeddings:
        tokens = [self.tokenizer.rows(texts[at : at + AT_ONCE], prompt) for at in range(0, len(texts), AT_ONCE)]
        made = self.outputs([row for part in tokens for row in part.rows], kinds, prompt, report)
        n_tokens = np.concatenate([np.zeros(0, np.int64), *(part.n_tokens for part in tokens)])
        n_cut = sum(part.n_cut for part in tokens)
        return Embeddings(self.name, n_tokens, n_cut, made.dense, made.sparse, made.multi, made.tokens)

    def _blank(self, kinds: tuple[Kind, ...], n: int) -> Outputs:
        """What n texts without tokens come to."""
        from qianru.runtime.loop import Outputs

        nowhere = np.zeros(n + 1, np.int64)
        shape, size = self.network.backbone.config, self.network.multi_dim
        return Outputs(
            np.zeros((n, self._outline.dim or 0), np.float32) if "dense" in kinds else None,
            SparseRows(nowhere, nowhere[:0], np.zeros(0, np.float32), shape.vocab_size) if "sparse" in kinds else None,
            Ragged(np.zeros((0, size), np.float32), nowhere) if "multi" in kinds else None,
            Ragged(np.zeros((0, shape.hidden_size), np.float32), nowhere) if "tokens" in kinds else None,
        )

    def _identity(self) -> Stored:
        """All that the vectors depend on."""
        settings = {
            "recipe": self.recipe.settings(), "prompts": asdict(self.prompts), "special": dict(self.tokenizer.special),
            "max_tokens": self.tokenizer.max_tokens, "lower_case": self.tokenizer.lower_case,
            "truncate_dim": self.runtime.truncate_dim, "shape": self.network.backbone.config.settings(),
        }
        tensors = self.network.source if self._packed else self.network.named_tensors()
        arrays = LazyArrays(tensors, unchanged=self._unchanged)
        return Stored(self.family, settings, arrays, files={TOKENIZER: self.tokenizer.content})


def check_limit(name: str, max_tokens: int, most: int) -> None:
    """BadInput for more tokens than a model has positions for."""
    if max_tokens > most:
        raise BadInput(f"{name} reads at most {most} tokens, fewer than max_tokens={max_tokens}.")


def _check_dim(name: str, truncate_dim: int, dim: int) -> None:
    if truncate_dim > dim:
        raise BadInput(f"{name} makes {dim} dimensions, fewer than truncate_dim={truncate_dim}.")


def check_fidelity(name: str, exact: FloatArray, rounded: FloatArray) -> float:
    """The worst text's cosine; BadInput if int8 changed it too much. The mean would hide it."""
    worst = float((exact * rounded).sum(1).min()) if len(exact) else 1.0
    if not worst >= INT8_COSINE:   # also if it is no number
        raise BadInput(f"{name} loses too much in int8: a cosine of {worst:.4f} to float32 for the worst of "
                       f"{len(exact)} texts, where {INT8_COSINE} is asked for. Use precision='bfloat16'.")
    return worst


def _ignore(done: int, total: int | None) -> None:
    pass
