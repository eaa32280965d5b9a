"""Items like this one: the hotels of the article, names that are not quite right, both scripts."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.models.bm25 import BM25
from qianru.models.lexical import Counts
from qianru.use.recommend import find_item, script, similar_items, suited_model

HILTON = "Hilton Seattle Airport & Conference Center"
TEN = [        # scikit-learn 1.x: TfidfVectorizer(analyzer="word", ngram_range=(1, 3), min_df=0.01) and linear_kernel
    "Embassy Suites by Hilton Seattle Tacoma International Airport",
    "DoubleTree by Hilton Hotel Seattle Airport",
    "Seattle Airport Marriott",
    "Four Points by Sheraton Downtown Seattle Center",
    "Motel 6 Seattle Sea-Tac Airport South",
    "Hampton Inn Seattle/Southcenter",
    "Radisson Hotel Seattle Airport",
    "Knights Inn Tukwila",
    "Hotel Hotel",
    "Home2 Suites by Hilton Seattle Airport",
]
DISHES = {
    "番茄炒蛋": "番茄切块，鸡蛋打散，先炒鸡蛋再炒番茄，加盐。",
    "番茄蛋汤": "番茄切块煮汤，鸡蛋打散淋入，加盐。",
    "红烧肉": "五花肉切块，加酱油和冰糖小火慢炖。",
    "东坡肉": "五花肉切大块，加黄酒、酱油、冰糖慢炖两小时。",
}


@pytest.fixture(scope="module")
def hotels(data: Path) -> tuple[list[str], list[str]]:
    with (data / "articles" / "Seattle_Hotels.csv").open(encoding="latin-1", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["desc"] for row in rows], [row["name"] for row in rows]


def test_the_hotels_of_the_article_have_3347_features(hotels: tuple[list[str], list[str]]) -> None:
    texts, _ = hotels
    assert len(texts) == 152
    assert len(suited_model(texts).fit(texts).features) == 3347


def test_the_ten_hotels_like_the_airport_hilton_come_in_order(hotels: tuple[list[str], list[str]]) -> None:
    found = similar_items(*hotels, HILTON)
    assert [hotel.name for hotel in found] == TEN
    assert [round(hotel.score, 4) for hotel in found[:3]] == [0.2266, 0.1551, 0.1503]


def test_a_chinese_dish_finds_its_like() -> None:
    texts, names = list(DISHES.values()), list(DISHES)
    assert [dish.name for dish in similar_items(texts, names, "番茄炒蛋", k=1)] == ["番茄蛋汤"]
    assert [dish.name for dish in similar_items(texts, names, "红烧肉", k=1)] == ["东坡肉"]


@pytest.mark.parametrize("model", [Counts(), BM25()])
def test_any_model_that_is_ready_will_do(model: Counts | BM25) -> None:
    texts, names = list(DISHES.values()), list(DISHES)
    assert similar_items(texts, names, "红烧肉", 1, model.fit(texts))[0].name == "东坡肉"


def test_the_item_itself_and_those_that_share_nothing_are_left_out() -> None:
    found = similar_items(["海边酒店", "海边民宿", "火锅"], ["甲", "乙", "丙"], "甲", 10)
    assert [item.name for item in found] == ["乙"]


def test_a_name_is_found_in_another_case_and_by_the_beginning_of_one_name_only() -> None:
    names = ["Hotel Max", "Hotel Maximilian", "Ace Hotel", "Ace Hotel"]
    assert find_item(names, "hotel max") == 0
    assert find_item(names, "hotel maxi") == 1
    assert find_item(names, "Ace") == 2
    with pytest.raises(BadInput, match="Hotel Max; Hotel Maximilian"):
        find_item(names, "Hotel")


def test_an_unknown_item_gets_a_did_you_mean() -> None:
    with pytest.raises(UnknownName, match="Did you mean '红烧肉'"):
        find_item(list(DISHES), "红烧鱼肉")
    with pytest.raises(UnknownName):
        find_item(list(DISHES), "")


def test_unfit_arguments_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="2 texts need as many names; there are 1"):
        similar_items(["一", "二"], ["一"], "一")
    with pytest.raises(BadInput, match="at least 1"):
        similar_items(["一"], ["一"], "一", k=0)


def test_the_script_is_that_of_a_fifth_of_the_letters() -> None:
    assert script(["价格 about 100 yuan", "位于市中心的酒店"]) == "zh"
    assert script(["The hotel is near 西雅图."]) == "en"
    assert script(["", "123"]) == "en"
