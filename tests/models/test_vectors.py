"""Word vectors answer as gensim's do, and their files are gensim's, byte for byte."""

from __future__ import annotations

import gzip
import json
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from qianru.errors import BadFile, BadInput, ShapeMismatch, StorageFailed, UnknownName
from qianru.models.vector_files import read_npz, read_vectors, write_vectors
from qianru.models.vectors import WordVectors

WORDS = ["孙悟空", "行者", "大圣", "唐僧", "师父", "八戒", "妖精"]


@pytest.fixture(scope="module")
def table() -> WordVectors:
    return WordVectors(WORDS, np.random.default_rng(3).standard_normal((7, 5)))


@pytest.fixture(scope="module")
def gensims(table: WordVectors) -> KeyedVectors:
    return theirs(table)


def theirs(table: WordVectors) -> KeyedVectors:
    vectors = KeyedVectors(table.dim)
    vectors.add_vectors(table.words, table.matrix)
    return vectors


def test_similarity_is_gensims(table: WordVectors, gensims: KeyedVectors) -> None:
    for a in WORDS:
        for b in WORDS:
            assert_allclose(table.similarity(a, b), gensims.similarity(a, b), atol=1e-6)


@pytest.mark.parametrize(
    ("positive", "negative"),
    [(["孙悟空"], []), (["孙悟空", "唐僧"], ["师父"]), ([], ["妖精"]), (["八戒", "八戒"], ["大圣"])],
)
def test_analogies_are_gensims(
    table: WordVectors, gensims: KeyedVectors, positive: list[str], negative: list[str]
) -> None:
    ours, others = table.most_similar(positive, negative, k=4), gensims.most_similar(positive, negative, topn=4)
    assert [word for word, _ in ours] == [word for word, _ in others]
    assert_allclose([score for _, score in ours], [score for _, score in others], atol=1e-6)


@given(words=st.lists(st.sampled_from(WORDS), min_size=3, unique=True))
@settings(deadline=None)
def test_the_word_that_does_not_match_is_gensims(table: WordVectors, gensims: KeyedVectors, words: list[str]) -> None:
    assert table.doesnt_match(words) == gensims.doesnt_match(words)


def test_real_characters_answer_as_in_gensim(data: Path) -> None:
    table = read_npz(data / "vectors" / "tencent_char_4762x200.npz")
    assert (len(table), table.dim) == (4762, 200)
    reference = theirs(table)
    assert_allclose(table.similarity("狗", "猫"), reference.similarity("狗", "猫"), atol=1e-6)
    assert table.similarity("狗", "猫") > table.similarity("狗", "税")
    ours, others = table.most_similar(["女", "父"], ["男"]), reference.most_similar(["女", "父"], ["男"])
    assert [word for word, _ in ours] == [word for word, _ in others]
    assert "母" in dict(ours)
    assert_allclose([score for _, score in ours], [score for _, score in others], atol=1e-6)
    assert table.doesnt_match(["春", "夏", "秋", "钱"]) == reference.doesnt_match(["春", "夏", "秋", "钱"]) == "钱"


def test_a_word_of_zeros_is_like_no_other() -> None:
    table = WordVectors(["空", "满"], np.array([[0.0, 0], [3, 4]]))
    assert table.similarity("空", "满") == 0
    assert table.most_similar("空") == [("满", 0.0)]


def test_equally_near_words_come_in_the_order_of_the_table() -> None:
    table = WordVectors(["甲", "乙", "丙", "丁"], np.array([[1.0, 0], [0, 1], [2, 0], [3, 0]]))
    assert [word for word, _ in table.most_similar("甲")] == ["丙", "丁", "乙"]
    assert [word for word, _ in table.most_similar("甲", k=1)] == ["丙"]


def test_an_unknown_word_is_answered_with_the_closest(table: WordVectors) -> None:
    with pytest.raises(UnknownName, match=r"no word with a vector '孙大圣'\. Did you mean '大圣'"):
        table.similarity("孙大圣", "行者")
    with pytest.raises(UnknownName, match="'沙僧'"):
        table.doesnt_match(["唐僧", "沙僧"])
    assert "沙僧" not in table
    assert table.find("沙僧") is None


