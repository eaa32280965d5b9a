"""sentence-transformers' spellings: SentenceTransformer(folder).encode(…), .similarity(…).

What differs, on purpose: with truncate_dim vectors are sliced before the folder's Normalize, not after it, so that
their length stays 1; a folder's prompt for passages is used by encode_document also where it is named so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qianru import scores
from qianru.compat.loading import bar, device_of, folder_or_name, limited, open_model, texts_of
from qianru.compat.util import as_rows, as_tensor
from qianru.errors import BadInput, UnknownName
from qianru.models.json_file import JsonFile
from qianru.models.recipe import Prompts
from qianru.runtime.options import Runtime
from qianru.types import FloatArray, Role

if TYPE_CHECKING:
    from torch import Tensor

SIMILARITIES = ("cosine", "dot", "euclidean")


class SentenceTransformer:
    """A transformer's folder, or a downloaded model by its name.

    prompts: name -> what stands before a text; added to those of the folder
    similarity_fn_name: cosine, dot or euclidean (a distance with its sign turned); None for what the folder says
    trust_remote_code, local_files_only: without effect: code is never run, nothing is downloaded
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        device: str | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: str | None = None,
        truncate_dim: int | None = None,
        trust_remote_code: bool = False,
        local_files_only: bool = False,
    ) -> None:
        runtime = Runtime("float32", device_of(device) or "auto", truncate_dim=truncate_dim)
        self.model = open_model(model_name_or_path, runtime)
        file = _settings(model_name_or_path)
        own = {"query": self.model.prompts.query, "document": self.model.prompts.document}
        told = {name: text for name, text in file.mapping("prompts", {}).items() if isinstance(text, str)}
        self.prompts: dict[str, str] = {**own, **told, **(prompts or {})}
        stated = file.text("default_prompt_name") if file.has("default_prompt_name") else None
        self.default_prompt_name = default_prompt_name or stated
        if self.default_prompt_name is not None:
            self._prompt(self.default_prompt_name)
        self.similarity_fn_name = similarity_fn_name or (
            file.text("similarity_fn_name") if file.has("similarity_fn_name") else "cosine")
        if self.similarity_fn_name not in SIMILARITIES:
            raise UnknownName("similarity", self.similarity_fn_name, SIMILARITIES)

    @property
    def max_seq_length(self) -> int:
        """Tokens of a text, the special ones among them; can be set, up to what there are positions for."""
        return self.model.tokenizer.max_tokens

    @max_seq_length.setter
    def max_seq_length(self, n: int) -> None:
        self.model = limited(self.model, n)

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.model.device.name

    def get_sentence_embedding_dimension(self) -> int:
        """Of the vectors."""
        return self.get_embedding_dimension()

    def get_embedding_dimension(self) -> int:
        """Of the vectors."""
        assert self.model.spec.dim is not None
        return self.model.spec.dim

    def encode(
        self,
        sentences: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: Literal["float32"] = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> Any:
        """(n, dim) vectors, (dim,) of one text alone; a tensor, or a list of tensors, if so asked.

        prompt: what stands before each text; else that of prompt_name, else the default one
        normalize_embeddings: length 1 also where the folder has no Normalize
        batch_size: without effect: batches are cut by tokens
        """
        name = prompt_name if prompt_name is not None else self.default_prompt_name
        chosen = prompt if prompt is not None else self._prompt(name) if name is not None else ""
        vectors = self._encode(sentences, "document", Prompts(document=chosen), show_progress_bar, output_value,
                               precision, normalize_embeddings, truncate_dim)
        return _converted(vectors, convert_to_numpy, convert_to_tensor)

    def encode_query(
        self,
        sentences: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
    ) -> Any:
        """The same with the prompt named query, if no other is asked for."""
        name = prompt_name or ("query" if self.prompts["query"] else None)
        return self.encode(sentences, name, prompt, batch_size, show_progress_bar, convert_to_numpy=convert_to_numpy,
                           convert_to_tensor=convert_to_tensor, normalize_embeddings=normalize_embeddings)

    def encode_document(
        self,
        sentences: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
    ) -> Any:
        """The same with the prompt named document, passage or corpus, if no other is asked for."""
        usual = next((name for name in ("document", "passage", "corpus") if self.prompts.get(name)), None)
        return self.encode(sentences, prompt_name or usual, prompt, batch_size, show_progress_bar,
                           convert_to_numpy=convert_to_numpy, convert_to_tensor=convert_to_tensor,
                           normalize_embeddings=normalize_embeddings)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """(n, m) similarities of the rows of both."""
        matrix: Callable[[Any, Any], FloatArray] = scores.METRICS[self.similarity_fn_name]
        return as_tensor(matrix(as_rows(embeddings1), as_rows(embeddings2)))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """(n,) similarities of row i and row i."""
        pairs: Callable[[Any, Any], FloatArray] = scores.PAIR_METRICS[self.similarity_fn_name]
        return as_tensor(pairs(as_rows(embeddings1), as_rows(embeddings2)))

    def _encode(
        self, sentences: str | Sequence[str], role: Role, prompts: Prompts, show: bool | None, output_value: str,
        precision: str, normalize: bool, truncate_dim: int | None,
    ) -> FloatArray:
        if output_value != "sentence_embedding":
            raise BadInput(f"output_value is 'sentence_embedding' here, not {output_value!r}. Token vectors are the "
                           "multi kind of a model that makes them: qianru.load(…).encode(texts, kinds=['multi']).")
        if precision != "float32":
            raise BadInput(f"precision is 'float32' here, not {precision!r}: it would round the finished vectors.")
        texts, alone = texts_of(sentences)
        model = self.model.altered(prompts=prompts, normalize=normalize or None, truncate_dim=truncate_dim)
        with bar(bool(show), "Encoding") as progress:
            dense = model.encode(texts, role=role, kinds=["dense"], progress=progress).dense
        assert dense is not None
        return dense[0] if alone else dense

    def _prompt(self, name: str) -> str:
        if name not in self.prompts:
            raise UnknownName("prompt", name, self.prompts)
        return self.prompts[name]


def _settings(name: str | Path) -> JsonFile:
    """config_sentence_transformers.json of the folder that the name leads to, empty if there is none."""
    return JsonFile.read_if_there(folder_or_name(name) / "config_sentence_transformers.json")


def _converted(vectors: FloatArray, to_numpy: bool, to_tensor: bool) -> Any:
    if to_tensor:
        return as_tensor(vectors)
    if to_numpy:
        return vectors
    return as_tensor(vectors) if vectors.ndim == 1 else list(as_tensor(vectors))
