"""ModelScope's dictionary of the task sentence-embedding, over HTTP. It cuts long texts, and so it is done here."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from qianru.errors import BadInput
from qianru.serve.answers import plain
from qianru.serve.asking import answered, asked, embed
from qianru.serve.forms import Direct, Form, answers, takes
from qianru.serve.lanes import Ask
from qianru.serve.server import server_of

router = APIRouter(tags=["ModelScope"], route_class=Direct)


class Dictionary(Form):
    """What the pipeline is called with."""

    source_sentence: list[str] = Field(min_length=1)
    sentences_to_compare: list[str] = Field(default=[])


class PipelineAsked(Form):
    """The dictionary, bare or as "input"."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"source_sentence": ["吃完海鲜可以喝牛奶吗?"], "sentences_to_compare": ["不可以，早晨喝牛奶不科学"]}]})

    input: Dictionary | None = None
    source_sentence: list[str] | None = Field(None, min_length=1)
    sentences_to_compare: list[str] = Field(default=[])
    model: str | None = Field(None, description="Ours. The first one that makes vectors, unless it is said.")

    def dictionary(self) -> Dictionary | None:
        """What was given, in either form."""
        if self.input is None and self.source_sentence is not None:
            return Dictionary(source_sentence=self.source_sentence, sentences_to_compare=self.sentences_to_compare)
        return self.input


@router.post("/pipelines/sentence-embedding", openapi_extra=takes(PipelineAsked), responses=answers(
    {"text_embedding": [[0.0123, -0.0456], [0.01, 0.02]], "scores": [0.86]}))
async def sentence_embedding(request: Request) -> Response:
    """The vectors of the sources, then of the others, and the first source's dot product with each of the others."""
    given = (body := await asked(request, PipelineAsked)).dictionary()
    if given is None:
        raise BadInput('The body is {"source_sentence": [texts], "sentences_to_compare": [texts]}; the second may be '
                       "left out.")
    served, lane = server_of(request).models.embedder(body.model)
    texts = [*given.source_sentence, *given.sentences_to_compare]
    made = await embed(request, served, lane, texts, Ask(), truncate=True)
    dense = made.dense
    assert dense is not None
    others = dense[len(given.source_sentence) :]
    return await answered(request, dense.size,
                          lambda: {"text_embedding": plain(dense), "scores": plain(others @ dense[0])})
