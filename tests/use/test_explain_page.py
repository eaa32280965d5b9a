"""What made the scores, drawn: nothing is left out, nothing hostile comes through."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from qianru.errors import BadInput, StorageFailed
from qianru.index.explanation import Alignment, Explanation, TokenPair, Word
from qianru.types import Hit
from qianru.use.explain_page import write_explanations

TEXT = "床前<明月>光。疑是地上霜。"
HIT = Hit("诗<1>", TEXT, {}, 1.5, {"sparse": 1.5}, {"sparse": 1})
WORDS = Explanation("明月", "诗<1>", {"sparse": 1.5}, [Word("明月", 1.0), Word("月", 0.5)], snippet=(0, 8))
ALIGNED = Explanation("明月", "诗<1>", {"multi": 0.8}, snippet=(0, 8), alignment=Alignment(
    ["明", "月"], ["<s>", "明", "月"], np.array([[0.1, 0.9, 0.2], [0.0, 0.3, 0.7]]),
    [TokenPair("明", "明", 0.9), TokenPair("月", "月", 0.7)]))


class Reader(HTMLParser):
    """The text and the tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def test_a_page_shows_passage_scores_words_and_tokens(tmp_path: Path) -> None:
    write_explanations(tmp_path / "why.html", "明月", [(HIT, WORDS), (HIT, ALIGNED)], [[(3, 5)], [(3, 5)]])
    page = read(tmp_path / "why.html")
    assert page.text.count(TEXT) == 2
    assert "sparse 1.5000 (rank 1)" in page.text
    assert "明月 +1.000, 月 +0.500" in page.text
    cells = [attrs for tag, attrs in page.tags if tag == "td"]
    assert [cell["title"] for cell in cells] == ["0.100", "0.900", "0.200", "0.000", "0.300", "0.700"]
    assert ["outline" in str(cell["style"]) for cell in cells] == [False, True, False, False, False, True]
    assert not {"script", "link", "img", "s"} & {tag for tag, _ in page.tags}      # nothing from elsewhere


@pytest.mark.parametrize("why", [WORDS, ALIGNED])
def test_a_picture_is_drawn_of_words_or_tokens(tmp_path: Path, why: Explanation) -> None:
    pytest.importorskip("matplotlib")
    write_explanations(tmp_path / "why.svg", "明月", [(HIT, why)], [[]])
    assert "明" in (tmp_path / "why.svg").read_text(encoding="utf-8") or (tmp_path / "why.svg").stat().st_size > 5_000


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    bare = Explanation("明月", "诗<1>", {"dense": 0.5})
    with pytest.raises(BadInput, match=r"A page \(.html\) shows"):
        write_explanations(tmp_path / "why.png", "明月", [(HIT, bare)], [[]])
    with pytest.raises(BadInput, match="nothing was found"):
        write_explanations(tmp_path / "why.png", "明月", [], [])
    write_explanations(tmp_path / "new" / "why.html", "明月", [(HIT, bare)], [[]])
    assert "dense 0.5000" in read(tmp_path / "new" / "why.html").text
    with pytest.raises(StorageFailed, match="could not be written"):
        write_explanations(tmp_path / "new" / "why.html" / "why.html", "明月", [(HIT, bare)], [[]])
