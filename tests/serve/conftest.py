"""Small models and one running server that many tests ask."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "models")]
torch = pytest.importorskip("torch", reason="the server's tests run transformers: pip install 'qianru[torch]'")
for module in ("fastapi", "uvicorn", "httpx"):
    pytest.importorskip(module, reason="pip install 'qianru[serve]' httpx")

from checkpoints import SMALL, bge_m3, tiny, write_bin  # noqa: E402
from live_server import live, make_server  # noqa: E402
from reranker_checkpoints import tiny_reranker  # noqa: E402

import qianru  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402
from qianru.serve.server import Server  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def here() -> Iterator[None]:
    """One thread; and clients that do not send what is meant for this machine to a proxy."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of models."""
    folder = tmp_path_factory.mktemp("models")
    return {"tiny": tiny(folder / "tiny"), "reranker": tiny_reranker(folder / "reranker")}


@pytest.fixture(scope="session")
def models(places: dict[str, Path]) -> dict[str, Any]:
    """Loaded models: a BERT of 64 tokens and 32 dimensions, and a cross-encoder."""
    return {name: qianru.load(place, Runtime("float32")) for name, place in places.items()}


@pytest.fixture(scope="session")
def m3(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Any:
    """A model with BGE-M3's three kinds, small; by its bias every token has a sparse weight."""
    folder = tmp_path_factory.mktemp("m3") / "m3"
    folder.mkdir()
    bge_m3(folder, data, {**SMALL, "vocab_size": 31998})
    head = torch.load(folder / "sparse_linear.pt", weights_only=True)
    write_bin(folder / "sparse_linear.pt", {"weight": head["weight"].numpy(), "bias": head["bias"].numpy() + 2})
    return qianru.load(folder, Runtime("float32"))


@pytest.fixture(scope="session")
def server(models: dict[str, Any]) -> Server:
    """A server of both models; not to be changed by a test."""
    return make_server(models)


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of it while it runs."""
    with live(server) as client:
        yield client


@pytest.fixture(scope="session")
def m3_client(m3: Any) -> Iterator[httpx.Client]:
    """A client of a server of the model with three kinds."""
    with live(make_server({"m3": m3})) as client:
        yield client
