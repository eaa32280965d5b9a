"""A rival for bench/serve.py: sentence-transformers behind the FastAPI that one writes in ten minutes.

    python bench/serve_plain.py FOLDER PORT float32|bfloat16 free|lock

free: FastAPI's threads call the model whenever they like;  lock: one at a time. Needs no part of Qianru.
"""

import sys
import threading
from contextlib import nullcontext

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

folder, port, precision, how = sys.argv[1:]
model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": getattr(torch, precision)})
app = FastAPI()
turn = threading.Lock() if how == "lock" else nullcontext()


class Asked(BaseModel):
    """OpenAI's body."""

    model: str
    input: str | list[str]


@app.get("/health")
def health() -> dict[str, str]:
    """Whether it is there."""
    return {"status": "ok"}


@app.post("/v1/embeddings")
def embeddings(asked: Asked) -> dict[str, object]:
    """OpenAI's answer."""
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    with turn:
        vectors = model.encode(texts, show_progress_bar=False)
    return {"object": "list", "model": asked.model,
            "data": [{"object": "embedding", "index": i, "embedding": row.tolist()} for i, row in enumerate(vectors)]}


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
