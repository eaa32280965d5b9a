"""Tasks as data: what tasks.toml holds, what a task file may say, and how texts are read in every layout."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qianru.errors import BadFile, BadInput, SpecMismatch, UnknownName
from qianru.evaluate.data import Clusters, Labelled, Pairs, Search, read_data
from qianru.evaluate.places import Places
from qianru.evaluate.tables import rows
from qianru.evaluate.task import TYPES, Task, find_tasks, known_tasks, only_types, read_task

pyarrow = pytest.importorskip("pyarrow")
OPEN = Path(__file__).parent.parent / "tasks"


def write(path: Path, *values: Any) -> Path:
    """JSON lines, or Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(values)), path)
    else:
        text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_all_of_c_mteb_is_known() -> None:
    counts = Counter(task.type for task in find_tasks("C-MTEB"))
    assert counts == {"Retrieval": 8, "Reranking": 4, "PairClassification": 2, "Clustering": 4, "STS": 7,
                      "Classification": 6}
    assert all(len(task.revision) == 40 and set(task.ids) == {"huggingface", "modelscope"}
               for task in find_tasks("c-mteb"))


def test_m3e_has_its_six_sets_and_three_sizes_of_t2ranking() -> None:
    counts = Counter(task.type for task in find_tasks("M3E"))
    assert counts == {"Classification": 6, "Retrieval": 3}
    assert [task.max_passage for task in find_tasks("T2Ranking-50W")] == [500_000]


def test_names_are_unique_and_do_not_name_suites() -> None:
    names = [task.name.lower() for task in known_tasks()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", sorted(OPEN.glob("*.toml")), ids=lambda path: path.stem)
def test_every_task_over_the_open_data_can_be_read(path: Path, data: Path) -> None:
    task = read_task(path)
    found = read_data(task, Places(data))
    assert isinstance(found, {"Classification": Labelled, "Clustering": Clusters, "Retrieval": Search,
                              "Reranking": Search, "Answering": Search}.get(task.type, Pairs))


def test_open_tasks_are_of_every_type() -> None:
    assert {task.type for task in find_tasks(str(OPEN))} == set(TYPES)


# what a task file may say


@pytest.mark.parametrize(("said", "wrong"), [
    ('type = "STS"', "says no files"),
    ('files = { file = "a.tsv" }', "says no type"),
    ('type = "STT"\nfiles = { file = "a.tsv" }', "Did you mean 'STS'"),
    ('type = "STS"\nfile = "a.tsv"\nfiles = { file = "a.tsv" }', "Did you mean 'files'"),
    ('type = "STS"\nfiles = { file = "a.tsv" }\nheader = "no"', "must be of type bool"),
    ('type = "STS"\nfiles = { file = "a.tsv" }\ndraws = -1', "must be of type int"),
    ('type = "STS"\nlayout = "beir"\nfiles = { file = "a.tsv" }', "no layout 'beir'"),
    ("type = STS", "is no task file"),
])
def test_a_task_file_that_says_something_else_is_an_error(tmp_path: Path, said: str, wrong: str) -> None:
    path = tmp_path / "my.toml"
    path.write_text(said)
    with pytest.raises((SpecMismatch, BadFile, UnknownName), match=wrong):
        read_task(path)


def test_an_unknown_name_has_a_did_you_mean() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'T2Retrieval'"):
        find_tasks("T2Retreival")


def test_a_folder_without_tasks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="holds no task"):
        find_tasks(str(tmp_path))


def test_two_tasks_of_one_name_are_an_error() -> None:
    with pytest.raises(BadInput, match="Two tasks are called X"):
        only_types([Task(name="X", type="STS"), Task(name="X", type="Retrieval")], [])


# the hubs' layouts


def test_judgments_of_a_data_set_apart_are_found(tmp_path: Path) -> None:
    write(tmp_path / "T2Retrieval" / "data" / "corpus-00000-of-00002-8afe.parquet", {"id": "p1", "text": "胆碱"})
    write(tmp_path / "T2Retrieval" / "data" / "corpus-00001-of-00002-8afe.parquet", {"id": "p2", "text": "宿舍 "})
    write(tmp_path / "T2Retrieval" / "data" / "queries-00000-of-00001-930b.parquet",
          {"id": "q1", "text": "怎么选宿舍"}, {"id": "q2", "text": "没有判断的"})
    write(tmp_path / "T2Retrieval-qrels" / "data" / "dev-00000-of-00001-92ed.parquet",
          {"qid": "q1", "pid": "p2", "score": 2})
    (task,) = find_tasks("T2Retrieval")
    found = read_data(task, Places(tmp_path))
    assert isinstance(found, Search)
    assert found.queries == {"q1": "怎么选宿舍"}
    assert found.qrels == {"q1": {"p2": 2}}
    assert list(found.corpus()) == list(found.corpus()) == [("p1", "胆碱"), ("p2", "宿舍")]


