"""Models by name: from the cache alone, with what the catalogue knows, and never by a guess."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from checkpoints import tiny
from numpy.testing import assert_array_equal
from servers import EmbeddingServer, HubServer, serving

pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

import qianru
from qianru.errors import BadFile, BadInput, SpecMismatch, UnknownName
from qianru.models import named
from qianru.models.catalogue import Card
from qianru.models.download import download
from qianru.models.remote import RemoteModel
from qianru.models.transformer import Transformer
from qianru.types import FloatArray

TEXTS = ["床前明月光", "疑是地上霜"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub with a tiny model by a name that nobody knows and by one that the catalogue does."""
    made = tiny(tmp_path / "made")
    files = {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    server = HubServer({"somebody/tiny": files, "moka-ai/m3e-base": files})
    with serving(server.handler()) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("QIANRU_CACHE", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)
        yield server


def vectors(model: qianru.models.base.Model, role: str = "document") -> FloatArray:
    dense = model.encode(TEXTS, role=role).dense     # type: ignore[arg-type]
    assert dense is not None
    return dense


def test_a_downloaded_model_is_loaded_by_its_name_without_the_hub(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"not on this machine. Download it with: qianru download somebody/tiny$"):
        qianru.load("somebody/tiny")
    assert hub.tokens == []
    download("somebody/tiny")
    hub.tokens.clear()
    assert_array_equal(vectors(qianru.load("somebody/tiny")), vectors(Transformer.load(tmp_path / "made")))
    assert hub.tokens == []


def test_a_folder_of_that_name_goes_before_a_download(hub: HubServer, tmp_path: Path) -> None:
    qianru.models.bm25.BM25().save(tmp_path / "somebody" / "tiny")
    assert qianru.load("somebody/tiny").spec.family == "bm25"


def test_another_model_under_a_known_name_is_refused(hub: HubServer) -> None:
    folder = download("m3e-base")
    with pytest.raises(SpecMismatch, match=r"hidden_size = \d+; m3e-base has 768. It is the folder of another model"):
        qianru.load("m3e-base")
    with pytest.raises(SpecMismatch, match="m3e-base has 768"):
        qianru.load(folder)           # by its path as well: the folder knows where it came from


def test_what_the_catalogue_knows_is_added_to_the_files(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card("tiny", "bert", {"huggingface": "somebody/tiny"}, query="为这个句子生成表示：")
    folder = download("somebody/tiny")
    bare = qianru.load(folder)
    monkeypatch.setattr(named, "known", lambda name: card if name == "somebody/tiny" else None)
    prompted = qianru.load(folder)
    assert prompted.spec.name == "tiny"
    assert_array_equal(vectors(prompted), vectors(bare))
    assert np.abs(vectors(prompted, "query") - vectors(bare, "query")).max() > 1e-3


def test_pooling_is_the_folders_own_and_else_the_cards(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card("tiny", "bert", {"huggingface": "somebody/tiny"}, pooling="cls", normalized=True)
    monkeypatch.setattr(named, "known", lambda name: card if name == "somebody/tiny" else None)
    assert "modules.json" in hub.models["somebody/tiny"]
    own = qianru.load(download("somebody/tiny"))
    assert isinstance(own, Transformer)
    assert own.recipe.pooling == ("mean",)
    for path in [path for path in hub.models["somebody/tiny"] if path == "modules.json" or "/" in path]:
        del hub.models["somebody/tiny"][path]
    bare = qianru.load(download("somebody/tiny"))
    assert isinstance(bare, Transformer)
    assert bare.recipe.pooling == ("cls",)
    assert np.linalg.norm(vectors(bare), axis=1) == pytest.approx(1)


def test_a_name_that_is_nearly_known_is_answered_with_the_right_one() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'm3e-base'"):
        qianru.load("m3e-bsae")


def test_a_remote_model_is_loaded_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddingServer()
    with serving(server.handler()) as address:
        monkeypatch.setenv("OPENAI_BASE_URL", address + "/v1")
        model = qianru.load("remote:my-model")
        assert isinstance(model, RemoteModel)
        assert server.bodies == []                       # loading opens no connection
        assert_array_equal(vectors(model), [server.vector(text, 6) for text in TEXTS])
    with pytest.raises(BadInput, match=r"asked over HTTP. Use it as remote:text-embedding-3-large"):
        qianru.load("text-embedding-3-large")
