"""Pairs of texts -> rows of token ids, as a cross-encoder reads them.

    BERT           [CLS] query [SEP] document [SEP]        types 0 0 0 1 1
    XLM-RoBERTa    <s> query </s> </s> document </s>       types all 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from qianru.errors import BadInput, SpecMismatch, UnknownName
from qianru.models.tokenizer import SAMPLE, TextTokenizer
from qianru.types import IntArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left out of a pair that is too long; never special tokens.

    which: "longest": of the longer text until both are equally long, as transformers and sentence-transformers do;
        "document": of the document only
    max_query_tokens: a query is cut to so many tokens before that; None for no limit of its own
    FlagEmbedding's is Cut("document", max_tokens * 3 // 4).
    """

    which: Literal["longest", "document"] = "longest"
    max_query_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.which not in ("longest", "document"):
            raise UnknownName("way to cut pairs", str(self.which), ["longest", "document"])
        if self.max_query_tokens is not None and self.max_query_tokens < 1:
            raise BadInput(f"A query keeps at least one token, not {self.max_query_tokens}.")

    def lengths(self, n_query: int, n_document: int, room: int) -> tuple[int, int]:
        """How many tokens are kept of each, together at most `room`.

        BadInput if only the document may be cut and the query alone leaves it nothing.

        >>> Cut().lengths(10, 90, 50), Cut().lengths(40, 40, 51), Cut("document", 30).lengths(40, 40, 51)
        ((10, 40), (25, 26), (30, 21))
        """
        n_query = min(n_query, self.max_query_tokens or n_query)
        if n_query + n_document <= room:
            return n_query, n_document
        if self.which == "document":
            if n_query >= room:
                raise BadInput(f"A query has {n_query} tokens, and query and document together have room for {room}: "
                               "nothing of the document would be read. Shorten it, or cut the longest instead.")
            return n_query, room - n_query
        short, long = sorted((n_query, n_document))
        if short + short >= room:      # both are cut; the odd token goes to the longer, of equals to the document
            short, long = room // 2, room - room // 2
        else:
            long = room - short
        return (long, short) if n_query > n_document else (short, long)


@dataclass(frozen=True, slots=True, eq=False)
class PairTokens:
    """rows: the ids of n pairs, cut;  types: 0 or 1 for each id
    n_tokens: (n,) of both texts before any cut, without special tokens;  n_cut: how many pairs were cut
    """

    rows: list[IntArray]
    types: list[IntArray]
    n_tokens: IntArray
    n_cut: int


class PairTokenizer:
    """query, document -> before, query, between, document, after: at most max_tokens of them."""

    def __init__(self, texts: TextTokenizer, cut: Cut | None = None) -> None:
        self.texts, self.cut = texts, cut or Cut()
        self.before, self.between, self.after, self.types = _frame(texts.tokenizer)
        self.room = texts.max_tokens - len(self.before) - len(self.between) - len(self.after)
        if self.room < 2:
            raise SpecMismatch(f"max_tokens is {texts.max_tokens}, and the special tokens of a pair leave {self.room} "
                               "for two texts. Use a larger one.")

    @property
    def n_types(self) -> int:
        """2 if the second text is told apart from the first, else 1."""
        before, query, between, document, after = self.types
        return 1 + max(*before, query, *between, document, *after)

    @property
    def max_tokens(self) -> int:
        """Of a pair, the special ones among them."""
        return self.texts.max_tokens

    def rows(self, pairs: Sequence[tuple[str, str]]) -> PairTokens:
        """The rows of the pairs; a text may be empty."""
        queries = self.texts.ids([query for query, _ in pairs])
        documents = self.texts.ids([document for _, document in pairs])
        rows: list[IntArray] = []
        types: list[IntArray] = []
        n_tokens = np.zeros(len(pairs), np.int64)
        n_cut = 0
        for i, (query, document) in enumerate(zip(queries, documents, strict=True)):
            n_tokens[i] = len(query) + len(document)
            kept = self.cut.lengths(len(query), len(document), self.room)
            n_cut += sum(kept) < len(query) + len(document)
            parts = (self.before, query[: kept[0]], self.between, document[: kept[1]], self.after)
            rows.append(np.array([token for part in parts for token in part], np.int64))
            lengths = (len(self.before), kept[0], len(self.between), kept[1], len(self.after))
            types.append(self._types(lengths))
        return PairTokens(rows, types, n_tokens, n_cut)

    def _types(self, lengths: tuple[int, int, int, int, int]) -> IntArray:
        before, query, between, document, after = self.types
        parts = (before, [query] * lengths[1], between, [document] * lengths[3], after)
        return np.array([number for part in parts for number in part], np.int64)


Types = tuple[list[int], int, list[int], int, list[int]]


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int], list[int], Types]:
    """The special tokens before, between and after two texts, and the types of all five parts."""
    bare = tokenizer.encode(SAMPLE, add_special_tokens=False).ids
    framed = tokenizer.encode(SAMPLE, SAMPLE, add_special_tokens=True)
    n, ids, kinds = len(bare), framed.ids, framed.type_ids
    places = [at for at in range(len(ids) - n + 1) if ids[at : at + n] == bare]
    if len(places) == 2 and places[1] >= places[0] + n:
        one, other = places
        parts = (slice(0, one), slice(one + n, other), slice(other + n, None))
        before, between, after = (ids[part] for part in parts)
        if between and tokenizer.encode("", "", add_special_tokens=True).ids == before + between + after:
            types = (kinds[parts[0]], kinds[one], kinds[parts[1]], kinds[other], kinds[parts[2]])
            return before, between, after, types
    raise SpecMismatch("This tokenizer does not say how two texts are joined with special tokens between them, which a "
                       "reranker needs. Download the folder again.")
