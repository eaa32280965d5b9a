"""FlagEmbedding's spellings: FlagModel for bge, BGEM3FlagModel for BGE-M3.

What differs, on purpose: the folder's own files say how it pools (FlagModel would take [CLS] of any model); half
precision is bfloat16 where the processor has it, else float32; the best document token of a MaxSim may be below 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from qianru.compat.loading import NO_PROMPTS, device_of, limited, open_model, texts_of
from qianru.errors import BadInput, SpecMismatch
from qianru.models.matching import score_pairs
from qianru.runtime.options import Runtime
from qianru.scores import maxsim
from qianru.types import FloatArray, Kind, Ragged, SparseRows

LexicalWeights = dict[str, float]
M3Vectors = dict[str, Any]
"""dense_vecs, lexical_weights and colbert_vecs; None for what was not asked for."""
Devices = str | int | Sequence[str | int] | None
WEIGHT_ORDER: tuple[Kind, ...] = ("dense", "sparse", "multi")      # of weights_for_different_modes


class _Flag:
    """What both models share.

    use_fp16: bfloat16 or float32, whichever is faster here; without it and use_bf16, float32
    batch_size, trust_remote_code: accepted and without effect: batches are cut by tokens, code is never run
    query_max_length, passage_max_length: tokens of a text, unless the call says another number
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        normalize_embeddings: bool = True,
        use_fp16: bool = True,
        use_bf16: bool = False,
        query_instruction_for_retrieval: str | None = None,
        query_instruction_format: str = "{}{}",
        devices: Devices = None,
        pooling_method: str | None = None,
        trust_remote_code: bool = False,
        batch_size: int = 256,
        query_max_length: int = 512,
        passage_max_length: int = 512,
        truncate_dim: int | None = None,
        passage_instruction_for_retrieval: str | None = None,
        passage_instruction_format: str = "{}{}",
    ) -> None:
        precision: Literal["auto", "bfloat16", "float32"] = (
            "bfloat16" if use_bf16 else "auto" if use_fp16 else "float32")
        runtime = Runtime(precision, device_of(devices) or "auto", truncate_dim=truncate_dim)
        self.model = open_model(model_name_or_path, runtime).altered(prompts=NO_PROMPTS, normalize=normalize_embeddings)
        found = " + ".join(self.model.recipe.pooling)
        if pooling_method is not None and pooling_method.replace("last_token", "lasttoken") != found:
            raise SpecMismatch(f"{model_name_or_path} pools by {found}, not by {pooling_method}. Leave pooling_method "
                               "out: the folder's own files say it.")
        self._query = template(query_instruction_for_retrieval, query_instruction_format)
        self._passage = template(passage_instruction_for_retrieval, passage_instruction_format)
        self.query_max_length, self.passage_max_length = query_max_length, passage_max_length


class FlagModel(_Flag):
    """bge-small/base/large-zh and -en, and any other transformer that makes dense vectors."""

    def encode_queries(
        self, queries: str | Sequence[str], batch_size: int | None = None, max_length: int | None = None
    ) -> FloatArray:
        """The vectors of the queries, each after the instruction."""
        return self._encode(queries, self._query, max_length or self.query_max_length)

    def encode_corpus(
        self, corpus: str | Sequence[str], batch_size: int | None = None, max_length: int | None = None
    ) -> FloatArray:
        """The vectors of the documents, each after the passages' instruction if there is one."""
        return self._encode(corpus, self._passage, max_length or self.passage_max_length)

    def encode(
        self, sentences: str | Sequence[str], batch_size: int | None = None, max_length: int | None = None
    ) -> FloatArray:
        """(n, dim) vectors of the texts as they are, (dim,) of one text alone."""
        return self._encode(sentences, "{}", max_length or self.passage_max_length)

    def _encode(self, sentences: str | Sequence[str], template: str, max_length: int) -> FloatArray:
        texts, alone = texts_of(sentences)
        model = limited(self.model, max_length)
        dense = model.encode([fill(template, text) for text in texts], kinds=["dense"]).dense
        assert dense is not None
        return dense[0] if alone else dense


