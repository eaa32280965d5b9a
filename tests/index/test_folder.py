"""A folder of files becomes passages, again and again, without work for what has not changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qianru.errors import UnknownName
from qianru.index.collection import Collection
from qianru.index.folder import Reading, add_folder
from qianru.index.writer import Report


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / ".qianru") as collection:
        yield collection


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "书"
    (folder / "诗").mkdir(parents=True)
    (folder / "诗" / "静夜思.txt").write_text("床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n", encoding="utf-8")
    (folder / "说明.md").write_text("# 说明\n\n## 安装\n\n先装依赖。\n\n## 使用\n\n再建索引。\n", encoding="utf-8")
    rows = [{"text": "黄河入海流", "year": 704}, {"text": "更上一层楼", "year": 705}]
    (folder / "句.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return folder


def test_passages_know_where_they_stand(library: Collection, files: Path) -> None:
    report = add_folder(library, [files])
    assert report.n_files == 3
    assert report.problems == []
    hit = library.search("索引")[0]
    assert hit.id.startswith("书/说明.md#")
    assert hit.fields["path"] == "书/说明.md"
    assert hit.fields["heading"] == "说明 > 使用"
    assert library.search("楼", where="year = 705")[0].fields["line"] == 2


def test_a_passage_is_found_by_its_heading(library: Collection, files: Path) -> None:
    add_folder(library, [files])
    add_folder(library, [files], Reading(max_chars=12, overlap=0))
    hits = library.search("安装")
    assert any("安装" not in hit.text and "依赖" in hit.text for hit in hits)
    for hit in hits:
        assert sum(weight for _, weight in library.explain("安装", hit.id).terms) == pytest.approx(hit.score, rel=1e-5)


def test_the_second_time_there_is_nothing_to_do(library: Collection, files: Path) -> None:
    add_folder(library, [files])
    again = add_folder(library, [files])
    assert (again.n_files, again.n_same, again.passages) == (0, 3, Report())


def test_a_changed_file_replaces_its_passages(library: Collection, files: Path) -> None:
    add_folder(library, [files])
    n = library.count()
    (files / "说明.md").write_text("# 说明\n\n只此一句。\n", encoding="utf-8")
    report = add_folder(library, [files])
    assert (report.n_files, report.n_same) == (1, 2)
    assert report.passages.removed > 0
    assert library.count() == n - report.passages.removed
    assert library.search("依赖") == []


def test_other_passages_when_they_are_cut_otherwise(library: Collection, files: Path) -> None:
    add_folder(library, [files])
    n = library.count()
    add_folder(library, [files], Reading(max_chars=8, overlap=0))
    assert library.count() > n
    assert max(len(document.text) for document in library.documents(limit=100)) <= 8


def test_files_that_are_gone_are_told_and_pruned_on_request(library: Collection, files: Path) -> None:
    add_folder(library, [files])
    (files / "句.jsonl").unlink()
    assert add_folder(library, [files]).vanished == ["书/句.jsonl"]
    assert len(library.search("黄河")) == 1
    assert add_folder(library, [files], prune=True).passages.removed == 2
    assert library.search("黄河") == []
    assert add_folder(library, [files]).vanished == []


def test_a_file_that_was_emptied_has_no_passages_any_more(library: Collection, files: Path) -> None:
    add_folder(library, [files])
    (files / "诗" / "静夜思.txt").write_text(" \n")
    (files / "说明.md").write_text("")
    assert add_folder(library, [files]).passages.removed >= 2
    assert library.search("明月") == library.search("依赖") == []
    assert library.sources() == ["书/句.jsonl"]


def test_a_file_that_cannot_be_read_for_now_keeps_its_passages(library: Collection, files: Path) -> None:
    poem = files / "诗" / "静夜思.txt"
    add_folder(library, [files])
    poem.rename(files / "诗" / "旧.txt.bak")
    os.mkfifo(poem)
    assert "书/诗/静夜思.txt" in {problem.path for problem in add_folder(library, [files]).problems}
    assert library.search("明月")[0].fields["path"] == "书/诗/静夜思.txt"


def test_a_file_that_is_named_twice_is_read_once(library: Collection, files: Path) -> None:
    table = files / "句.jsonl"
    add_folder(library, [files])
    table.write_text('{"text": "黄河入海流"}\n', encoding="utf-8")
    report = add_folder(library, [files, table, files / ".." / "书" / "句.jsonl"])
    assert report.n_files == 1
    assert report.passages == Report(updated=1, removed=1)
    assert len([document for document in library.documents() if document.fields["path"] == "书/句.jsonl"]) == 1


def test_a_path_is_named_alike_from_wherever_it_is_written(
    library: Collection, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_folder(library, [files])
    monkeypatch.chdir(files / "诗")
    again = add_folder(library, [Path(".."), Path("静夜思.txt")])
    assert (again.n_files, again.n_same) == (0, 3)


def test_a_half_read_change_is_not_taken_for_what_was_read_before(
    library: Collection, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    novel = files / "长.txt"
    short = Reading(max_chars=10, overlap=0)
    first = "".join(f"第{n}回说黄河。\n" for n in range(1500))
    novel.write_text(first, encoding="utf-8")
    add_folder(library, [novel], short)
    novel.write_text(first.replace("黄河", "长江"), encoding="utf-8")

    batches: list[int] = []
    put = Collection.add_passages

    def interrupted(self: Collection, *given: object) -> Report:
        batches.append(len(batches))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return put(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Collection, "add_passages", interrupted)
        with pytest.raises(KeyboardInterrupt):
            add_folder(library, [novel], short)
    assert library.search("长江")
    novel.write_text(first, encoding="utf-8")       # taken back
    assert add_folder(library, [novel], short).passages.updated == 1000
    assert library.search("长江") == []


def test_a_name_that_is_not_utf8_is_reported_and_the_rest_added(library: Collection, files: Path) -> None:
    with open(os.fsencode(files) + b"/\xb5\xc0.txt", "w", encoding="utf-8") as gbk_name:      # noqa: PTH123
        gbk_name.write("道可道")
    report = add_folder(library, [files])
    assert [(problem.path, problem.line) for problem in report.problems] == [("书/\\xb5\\xc0.txt", None)]
    assert report.n_files == 3


def test_what_cannot_be_read_is_reported_and_the_rest_added(library: Collection, files: Path) -> None:
    (files / "坏.pdf").write_bytes(b"this is no PDF")
    (files / "坏.jsonl").write_text('{"text": "好行"}\n{坏行\n', encoding="utf-8")
    (files / "图.png").write_bytes(b"\x89PNG")
    (files / "环").symlink_to(files)
    report = add_folder(library, [files])
    told = {problem.path: problem for problem in report.problems}
    assert told["书/坏.jsonl"].line == 2
    assert "书/坏.pdf" in told
    assert any(".png" in problem.reason for problem in report.problems)
    assert library.search("好行")
    again = add_folder(library, [files])
    assert "书/坏.pdf" in {problem.path for problem in again.problems}     # tried again, told again


def test_columns_of_text_can_be_named(library: Collection, files: Path, tmp_path: Path) -> None:
    table = tmp_path / "店.csv"
    table.write_text("名,地址,介绍\n老店,城南,百年的面馆\n", encoding="utf-8")
    add_folder(library, [table], Reading(text_columns=("介绍",)))
    hit = library.search("面馆")[0]
    assert (hit.fields["名"], hit.fields["地址"]) == ("老店", "城南")
    with pytest.raises(UnknownName, match="介召"):
        add_folder(library, [table], Reading(text_columns=("介召",)))


def test_files_elsewhere_have_whole_paths(library: Collection, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "文.txt"
    elsewhere.write_text("千里之外", encoding="utf-8")
    add_folder(library, [elsewhere])
    assert library.search("千里")[0].fields["path"] == elsewhere.as_posix()


def test_progress_counts_bytes_to_the_end(library: Collection, files: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    add_folder(library, [files], progress=lambda done, total: seen.append((done, total)))
    total = sum(file.stat().st_size for file in files.rglob("*") if file.is_file())
    assert seen[-1] == (total, total)


def test_the_novel_and_the_law_are_found_by_what_they_say(library: Collection, data: Path) -> None:
    add_folder(library, [data / "articles" / "民法典", data / "articles" / "西游记.txt"])
    hit = library.search("居住权可以转让吗", k=1, where='path ^= "' + (data / "articles/民法典").as_posix() + '"')[0]
    assert "居住权不得转让" in hit.text
    assert "居住权" in str(hit.fields["heading"])
    assert "孙悟空" in library.search("石猴 孙悟空 姓名 祖师", k=1)[0].text
