"""Files of examples: every layout people use, every bad row with its place, nothing read twice or held whole."""

from __future__ import annotations

import gzip
import json
import logging
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from qianru.errors import BadFile, BadInput, UnknownName
from qianru.train.data.columns import Columns
from qianru.train.data.examples import Labelled, Plain, Ranked, Scored
from qianru.train.data.lines import LineRows
from qianru.train.data.sets import DataConfig, DataSet

MOON, FROST, HOME = "床前明月光", "疑是地上霜", "低头思故乡"


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def read(path: Path, **options: Any) -> DataSet:
    return DataSet(DataConfig(str(path), **options))


LAYOUTS: list[tuple[dict[str, Any], object]] = [
    ({"query": MOON, "pos": [FROST], "neg": [HOME]}, Ranked(MOON, (FROST,), (HOME,))),
    ({"query": MOON, "pos": [FROST], "neg": []}, Ranked(MOON, (FROST,))),
    ({"anchor": MOON, "positive": FROST}, Ranked(MOON, (FROST,))),
    ({"anchor": MOON, "positive": FROST, "negative": HOME}, Ranked(MOON, (FROST,), (HOME,))),
    ({"anchor": MOON, "positive": FROST, "negative_1": HOME, "negative_2": "举头望明月"},
     Ranked(MOON, (FROST,), (HOME, "举头望明月"))),
    ({"Question": MOON, "Answer": FROST}, Ranked(MOON, (FROST,))),
    ({"query_id": "1", "query": MOON, "positive_passages": [{"docid": "2", "title": "静夜思", "text": FROST}],
      "negative_passages": [{"title": "", "text": HOME}]}, Ranked(MOON, (f"静夜思 {FROST}",), (HOME,))),
    ({"query": MOON, "pos": [FROST], "neg": [HOME], "pos_scores": [0.9], "neg_scores": [0.1]},
     Ranked(MOON, (FROST,), (HOME,), (0.9, 0.1))),
    ({"sentence1": MOON, "sentence2": FROST, "score": 3}, Scored(MOON, FROST, 3.0)),
    ({"sentence1": MOON, "sentence2": FROST, "label": "1"}, Scored(MOON, FROST, 1.0)),
    ({"sentence1": MOON, "sentence2": FROST}, Ranked(MOON, (FROST,))),
    ({"text": MOON}, Plain(MOON)),
]


@pytest.mark.parametrize(("row", "example"), LAYOUTS, ids=[" ".join(row) for row, _ in LAYOUTS])
def test_the_columns_that_people_use_are_known(row: dict[str, Any], example: object, tmp_path: Path) -> None:
    assert read(jsonl(tmp_path / "a.jsonl", row))[0] == example


def test_a_class_of_texts_is_known_by_its_column(tmp_path: Path) -> None:
    rows = [{"sentence": MOON, "label": 102}, {"sentence": FROST, "label": 102}, {"sentence": HOME, "label": 7}]
    data = read(jsonl(tmp_path / "a.jsonl", *rows))
    assert [data[i] for i in range(len(data))] == [Labelled(MOON, "102"), Labelled(FROST, "102")]   # 7 has one text


def test_columns_can_be_named_by_the_user(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"标题": MOON, "摘要": FROST})
    assert read(path, columns={"query": "标题", "positive": "摘要"})[0] == Ranked(MOON, (FROST,))
    with pytest.raises(UnknownName, match=r"no column '标提' in .*a.jsonl. Did you mean '标题'"):
        read(path, columns={"query": "标提", "positive": "摘要"})
    with pytest.raises(UnknownName, match=r"no role of a column 'querry'. Did you mean 'query'"):
        read(path, columns={"querry": "标题"})


def test_columns_that_say_nothing_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"columns of .*a.jsonl are id, query, title, which say nothing"):
        Columns.find(["id", "query", "title"], None, str(tmp_path / "a.jsonl"))


def test_a_table_quotes_commas_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f'\ufeffquery,positive\r\n"{MOON},\n""床""",{FROST}\r\n\r\n{HOME},x\r\n'.encode())
    data = read(path)
    assert [data[i] for i in range(2)] == [Ranked(f'{MOON},\n"床"', (FROST,)), Ranked(HOME, ("x",))]


def test_a_table_of_tabs_takes_quotation_marks_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f'sentence1\tsentence2\tscore\n"{MOON}\t{FROST}\t0.5\n', "utf-8")
    assert read(path)[0] == Scored(f'"{MOON}', FROST, 0.5)


def test_a_table_without_names_is_told_by_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{MOON}\t{FROST}\t5\n{FROST}\t{HOME}\t0\n", "utf-8")
    data = read(path, columns={"text1": "0", "text2": "1", "score": "2"})
    assert [data[i] for i in range(2)] == [Scored(MOON, FROST, 5), Scored(FROST, HOME, 0)]
    with pytest.raises(BadInput, match=r"columns of .* are 0, 1, 2, which say nothing"):
        read(path)


