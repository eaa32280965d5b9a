"""Files to texts."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from qianru.errors import BadFile, BadInput, UnknownName
from qianru.text.read import (
    Heading,
    Problem,
    Row,
    Source,
    read_file,
    read_folder,
    read_rows,
    readable_files,
    table_columns,
)


def sources(file: Path, **options: object) -> list[Source]:
    """What is read of a file; fails if there are problems."""
    found = list(read_file(file, **options))      # type: ignore[arg-type]
    assert all(isinstance(each, Source) for each in found), found
    return [each for each in found if isinstance(each, Source)]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


# Plain text and markdown


def test_a_text_file_is_one_source_with_its_text_as_it_is(tmp_path: Path) -> None:
    file = written(tmp_path, "诗.txt", "床前明月光，\r\n疑是地上霜。\r\n")
    assert sources(file) == [Source(file.as_posix(), "床前明月光，\n疑是地上霜。\n")]
    assert sources(file, path="唐诗/诗.txt")[0].path == "唐诗/诗.txt"


def test_compressed_text_is_unpacked(tmp_path: Path) -> None:
    file = written(tmp_path, "诗.txt.gz", gzip.compress("床前明月光".encode("gb18030")))
    assert sources(file)[0].text == "床前明月光"


def test_chapter_lines_of_books_are_headings_but_sentences_are_not(tmp_path: Path) -> None:
    text = (
        "《书》目录 第一回　灵根育孕\n第一回中既将此事说明，则不能写矣。\n　第三十八回林潇湘魁夺菊花诗——\n"
        "第十二条 民法典\n楔子　瘟疫\n第2章：开始\n第一二零回\n"
    )
    (source,) = sources(written(tmp_path, "书.txt", text))
    assert [h.title for h in source.headings] == ["第一回 灵根育孕", "楔子 瘟疫", "第2章：开始", "第一二零回"]
    assert all(text[h.offset :].lstrip().startswith(("《书", "楔", "第")) for h in source.headings)


def test_markdown_headings_leave_out_code_and_front_matter(tmp_path: Path) -> None:
    front, code = "---\ntitle: '说明'\n# 不是\n---\n", "```sh\n# 不是\n```\n"
    text = front + "# 一 #\n\n" + code + "\n甲\n===\n\n乙\n---\n\n丙\n丁\n---\n##\n#不是\n第一章 不是\n"
    (source,) = sources(written(tmp_path, "说明.md", text))
    assert (source.text, source.line) == (text.removeprefix(front), 5)
    assert source.fields == {"title": "说明"}
    assert [(h.level, h.title) for h in source.headings] == [(1, "一"), (1, "甲"), (2, "乙"), (2, "")]


def test_text_between_two_rules_is_no_front_matter(tmp_path: Path) -> None:
    (source,) = sources(written(tmp_path, "说明.md", "---\n床前明月光\n---\n疑是地上霜\n"))
    assert source.text == "---\n床前明月光\n---\n疑是地上霜\n"


def test_html_in_a_markdown_heading_is_no_part_of_its_title(tmp_path: Path) -> None:
    text = '# <a name="x"></a>安装 <!-- 旧 -->\n\n<b>用法</b>\n---\n\n## a < b 与 c > d\n'
    (source,) = sources(written(tmp_path, "说明.md", text))
    assert [h.title for h in source.headings] == ["安装", "用法", "a < b 与 c > d"]


def test_markdown_without_headings_of_its_own_may_have_chapters(tmp_path: Path) -> None:
    (source,) = sources(written(tmp_path, "书.md", "第一章 开始\n正文\n"))
    assert source.headings == (Heading(0, 4, "第一章 开始"),)


# HTML


def test_html_gives_what_a_reader_sees_with_lines_and_headings(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html><head><title>向量&amp;检索</title><style>p {}</style>
<script>if (a < b) document.write("<p>no</p>")</script></head><body>
<nav><a href="/">首页</a></nav>
<h1>文本<em>向量</em></h1>
<p>把文本变成
   数字。<br>比较 3 &lt; 5。</p>
<!-- <p>不见</p> -->
<table><tr><td>甲</td><td>乙</td></tr></table>
<pre>a
  b</pre></body></html>"""
    (source,) = sources(written(tmp_path, "页.html", page))
    assert source.text.split("\n") == ["文本向量", "把文本变成 数字。", "比较 3 < 5。", "甲 乙", "a", "  b"]
    assert source.lines == (4, 5, 6, 8, 9, 10)
    assert source.headings == (Heading(0, 1, "文本向量"),)
    assert source.fields == {"title": "向量&检索"}


