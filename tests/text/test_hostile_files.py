"""Files that are broken, foreign or meant to harm: each is reported, none stops the others or keeps us waiting."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import socket
import sys
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from qianru.errors import BadInput
from qianru.text.chunk import chunk
from qianru.text.read import Problem, Source, files as files_module, read_file, read_folder


def problems(file: Path, **options: object) -> list[str]:
    """The problems of a file, without its path."""
    found = read_file(file, path=file.name, **options)      # type: ignore[arg-type]
    return [str(each) for each in found if isinstance(each, Problem)]


def texts(file: Path) -> list[str]:
    return [each.text for each in read_file(file) if isinstance(each, Source)]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


# Things that are no files


def test_what_is_no_file_is_reported_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "管.txt")
    assert problems(tmp_path / "管.txt") == ["管.txt: It is a pipe or device, not a file."]
    assert problems(Path("/dev/zero")) == ["zero: It is a pipe or device, not a file."]
    assert problems(tmp_path) == [f"{tmp_path.name}: It is a folder, not a file."]
    assert problems(tmp_path / "无.txt") == ["无.txt: It cannot be opened: No such file or directory."]


def test_a_socket_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)      # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.txt")
        assert problems(Path("s.txt"))[0].startswith("s.txt: It cannot be opened: ")


def test_links_in_a_loop_are_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "甲").mkdir()
    written(tmp_path / "甲", "文.txt", "床前明月光")
    (tmp_path / "甲" / "回").symlink_to(tmp_path)
    (tmp_path / "乙").symlink_to(tmp_path / "甲")
    (tmp_path / "a.txt").symlink_to("b.txt")
    (tmp_path / "b.txt").symlink_to("a.txt")
    (tmp_path / "c.txt").symlink_to("nowhere")
    found = list(read_folder(tmp_path))
    assert [each.path for each in found if isinstance(each, Source)] == ["甲/文.txt"]
    told = {each.path: each.reason for each in found if isinstance(each, Problem)}
    assert set(told) == {"甲/回", "乙", "a.txt", "b.txt", "c.txt"}
    assert told["乙"] == told["甲/回"] == "It is a link to a folder that is read already; it is not read again."
    assert "symbolic links" in told["a.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission_are_reported(tmp_path: Path) -> None:
    written(tmp_path, "a.txt", "文").chmod(0)
    assert problems(tmp_path / "a.txt") == ["a.txt: It cannot be opened: Permission denied."]


def test_a_file_that_vanishes_between_listing_and_reading_is_reported(tmp_path: Path) -> None:
    written(tmp_path, "a.txt", "甲")
    written(tmp_path, "b.txt", "乙")
    reading = read_folder(tmp_path)
    (tmp_path / "a.txt").unlink()
    first, second = reading
    assert isinstance(first, Problem)
    assert isinstance(second, Source)


def test_a_file_beyond_the_limit_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MAX_BYTES", 1 << 20)
    assert problems(written(tmp_path, "a.txt", b"a" * (1 << 20) + b"b")) == [
        "a.txt: It is larger than 1 MiB. Split it."
    ]
    assert problems(written(tmp_path, "b.txt.gz", gzip.compress(bytes(5 << 20)))) == [
        "b.txt.gz: Unpacked it is larger than 1 MiB. Split it."
    ]


# Files that are not what they say


@pytest.mark.parametrize(
    "name", ["a.txt", "a.md", "a.html", "a.csv", "a.tsv", "a.jsonl", "a.json", "a.docx", "a.pdf", "a"]
)
def test_every_kind_of_file_may_be_empty_or_binary(tmp_path: Path, name: str) -> None:
    assert problems(written(tmp_path, name, b"")) == [f"{name}: It is empty."]
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0" + bytes(range(256))
    (told,) = problems(written(tmp_path, name, picture))
    assert told.startswith(f"{name}: It ")


def test_damaged_archives_are_reported(tmp_path: Path) -> None:
    whole = gzip.compress("床前明月光".encode() * 100)
    assert "no complete gzip file" in problems(written(tmp_path, "a.txt.gz", whole[:-12]))[0]
    assert "no complete gzip file" in problems(written(tmp_path, "b.txt.gz", b"plain"))[0]


def test_damaged_word_files_are_reported(tmp_path: Path) -> None:
    docx = pytest.importorskip("docx")
    buffer = io.BytesIO()
    docx.Document().save(buffer)
    assert problems(written(tmp_path, "a.docx", buffer.getvalue()[:-500]))[0].startswith("a.docx: It is no Word file")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "x")
    assert problems(written(tmp_path, "b.docx", packed.getvalue()))[0].startswith("b.docx: It is no Word file")


def test_a_word_file_that_would_swell_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("docx")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as entry:
        for _ in range(129):
            entry.write(bytes(1 << 20))
    assert len(packed.getvalue()) < 1 << 20
    assert "Unpacked it would take 129 MiB" in problems(written(tmp_path, "a.docx", packed.getvalue()))[0]


def test_a_pdf_that_is_none_is_reported_and_its_reader_stays_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pypdf")
    with caplog.at_level(logging.DEBUG):
        assert problems(written(tmp_path, "a.pdf", "这不是PDF"))[0].startswith("a.pdf: It is no PDF")
        broken = b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\ntrailer\n<</Root 1 0 R>>\nstartxref\n9\n"
        assert len(problems(written(tmp_path, "b.pdf", broken))) <= 1
    assert capfd.readouterr().err == ""
    assert not [record for record in caplog.records if record.name.startswith("pypdf")]


def test_an_encrypted_pdf_is_reported(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("密码", algorithm="RC4-128")
    writer.write(tmp_path / "a.pdf")
    assert problems(tmp_path / "a.pdf") == ["a.pdf: It is encrypted. Save it without a password."]


def test_a_pdf_of_pictures_is_reported(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(tmp_path / "a.pdf")
    assert "hold no text" in problems(tmp_path / "a.pdf")[0]


def test_without_the_extra_a_pdf_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    written(tmp_path, "a.pdf", b"%PDF-1.4")
    written(tmp_path, "b.txt", "床前明月光")
    problem, source = read_folder(tmp_path)
    assert isinstance(problem, Problem)
    assert "pip install 'qianru[files]'" in problem.reason
    assert isinstance(source, Source)


# Tables


def test_ragged_rows_are_reported_with_their_line_and_the_others_read(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv", 'id,text\n1,甲\n2\n3,"丙\n丙",多\n4,丁,\n')
    assert texts(file) == ["甲", "丁"]
    assert problems(file) == [
        "a.csv:3: 1 fields where the header has 2; the row is left out.",
        "a.csv:4: 3 fields where the header has 2; the row is left out.",
    ]


def test_a_quote_that_is_never_closed_costs_one_row(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv", 'id,text\n1,"甲\n2,乙\n3,丙\n')
    assert texts(file) == ["乙", "丙"]
    assert problems(file) == ["a.csv:2: A quote opens in this row and is never closed; the row is left out."]
    assert texts(written(tmp_path, "b.csv", 'id,text\n1,5" 的管子\n')) == ['5" 的管子']


def test_fields_may_be_huge_and_the_limit_of_the_process_stays(tmp_path: Path) -> None:
    import csv

    limit = csv.field_size_limit()
    assert [len(text) for text in texts(written(tmp_path, "a.csv", "text,id\n" + "字" * 200_000 + ",1\n"))] == [200_000]
    assert csv.field_size_limit() == limit


def test_bad_lines_of_json_are_reported_and_the_others_read(tmp_path: Path) -> None:
    file = written(tmp_path, "a.jsonl", '{"text": "甲"}\n{"text": \n[1]\n7\n{"other": "乙"}\n{"text": "丙"}')
    assert texts(file) == ["甲", "丙"]
    assert [told.partition(": ")[0] for told in problems(file)] == ["a.jsonl:2", "a.jsonl:3", "a.jsonl:4", "a.jsonl:5"]


def test_many_bad_rows_become_a_number(tmp_path: Path) -> None:
    told = problems(written(tmp_path, "a.jsonl", "x\n" * 5_000))
    assert len(told) == 101
    assert told[-1] == "a.jsonl: 4,900 more rows could not be read."


def test_halves_of_surrogate_pairs_are_replaced_and_counted(tmp_path: Path) -> None:
    file = written(tmp_path, "a.jsonl", '{"text": "甲\\ud800乙", "名": "\\udc00\\ud83d\\ude00"}\n')
    assert texts(file) == ["甲\ufffd乙"]
    assert problems(file) == ["a.jsonl:1: 2 halves of surrogate pairs became U+FFFD."]
    (source,) = (each for each in read_file(file) if isinstance(each, Source))
    assert source.fields == {"名": "\ufffd😀"}


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"a":' * 100_000, '{"config": 1}', "[1, 2]", "nonsense", "[" + "9" * 5_000 + "]", "null"],
)
def test_json_that_holds_no_rows_is_reported(tmp_path: Path, content: str) -> None:
    assert len(problems(written(tmp_path, "a.json", content))) == 1


# Encodings


def test_lines_in_two_encodings_are_read_and_told(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv", "id,text\n1,甲乙丙丁\n".encode() + "2,戊己庚辛\n".encode("gb18030"))
    assert texts(file) == ["甲乙丙丁", "戊己庚辛"]
    assert problems(file)[0].startswith("a.csv:3: 1 lines from this one on are not utf-8")


def test_nuls_in_a_text_become_spaces(tmp_path: Path) -> None:
    file = written(tmp_path, "a.jsonl", '{"text": "%s"}\n{"text": "丙"}\0\n' % ("甲" * 100))
    assert texts(file)[1:] == ["丙"]
    assert problems(file) == ["a.jsonl:2: 1 NUL characters from this line on became spaces."]


# Time and memory


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.txt", "字"), ("a.txt", "。"), ("a.txt", "no. 5 "), ("a.txt", "\t"), ("a.md", "# a\n"), ("a.md", "```\n"),
        ("a.md", "a\n-\n"), ("a.md", "---\n"), ("a.html", "<!--"), ("a.html", "<a '"), ("a.html", "<a "),
        ("a.html", "<"), ("a.html", "<div>"), ("a.html", "<nav>"), ("a.html", "<script>"), ("a.html", "<![CDATA["),
        ("a.html", "&#"),
        ("a.csv", 'a,"b\n'), ("a.csv", '"'), ("a.csv", "a,b\n"), ("a.tsv", '"a\tb\n'), ("a.json", '{"text":'),
        ("a.jsonl", "{"), ("a.json", '"a",'),
    ],
)      # fmt: skip
@pytest.mark.parametrize("end", ["", "\n>"])
def test_the_time_grows_with_the_length_not_its_square(tmp_path: Path, name: str, unit: str, end: str) -> None:
    file = written(tmp_path, name, "a" + unit * (300_000 // len(unit)) + end)
    begun = time.perf_counter()
    for source in read_file(file, text_columns=None):
        if isinstance(source, Source):
            chunk(source)
    assert time.perf_counter() - begun < 5      # a square would take minutes


def test_a_hundred_megabytes_of_one_line_are_read(tmp_path: Path) -> None:
    file = written(tmp_path, "a.txt", "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少".encode() * 1_670_000)
    assert file.stat().st_size > 100_000_000
    (source,) = (each for each in read_file(file) if isinstance(each, Source))
    pieces = chunk(source)
    assert sum(len(piece.text) for piece in pieces) == len(source.text) == 33_400_000
    assert {piece.line for piece in pieces} == {1}


# Anything

JSON_VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.txt", "a.md", "a.html", "a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt.gz"]),
    content=st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from('<>/"\'{}[],:;\n\t #-=&!a1甲第回。\\u'), max_size=200).map(str.encode),
        JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    ),
)
def test_any_bytes_in_any_kind_of_file_are_read_or_reported(tmp_path: Path, name: str, content: bytes) -> None:
    file = written(tmp_path, name, gzip.compress(content) if name.endswith(".gz") else content)
    try:
        found = list(read_file(file))
    except BadInput:      # a table without a column of texts
        return
    assert found or name.startswith(("a.csv", "a.tsv", "a.json"))
    for each in found:
        if isinstance(each, Source):
            each.text.encode()
            assert "\r" not in each.text or name.startswith("a.json")
            for piece in chunk(each, max_chars=20):
                assert piece.text == each.text[piece.start : piece.end]
                assert 1 <= piece.line <= content.count(b"\n") + content.count(b"\r") + 1
        else:
            assert each.reason.endswith(".")
