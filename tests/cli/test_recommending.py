"""qianru recommend, from files to what is printed and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Qianru

DISHES = """菜名,做法
番茄炒蛋,番茄切块 鸡蛋打散 炒
番茄蛋汤,番茄切块 鸡蛋打散 煮汤
红烧肉,五花肉切块 酱油 慢炖
东坡肉,五花肉切块 黄酒 慢炖
"""
BASKETS = ("番茄炒蛋 红烧肉 米饭\n米饭 红烧肉 番茄炒蛋\n番茄蛋汤 馒头 咸菜\n"
           + "".join(f"甲{i} 乙{i} 丙{i}\n丙{i} 甲{i} 乙{i}\n" for i in range(10))) * 60


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dishes.csv").write_text(DISHES, encoding="utf-8")
    (tmp_path / "baskets.txt").write_text(BASKETS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_texts_alone_recommend(shop: Path, qianru: Qianru) -> None:
    told = qianru("recommend", "dishes.csv", "--text", "做法", "--item", "红烧肉", "--json").json()
    assert told["items"] == ["红烧肉"]
    assert (told["recommended"][0]["name"], told["recommended"][0]["row"]) == ("东坡肉", 4)
    assert "ways" not in told


def test_sessions_beside_texts_recommend_what_goes_together(shop: Path, qianru: Qianru) -> None:
    pytest.importorskip("gensim")
    result = qianru("recommend", "dishes.csv", "-t", "做法", "--sessions", "baskets.txt", "-i", "番茄炒蛋")
    assert result.code == 0
    assert {line.split()[2] for line in result.out.splitlines()[1:3]} == {"米饭", "红烧肉"}
    assert "in 120 sessions" in result.out
    assert "1 of the table's items are in none; 33 are in sessions only" in result.err


def test_sessions_alone_are_judged(shop: Path, qianru: Qianru) -> None:
    pytest.importorskip("gensim")
    result = qianru("recommend", "--sessions", "baskets.txt", "--evaluate", "-k", "1", "--dim", "8")
    assert result.code == 0
    assert "next item of 276 sessions, drawn" in result.out
    assert "learnt: what people did" in result.out
    told = qianru("recommend", "--sessions", "baskets.txt", "--evaluate", "-k", "1", "--dim", "8", "--json").json()
    assert set(told["ways"]) == {"popular", "behaviour"}
    assert told["ways"]["behaviour"]["hit_rate"]["low"] <= told["ways"]["behaviour"]["hit_rate"]["value"]
    assert "recommended" not in told


def test_what_is_recommended_is_drawn(shop: Path, qianru: Qianru) -> None:
    pytest.importorskip("matplotlib")
    result = qianru("recommend", "dishes.csv", "-t", "做法", "-i", "红烧肉", "--plot", "like.png", "--json")
    assert Path("like.png").read_bytes().startswith(b"\x89PNG")
    assert "Drawn to like.png" in result.err


@pytest.mark.parametrize(("arguments", "message"), [
    (["dishes.csv", "-i", "红烧肉"], "the column that holds them"),
    (["-i", "红烧肉"], "Give one of them"),
    (["--sessions", "baskets.txt"], "Name at least one --item"),
    (["dishes.csv", "-t", "做法", "--evaluate"], "Give them with --sessions"),
    (["--sessions", "baskets.txt", "--evaluate", "--plot", "a.png"], "name an --item"),
    (["--sessions", "none.txt", "-i", "红烧肉", "--plot", "a.gif"], "Cannot draw to 'a.gif'"),
    (["dishes.csv", "-t", "做法", "-i", "红烧鱼肉"], "Did you mean '红烧肉'"),
    (["--sessions", "none.txt", "-i", "红烧肉"], "none.txt"),
])
def test_a_wrong_call_is_one_line(shop: Path, qianru: Qianru, arguments: list[str], message: str) -> None:
    result = qianru("recommend", *arguments)
    assert result.code == 1
    assert message in result.err.splitlines()[-1]