def test_a_table_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="2 words need a matrix of as many rows"):
        WordVectors(["甲", "乙"], np.ones((1, 3)))
    with pytest.raises(ShapeMismatch, match="as many counts"):
        WordVectors(["甲"], np.ones((1, 3)), np.array([1, 2]))
    with pytest.raises(BadInput, match="'甲' is there twice"):
        WordVectors(["甲", "甲"], np.ones((2, 3)))
    with pytest.raises(BadInput, match="Word 1 is empty"):
        WordVectors(["甲", ""], np.ones((2, 3)))
    with pytest.raises(BadInput, match="'乙' holds a number that is not finite"):
        WordVectors(["甲", "乙"], np.array([[1.0], [np.nan]]))


NAMES = ["v.txt", "v.vec", "v.bin", "v.txt.gz", "v.bin.gz"]
spelling = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" \n"), min_size=1, max_size=5)
number = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("name", NAMES)
@given(words=st.lists(spelling, unique=True, max_size=5), data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, name: str, words: list[str], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.lists(number, min_size=2, max_size=2), min_size=len(words), max_size=len(words)))
    table = WordVectors(words, np.array(rows, np.float32).reshape(len(words), 2))
    path = tmp_path_factory.mktemp("files") / name
    write_vectors(table, path)
    again = read_vectors(path)
    assert again.words == table.words
    assert_array_equal(again.matrix, table.matrix)


@pytest.mark.parametrize("binary", [False, True])
def test_the_bytes_are_gensims(table: WordVectors, gensims: KeyedVectors, tmp_path: Path, binary: bool) -> None:
    name = "v.bin" if binary else "v.txt"
    write_vectors(table, tmp_path / name)
    gensims.save_word2vec_format(str(tmp_path / "gensim"), binary=binary, sort_attr="none")
    assert (tmp_path / name).read_bytes() == (tmp_path / "gensim").read_bytes()
    again = KeyedVectors.load_word2vec_format(str(tmp_path / name), binary=binary)
    assert again.index_to_key == WORDS
    assert_array_equal(again.vectors, table.matrix)


def test_the_c_tools_line_feeds_are_passed_over(tmp_path: Path) -> None:
    one, two = (np.array([x, -x], "<f4").tobytes() for x in (1.0, 2.0))
    path = tmp_path / "c.bin"
    path.write_bytes(b"2 2\n" + "春 ".encode() + one + b"\n" + "夏 ".encode() + two + b"\n")
    assert read_vectors(path).words == ["春", "夏"]
    assert read_vectors(path)["夏"].tolist() == [2.0, -2.0]


def test_a_file_without_a_header_is_gloves(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("the 0.1 -2e-3\n春 3 4\n", encoding="utf-8")
    assert read_vectors(path).words == ["the", "春"]
    assert_allclose(read_vectors(path)["the"], [0.1, -0.002])


TEXT = "2 2\n春 1 2\n夏 3 4\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "line 1: neither"),
        (b"%PDF-1.7\n", "line 1: neither"),
        (b"3 2\n" + TEXT[4:].encode(), "ends after 2 of the 3 words"),
        (b"1 2\n" + TEXT[4:].encode(), "line 3: the first line promises 1 words"),
        (b"2 3\n" + TEXT[4:].encode(), "line 2: 3 numbers expected after the word, 2 found"),
        (TEXT.replace("4", "x").encode(), "line 3: could not convert"),
        (TEXT.replace("4", "nan").encode(), "'夏' holds a number that is not finite"),
        (TEXT.replace("夏", "春").encode(), "'春' is there twice"),
        (TEXT.replace("夏 3", "\n夏 3").encode(), "line 3: an empty line"),
        (TEXT.replace("夏", "").encode(), "line 3: an empty word"),
        (TEXT.encode("gb18030"), "line 2: the word .* is not UTF-8"),
        (b"99999999999999 65536\n\xe6\x98\xa5 1 2\n", "line 2: 65536 numbers expected"),
        (b"99999999999999 99999999999999\n", "line 1: neither"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-12], "damaged gzip file"),
    ],
)
def test_a_damaged_text_file_is_named_with_its_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "damaged.txt"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=f"damaged.txt.*{complaint}"):
        read_vectors(path)


