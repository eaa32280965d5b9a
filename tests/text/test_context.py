"""Contexts: within their budget whatever it is, nothing twice, neighbours together, lines right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from qianru.errors import BadInput
from qianru.text.chunk import chunk
from qianru.text.context import Found, pack, pack_each, whole
from qianru.text.read.source import Source

TEXT = ("# 退款\n商品签收后七天内可以申请退款。退款会在三个工作日内退回原来的账户。\n\n"
        "运费由买家承担。质量问题由卖家承担运费。\n发票随货寄出。")
SHARED = st.text(alphabet="退款运费七天，。！\n a", max_size=60)


def passages(text: str, document: str = "a", max_chars: int = 30) -> list[Found]:
    return [Found(piece.text, document, number, piece.line)
            for number, piece in enumerate(chunk(Source(document, text), max_chars=max_chars), 1)]


@given(query=SHARED, texts=st.lists(SHARED, max_size=6), budget=st.integers(1, 80), step=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_no_context_is_larger_than_its_budget(query: str, texts: list[str], budget: int, step: int) -> None:
    found = [Found(text, f"d{i % 2}", i * step, i) for i, text in enumerate(texts)]
    for stretches in (pack(query, found, budget, count=len), whole(found, budget, count=len, cut=True)):
        assert sum(len(stretch.text) for stretch in stretches) <= budget


@given(texts=st.lists(SHARED, max_size=5))
@settings(max_examples=25, deadline=None)
def test_sentences_stand_where_they_are_said_to(texts: list[str]) -> None:
    found = [Found(text, "d", i, 1) for i, text in enumerate(texts)]
    for stretch in pack("退款", found, 1000, count=len):
        told = [stretch.text[one.start : one.end] for one in stretch.sentences]
        assert all(any(sentence in text for text in texts) for sentence in told)
        assert re.sub(r"\s", "", "".join(told)) == re.sub(r"[\s…]", "", stretch.text)


def test_passages_that_share_sentences_come_back_as_their_document() -> None:
    found = passages(TEXT)
    assert len(found) > 2
    (stretch,) = pack("退款", found[::-1], 1000, count=len)
    assert re.sub(r"\s", "", stretch.text) == re.sub(r"\s", "", TEXT)
    assert stretch.line == 1


def test_the_sentence_that_fits_is_taken_from_a_passage_far_down() -> None:
    found = [Found(f"第{i}条说的是别的事情，与此没有关系。", f"d{i}") for i in range(20)]
    found.append(Found("天气很好。居住权不得转让、继承。鸟在叫。", "law"))
    stretches = pack("居住权可以转让吗", found, 40, count=len)
    assert "居住权不得转让、继承。" in stretches[0].text
    assert not any("居住权" in stretch.text for stretch in whole(found, 40, count=len))


def test_what_says_the_same_is_taken_once_whatever_script_and_signs() -> None:
    found = [Found("七天之中可以退货，运费由买家承担。", "a"), Found("七天之中可以退貨, 運費由買家承擔！", "b"),
             Found("退货时请附上发票。", "c")]
    told = [stretch.text for stretch in pack("怎样退货", found, 1000, count=len)]
    assert len(told) == 2
    assert "退货时请附上发票。" in told


def test_what_differs_in_a_number_says_something_else() -> None:
    text = "向人民法院请求保护民事权利的诉讼时效期间为三年，法律另有规定的依照其规定，当事人不得约定"
    found = [Found(text, "a"), Found(text.replace("三年", "五年"), "b")]
    assert len(pack("诉讼时效期间", found, 1000, count=len)) == 2


def test_dots_stand_where_sentences_are_left_out() -> None:
    text = "退货要在七天内。" + "天气很好，鸟在叫，花也开了，人都出门去了。" + "退货要附发票。"
    (stretch,) = pack("退货", [Found(text, "a", 1, 1)], 20, count=len)
    assert stretch.text == "退货要在七天内。 … 退货要附发票。"


def test_each_sentence_knows_its_line() -> None:
    (stretch,) = pack("发票", passages(TEXT), 1000, count=len)
    lines = TEXT.split("\n")
    for one in stretch.sentences:
        assert one.line is not None
        assert stretch.text[one.start : one.end] in lines[one.line - 1]
    flat = Found("一。\n二。", "row", 1, 7, runs_on=False)      # a row of a table: its breaks are no lines of the file
    assert [one.line for one in pack("二", [flat], 9, count=len)[0].sentences] == [7, 7]


def test_other_documents_and_far_passages_stay_apart() -> None:
    found = [Found("退货甲。", "a", 1), Found("退货乙。", "a", 2), Found("退货丙。", "a", 5), Found("退货丁。", "b", 3)]
    told = sorted(stretch.text for stretch in pack("退货", found, 99, count=len))
    assert told == ["退货丁。", "退货丙。", "退货甲。\n退货乙。"]


def test_a_sentence_that_has_no_room_is_not_torn() -> None:
    assert pack("退货", [Found("退货要在签收以后的七天内", "a")], 4, count=len) == []


def test_nothing_found_packs_nothing() -> None:
    assert pack("退货", [], 10, count=len) == []
    assert pack("", [Found("", "a")], 10, count=len) == []


def test_an_empty_budget_is_an_error() -> None:
    with pytest.raises(BadInput, match="at least one token"):
        pack("退货", [Found("退货。", "a")], 0, count=len)


def test_several_budgets_are_packed_as_each_alone() -> None:
    found = passages(TEXT)
    each = list(pack_each("运费", found, [10, 30, 200], count=len))
    assert each == [pack("运费", found, n, count=len) for n in (10, 30, 200)]


def test_whole_passages_are_those_that_fit() -> None:
    found = [Found("一二三四", "a"), Found("五六七", "b"), Found("八", "c")]
    assert [one.text for one in whole(found, 6, count=len)] == ["一二三四"]
    assert [one.text for one in whole(found, 6, count=len, cut=True)] == ["一二三四", "五六"]
    assert [one.text for one in whole(found, 8, count=len)] == ["一二三四", "五六七", "八"]


@pytest.mark.slow
def test_the_estimate_of_tokens_holds_for_a_real_tokenizer(data: Path) -> None:
    """Qwen's byte-level tokenizer: Chinese never takes more than is estimated, English about as many."""
    import gzip
    import json

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from qianru.models.remote import estimated_tokens

    folder = data / "tokenizers" / "qwen"
    vocabulary = json.loads(gzip.decompress((folder / "vocab.json.gz").read_bytes()))
    merges = [tuple(line.split(" ")) for line in gzip.decompress((folder / "merges.txt.gz").read_bytes())
              .decode().splitlines() if line and not line.startswith("#version")]
    qwen = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    qwen.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    qwen.decoder = decoders.ByteLevel()
    chinese = (data / "articles" / "民法典" / "物权编.md").read_text(encoding="utf-8")[:5_000]
    english = (Path(__file__).parent.parent.parent / "samples" / "embedding-faq.md").read_text(encoding="utf-8")
    shares = [len(qwen.encode(text).ids) / estimated_tokens(text) for text in (chinese, english)]
    assert 0.4 < shares[0] < 1.0
    assert 0.8 < shares[1] < 1.2
