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
    (tmp_path / "times.csv").write_text("user,item,time\n甲,番茄炒蛋,2024-05-01\n甲,米饭,1/2/2024\n", encoding="utf-8")
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
    assert qianru("recommend", "dishes.csv", "-t", "做法", "-i", "红烧肉", "--plot", "like.html").code == 0
    page = Path("like.html").read_text("utf-8")
    assert page.index("东坡肉") < page.index("黄酒")             # what is found, with its text
    assert "How often the next item is found" not in page        # without sessions nothing is judged


@pytest.mark.parametrize(("arguments", "message"), [
    (["dishes.csv", "-i", "红烧肉"], "the column that holds them"),
    (["-i", "红烧肉"], "Give one of them"),
    (["none.csv", "-i", "红烧肉"], "There is no file none.csv"),
    (["none.csv", "-t", "做法", "-i", "红烧肉"], "There is no file none.csv"),
    (["--sessions", "baskets.txt", "-i", "红烧肉", "-t", "做法"], "are for a table of items"),
    (["--sessions", "baskets.txt", "-i", "红烧肉", "-m", "counts"], "are for a table of items"),
    (["dishes.csv", "-t", "做法", "-i", "红烧肉", "--held", "0.5"], "Give them with --sessions"),
    (["dishes.csv", "-t", "做法", "-i", "红烧肉", "--dim", "8"], "Give them with --sessions"),
    (["--sessions", "baskets.txt"], "Name at least one --item"),
    (["dishes.csv", "-t", "做法", "--evaluate"], "Give them with --sessions"),
    (["--sessions", "baskets.txt", "--evaluate", "--plot", "a.png"], "name an --item"),
    (["--sessions", "baskets.txt", "-i", "红烧肉", "--plot", "a.gif"], "Cannot draw to 'a.gif'"),
    (["--sessions", "baskets.txt", "-i", "红烧鱼肉"], "Did you mean '红烧肉'"),
    (["--sessions", "times.csv", "-i", "番茄炒蛋"], "(the time at times.csv:3) is neither a number nor a date"),
    (["dishes.csv", "-t", "做法", "-i", "红烧鱼肉"], "Did you mean '红烧肉'"),
    (["--sessions", "none.txt", "-i", "红烧肉"], "There is no file none.txt"),
])
def test_a_wrong_call_is_one_line(shop: Path, qianru: Qianru, arguments: list[str], message: str) -> None:
    result = qianru("recommend", *arguments)
    assert result.code == 1
    assert message in result.err.splitlines()[-1]