RECORD = "春 ".encode() + np.array([1, 2], "<f4").tobytes()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "byte 0: a line with the numbers"),
        (b"\x00" * 5000, "byte 0: a line with the numbers"),
        (b"2 2\n" + RECORD, "byte 16: the file ends after 1 of the 2 words"),
        (b"1 2\n" + RECORD[:-1], "byte 15: the file ends after 0 of the 1 words"),
        (b"1 2\n" + RECORD + RECORD, "byte 16: more than the 1 words"),
        (b"2 2\n" + RECORD + RECORD, "'春' is there twice"),
        (b"1 2\n" + RECORD[1:], "byte 4: the word .* is not UTF-8"),
        (b"1 2\n" + RECORD[3:], "byte 4: an empty word"),
        (b"1 2\n" + b"x" * 10000, "byte 4: no word begins here"),
        (b"1 2\n" + RECORD[:4] + b"\xff" * 8, "not finite"),
        (b"99999999999999 65536\n" + RECORD, "ends after 0 of the 99999999999999 words"),
        (b"2 99999999999999\n" + RECORD, "byte 0: a line with the numbers"),
        (gzip.compress(b"2 2\n" + RECORD * 2, mtime=0)[:-3], "damaged gzip file"),
    ],
)
def test_a_damaged_binary_file_is_named_with_its_byte(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "damaged.bin"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=f"damaged.bin.*{complaint}"):
        read_vectors(path)


@given(content=st.binary(max_size=60), header=st.sampled_from([b"", b"1 2\n", b"3 1\n", b"0 4\n"]))
@pytest.mark.parametrize("form", ["text", "binary"])
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, header: bytes, form: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(header + content)
    with suppress(BadFile):
        read_vectors(path, form)   # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["明 月", "明\n月", "\ud800"])
def test_a_word_that_the_format_cannot_hold_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(BadInput, match="cannot hold the word"):
        write_vectors(WordVectors([word], np.ones((1, 2))), tmp_path / "v.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_the_name_does_not_say_must_be_said(table: WordVectors, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Say which format"):
        write_vectors(table, tmp_path / "v")
    write_vectors(table, tmp_path / "v", "binary")
    with pytest.raises(BadInput, match="Say which format"):
        read_vectors(tmp_path / "v")
    assert read_vectors(tmp_path / "v", "binary").words == WORDS


def test_a_folder_that_is_not_there_is_an_error_of_storage(table: WordVectors, tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="could not be written"):
        write_vectors(table, tmp_path / "nowhere" / "v.txt")
    with pytest.raises(BadFile, match="cannot be read: No such file"):
        read_vectors(tmp_path / "v.txt")


def npz(path: Path, words: object, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)   # type: ignore[arg-type]
    path.with_suffix(".json").write_text(json.dumps(words), encoding="utf-8")
    return path


def test_arrays_take_their_words_from_the_json_file_beside_them(tmp_path: Path) -> None:
    path = npz(tmp_path / "v.npz", {"夏": 1, "春": 0}, vectors=np.array([[1.0, 2], [3, 4]]))
    (tmp_path / "other.json").write_text("[1, 2]")
    assert read_npz(path).words == ["春", "夏"]
    assert read_npz(path)["夏"].tolist() == [3, 4]
    assert read_npz(path)["夏"].dtype == np.float32
    (tmp_path / "again.json").write_text('["甲", "乙"]')
    with pytest.raises(BadInput, match=r"found again.json and v.json"):
        read_npz(path)
    assert read_npz(path, tmp_path / "again.json").words == ["甲", "乙"]
    with pytest.raises(BadFile, match=r"other.json is not"):
        read_npz(path, tmp_path / "other.json")


def test_arrays_that_are_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="found none"):
        read_npz(npz(tmp_path / "short.npz", ["甲"], a=np.ones((2, 2))))
    with pytest.raises(BadFile, match="holds 2 matrices"):
        read_npz(npz(tmp_path / "two.npz", ["甲"], a=np.ones((1, 2)), b=np.ones((1, 2))))
    with pytest.raises(BadFile, match="not a file of plain NumPy arrays"):
        read_npz(npz(tmp_path / "object.npz", ["甲"], a=np.array([[{}]], object)))
    (tmp_path / "alone").mkdir()
    with pytest.raises(BadFile, match="not finite"):
        read_npz(npz(tmp_path / "alone" / "nan.npz", ["甲"], a=np.array([[np.nan]])))
    (tmp_path / "no.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(BadFile, match="not a file of plain NumPy arrays"):
        read_npz(tmp_path / "no.npz")
    with pytest.raises(BadFile, match="cannot be read"):
        read_npz(tmp_path / "missing.npz")


def test_an_array_that_promises_terabytes_is_refused_before_they_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as file, file.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 1000)}
        )
        member.write(b"\0" * 64)
    with pytest.raises(BadFile, match="promises 8000000000128 bytes and holds 192"):
        read_npz(path)