def test_a_packed_file_reads_as_the_plain_one(tmp_path: Path) -> None:
    plain = jsonl(tmp_path / "a.jsonl", {"text": MOON}, {"text": FROST})
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read(packed)[1] == read(plain)[1] == Plain(FROST)
    assert read(packed).fingerprint == read(plain).fingerprint


def test_parquet_and_folders_of_datasets_read_alike(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import ipc, parquet

    table = pyarrow.table({"query": [MOON, HOME], "pos": [[FROST], [MOON, FROST]], "neg": [[], [HOME]]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    folder = tmp_path / "saved"
    folder.mkdir()
    with ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as sink:
        sink.write_table(table, max_chunksize=1)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    for path in (tmp_path / "a.parquet", folder):
        data = read(path)
        assert [data[i] for i in (1, 0)] == [Ranked(HOME, (MOON, FROST), (HOME,)), Ranked(MOON, (FROST,))]


def test_a_folder_of_several_splits_asks_which(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for split in ("train", "test"):
        (tmp_path / "d" / split).mkdir(parents=True)
        (tmp_path / "d" / split / "state.json").write_text("{}")
    (tmp_path / "d" / "dataset_dict.json").write_text("{}")
    with pytest.raises(BadInput, match=r"holds the splits test, train. Name one"):
        read(tmp_path / "d")


BAD: list[tuple[bytes, str]] = [
    ('{"query": "月", "pos": []}'.encode(), "'pos' is empty"),
    ('{"query": " ", "pos": ["霜"]}'.encode(), "'query' is empty"),
    ('{"pos": ["霜"]}'.encode(), "there is no 'query'"),
    ('{"query": "月", "pos": [3]}'.encode(), "'pos' is int, not a text: 3"),
    ('{"query": "月", "pos": ["霜"], "pos_scores": [1, 2]}'.encode(), "there are 1 positive texts and 2 scores"),
    ('{"query": "月", "pos": ["霜"'.encode(), "this is not JSON"),
    (b'["a"]', "this is list, not an object"),
    (b'{"query": "\xff"}', "this is not UTF-8: byte 11 of the line is 0xff"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_row_is_reported_with_file_and_line(line: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    good = '{"query": "月", "pos": ["霜"], "pos_scores": [1]}\n'.encode()
    path.write_bytes(good + b"\n" + line + b"\n" + good)
    with pytest.raises(BadFile, match=f"pairs.jsonl:3: {reason}"):
        read(path)


def test_bad_rows_are_skipped_on_request_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"query": MOON, "pos": FROST}, {"query": MOON, "pos": ""},
                 {"query": HOME, "pos": MOON})
    with caplog.at_level(logging.WARNING, "qianru"):
        data = read(path, bad_rows="skip")
    assert [data[i] for i in range(len(data))] == [Ranked(MOON, (FROST,)), Ranked(HOME, (MOON,))]
    assert "a.jsonl:2: 'pos' is empty; skipped." in caplog.text
    assert "1 of 3 rows" in caplog.text


def test_a_row_with_too_few_columns_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'query,positive\n"{MOON}\n",{FROST}\n{HOME}\n', "utf-8")
    with pytest.raises(BadFile, match=r"a.csv:4: there are 1 columns, 2 in the first line"):
        read(path)


def test_an_open_quotation_mark_is_found_where_it_opens(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'query,positive\n{HOME},x\n"{MOON},{FROST}\n', "utf-8")
    with pytest.raises(BadFile, match=r"a.csv:3 opens a quotation mark"):
        read(path)


def test_missing_empty_and_foreign_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"nowhere.jsonl does not exist"):
        read(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(BadInput, match="holds no rows"):
        read(tmp_path / "empty.jsonl")
    (tmp_path / "a.docx").touch()
    with pytest.raises(BadInput, match=r"a.docx is no file of examples. Readable are .jsonl"):
        read(tmp_path / "a.docx")


def test_the_fingerprint_changes_with_a_letter_and_with_the_columns(tmp_path: Path) -> None:
    one = read(jsonl(tmp_path / "a.jsonl", {"a": MOON, "b": FROST}), columns={"query": "a", "positive": "b"})
    turned = read(tmp_path / "a.jsonl", columns={"query": "b", "positive": "a"})
    other = read(jsonl(tmp_path / "c.jsonl", {"a": MOON, "b": HOME}), columns={"query": "a", "positive": "b"})
    assert len({one.fingerprint, turned.fingerprint, other.fingerprint}) == 3


def test_rows_of_a_large_file_are_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    line = json.dumps({"text": MOON * 2000}, ensure_ascii=False).encode() + b"\n"
    with path.open("wb") as file:
        for _ in range(1000):
            file.write(line)                      # 30 MB
    tracemalloc.start()
    rows = LineRows(path)
    assert rows[999]["text"][:5] == MOON
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_the_real_pairs_of_text2vec_can_be_read(data: Path) -> None:
    found = read(data / "train/pairs/text2vec_bge_finetune_data.jsonl.gz")
    assert (found.task, len(found)) == ("ranked", 2687)
    assert isinstance(found[2686], Ranked)
