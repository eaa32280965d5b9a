"""What filters mean, and how they are written."""

from __future__ import annotations

import numpy as np
import pytest
import random_filters
from hypothesis import given

from qianru.errors import BadInput
from qianru.index.filter import And, Compare, Filter, Not, OneOf, Or, Prefix, field

CODE = {"path": "民法典/第三编 合同.txt", "year": 2020, "lang": "zh", "tags": ["法律", "合同"], "draft": False,
        "score": 0.5}


@pytest.mark.parametrize("text", [
    'path ^= "民法典/"',
    "path ^= '民法典/' and year >= 2020",
    "year = 2020.0",
    "year > 2019 and year < 2021 and year <= 2020",
    'lang in ("en", "zh")',
    'lang not in ("en", "de")',
    'tags = "合同"',
    "draft = false",
    "score > 0",
    "not missing = 1",
    "missing != 1",
    'year = 1999 or lang = "zh"',
    'path ^= "民法典/" and (year >= 2021 or lang in ("zh", "en")) and not draft = true',
    'path < "民法典/第四"',
    'lang != "en" AND NOT (year = 1 OR year = 2)',
])
def test_the_civil_code_passes(text: str) -> None:
    assert Filter.parse(text).matches(CODE)


@pytest.mark.parametrize("text", [
    'path ^= "刑法/"',
    "year > 2020",
    'year = "2020"',
    "draft = 0",
    'draft = "false"',
    "draft < 1",
    'year < "3"',
    "missing = 1",
    "missing < 1",
    'missing ^= ""',
    'lang in ()',
    'tags != "法律"',
    'not lang = "zh" or year = 1 and lang = "zh"',
])
def test_the_civil_code_does_not_pass(text: str) -> None:
    assert not Filter.parse(text).matches(CODE)


def test_a_list_passes_if_any_element_does_and_an_empty_one_never() -> None:
    both = (field("n") > 5) & (field("n") < 2)
    assert both.matches({"n": [1, 9]})
    assert not both.matches({"n": [3, 4]})
    assert not field("n").startswith("").matches({"n": []})


def test_nan_matches_nothing() -> None:
    fields = {"x": float("nan")}
    assert not ((field("x") == 0) | (field("x") < 1) | (field("x") >= 1)).matches(fields)
    assert (field("x") != 0).matches(fields)


def test_large_numbers_compare_by_value() -> None:
    assert not (field("n") == 2.0**53).matches({"n": 2**53 + 1})
    assert (field("n") > 2.0**53).matches({"n": 2**53 + 1})


def test_the_python_form_and_the_text_form_are_one() -> None:
    made = field("path").startswith("民法典/") & ((field("year") >= 2020) | field("lang").isin(["zh", "en"])) & ~(
        field("draft") == True)  # noqa: E712
    text = 'path ^= "民法典/" and (year >= 2020 or lang in ("zh", "en")) and draft != true'
    assert Filter.parse(text) == made
    assert str(made) == text


def test_not_binds_tighter_than_and_and_that_tighter_than_or() -> None:
    a, b, c = (OneOf(name, (1,)) for name in "abc")
    assert Filter.parse("not a = 1 and b = 1 or c = 1") == Or((And((Not(a), b)), c))


def test_names_of_every_sort_can_be_written() -> None:
    assert Filter.parse("`and` = 1 and `a b``c` = 2 and 年份 = 3 and a.b-c = 4") == And(
        (OneOf("and", (1,)), OneOf("a b`c", (2,)), OneOf("年份", (3,)), OneOf("a.b-c", (4,))))


def test_both_quotes_and_escapes() -> None:
    assert Filter.parse(r"""a = "it's\n\u4f60" or a = 'say "hi", it\'s' """) == Or(
        (OneOf("a", ("it's\n你",)), OneOf("a", ('say "hi", it\'s',))))


def test_numbers_of_every_sort() -> None:
    values = (-1, 2, 0.5, 1000.0, 12345678901234567890)
    assert Filter.parse("a in (-1, +2, .5, 1e3, 12345678901234567890)") == OneOf("a", values)


@given(random_filters.filters)
def test_str_and_parse_undo_each_other(made: Filter) -> None:
    again = Filter.parse(str(made))
    assert repr(again) == repr(made)     # == takes True for 1


@given(random_filters.filters, random_filters.filters, random_filters.fields)
def test_and_or_not_are_what_they_say(a: Filter, b: Filter, fields: dict[str, object]) -> None:
    left, right = a.matches(fields), b.matches(fields)
    assert (a & b).matches(fields) is (left and right)
    assert (a | b).matches(fields) is (left or right)
    assert (~a).matches(fields) is not left


@pytest.mark.parametrize(("text", "place", "why"), [
    ("", 1, "A filter is needed"),
    ("  ", 3, "A filter is needed"),
    ("year >=", 8, "A value is needed"),
    ("lang = zh", 8, "a text in quotes"),
    ("语言 = “zh”", 6, "not part of a filter"),
    ('lang = "zh', 8, "never closed"),
    ("year", 5, "One of ="),
    ("year = 1 year = 2", 10, "'and' or 'or'"),
    ("(year = 1", 10, "closing bracket"),
    ("year = 1)", 9, "'and' or 'or'"),
    ("in = 1", 1, "backquotes"),
    ('lang in "zh"', 9, "list in brackets"),
    ('lang in ("zh" "en")', 15, "comma"),
    ("lang not 1", 10, "'in' belongs"),
    ("draft < true", 7, "no order"),
    ("path ^= 1", 9, "needs a text"),
    ("x = 1e999", 5, "too large"),
    (r'x = "\q"', 5, "backslash"),
    (r'x = "\ud800"', 5, "cannot be read"),
    ("x = 2020年", 5, "not part of a filter"),
    ("(" * 101 + "x = 1" + ")" * 101, 101, "brackets"),
    ("not " * 5000 + "x = 1", 401, "brackets"),
])
def test_a_mistake_is_pointed_at(text: str, place: int, why: str) -> None:
    with pytest.raises(BadInput, match=why) as raised:
        Filter.parse(text)
    assert f"character {place})" in str(raised.value)


def test_the_caret_stands_below_the_mistake_also_after_chinese() -> None:
    with pytest.raises(BadInput) as raised:
        Filter.parse("语言 = zh")
    assert str(raised.value).splitlines()[1:] == ["    语言 = zh", "           ^"]    # two letters of two columns


@pytest.mark.parametrize("wrong", [
    lambda: field(""),
    lambda: field(3),
    lambda: field("a") == None,  # noqa: E711
    lambda: field("a") == ["b"],
    lambda: field("a") < True,
    lambda: field("a") < float("nan"),
    lambda: field("a") == float("inf"),
    lambda: field("a").isin("zh"),
    lambda: field("a").startswith(1),
    lambda: field("a") == "\ud800",
    lambda: Filter.parse(None),
    lambda: bool(field("a") == 1),
    lambda: 1 < field("a") < 3,
])
def test_what_cannot_be_a_filter_is_refused(wrong) -> None:
    with pytest.raises(BadInput):
        wrong()


def test_numpy_numbers_are_numbers() -> None:
    assert (field("n") >= np.int64(3)) == Compare("n", ">=", 3)
    assert field("n").isin([np.float32(0.5)]) == OneOf("n", (0.5,))
    assert field("n").startswith(np.str_("a")) == Prefix("n", "a")
