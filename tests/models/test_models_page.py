"""docs/models.md says what the catalogue says, and names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qianru.models.backbone import BACKBONES
from qianru.models.catalogue import Card, catalogue

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "models.md").read_text("utf-8")
CARDS = [card for card in catalogue() if card.kinds]      # the others are rerankers


def row(card: Card) -> str:
    """The line of the table that a card comes to."""
    sides = [name for name, text in (("query", card.query), ("document", card.document),
                                     ("instruction", card.instruction)) if text]
    kinds = " + ".join(card.kinds)
    size = "by its Dense" if card.dim is None else str(card.dim)
    if card.any_dim_from is not None:
        size += f", any from {card.any_dim_from}"
    facts = (f"`{card.name}`", card.family, card.pooling or "-", kinds, size, str(card.max_tokens or "-"),
             ", ".join(sides) or "-", ", ".join(card.languages), card.licence or "unknown")
    return f"| {' | '.join(facts)} |"


def test_the_page_lists_every_card_as_it_is_and_no_other() -> None:
    told = re.findall(r"^\| `[^`]+` \|.*$", PAGE.split("## Families")[0], re.MULTILINE)
    assert told == [row(card) for card in CARDS], "write into docs/models.md:\n" + "\n".join(map(row, CARDS))


def test_the_page_speaks_of_every_family() -> None:
    families = PAGE.split("## Families")[1].split("\n## ")[0]
    for family in BACKBONES:
        assert f"`{family}`" in families


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w./:]+)`", PAGE))))
def test_every_test_that_the_page_names_is_there(path: str) -> None:
    file, _, name = path.partition("::")
    assert (ROOT / file).exists()
    assert not name or f"def {name}(" in (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize("path", re.findall(r"\]\(([\w.-]+\.md)[#)]", PAGE))
def test_every_page_that_it_links_is_there(path: str) -> None:
    assert (ROOT / "docs" / path).exists()
