"""similarity and similar, from the command line to the number."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Qianru


def test_two_texts_give_one_number(qianru: Qianru) -> None:
    result = qianru("similarity", "我喜欢吃肉", "我爱吃蔬菜")     # 我 吃 of four words each: 2 / (2 * 2)
    assert (result.code, result.out) == (0, "0.5000\n")


def test_two_files_give_rows_and_columns(tmp_path: Path, qianru: Qianru) -> None:
    (tmp_path / "a.txt").write_text("退款\n发票\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("发票\n\n运费\n退款\n", encoding="utf-8")
    found = qianru("similarity", tmp_path / "a.txt", tmp_path / "b.txt", "--json").json()
    assert found["rows"] == ["退款", "发票"]
    assert found["columns"] == ["发票", "运费", "退款"]
    assert found["scores"] == [[0, 0, 1], [1, 0, 0]]


def test_one_file_is_compared_with_itself_in_a_table(tmp_path: Path, qianru: Qianru) -> None:
    (tmp_path / "a.txt").write_text("我要退款\n我要发票\n", encoding="utf-8")
    rows = qianru("similarity", tmp_path / "a.txt").out.splitlines()
    assert rows[0].split() == ["我要退款", "我要发票"]
    assert rows[1].split() == ["我要退款", "1.0000", "0.5000"]      # 我要 of two words each


def test_a_large_table_is_told_row_by_row(tmp_path: Path, qianru: Qianru) -> None:
    lines = [f"第{i}件商品" for i in range(30)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    result = qianru("similarity", tmp_path / "a.txt")
    assert len(result.out.splitlines()) == 31
    assert "most alike" in result.out


def test_characters_and_jaccard(qianru: Qianru) -> None:
    # 我爱 爱吃 吃肉 / 我爱 爱吃 吃菜: 2 shared of 4
    options = ["--model", "char", "--ngrams", "2", "--metric", "jaccard"]
    assert qianru("similarity", "我爱吃肉", "我爱吃菜", *options, "--json").json()["scores"] == [[0.5]]


def test_a_heat_map_is_drawn_beside_the_table(tmp_path: Path, qianru: Qianru) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "map.png"
    result = qianru("similarity", "甲方", "乙方", "丙方", "--plot", target, "--json")
    assert target.read_bytes().startswith(b"\x89PNG")
    assert len(result.json()["scores"]) == 3
    assert str(target) in result.err


def test_the_hotels_come_at_the_first_try(data: Path, qianru: Qianru) -> None:
    hotels = data / "articles" / "Seattle_Hotels.csv"
    result = qianru("similar", hotels, "--text", "desc", "--item", "Hilton Seattle Airport & Conference Center")
    assert result.code == 0
    lines = result.out.splitlines()
    assert " ".join(lines[1].split()) == "1 0.2266 Embassy Suites by Hilton Seattle Tacoma International Airport"
    assert lines[10].endswith("Home2 Suites by Hilton Seattle Airport")
    assert len(lines) == 11
    assert "152 descriptions, tfidf over English words in runs of 1 to 3" in result.err


def test_a_chinese_table_is_segmented_and_said_to_be(tmp_path: Path, qianru: Qianru) -> None:
    table = tmp_path / "菜.csv"
    rows = ["编码,名称,做法", "1,番茄炒蛋,番茄鸡蛋炒熟", "2,番茄蛋汤,番茄鸡蛋煮汤", "3,红烧肉,五花肉慢炖"]
    table.write_text("\n".join(rows), encoding="gb18030")
    result = qianru("similar", table, "--text", "做法", "--item", "番茄炒", "--json")
    assert result.json()["item"] == "番茄炒蛋"
    assert [found["name"] for found in result.json()["similar"]] == ["番茄蛋汤"]
    assert "Chinese" in result.err


def test_an_unknown_item_or_column_gets_a_did_you_mean(tmp_path: Path, qianru: Qianru) -> None:
    table = tmp_path / "t.csv"
    table.write_text("name,desc\n红烧肉,五花肉慢炖\n东坡肉,五花肉慢炖\n", encoding="utf-8")
    assert "Did you mean '红烧肉'?" in qianru("similar", table, "--text", "desc", "--item", "红烧鱼肉").err
    assert "Did you mean 'desc'?" in qianru("similar", table, "--text", "desk", "--item", "红烧肉").err
    assert "Did you mean 'name'?" in qianru("similar", table, "--text", "desc", "--item", "红烧肉", "--name", "nam").err


def test_pairs_are_compared_line_by_line(tmp_path: Path, qianru: Qianru) -> None:
    (tmp_path / "a.txt").write_text("退款\n我要发票\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("发票\n我要退款\n", encoding="utf-8")
    both = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert [line.split()[0] for line in qianru("similarity", *both, "--pairs").out.splitlines()] == ["0.0000", "0.5000"]
    found = qianru("similarity", *both, "--pairs", "--metric", "jaccard", "--json").json()
    assert found["pairs"][1] == {"a": "我要发票", "b": "我要退款", "score": pytest.approx(1 / 3)}
    (tmp_path / "b.txt").write_text("发票\n", encoding="utf-8")
    refused = qianru("similarity", *both, "--pairs")
    assert (refused.code, "2 and 1" in refused.err) == (1, True)


def test_words_are_asked_of_arrays_of_vectors_too(data: Path, qianru: Qianru) -> None:
    vectors = data / "vectors/tencent_char_4762x200.npz"
    near = qianru("words", vectors, "鱼", "-k", "5", "--json").json()["neighbours"]
    assert "虾" in dict(near)
    assert qianru("words", vectors, "鱼", "虾", "蟹", "法", "--odd").out == "法\n"