def test_html_is_read_in_the_encoding_that_it_names(tmp_path: Path) -> None:
    page = '<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS"><p>吾輩は猫である。名前はまだ無い。'
    assert sources(written(tmp_path, "页.htm", page.encode("shift_jis")))[0].text == "吾輩は猫である。名前はまだ無い。"


def test_malformed_html_loses_no_text(tmp_path: Path) -> None:
    page = '<nav>菜单<p>甲<div>乙 a < b <3 <b class="x>丙</b> & <i title=\'y>丁</p> &nosuch; <!-- 戊'
    (source,) = sources(written(tmp_path, "页.html", page))
    assert all(word in source.text for word in ("菜单", "甲", "乙 a < b <3", "&nosuch;"))


# Tables


def test_each_row_of_a_csv_is_a_source_that_knows_its_line(tmp_path: Path) -> None:
    file = written(tmp_path, "店.csv", '名,描述,价\r\n甲,"海边\r\n的酒店",100\r\n\r\n乙,机场酒店,90\r\n')
    first, second = sources(file, id_column="名")
    assert (first.id, first.text, first.line, first.lines) == ("甲", "海边\n的酒店", 2, (2, 3))
    assert first.fields == {"名": "甲", "价": 100}
    assert first.columns == ("描述",)
    assert (second.id, second.line) == ("乙", 5)


def test_columns_of_a_csv_that_hold_nothing_but_numbers_are_numbers(tmp_path: Path) -> None:
    file = written(tmp_path, "店.csv", "text,价,分,邮编,号\n甲,100,4.5,01234,1\n乙,,3.0,98101,x\n")
    first, second = sources(file)
    assert first.fields == {"价": 100, "分": 4.5, "邮编": "01234", "号": "1"}
    assert second.fields == {"分": 3.0, "邮编": "98101", "号": "x"}


def test_a_value_after_one_with_line_breaks_knows_its_own_line(tmp_path: Path) -> None:
    (row,) = sources(written(tmp_path, "店.csv", '名,text\n"甲\n乙",好\n'), text_columns=["text", "名"])
    assert (row.text, row.line, row.lines) == ("好\n甲\n乙", 3, (3, 2, 3))


def test_the_column_of_text_is_found_by_its_name_or_the_length_of_its_texts(tmp_path: Path) -> None:
    file = written(tmp_path, "一.csv", "名称,Content,长\n甲,好,很长很长的别的文字\n")
    assert sources(file)[0].columns == ("Content",)
    file = written(tmp_path, "二.csv", "名称,说法,数\n甲,好的酒店,12345678901234567890\n")
    assert sources(file)[0].columns == ("说法",)
    file = written(tmp_path, "三.csv", "a,b\n1,2\n")
    with pytest.raises(BadInput, match="no column of texts among a, b"):
        list(read_file(file))


def test_a_wrong_column_gets_a_suggestion(tmp_path: Path) -> None:
    file = written(tmp_path, "店.csv", "name,desc\n甲,好\n")
    with pytest.raises(UnknownName, match="Did you mean 'desc'"):
        list(read_file(file, text_columns=["desk"]))
    with pytest.raises(UnknownName, match="'nam'"):
        list(read_file(file, id_column="nam"))
    with pytest.raises(BadInput, match="list of names"):
        read_file(file, text_columns="desc")


def test_semicolons_and_tabs_are_recognised_in_a_csv_without_commas(tmp_path: Path) -> None:
    assert table_columns(written(tmp_path, "甲.csv", "name;desc\na;b\n")) == ["name", "desc"]
    assert table_columns(written(tmp_path, "乙.csv", "name\tdesc\na\tb\n")) == ["name", "desc"]


