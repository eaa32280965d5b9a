"""Citations: found in every form, in one form afterwards, torn by no chunk, and marked where nothing stands behind."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from qianru.text.context import Found, pack
from qianru.use.ask.citations import Citation, Marker, with_lines, without_citations

FORMS = ["[1]", "[1][2]", "[1,2]", "【1】", "［２］", "[1-3]", "[1–2]", "【1、3】", "[ 2 ]", "[来源1]", "[Passage 2]",
         "[^1]", "[9]", "[0]", "[3，12]", "[1-900]", "[2?]", "【1†说明】"]
PLAIN = ["七天", "，", "\n", "[", "]", "【", "[注]", "[1.5]", "a[i]", "[2024年]", " ", "[]", "ok. "]
ANSWERS = st.lists(st.sampled_from(FORMS + PLAIN), max_size=12).map("".join)


def marked(text: str, n: int = 3, cuts: list[int] | None = None) -> tuple[str, list[Citation]]:
    marker = Marker(n)
    ends = [0, *sorted(cuts or []), len(text)]
    told = "".join(marker.feed(text[a:b]) for a, b in pairwise(ends))
    return told + marker.close(), marker.citations


@pytest.mark.parametrize(("said", "told"), [
    ("[1]", "[1]"), ("[1,2]", "[1][2]"), ("【1】【3】", "[1][3]"), ("［２］", "[2]"), ("[1-3]", "[1][2][3]"),
    ("[1、3]", "[1][3]"), ("[1 2]", "[1][2]"), ("[来源 2]", "[2]"), ("[passage 1]", "[1]"), ("[^2]", "[2]"),
    ("【2†退款.md】", "[2]"), ("[4]", "[4?]"), ("[0]", "[0?]"), ("[1,7]", "[1][7?]"), ("[2-5]", "[2][3][4?][5?]"),
    ("[1-900]", "[1][900?]"), ("[2?]", "[2]"), ("[第3号]", "[3]"), ("[第7号]", "[7?]"),
])
def test_every_form_becomes_one_and_invented_numbers_are_marked(said: str, told: str) -> None:
    assert marked(f"七天{said}。")[0] == f"七天{told}。"


@pytest.mark.parametrize("said", ["[注]", "[1.5]", "[2024年5月]", "[]", "[a]", "[1", "1]", "[[", "[见下\n1]", "[1+1]"])
def test_other_brackets_stay_as_they_are(said: str) -> None:
    assert marked(said) == (said, [])


@given(ANSWERS, st.data())
@settings(max_examples=100, deadline=None)
def test_no_way_of_cutting_the_stream_changes_anything(text: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    assert marked(text, cuts=cuts) == marked(text)
    assert marked(text, cuts=list(range(len(text)))) == marked(text)


@given(ANSWERS)
@settings(max_examples=50, deadline=None)
def test_every_citation_resolves_or_is_marked(text: str) -> None:
    told, citations = marked(text)
    for cited in citations:
        assert told[cited.start : cited.end] == (f"[{cited.number}]" if cited.resolved else f"[{cited.number}?]")
        assert cited.resolved == (1 <= cited.number <= 3)
    spans = {(cited.start, cited.end) for cited in citations}
    assert all(found.span() in spans for found in re.finditer(r"\[\d+\]", told))


def test_long_answers_with_planted_inventions_are_all_caught() -> None:
    random.seed(7)
    n_planted = n_marked = 0
    for _ in range(200):
        numbers = [random.choice([1, 2, 3, 4, 5, 17, 99]) for _ in range(6)]
        forms = random.choices(["[{}]", "【{}】", "［{}］", "[来源{}]"], k=6)
        text = "".join(f"第{i}句话。{form.format(n)}" for i, (n, form) in enumerate(zip(numbers, forms, strict=True)))
        told, citations = marked(text, 3, [random.randrange(len(text)) for _ in range(20)])
        assert [cited.number for cited in citations] == numbers
        n_planted += sum(n > 3 for n in numbers)
        n_marked += len(re.findall(r"\[\d+\?\]", told))
    assert n_planted == n_marked > 500


def test_text_that_is_quoted_holds_no_citations_of_ours() -> None:
    marker = Marker(2)
    told = marker.quote("参见[1]。") + marker.feed("[2]")
    assert told == "参见[1]。[2]"
    assert marker.citations == [Citation(2, 6, 9, True)]


def test_a_citation_means_the_line_of_the_sentence_that_says_so() -> None:
    found = Found("# 退款\n签收后七天内可以申请退款。\n退款三个工作日到账。", "a", 1, 10)
    stretches = pack("退款", [found], 99, count=len)
    answer, citations = marked("退款三天到账[1]。七天内可以申请[1][2]。", n=1)
    placed = with_lines(citations, answer, stretches)
    assert [(cited.number, cited.line) for cited in placed] == [(1, 12), (1, 11), (2, None)]


def test_old_citations_are_taken_out_of_what_was_said() -> None:
    assert without_citations("七天[1][2]，见[注]。[9?]") == "七天，见[注]。"
