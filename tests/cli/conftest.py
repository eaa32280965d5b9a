"""The command line in this process: its exit code and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from qianru.cli.app import run

NOTES = {
    "退款.md": "# 退款\n\n商品签收后七天内可以申请退款。退款会在三个工作日内退回原来的账户。\n\n"
               "# 运费\n\n质量问题由卖家承担运费。\n",
    "发票.txt": "电子发票在发货以后发送到邮箱。\n如果没有收到发票，请联系客服。\n",
    "shipping.md": "# Shipping\n\nParcels leave within two days. Large parcels need a week.\n",
}


class Result(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Qianru = Callable[..., Result]


@pytest.fixture
def qianru(capfd: pytest.CaptureFixture[str]) -> Qianru:
    """Runs one command line."""

    def call(*arguments: str | Path) -> Result:
        code = run([str(argument) for argument in arguments])
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of documents, in a directory that is the current one and holds no collection."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for name, text in NOTES.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QIANRU_COLLECTION", raising=False)
    return folder


@pytest.fixture
def indexed(notes: Path, qianru: Qianru) -> Path:
    """The same folder, indexed into .qianru beside it."""
    assert qianru("index", "notes").code == 0
    return notes