def test_parts_in_folders_are_found_and_titles_stand_before_texts(tmp_path: Path) -> None:
    home = tmp_path / "mteb" / "scifact"
    write(home / "corpus" / "corpus-00000-of-00001.parquet", {"_id": "1", "title": "Zinc", "text": "helps."})
    write(home / "queries" / "test-00000-of-00001.parquet", {"_id": "7", "text": "Does zinc help?"})
    write(home / "data" / "test-00000-of-00001.parquet", {"query-id": "7", "corpus-id": "1", "score": 1})
    write(home / "data" / "train-00000-of-00001.parquet", {"query-id": "8", "corpus-id": "1", "score": 1})
    (task,) = find_tasks("SciFact")
    found = read_data(task, Places(tmp_path))
    assert isinstance(found, Search)
    assert list(found.corpus()) == [("1", "Zinc helps.")]
    assert found.qrels == {"7": {"1": 1}}


def test_beirs_own_layout_is_found(tmp_path: Path) -> None:
    home = tmp_path / "SciFact"
    write(home / "corpus.jsonl", {"_id": "1", "title": "", "text": "Zinc helps."})
    write(home / "queries.jsonl", {"_id": "7", "text": "Does zinc help?"})
    (home / "qrels").mkdir()
    (home / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n7\t1\t1\n")
    found = read_data(find_tasks("SciFact")[0], Places(tmp_path))
    assert isinstance(found, Search)
    assert (found.queries, found.qrels) == ({"7": "Does zinc help?"}, {"7": {"1": 1}})


def test_splits_of_a_classification_set_are_told_apart(tmp_path: Path) -> None:
    home = tmp_path / "C-MTEB__TNews-classification" / "data"
    write(home / "train-00000-of-00001-a.parquet", {"text": "学", "label": 1}, {"text": "习", "label": 2})
    write(home / "validation-00000-of-00001-a.parquet", {"text": "验", "label": 2})
    write(home / "test-00000-of-00001-a.parquet", {"text": "考", "label": 1})
    found = read_data(find_tasks("TNews")[0], Places(tmp_path))
    assert isinstance(found, Labelled)
    assert (found.train_texts, found.texts, found.labels) == (["学", "习"], ["验"], [2])


def test_old_and_new_reranking_sets_are_read(tmp_path: Path) -> None:
    write(tmp_path / "old" / "T2Reranking" / "data" / "dev-0.parquet",
          {"query": "茶", "positive": ["龙井"], "negative": ["咖啡", "水"]},
          {"query": "没有反例", "positive": ["x"], "negative": []})
    old = read_data(find_tasks("T2Reranking")[0], Places(tmp_path / "old"))
    home = tmp_path / "new" / "T2Reranking"
    write(home / "corpus" / "dev-0.parquet", {"_id": "a", "title": "", "text": "龙井"}, {"_id": "b", "text": "咖啡"})
    write(home / "queries" / "dev-0.parquet", {"_id": "q", "text": "茶"})
    write(home / "data" / "dev-0.parquet", {"query-id": "q", "corpus-id": "a", "score": 1},
          {"query-id": "q", "corpus-id": "b", "score": 0})
    write(home / "top_ranked" / "dev-0.parquet", {"query-id": "q", "corpus-ids": ["a", "b"]})
    new = read_data(find_tasks("T2Reranking")[0], Places(tmp_path / "new"))
    assert isinstance(old, Search)
    assert isinstance(new, Search)
    assert list(old.queries.values()) == list(new.queries.values()) == ["茶"]
    assert [sorted(graded.values()) for graded in old.qrels.values()] == [[0, 0, 1]]
    assert new.candidates == {"q": ["a", "b"]}


def test_pairs_in_one_row_of_lists_are_unrolled(tmp_path: Path) -> None:
    write(tmp_path / "OCNLI" / "data" / "validation-0.parquet",
          {"sent1": ["甲", "乙"], "sent2": ["丙", "丁"], "labels": [1, 0]})
    found = read_data(find_tasks("Ocnli")[0], Places(tmp_path))
    assert found == Pairs(["甲", "乙"], ["丙", "丁"], [1.0, 0.0])


def test_t2ranking_stops_at_its_last_passage(tmp_path: Path) -> None:
    home = tmp_path / "T2Ranking" / "data"
    home.mkdir(parents=True)
    (home / "collection.tsv").write_text('pid\ttext\n0\t"引号"是字\n10000\t末\n10001\t外\n')
    (home / "queries.dev.tsv").write_text("qid\ttext\n1\t一\n2\t二\n3\t三\n")
    (home / "qrels.dev.tsv").write_text("qid\t-\tpid\trel\n1\t0\t0\t3\n2\t0\t10001\t2\n3\t0\t10000\t0\n")
    found = read_data(find_tasks("T2Ranking-1W")[0], Places(tmp_path))
    assert isinstance(found, Search)
    assert (found.queries, found.qrels) == ({"1": "一"}, {"1": {"0": 3}})
    assert list(found.corpus()) == [("0", '"引号"是字'), ("10000", "末")]


def test_what_is_not_here_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANRU_CACHE", str(tmp_path))
    with pytest.raises(BadFile, match="qianru download --task STSB"):
        read_data(find_tasks("STSB")[0], Places(tmp_path))


# damaged and odd tables


def task_over(path: Path, **settings: Any) -> Task:
    return Task(name="我的", type="STS", layout="table", files={"file": path.name}, folder=path.parent, **settings)


@pytest.mark.parametrize(("name", "content", "wrong"), [
    ("a.tsv", b"sentence1\tsentence2\tscore\n\xe7\x94\xb2\t\xe4\xb9\x99\n",
     "line 2: 2 values, where the first line has 3"),
    ("a.tsv", b"", "no rows"),
    ("a.tsv", b"sentence1\tsentence2\tscore\n", "no rows"),
    ("a.tsv", b"sentence1\tsentence2\tscore\na\tb\thigh\n", "'high', which is no number"),
    ("a.tsv", b"sentence1\tsentence2\tscore\na\tb\tnan\n", "'nan', which is no number"),
    ("a.tsv", b"s1\ts2\tscore\na\tb\t1\n", "needs a column 'sentence1'"),
    ("a.jsonl", b'{"sentence1": "a"\n', "line 1"),
    ("a.jsonl", b'["a", "b", 1]\n', "not an object"),
    ("a.jsonl", b'{"sentence1": null, "sentence2": "b", "score": 1}\n', "the left is None"),
    ("a.json", b"{", "no JSON"),
    ("a.csv", b'sentence1,sentence2,score\n"a,b,1\n', "line 2"),
    ("a.tsv", b"\xff\xfe\x00", "not UTF-8"),
    ("a.parquet", b"PAR1", "no Parquet file"),
    ("a.jsonl.gz", b"\x1f\x8b\x08\x00", "cannot be read"),
    ("a.csv.zip", b"PK", "cannot be read"),
    ("a.docx", b"PK", "format of tables 'docx'"),
])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, name: str, content: bytes, wrong: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((BadFile, SpecMismatch, UnknownName), match=wrong):
        read_data(task_over(tmp_path / name), Places())


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"no a\.tsv in"):
        read_data(task_over(tmp_path / "a.tsv"), Places(tmp_path))


def test_one_file_of_a_zip_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.csv", 'text,label\n"一,二",1\n')
    assert list(rows(tmp_path / "a.zip", "csv")) == [{"text": "一,二", "label": "1"}]


def test_labels_other_than_0_and_1_are_no_pair_classification(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"sentence1": "a", "sentence2": "b", "label": 2})
    task = Task(name="x", type="PairClassification", layout="table", files={"file": path.name}, folder=tmp_path)
    with pytest.raises(SpecMismatch, match="needs 0 and 1"):
        read_data(task, Places())


def test_a_squad_file_of_another_shape_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"data": [{"paragraphs": [{"text": "x"}]}]}')
    task = Task(name="x", type="Retrieval", layout="squad", files={"file": "a.json"}, folder=tmp_path)
    with pytest.raises(SpecMismatch, match="SQuAD"):
        read_data(task, Places())
