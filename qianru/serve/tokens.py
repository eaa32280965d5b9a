"""Tokens for people to look at: what a text is read as, and how the tokens of two texts answer each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qianru.models.transformer import Transformer
from qianru.text.normalize import clean
from qianru.types import Embeddings, FloatArray, Role


def token_rows(model: Transformer, texts: Sequence[str], role: Role, special: bool) -> list[list[dict[str, Any]]]:
    """For each text its tokens as TEI tells them; start and stop in characters of the prompt and text, None of special
    tokens."""
    reader = model.tokenizer
    prompt = model.prompts.before(role, None)
    cleaned = [clean(prompt + text) for text in texts]
    lowered = [text.lower() for text in cleaned] if reader.lower_case else cleaned
    rows: list[list[dict[str, Any]]] = []
    for text, read in zip(cleaned, reader.tokenizer.encode_batch(lowered, add_special_tokens=False), strict=True):
        own = [{"id": id, "text": text[start:end] or token, "special": False, "start": start, "stop": end}
               for id, token, (start, end) in zip(read.ids, read.tokens, read.offsets, strict=True)]
        rows.append([*_special(reader, reader.prefix), *own, *_special(reader, reader.suffix)] if special else own)
    return rows


def _special(reader: Any, ids: Sequence[int]) -> list[dict[str, Any]]:
    return [{"id": id, "text": reader.tokenizer.id_to_token(id), "special": True, "start": None, "stop": None}
            for id in ids]


def tokens_of(
    model: Transformer, text: str, role: Role, made: Embeddings
) -> tuple[list[str], FloatArray]:
    """(n,) tokens of a text as people read them, without special ones and the prompt, and their (n, d) unit vectors.

    made: the text's vectors, of the kind multi or tokens
    """
    reader = model.tokenizer
    names = model.tokens([text], role=role)[0]
    prompt = model.prompts.before(role, None)
    first = reader.prompt_length(prompt) or len(reader.prefix)
    last = len(names) - len(reader.suffix)
    if made.multi is not None:          # [CLS] has none
        vectors = made.multi.row(0)
        shift = len(names) - len(vectors)
        return names[first:last], vectors[first - shift : last - shift]
    assert made.tokens is not None
    states = made.tokens.row(0)[first:last]
    lengths = np.linalg.norm(states, axis=1, keepdims=True)
    return names[first:last], states / np.where(lengths > 0, lengths, 1)
