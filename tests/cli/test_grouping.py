"""Clusters, labels and near-duplicates on the command line: files in and out, and one line for what goes wrong."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from qianru import Collection, Document

from .conftest import Qianru

pytest.importorskip("sklearn")

DISHES = ["红烧肉要用五花肉慢炖", "清炒油菜加蒜末炒熟", "番茄炒鸡蛋放少许糖", "红烧肉炖熟以后收汁",
          "油菜和香菇一起炒熟"]
MATCHES = ["足球比赛在今晚举行", "球队赢了篮球比赛", "教练换下了受伤的球员", "这支球队的球员很年轻",
           "足球教练谈今晚的比赛"]


@pytest.fixture
def table(notes: Path) -> Path:
    """Rows with a text, a topic and a date; the last is nearly the first."""
    rows = [{"正文": text, "topic": topic, "date": f"2024-01-{i:02d}"}
            for i, (text, topic) in enumerate([*((text, "菜") for text in DISHES), *((text, "球") for text in MATCHES),
                                               ("紅燒肉，要用五花肉慢燉！", "菜")], 1)]
    path = notes.parent / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return path


def test_clusters_are_told_written_and_drawn(table: Path, qianru: Qianru) -> None:
    pytest.importorskip("matplotlib")
    told = qianru("cluster", "rows.jsonl", "-n", "2", "-o", "c.csv", "--plot", "c.html", "--json")
    assert (told.code, told.json()["n_texts"], len(told.json()["clusters"])) == (0, 11, 2)
    assert sum(each["size"] for each in told.json()["clusters"]) == 11
    with Path("c.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows][:2] == ["rows.jsonl:1", "rows.jsonl:2"]
    assert {row["cluster"] for row in rows} == {"1", "2"}
    assert "红烧肉" in Path("c.html").read_text("utf-8")
    shown = qianru("cluster", "rows.jsonl", "-n", "2", "-o", "c.jsonl", "--plot", "c.png")
    assert shown.code == 0
    assert "2 clusters (given) by words and meaning" in shown.err
    assert json.loads(Path("c.jsonl").read_text("utf-8").splitlines()[0])["text"] == DISHES[0]


def test_folders_collections_and_stored_vectors_are_clustered(indexed: Path, qianru: Qianru) -> None:
    assert qianru("cluster", "notes", "-n", "2", "--json").json()["n_texts"] == 4
    told = qianru("cluster", "--clusters", "2", "--json")
    assert (told.code, told.json()["model"]) == (0, "bm25")
    assert qianru("cluster", "--where", 'path ^= "notes/发票"').code == 1        # one text makes no clusters
    Path("words.txt").write_text("\n".join(DISHES + MATCHES), "utf-8")
    Path("rows.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in DISHES + MATCHES), "utf-8")
    assert qianru("fit", "lsa", "rows.jsonl", "-o", "words.model", "--dim", "5").code == 0
    assert qianru("embed", "words.txt", "-o", "vectors", "-m", "words.model").code == 0
    stored = qianru("cluster", "words.txt", "--vectors", "vectors", "-n", "2", "--json")
    assert (stored.code, stored.json()["model"]) == (0, "lsa")
    Path("words.txt").write_text("\n".join(DISHES), "utf-8")
    assert "vectors of other texts" in qianru("cluster", "words.txt", "--vectors", "vectors").err


def test_a_file_is_read_by_lines_or_by_passages_as_its_kind_is(notes: Path, qianru: Qianru) -> None:
    Path("rows.tab").write_text("text\tn\n" + "".join(f"{dish}\t{i}\n" for i, dish in enumerate(DISHES)), "utf-8")
    Path("notes.md.gz").write_bytes(gzip.compress("# 菜谱\n\n红烧肉要慢炖。\n\n收汁以后加糖。\n".encode()))
    told = qianru("cluster", "rows.tab", "notes.md.gz", "-n", "2", "-o", "c.jsonl", "--json")
    assert (told.code, told.json()["n_texts"]) == (0, 6), told.err
    ids = [json.loads(line)["id"] for line in Path("c.jsonl").read_text("utf-8").splitlines()]
    assert (ids[0], ids[-1]) == ("rows.tab:2", "notes.md.gz#1")


def test_near_duplicates_are_dropped_and_told(table: Path, qianru: Qianru) -> None:
    told = qianru("dedup", "rows.jsonl", "-o", "kept.jsonl", "--groups", "groups.jsonl", "--keep", "largest", "--by",
                  "date", "--json")
    assert told.json() | {"problems": []} == {
        "kept": "kept.jsonl", "groups": "groups.jsonl", "threshold": 0.8, "n_texts": 11, "n_kept": 10, "n_groups": 1,
        "largest_group": 2, "n_without_letters": 0, "problems": []}
    kept = [json.loads(line) for line in Path("kept.jsonl").read_text("utf-8").splitlines()]
    assert kept[-1] == {"正文": "紅燒肉，要用五花肉慢燉！", "topic": "菜", "date": "2024-01-11"}
    shown = qianru("dedup", "rows.jsonl", "-o", "kept.csv")
    assert "10 kept in kept.csv, 1 near-duplicate dropped from 1 group," in shown.out
    assert Path("kept.csv").read_text("utf-8").splitlines()[0] == "正文,topic,date"


def test_what_is_kept_is_as_it_was_read(notes: Path, qianru: Qianru) -> None:
    row = {"正文": [DISHES[0], DISHES[1]], "作者": {"名": "杜甫", "岁": [1, None]}, "注": [{"a": 1}, {"b": []}],
           "空": None, "无": "", "大": 10**30, "新": True, "分": 1.5}
    rows = (row, row | {"分": 2.0}, {"正文": MATCHES[0], "号": "007"})
    lines = [json.dumps(each, ensure_ascii=False) for each in rows]
    Path("a.jsonl").write_text("\n".join(lines), "utf-8")
    assert qianru("dedup", "a.jsonl", "-o", "kept.jsonl").code == 0
    assert Path("kept.jsonl").read_text("utf-8").splitlines() == [lines[0], lines[2]]
    assert qianru("dedup", "a.jsonl", "-o", "kept.csv").code == 0
    with Path("kept.csv").open(encoding="utf-8", newline="") as file:
        first, last = csv.DictReader(file)
    assert (first["作者"], first["空"], first["新"]) == ('{"名": "杜甫", "岁": [1, null]}', "", "true")
    assert (last["号"], last["大"]) == ("007", "")
    Path("b.csv").write_text(f"标题,正文,价\n甲,{DISHES[0]},1.10\n乙,{DISHES[1]},\n", "utf-8")
    assert qianru("dedup", "b.csv", "-o", "kept.csv", "--text-columns", "标题,正文").code == 0
    assert Path("kept.csv").read_text("utf-8") == Path("b.csv").read_text("utf-8")
    assert qianru("dedup", "b.csv", "-o", "kept.jsonl").code == 0
    kept = Path("kept.jsonl").read_text("utf-8").splitlines()
    assert json.loads(kept[0]) == {"标题": "甲", "正文": DISHES[0], "价": 1.1}


def test_a_collection_is_read_as_files_are(indexed: Path, qianru: Qianru) -> None:
    twin = "电子发票在发货以后，发送到邮箱！\n如果没有收到发票，請聯繫客服。"
    with Collection.open(".qianru") as library:
        library.add([Document("twin", twin, {"year": 2024, "tags": ["票"]})])
    told = qianru("dedup", ".qianru", "-o", "kept.jsonl", "--groups", "groups.jsonl", "--keep", "last", "--json")
    assert (told.code, told.json()["n_texts"], told.json()["n_kept"]) == (0, 5, 4)
    kept = [json.loads(line) for line in Path("kept.jsonl").read_text("utf-8").splitlines()]
    assert kept[-1] == {"id": "twin", "text": twin, "year": 2024, "tags": ["票"]}
    group = json.loads(Path("groups.jsonl").read_text("utf-8"))
    assert (group["kept"]["id"], group["duplicates"][0]["id"]) == ("twin", "notes/发票.txt#1")
    assert qianru("count").out == "5\n"
    assert qianru("cluster", ".qianru", "-n", "2", "--json").json()["model"] == "bm25"
    assert "no field 'yeer'. Did you mean 'year'?" in qianru("cluster", ".qianru", "--where", "yeer = 2024").err
    assert "Leave out the columns" in qianru("dedup", ".qianru", "-o", "k.txt", "--id", "year").err
    assert "notes is a folder" in qianru("dedup", "notes", "-o", "k.txt").err


def test_nothing_is_written_into_what_is_read(indexed: Path, table: Path, qianru: Qianru) -> None:
    assert qianru("fit", "lsa", "rows.jsonl", "-o", "words.model", "--dim", "5").code == 0
    assert qianru("embed", "rows.jsonl", "-o", "vectors", "-m", "words.model").code == 0
    assert qianru("classify", "fit", "rows.jsonl", "-l", "topic", "-o", "topics").code == 0
    for line in ("dedup .qianru -o .qianru/kept.csv", "dedup .qianru -o k.csv --groups .qianru/new/groups.jsonl",
                 "cluster -o .qianru/c.csv", "cluster .qianru --plot .qianru/c.html",
                 "cluster rows.jsonl --vectors vectors -o vectors/c.csv",
                 "classify predict topics rows.jsonl -o topics/l.csv",
                 "classify fit .qianru -l topic -o .qianru/topics"):
        told = qianru(*line.split())
        assert (told.code, "lies inside of what is read" in told.err) == (1, True), told.err
    assert qianru("check").code == 0
    assert qianru("cluster", "notes", "-n", "2", "-o", "notes/c.csv").code == 0      # a folder of anything


def test_fields_called_id_and_text_take_no_documents_place(notes: Path, qianru: Qianru) -> None:
    with Collection.create("c.qianru", "bm25") as library:
        library.add([Document("a.csv#1", "运费自理", {"id": 7, "text": "旁注"}), Document("a.csv#2", "七天退货")])
    assert qianru("dedup", "c.qianru", "-o", "k.jsonl").code == 0
    assert [json.loads(line) for line in Path("k.jsonl").read_text("utf-8").splitlines()] == [
        {"id": "a.csv#1", "text": "运费自理", "fields.id": 7, "fields.text": "旁注"},
        {"id": "a.csv#2", "text": "七天退货"}]


def test_results_go_to_folders_that_are_made(table: Path, qianru: Qianru) -> None:
    assert qianru("cluster", "rows.jsonl", "-n", "2", "-o", "new/deep/c.csv").code == 0
    assert len(Path("new/deep/c.csv").read_text("utf-8").splitlines()) == 12
    assert qianru("cluster", "rows.jsonl", "-n", "2", "-o", "rows.jsonl/c.csv").err.count("could not be written") == 1


def test_a_threshold_is_learnt_from_labelled_pairs(table: Path, qianru: Qianru) -> None:
    pairs = [(DISHES[0], "紅燒肉要用五花肉慢燉", True), (DISHES[0], DISHES[3], False)]
    Path("pairs.jsonl").write_text("\n".join(json.dumps({"left": a, "right": b, "same": c}) for a, b, c in pairs))
    told = qianru("dedup", "rows.jsonl", "-o", "k.txt", "--labelled", "pairs.jsonl", "--json").json()
    assert (told["threshold"], told["precision"], told["n_kept"]) == (1.0, 1.0, 10)


def test_labels_are_learnt_and_told(table: Path, qianru: Qianru) -> None:
    pytest.importorskip("matplotlib")
    fitted = qianru("classify", "fit", "rows.jsonl", "--label", "topic", "-o", "topics", "--plot", "topics.html")
    assert (fitted.code, "11 texts, 2 labels" in fitted.out) == (0, True)
    assert "菜" in Path("topics.html").read_text("utf-8")
    assert qianru("classify", "predict", "topics", "rows.jsonl", "-o", "told.csv").code == 0
    with Path("told.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["菜"] * 5 + ["球"] * 5 + ["菜"]
    Path("new.txt").write_text("足球比赛\n红烧肉", "utf-8")
    told = qianru("classify", "predict", "topics", "new.txt", "--json").json()["texts"]
    assert [one["label"] for one in told] == ["球", "菜"]
    assert qianru("classify", "predict", "topics", "new.txt").out.startswith("球 ")


def test_labels_as_pandas_and_json_write_them(notes: Path, qianru: Qianru) -> None:
    given = ["1.0", "0.0", "NaN", "null", '"nan"', '" "', "1", "0", "true", "true"]
    Path("a.jsonl").write_text("\n".join(f'{{"text": "{text}", "label": {label}}}' for text, label in
                                         zip(DISHES + MATCHES, given, strict=True)), "utf-8")
    fitted = qianru("classify", "fit", "a.jsonl", "-l", "label", "-o", "m", "--json")
    assert set(fitted.json()["labels"]) == {"0", "1", "true"}
    assert "left out 4 rows without a text or a 'label'" in fitted.err
    Path("a.jsonl").write_text('{"text": "红烧肉", "label": ["菜", "肉"]}', "utf-8")
    assert "a.jsonl:1 is no label but a list" in qianru("classify", "fit", "a.jsonl", "-l", "label", "-o", "m").err


def test_labels_without_examples_are_told_by_their_names(table: Path, qianru: Qianru) -> None:
    assert qianru("fit", "tfidf", "rows.jsonl", "-o", "words.model", "--text-columns", "正文").code == 0
    told = qianru("classify", "zero-shot", "rows.jsonl", "--labels", "红烧肉,球队", "-m", "words.model", "--json")
    assert told.json()["texts"][0]["label"] == "红烧肉"
    assert told.json()["texts"][6]["label"] == "球队"
    Path("news.txt").write_text("足球比赛今晚开始\n银行降低了贷款利率\n", "utf-8")
    told = qianru("classify", "zero-shot", "news.txt", "--labels", "体育,财经", "--json")      # by our own model
    assert [one["label"] for one in told.json()["texts"]] == ["体育", "财经"]


@pytest.mark.parametrize(("line", "said"), [
    ("cluster", "Name files, a folder or a collection"),
    ("cluster rows.jsonl -n 12", "11 texts cannot make 12 clusters"),
    ("cluster rows.jsonl -o c.txt", "ends in .csv or .jsonl"),
    ("cluster rows.jsonl -o rows.jsonl", "would be lost"),
    ("classify predict m rows.jsonl -o ./rows.jsonl", "would be lost"),
    ("cluster rows.jsonl --plot c.gif", "ends in"),
    ("cluster rows.jsonl -c notes", "not both"),
    ("cluster -c notes -m bm25", "taken as they are"),
    ("cluster rows.jsonl --method kmean", "Did you mean 'kmeans'"),
    ("cluster none.jsonl", "no file none.jsonl"),
    ("cluster none.md", "no file or folder none.md"),
    ("dedup rows.jsonl -o k.docx", "ends in"),
    ("dedup rows.jsonl -o k.txt --threshold 0.4", "above 0.5"),
    ("dedup rows.jsonl -o k.txt --threshold 0", "above 0.5"),
    ("dedup rows.jsonl -o k.txt --threshold 0.9 --labelled p.jsonl", "not both"),
    ("dedup rows.jsonl -o ./rows.jsonl", "would be lost"),
    ("dedup rows.jsonl -o k.jsonl --groups rows.jsonl", "would be lost"),
    ("dedup rows.jsonl -o k.jsonl --groups k.jsonl", "would be lost"),
    ("dedup rows.jsonl -o k.jsonl --groups k.csv", "JSON lines, not to 'k.csv'"),
    ("dedup rows.jsonl -o k.jsonl --labelled k.jsonl", "would be lost"),
    ("dedup rows.jsonl -o k.jsonl --keep largest --by topic", "'菜' (the topic of rows.jsonl:1) is neither a number"),
    ("dedup rows.jsonl -o k.jsonl --keep largest --by 正文", "(the 正文 of rows.jsonl:1) is neither a number"),
    ("dedup rows.jsonl -o k.jsonl --precision 0.9", "Give them with --labelled"),
    ("dedup rows.jsonl -o k.txt --keep longst", "Did you mean 'longest'"),
    ("dedup rows.jsonl -o k.txt --keep largest", "needs a field"),
    ("dedup rows.jsonl -o k.txt --keep largest --by dat", "Did you mean 'date'"),
    ("dedup rows.jsonl -o k.txt --plot k.html", "--groups"),
    ("dedup none.jsonl -o k.txt", "no file none.jsonl"),
    ("classify fit rows.jsonl --label topc -o m", "Did you mean 'topic'"),
    ("classify fit rows.jsonl --label date -o m", "one only has '2024-01-01', '2024-01-02'"),
    ("classify fit rows.jsonl --label topic -o notes", "holds no model; saving there would delete"),
    ("classify fit rows.jsonl --label topic -o m --precision 2", "at most at 1, not at 2.0"),
    ("classify predict none rows.jsonl", "not a model folder"),
    ("classify predict notes rows.jsonl", "not a model folder"),
    ("classify zero-shot rows.jsonl --labels 一 -m bm25", "at least two labels"),
    ("classify zero-shot rows.jsonl --labels 菜,球 -m bm25", "bm25 knows no word of the label '菜'"),
])
def test_what_goes_wrong_is_one_line(line: str, said: str, table: Path, qianru: Qianru) -> None:
    result = qianru(*line.split())
    assert (result.code, said in result.err, len(result.err.splitlines())) == (1, True, 1), result.err
    assert result.out == ""
    assert not [path for path in table.parent.iterdir() if path.name.endswith(".work")]
    assert len(table.read_text("utf-8").splitlines()) == 11
