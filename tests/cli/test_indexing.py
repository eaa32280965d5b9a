"""What `qianru index` leaves behind: an engine that is ready, and nothing where nothing could be read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from qianru.index.collection import Collection
from qianru.index.follower import Follower

from .conftest import Qianru


def test_after_index_the_first_search_has_nothing_to_catch_up(
    indexed: Path, qianru: Qianru, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught_up = []
    catch_up = Follower.catch_up

    def watched(self: Follower, progress: object = None) -> None:
        catch_up(self, lambda done, total: caught_up.append(done))

    monkeypatch.setattr(Follower, "catch_up", watched)
    assert qianru("search", "退款").code == 0
    assert caught_up == []


@pytest.mark.parametrize("wrong", [["nots"], ["empty"], ["notes", "--encoding", "utf-9"], ["notes", "nots"]])
def test_a_first_index_of_nothing_leaves_no_collection_behind(
    notes: Path, qianru: Qianru, wrong: list[str]
) -> None:
    (notes.parent / "empty").mkdir()
    result = qianru("index", *wrong)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert len(result.err.splitlines()) == 1
    assert not (notes.parent / ".qianru").exists()


def test_ctrl_c_while_the_search_is_prepared_ends_at_once_and_loses_nothing(
    notes: Path, qianru: Qianru, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def pressed(self: Follower, progress: object = None) -> None:
        calls.append(1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Follower, "catch_up", pressed)
        assert qianru("index", "notes").code == 130
    assert len(calls) == 1                 # closing does not begin it again
    with caplog.at_level(logging.WARNING), Collection.open(notes.parent / ".qianru") as library:
        assert library.search("退款", 1)[0].fields["path"] == "notes/退款.md"
    assert not caplog.records


def test_a_passage_is_shown_by_a_path_that_leads_to_its_file_from_here(
    indexed: Path, qianru: Qianru, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = indexed.parent / ".qianru"

    def shown() -> str:
        return str(qianru("search", "退款", "-k", "1", "--json", "-c", library).json()["hits"][0]["source"])

    assert shown() == "notes/退款.md:1"
    monkeypatch.chdir(indexed)
    assert shown() == "退款.md:1"
    (indexed / "elsewhere").mkdir()
    monkeypatch.chdir(indexed / "elsewhere")
    assert shown() == f"{indexed / '退款.md'}:1"
    (indexed / "退款.md").unlink()
    assert shown() == "notes/退款.md:1"          # as it was stored: nothing is there any more


@pytest.mark.parametrize("command", [["search", "退款"], ["count"], ["list"], ["ask", "退款"]])
def test_a_misspelt_field_in_a_filter_that_passes_nothing_is_told(
    indexed: Path, qianru: Qianru, command: list[str]
) -> None:
    result = qianru(*command, "--where", 'paht ^= "notes/"')
    assert result.code == 0
    assert "warning: There is no field 'paht'. Did you mean 'path'?" in result.err
    assert "warning" not in qianru(*command, "--where", 'path ^= "other/"').err


def test_a_second_search_beside_the_first_is_not_told_of_writing(indexed: Path, qianru: Qianru) -> None:
    with Collection.open(indexed.parent / ".qianru"):
        result = qianru("search", "退款", "-k", "1")
    assert result.code == 0
    assert "退款" in result.out
    assert result.err == ".qianru is in use by another program; reading what is stored so far.\n"


def test_a_first_index_that_fails_leaves_no_empty_collection(notes: Path, qianru: Qianru) -> None:
    (notes / "术语.csv").write_text("术语,解释\n分词,把句子切成词\n", encoding="utf-8")
    result = qianru("index", "notes/术语.csv", "--text-columns", "说明")
    assert (result.code, "说明" in result.err) == (1, True)
    assert not (notes.parent / ".qianru").exists()
    assert qianru("index", "notes/术语.csv", "--text-columns", "解释").code == 0
    assert qianru("index", "notes/术语.csv", "--text-columns", "说明").code == 1
    assert qianru("count").out == "1\n"


def test_a_plan_that_weighs_what_no_model_makes_is_refused_before_anything_is_read(notes: Path, qianru: Qianru) -> None:
    result = qianru("index", "notes", "--plan", "hybrid")
    assert (result.code, result.out) == (1, "")
    assert "weighs dense vectors, and this collection stores sparse ones alone" in result.err
    assert not (notes.parent / ".qianru").exists()
    assert qianru("index", "notes", "--plan", "weighted").code == 0


def test_few_dense_vectors_need_no_graph(indexed: Path, qianru: Qianru) -> None:
    assert qianru("optimize", "--json").json()["built"] is False
    assert "too few" in qianru("optimize").out
