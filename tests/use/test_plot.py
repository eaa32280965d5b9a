"""Heat maps: Chinese labels are drawn, the file is whole or absent, hostile names do no harm."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_array_equal

from qianru.errors import BadInput, MissingExtra, ShapeMismatch, StorageFailed
from qianru.use.plot import FONT_FILE, heat_map, picture_path, shorten

pytest.importorskip("matplotlib")


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(path))


def drawn(label: str, folder: Path) -> np.ndarray:
    heat_map(np.eye(1), [label], ["x"], folder / "map.png")
    return pixels(folder / "map.png")


def test_the_font_is_small_and_has_both_scripts() -> None:
    from fontTools.ttLib import TTFont

    known = TTFont(FONT_FILE).getBestCmap()
    assert FONT_FILE.stat().st_size < 1_500_000
    for char in "嵌入向量检索国际龙发。，、《》「」（）：？！臺灣檢索國際龍發髮嚴裡裏さカ":
        assert ord(char) in known, char


@pytest.mark.parametrize(("one", "other"), [("我", "爱"), ("國", "龍"), ("，", "。")])
def test_two_chinese_characters_give_two_pictures_not_the_same_empty_box(
    one: str, other: str, tmp_path: Path
) -> None:
    first, second, box = (drawn(char * 4, tmp_path) for char in (one, other, "\U000e0041"))
    for a, b in [(first, second), (first, box), (second, box)]:
        assert a.shape != b.shape or not np.array_equal(a, b)


def test_a_picture_is_not_blank_and_the_same_twice(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        heat_map(np.array([[1.0, 0.2], [0.2, 1.0]]), ["甲", "乙"], ["甲", "乙"], tmp_path / name, "余弦相似度")
    picture = pixels(tmp_path / "a.png")
    assert picture.std() > 0.1
    assert_array_equal(picture, pixels(tmp_path / "b.png"))
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    ("name", "n", "m"),
    [("a.svg", 2, 2), ("a.pdf", 2, 2), ("a.png", 1, 1), ("a.PNG", 2, 2), ("a.png", 1, 30), ("a.png", 60, 60),
     ("a.png", 3, 400)],
)
def test_every_size_and_format_is_drawn_without_a_warning(name: str, n: int, m: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((n, m))
    heat_map(values, [f"第{i}回" for i in range(n)], ["花果山"] * m, tmp_path / name)
    assert (tmp_path / name).stat().st_size > 3000
    if name == "a.png":
        assert max(pixels(tmp_path / name).shape) < 4000


def test_names_that_no_font_has_and_formulas_are_drawn_as_they_are(tmp_path: Path) -> None:
    names = ["$\\frac{1}$", "\U000e0041\ud800\x00\x07", "", "a\nb"]      # a warning would be an error here
    heat_map(np.full((4, 4), np.nan), names, names, tmp_path / "map.png", "$x")
    assert (tmp_path / "map.png").exists()


def test_an_unknown_suffix_an_empty_matrix_and_wrong_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.png, \.svg, \.pdf"):
        heat_map(np.eye(1), ["a"], ["a"], tmp_path / "map.docx")
    with pytest.raises(BadInput, match="empty"):
        heat_map(np.zeros((0, 2)), [], ["a", "b"], tmp_path / "map.png")
    with pytest.raises(ShapeMismatch, match="2 rows and 1 columns"):
        heat_map(np.eye(2), ["a", "b"], ["a"], tmp_path / "map.png")


def test_folders_on_the_way_are_made_and_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    heat_map(np.eye(1), ["a"], ["a"], tmp_path / "new" / "deep" / "map.png")
    assert [path.name for path in (tmp_path / "new" / "deep").iterdir()] == ["map.png"]
    with pytest.raises(StorageFailed, match=r"map\.png/map\.png"):
        heat_map(np.eye(1), ["a"], ["a"], tmp_path / "new" / "deep" / "map.png" / "map.png")


def test_what_cannot_be_drawn_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert picture_path(tmp_path / "a.html", page=True).suffix == ".html"
    with pytest.raises(BadInput, match=r"ends in \.png, \.svg, \.pdf\.$"):
        picture_path(tmp_path / "a.html")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"qianru\[plot\]"):
        picture_path(tmp_path / "a.png")
    assert picture_path(tmp_path / "a.html", page=True).suffix == ".html"


@given(st.text(), st.integers(3, 40))
@settings(max_examples=200, deadline=None)
def test_a_short_label_fits_its_width_on_one_line(text: str, width: int) -> None:
    from qianru.use.plot import _columns

    short = shorten(text, width)
    assert sum(map(_columns, short)) <= width
    assert short == " ".join(short.split())
