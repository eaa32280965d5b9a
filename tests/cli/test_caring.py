"""check, compact, reembed, snapshot and restore on the command line."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from .conftest import Qianru

pytestmark = pytest.mark.usefixtures("indexed")


def test_a_whole_collection_is_clean_and_a_damaged_one_is_named(qianru: Qianru, tmp_path: Path) -> None:
    told = qianru("check", "--json")
    assert (told.code, told.json()["clean"]) == (0, True)
    assert "all is as it was written" in qianru("check").out
    with sqlite3.connect(tmp_path / ".qianru" / "collection.sqlite") as database:
        database.execute("UPDATE meta SET value = 5 WHERE key = 'n_tokens'")
        database.execute("UPDATE documents SET text = '假' WHERE n = 1")
    database.close()
    told = qianru("check", ".qianru")
    assert told.code == 1
    assert "error: document '" in told.err
    assert "restore a snapshot" in told.err
    with sqlite3.connect(tmp_path / ".qianru" / "collection.sqlite") as database:
        database.execute("DELETE FROM documents WHERE n = 1")
    database.close()
    told = qianru("check", "--repair")
    assert told.code == 0
    assert "repaired: 1 rows of vectors belong to no document" in told.out
    assert qianru("check").code == 0


def test_a_collection_goes_into_a_file_and_comes_back(qianru: Qianru, tmp_path: Path) -> None:
    told = qianru("snapshot", ".qianru", "notes.tar", "--json")
    assert told.json()["n_documents"] == qianru("count", "--json").json()["count"]
    assert "holds" in qianru("restore", "notes.tar", "copy").out
    assert qianru("search", "退款", "-c", "copy", "--json").json() == qianru("search", "退款", "--json").json()
    assert qianru("restore", "notes.tar", "copy").code == 1
    assert "exists already" in qianru("snapshot", ".qianru", "notes.tar").err


def test_another_model_takes_over(qianru: Qianru) -> None:
    assert qianru("fit", "word2vec", "notes", "-o", "w2v", "--min-count", "1").code == 0
    told = qianru("reembed", ".qianru", "-m", "bm25", "-m", "w2v", "--json")
    assert told.code == 0, told.err
    assert told.json()["n_embedded"] == qianru("count", "--json").json()["count"]
    assert qianru("info", "--json").json()["kinds"] == ["dense", "sparse"]
    assert qianru("search", "退款").code == 0
    told = qianru("reembed", ".qianru")
    assert (told.code, "is not being re-embedded" in told.err) == (1, True)
    assert "Nothing was interrupted" in qianru("reembed", "--stop").out
    assert qianru("reembed", "--stop", "-m", "bm25").code == 1


def test_compacting_says_what_it_saved(qianru: Qianru) -> None:
    told = qianru("compact", "--json").json()
    assert 0 < told["bytes_after"] <= told["bytes_before"] * 1.5
    assert "takes" in qianru("compact", ".qianru").out
    assert qianru("check").code == 0