class FlagAutoModel:
    """FlagModel, or BGEM3FlagModel where the folder has its heads."""

    @classmethod
    def from_finetuned(
        cls,
        model_name_or_path: str | Path,
        query_instruction_for_retrieval: str | None = None,
        use_fp16: bool = True,
        devices: Devices = None,
    ) -> FlagModel | BGEM3FlagModel:
        """The model in that folder."""
        plain = FlagModel(model_name_or_path, use_fp16=use_fp16, devices=devices,
                          query_instruction_for_retrieval=query_instruction_for_retrieval)
        return BGEM3FlagModel._of(plain) if "multi" in plain.model.spec.kinds else plain


class BGEM3FlagModel(_Flag):
    """BGE-M3: dense, sparse ("lexical weights") and multi ("colbert") vectors.

    return_dense, return_sparse, return_colbert_vecs: what encode makes unless the call says another thing
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        normalize_embeddings: bool = True,
        use_fp16: bool = True,
        use_bf16: bool = False,
        query_instruction_for_retrieval: str | None = None,
        query_instruction_format: str = "{}{}",
        devices: Devices = None,
        pooling_method: str | None = None,
        trust_remote_code: bool = False,
        batch_size: int = 256,
        query_max_length: int = 512,
        passage_max_length: int = 512,
        return_dense: bool = True,
        return_sparse: bool = False,
        return_colbert_vecs: bool = False,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__(
            model_name_or_path, normalize_embeddings, use_fp16, use_bf16, query_instruction_for_retrieval,
            query_instruction_format, devices, pooling_method, trust_remote_code, batch_size, query_max_length,
            passage_max_length, truncate_dim,
        )
        self._usual = (return_dense, return_sparse, return_colbert_vecs)
        self._check_kinds()

    def encode_queries(
        self,
        queries: str | Sequence[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        return_dense: bool | None = None,
        return_sparse: bool | None = None,
        return_colbert_vecs: bool | None = None,
    ) -> M3Vectors:
        """What encode makes of the queries, each after the instruction if there is one."""
        wanted = (return_dense, return_sparse, return_colbert_vecs)
        return self._encode(queries, self._query, max_length or self.query_max_length, wanted)

    def encode_corpus(
        self,
        corpus: str | Sequence[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        return_dense: bool | None = None,
        return_sparse: bool | None = None,
        return_colbert_vecs: bool | None = None,
    ) -> M3Vectors:
        """What encode makes of the documents."""
        return self.encode(corpus, batch_size, max_length, return_dense, return_sparse, return_colbert_vecs)

    def encode(
        self,
        sentences: str | Sequence[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        return_dense: bool | None = None,
        return_sparse: bool | None = None,
        return_colbert_vecs: bool | None = None,
    ) -> M3Vectors:
        """The texts' vectors: (n, dim) dense, a {token id: weight} for each text, a (tokens, dim) for each text."""
        wanted = (return_dense, return_sparse, return_colbert_vecs)
        return self._encode(sentences, "{}", max_length or self.passage_max_length, wanted)

    def convert_id_to_token(self, lexical_weights: LexicalWeights | Sequence[LexicalWeights]) -> Any:
        """The same with tokens in place of their ids; one dictionary for one text, also for a list of one."""
        rows = [lexical_weights] if isinstance(lexical_weights, dict) else lexical_weights
        told = [{self.model.tokenizer.token(int(i)): weight for i, weight in row.items()} for row in rows]
        return told[0] if len(told) == 1 else told

    def compute_lexical_matching_score(
        self,
        lexical_weights_1: LexicalWeights | list[LexicalWeights],
        lexical_weights_2: LexicalWeights | list[LexicalWeights],
    ) -> Any:
        """The sum of the products over shared tokens: a number for two texts, (n, m) for two lists."""
        left, right = lexical_weights_1, lexical_weights_2
        if isinstance(left, dict) and isinstance(right, dict):
            return sum(weight * right[token] for token, weight in left.items() if token in right)
        if isinstance(left, list) and isinstance(right, list):
            return np.array([[self.compute_lexical_matching_score(one, other) for other in right] for one in left])
        raise BadInput("Compare the weights of two texts, or two lists of them, not one with the other.")

    def colbert_score(self, q_reps: FloatArray, p_reps: FloatArray) -> Any:
        """MaxSim of one query's and one document's token vectors: the mean of each query token's best."""
        query, document = (Ragged(vectors, np.array([0, len(vectors)])) for vectors in (q_reps, p_reps))
        return maxsim(query, document)[0, 0]

    def compute_score(
        self,
        sentence_pairs: Sequence[tuple[str, str]] | Sequence[Sequence[str]] | tuple[str, str],
        batch_size: int | None = None,
        max_query_length: int | None = None,
        max_passage_length: int | None = None,
        weights_for_different_modes: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """Every score of each pair of query and document: lists, or numbers for a single pair.

        weights_for_different_modes: of dense, sparse and colbert, in this order; their sum need not be 1
        """
        weights = [1.0, 1.0, 1.0] if weights_for_different_modes is None else list(weights_for_different_modes)
        if len(weights) != len(WEIGHT_ORDER):
            raise BadInput(f"weights_for_different_modes has one weight each for dense, sparse and colbert, not "
                           f"{len(weights)} in all.")
        alone = bool(sentence_pairs) and isinstance(sentence_pairs[0], str)
        pairs: Any = [sentence_pairs] if alone else sentence_pairs
        wrong = next((pair for pair in pairs if isinstance(pair, str) or len(pair) != 2), None)
        if wrong is not None:
            raise BadInput(f"A pair is a query and a document, not {wrong!r:.60}.")
        by_kind = dict(zip(WEIGHT_ORDER, weights, strict=True))
        limits = max_query_length or self.query_max_length, max_passage_length or self.passage_max_length
        queries, documents = (limited(self.model, limit) for limit in limits)
        total, parts = score_pairs(queries, pairs, by_kind, documents=documents)
        both = (parts["dense"] * weights[0] + parts["sparse"] * weights[1]) / (weights[0] + weights[1] or 1)
        scores = {"colbert": parts["multi"], "sparse": parts["sparse"], "dense": parts["dense"], "sparse+dense": both,
                  "colbert+sparse+dense": total}
        return {name: values.tolist()[0] if alone else values.tolist() for name, values in scores.items()}

    @classmethod
    def _of(cls, plain: FlagModel) -> Self:
        """The same model with its heads used."""
        model = cls.__new__(cls)
        model.__dict__.update(plain.__dict__, _usual=(True, False, False))
        return model

    def _check_kinds(self) -> None:
        if "multi" not in self.model.spec.kinds:
            raise SpecMismatch(f"{self.model.name} makes {' and '.join(self.model.spec.kinds)} vectors only: it is no "
                               "BGE-M3. Use FlagModel.")

    def _encode(
        self, sentences: str | Sequence[str], template: str, max_length: int, wanted: Sequence[bool | None]
    ) -> M3Vectors:
        texts, alone = texts_of(sentences)
        chosen = [usual if want is None else want for want, usual in zip(wanted, self._usual, strict=True)]
        kinds = [kind for kind, want in zip(WEIGHT_ORDER, chosen, strict=True) if want]
        made = limited(self.model, max_length).encode([fill(template, text) for text in texts], kinds=kinds)
        sparse = None if made.sparse is None else _as_dictionaries(made.sparse)
        multi = None if made.multi is None else [made.multi.row(i) for i in range(len(texts))]
        every: dict[str, Any] = {"dense_vecs": made.dense, "lexical_weights": sparse, "colbert_vecs": multi}
        return {name: value[0] if alone and value is not None else value for name, value in every.items()}


def template(instruction: str | None, form: str) -> str:
    """What a text becomes, with {} in its place.

    >>> template("为这个句子生成表示：", "{}{}")
    '为这个句子生成表示：{}'
    """
    if instruction is None:
        return "{}"
    if form.count("{}") != 2:
        raise BadInput(f"An instruction's format has {{}} for the instruction and {{}} for the text, not {form!r:.60}.")
    return form.replace("\\n", "\n").replace("{}", instruction, 1)


def fill(form: str, text: str) -> str:
    """The text in its place in what `template` made."""
    before, _, after = form.rpartition("{}")
    return before + text + after


def _as_dictionaries(rows: SparseRows) -> list[LexicalWeights]:
    return [dict(zip(map(str, terms.tolist()), weights.tolist(), strict=True)) for terms, weights in rows]
