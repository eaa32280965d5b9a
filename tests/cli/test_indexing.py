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