def test_quotes_in_a_tsv_are_quoting_only_if_all_of_it_is_lawful_that_way(tmp_path: Path) -> None:
    plain = written(tmp_path, "甲.tsv", 'id\ttext\n1\t"好"的酒店\n2\t"机场\n')
    assert [s.text for s in sources(plain)] == ['"好"的酒店', '"机场']
    quoted = written(tmp_path, "乙.tsv", 'id\ttext\n1\t"海边\n""酒店"""\n')
    assert [s.text for s in sources(quoted)] == ['海边\n"酒店"']


def test_json_lines_keep_the_types_of_their_values(tmp_path: Path) -> None:
    rows = [{"id": 7, "text": "甲", "价": 1.5, "新": True, "标": ["a", "b"], "内": {"x": [1]}, "空": None}, "乙"]
    file = written(tmp_path, "表.jsonl", "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    first, second = sources(file, id_column=None)
    assert first.fields == {"id": 7, "价": 1.5, "新": True, "标": ["a", "b"], "内": '{"x": [1]}'}
    assert (second.text, second.line) == ("乙", 3)


def test_json_is_a_list_of_objects_or_texts_or_lists_inside_objects(tmp_path: Path) -> None:
    assert [s.text for s in sources(written(tmp_path, "一.json", '["甲", "乙"]'))] == ["甲", "乙"]
    nested = {"title": "集", "data": [{"type": "诗", "list": [{"title": "静夜思", "paragraphs": ["床前", "疑是"]}]}]}
    (poem,) = sources(written(tmp_path, "二.json", json.dumps(nested, indent=1)))
    assert (poem.text, poem.fields, poem.line) == ("床前\n疑是", {"title": "静夜思", "type": "诗"}, 10)
    assert [s.text for s in sources(written(tmp_path, "三.json", '{"text": "甲"}\n{"text": "乙"}\n'))] == ["甲", "乙"]


def test_rows_can_be_had_as_they_are(tmp_path: Path) -> None:
    file = written(tmp_path, "店.csv", "name,desc\n甲,好\n")
    assert list(read_rows(file)) == [Row(2, {"name": "甲", "desc": "好"}, {})]
    with pytest.raises(BadInput, match="no table"):
        read_rows(tmp_path / "a.txt")
    with pytest.raises(BadFile, match=r"There is no file .*b\.csv"):
        read_rows(tmp_path / "b.csv")


# Word and PDF


def test_a_word_file_gives_paragraphs_tables_and_headings(tmp_path: Path) -> None:
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.core_properties.title = "合同"
    document.add_heading("第一章 总则", 1)
    document.add_paragraph("第一条 本合同。\n换行。")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "甲方", "乙方"
    document.add_heading("附则", 2)
    document.save(str(tmp_path / "合同.docx"))
    (source,) = sources(tmp_path / "合同.docx")
    assert source.text == "第一章 总则\n第一条 本合同。\n换行。\n甲方\t乙方\n附则"
    assert source.lines == (1, 2, 2, 3, 4)
    assert source.headings == (Heading(0, 1, "第一章 总则"), Heading(26, 2, "附则"))
    assert source.fields == {"title": "合同"}


def test_each_page_of_a_pdf_is_a_source_and_headings_carry_over(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    file = written(tmp_path, "a.pdf", pdf(["Chapter", "One two."], [], ["Three."]))
    found = sources(file)
    assert [(s.text, s.fields) for s in found] == [("Chapter\nOne two.", {"page": 1}), ("Three.", {"page": 3})]


def test_lines_that_the_margin_broke_are_joined() -> None:
    from qianru.text.read.office import joined_lines

    english = "A text embedding is a list of num-\nbers that says what the text means\nto a machine.\n\nNew"
    assert joined_lines(english) == (
        "A text embedding is a list of numbers that says what the text means to a machine.\nNew", [1, 5],
    )      # fmt: skip
    assert joined_lines("床前明月光\n疑是地上霜")[1] == [1, 2]      # short lines are the author's own


def pdf(*pages: list[str]) -> bytes:
    """A PDF with these lines on its pages, in a font that every reader has."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>", ""]
    font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    kids = []
    for lines in pages:
        drawn = "BT /F1 12 Tf 14 TL 50 700 Td " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F1 {font}>>>>"
                       f"/Contents {len(objects) + 2} 0 R>>")
        objects.append(f"<</Length {len(drawn)}>>\nstream\n{drawn}\nendstream")
    objects[1] = f"<</Type/Pages/Count {len(pages)}/Kids[{' '.join(kids)}]>>"
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<</Size {len(objects) + 1}/Root 1 0 R>>\n"
    return out + f"{end}startxref\n{len(out)}\n%%EOF\n".encode()


# Folders


def test_a_folder_is_read_in_the_order_of_its_paths_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.txt", "a/c.md", "a/b.txt", ".git/x.txt", ".hidden.txt", "照片.png", "x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("文", encoding="utf-8")
    assert readable_files(tmp_path) == [tmp_path / "a/b.txt", tmp_path / "a/c.md", tmp_path / "b.txt"]
    found = list(read_folder(tmp_path))
    assert [each.path for each in found[:3]] == ["a/b.txt", "a/c.md", "b.txt"]
    (problem,) = found[3:]
    assert isinstance(problem, Problem)
    assert problem.reason == "Passed over files of kinds that are not read: .png (2)."


def test_a_stored_collection_inside_a_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    for name in ("library/collection.sqlite", "library/model.json", "a.txt"):
        (tmp_path / name).write_text("文", encoding="utf-8")
    assert readable_files(tmp_path) == [tmp_path / "a.txt"]


def test_a_folder_goes_on_after_a_table_without_the_columns(tmp_path: Path) -> None:
    written(tmp_path, "a.csv", "x,y\n甲,乙\n")
    written(tmp_path, "b.csv", "desc,y\n甲,乙\n")
    problem, source = read_folder(tmp_path, text_columns=["desc"])
    assert isinstance(problem, Problem)
    assert "There is no column 'desc' in a.csv" in problem.reason
    assert isinstance(source, Source)
    assert source.path == "b.csv"


def test_a_folder_that_is_missing_empty_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no file or folder"):
        read_folder(tmp_path / "missing")
    written(tmp_path, "a.png", "x")
    with pytest.raises(BadInput, match=r"holds nothing to read, only \.png \(1\)\. Qianru reads \.txt"):
        read_folder(tmp_path)
    with pytest.raises(BadInput, match="is a file"):
        read_folder(tmp_path / "a.png")
    with pytest.raises(BadFile, match="no file or folder"):
        readable_files(tmp_path / "missing")


# Real files


def test_the_articles_are_read_whole(data: Path) -> None:
    found = list(read_folder(data / "articles"))
    assert [str(each) for each in found if isinstance(each, Problem)] == []
    counts = Counter(each.path for each in found)
    assert counts["Seattle_Hotels.csv"] == 152
    assert counts["poetry/tangshisanbaishou.json"] == 320
    assert counts["poetry/shijing.json"] == 305      # the Classic of Poetry has 305 poems
    assert counts["poetry/lunyu.json"] == 20         # the Analects have 20 books
    assert sum(path.startswith("民法典/") for path in counts) == 8


@pytest.mark.parametrize(
    ("name", "n_chapters"),
    [("西游记.txt", 100), ("三国演义.txt.gz", 120), ("红楼梦.txt.gz", 120), ("水浒传.txt.gz", 121)],
)
def test_the_novels_have_their_chapters(data: Path, name: str, n_chapters: int) -> None:
    (source,) = sources(data / "articles" / name)
    assert len(source.headings) == n_chapters      # 水浒传: 120 and the 楔子
    assert source.headings[-1].title.startswith(("第一百回", "第一百二十回", "第一二零回"))


def test_lines_of_json_and_csv_are_those_of_the_text(data: Path) -> None:
    poems = sources(data / "articles" / "poetry" / "tangshisanbaishou.json")
    lines = (data / "articles" / "poetry" / "tangshisanbaishou.json").read_text(encoding="utf-8").split("\n")
    assert all(json.dumps(poem.text.split("\n")[0], ensure_ascii=False) in lines[poem.line - 1] for poem in poems)
    hotels = sources(data / "articles" / "Seattle_Hotels.csv")
    rows = (data / "articles" / "Seattle_Hotels.csv").read_text(encoding="windows-1252").split("\n")
    assert all(hotel.text.split("\n")[0].strip()[:20].replace('"', '""') in rows[hotel.line - 1] for hotel in hotels)
    assert hotels[0].columns == ("desc",)
