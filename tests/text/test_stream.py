"""Texts one by one from files of any size give what reading the whole file gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from qianru.errors import BadFile
from qianru.text.read import Problem, Source, read_file, stream
from qianru.text.read.stream import stream_file


def told(file: Path, **options: str) -> list[tuple[int | None, str]]:
    found = stream_file(file, **options)      # type: ignore[arg-type]
    return [(one.line, one.text if isinstance(one, Source) else one.reason) for one in found]


@pytest.fixture(autouse=True)
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that lines lie across blocks."""
    monkeypatch.setattr(stream, "BLOCK", 7)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_keep_text_and_number_in_any_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    lines = ["床前明月光，疑是地上霜。举头望明月，", "", "  我爱吃蔬菜 ", "abc", "", "春眠不觉晓，处处闻啼鸟。" * 9]
    (tmp_path / "a.txt").write_bytes(end.join(lines).encode(encoding))
    assert told(tmp_path / "a.txt") == [(1, lines[0]), (3, "我爱吃蔬菜"), (4, "abc"), (6, lines[5])]


def test_rows_of_json_lines_are_those_of_reading_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "床前明月光", "n": 1}\n\nnot json\n{"text": "低头\\n思故乡"}\n[1]\n{"n": 3}', "utf-8")
    whole, streamed = list(read_file(file)), list(stream_file(file))
    assert streamed == whole
    assert [one.line for one in streamed if isinstance(one, Source)] == [1, 4]
    assert [one.line for one in streamed if isinstance(one, Problem)] == [3, 5, 6]


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(stream, "BLOCK", 1 << 18)
    (tmp_path / "a.txt").write_bytes(b"x" * (2 << 20))
    with pytest.raises(BadFile, match="a line longer than 1 MiB"):
        told(tmp_path / "a.txt")
    (tmp_path / "b.txt.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(BadFile, match=r"b\.txt\.gz cannot be read"):
        told(tmp_path / "b.txt.gz")
