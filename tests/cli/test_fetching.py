"""qianru models and qianru download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import HubServer, serving

from .conftest import Qianru

FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"weights" * 1000}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    server = HubServer({"moka-ai/m3e-base": dict(FILES)})
    with serving(server.handler()) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("QIANRU_CACHE", str(tmp_path / "cache"))
        yield server


def test_models_is_a_table_of_what_is_known(qianru: Qianru, hub: HubServer) -> None:
    code, out, err = qianru("models")
    assert code == 0
    assert err == ""
    [line] = [line for line in out.splitlines() if line.startswith("m3e-base ")]
    assert line.split() == ["m3e-base", "768", "512", "102M", "zh,", "en", "non-commercial"]


def test_models_as_json_says_only_what_is_known(qianru: Qianru, hub: HubServer) -> None:
    cards = {card["name"]: card for card in qianru("models", "--json").json()}
    assert cards["bge-m3"]["kinds"] == ["dense", "sparse", "multi"]
    assert cards["m3e-base"]["normalized"] is False
    assert "normalized" not in cards["gte-base-zh"]
    assert hub.tokens == []         # a list of names opens no connection


def test_download_prints_the_folder_and_the_model_is_here(qianru: Qianru, hub: HubServer) -> None:
    code, out, err = qianru("download", "m3e-base")
    assert code == 0
    assert (Path(out.strip()) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert err == "Use it by its name: --model m3e-base\n"
    assert {card["name"] for card in qianru("models", "--json").json() if card["here"]} == {"m3e-base"}
    assert qianru("download", "m3e-base", "--offline", "--json").json() == {"name": "m3e-base", "path": out.strip()}


def test_what_cannot_be_downloaded_is_one_line_and_exit_code_1(qianru: Qianru, hub: HubServer) -> None:
    code, out, err = qianru("download", "m3e-base", "--from", "hugingface")
    assert (code, out) == (1, "")
    assert err.startswith("error: There is no source of models 'hugingface'. Did you mean 'huggingface'?")
    assert qianru("download", "m3e-small", "--offline").err == (
        "error: m3e-small is not on this machine. Download it with: qianru download m3e-small\n")
