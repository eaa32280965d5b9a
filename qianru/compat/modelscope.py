"""ModelScope's spellings: pipeline(Tasks.sentence_embedding, model=…)(input={…}) for GTE.

What differs, on purpose: texts longer than sequence_length are told of in a warning, not cut in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qianru.compat.loading import NO_PROMPTS, device_of, limited, open_model
from qianru.errors import BadInput, UnknownName
from qianru.models.base import as_texts
from qianru.runtime.options import Runtime

SEQUENCE_LENGTH = 128      # ModelScope's


class Tasks:
    """The tasks that there are here."""

    sentence_embedding = "sentence-embedding"


class SentenceEmbeddingPipeline:
    """A model, called with texts; pipeline makes it."""

    def __init__(self, model: str | Path, sequence_length: int, device: str) -> None:
        runtime = Runtime("float32", device_of(device) or "auto")
        self.model = limited(open_model(model, runtime).altered(prompts=NO_PROMPTS), sequence_length)

    def __call__(self, input: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Vectors and scores.

        input: {"source_sentence": texts, "sentences_to_compare": texts or left out}
        returns {"text_embedding": (n, dim) of the sources, then of the others, "scores": the first source's dot
            product with each of the others}
        """
        if not isinstance(input, Mapping) or "source_sentence" not in input:
            raise BadInput('The input is {"source_sentence": [texts], "sentences_to_compare": [texts]}; the second may '
                           "be left out.")
        for name in input:
            if name not in ("source_sentence", "sentences_to_compare"):
                raise UnknownName("input", name, ["source_sentence", "sentences_to_compare"])
        sources, others = as_texts(input["source_sentence"]), as_texts(input.get("sentences_to_compare") or [])
        if others and not sources:
            raise BadInput("There is no source_sentence to compare the others with.")
        vectors = self.model.encode([*sources, *others], kinds=["dense"]).dense
        assert vectors is not None
        compared = (vectors[:1] @ vectors[len(sources) :].T)[0].tolist() if others else []
        return {"text_embedding": vectors, "scores": compared}


def pipeline(
    task: str, model: str | Path, sequence_length: int = SEQUENCE_LENGTH, device: str = "gpu"
) -> SentenceEmbeddingPipeline:
    """What embeds texts with that model; UnknownName for any task but Tasks.sentence_embedding.

    device: "gpu" if there is one, "cpu", "cuda:0"
    """
    if task != Tasks.sentence_embedding:
        raise UnknownName("task", task, [Tasks.sentence_embedding])
    return SentenceEmbeddingPipeline(model, sequence_length, device)
