"""Near-duplicates: no pair is missed, groups do not chain, what is kept follows the rule, a stopped job goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from qianru.errors import BadFile, BadInput, ShapeMismatch, StorageFailed, UnknownName
from qianru.text.read import Source
from qianru.use.duplicates import DedupPlan, deduplicate, find_duplicates, join, similarities
from qianru.use.duplicates.join import Pairs, similar_pairs
from qianru.use.duplicates.labelled import learnt_threshold
from qianru.use.duplicates.page import draw_duplicates
from qianru.use.duplicates.shingles import Shingled, shingled

LONG = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后，楚、汉分争，又并入于汉。"
OTHER = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"


def every_pair(sets: Shingled, threshold: float) -> set[tuple[int, int]]:
    """Slow and obvious."""
    grams = [set(sets.keys[sets.offsets[i] : sets.offsets[i + 1]].tolist()) for i in range(len(sets))]
    found = set()
    for i in range(len(sets)):
        for j in range(i):
            small, large = sorted((int(sets.sizes[i]), int(sets.sizes[j])))
            shared = len(grams[i] & grams[j])
            if small >= join.FEWEST and shared / (0.75 * small + 0.25 * large) >= threshold - 1e-9:
                found.add((j, i))
    return found


def edited(texts: list[str], seed: int) -> list[str]:
    """The texts, and copies of them with letters changed or cut off."""
    drawn = random.Random(seed)
    copies = []
    for text in texts:
        signs = list(text)
        for _ in range(drawn.randrange(4)):
            signs[drawn.randrange(len(signs))] = drawn.choice("天地玄黄宇宙洪荒")
        copies.append("".join(signs)[: drawn.randrange(len(signs) // 2, len(signs) + 1)])
    return texts + copies


@pytest.mark.parametrize(("one", "other"), [
    ("会议室在大楼的1层", "会议室在大楼的10层"), ("会议室在大楼的10层", "会议室在大楼的11层"),
    ("这件衣服只要价格15元", "这件衣服只要价格18元"), ("这家店的评分是9.5", "这家店的评分是9.8"),
])
def test_a_number_at_the_end_tells_texts_apart(one: str, other: str) -> None:
    assert find_duplicates([one, other], threshold=1.0).groups == []
    assert similarities([one], [other])[0] < 1
    assert find_duplicates([one, one + "。"], threshold=1.0).groups == [[0, 1]]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("threshold", [0.55, 0.8, 1.0])
def test_the_join_finds_every_pair_and_no_other(
    compiled: bool, threshold: float, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled:
        pytest.importorskip("numba")
    monkeypatch.setattr(join, "has_numba", lambda: compiled)
    lines = [line for line in (data / "articles/西游记.txt").read_text("utf-8").splitlines() if len(line) > 20][:150]
    sets = shingled(edited(lines, 0))
    pairs = similar_pairs(sets, threshold)
    found = set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    assert found == every_pair(sets, threshold)
    assert len(found) == len(pairs.left)


def test_blocks_of_the_index_and_of_probes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = edited([LONG[i:] + OTHER[: 20 - i] for i in range(20)], 1)
    whole = every_pair(shingled(texts), 0.6)
    for name, size in (("INDEXED_AT_ONCE", 50), ("PROBED_AT_ONCE", 7), ("PAIRS_AT_ONCE", 11), ("COMPARED_AT_ONCE", 3)):
        monkeypatch.setattr(join, name, size)
    for compiled in (True, False):
        monkeypatch.setattr(join, "has_numba", lambda compiled=compiled: compiled)
        pairs = similar_pairs(shingled(texts), 0.6)
        assert set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == whole


@given(st.lists(st.text(alphabet="甲乙丙ab1 ，", max_size=12), max_size=12), st.sampled_from([0.51, 0.75, 1.0]))
@settings(max_examples=60, deadline=None)
def test_any_texts_give_the_pairs_that_a_slow_loop_gives(texts: list[str], threshold: float) -> None:
    pairs = similar_pairs(shingled(texts), threshold)
    assert set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == every_pair(shingled(texts), threshold)


@pytest.mark.parametrize("copy", [
    "話說天下大勢,分久必合,合久必分.周末七國分爭,并入于秦;及秦滅之後,楚漢分爭,又并入于漢",
    "话 说 天 下 大 势 分久必合合久必分周末七国分争并入于秦及秦灭之后楚汉分争又并入于汉",
    "合久必分。话说天下大势，分久必合，周末七国分争，并入于秦；及秦灭之后，楚、汉分争，又并入于汉。",
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后",
    "话说天下大事，分久必合，合久必分。周末七国纷争，并入于秦；及秦灭之后，楚、汉分争，又并入于汉。",
])
def test_copies_in_other_script_order_length_and_letters_are_found(copy: str) -> None:
    assert find_duplicates([OTHER, LONG, copy]).groups == [[1, 2]]


def test_english_copies_are_found_and_other_texts_stay_apart() -> None:
    text = "The quick brown fox jumps over the lazy dog near the river bank."
    copy = "the quick brown fox jumped over the lazy dog, near the river bank"
    other = "A slow green turtle walks under a busy bridge in the city."
    assert find_duplicates([text, copy, other]).groups == [[0, 1]]


def test_groups_do_not_grow_in_chains() -> None:
    """a is like b and b like c, but a is not like c: only what is like the kept one goes."""
    sets = shingled(["天地玄黄宇宙洪荒", "玄黄宇宙洪荒日月", "宇宙洪荒日月盈昃"])
    assert not every_pair(sets, 0.6) & {(0, 2)}
    found = find_duplicates(["天地玄黄宇宙洪荒", "玄黄宇宙洪荒日月", "宇宙洪荒日月盈昃"], threshold=0.6)
    assert found.leaders.tolist() == [0, 0, 2]


@pytest.mark.parametrize(("keep", "values", "kept"), [
    ("first", None, 0), ("last", None, 2), ("longest", None, 1),
    ("largest", ["2023-01-01", "2022-01-01", "2024-01-01"], 2), ("largest", [3.5, 7, None], 1),
    ("largest", np.array([2, 9, 5]), 1), ("largest", np.float32([2, 9, 5.5]), 1), ("largest", [False, True, None], 1),
    ("largest", ["9", "10", "8"], 1), ("largest", ["2024-1-15", None, "2024-1-5"], 0),
])
def test_the_rule_says_what_is_kept(keep: str, values: list[str] | None, kept: int) -> None:
    texts = [LONG, LONG + "又合久", LONG[:-4]]
    found = find_duplicates(texts, keep=keep, values=values)      # type: ignore[arg-type]
    assert found.kept.tolist() == [kept]
    assert found.groups[0][0] == kept
    assert found.similarities[kept] == 1


def test_a_hundred_thousand_equal_texts_are_one_group_at_once() -> None:
    found = find_duplicates(["好评！"] * 100_000 + ["差评"])
    assert found.kept.tolist() == [0, 100_000]


def test_short_texts_are_duplicates_of_the_same_alone() -> None:
    texts = ["好吃", "不好吃", "好吃！", "手机很好用", "手机不好用", "iPhone 1", "iPhone 12", "IPHONE-1"]
    assert find_duplicates(texts, threshold=0.51).groups == [[0, 2], [5, 7]]
    assert similarities(texts[:2], texts[1:3]).tolist() == [0, 0]
    assert similarities(texts[:1], texts[2:3]).tolist() == [1]


def test_texts_without_letters_are_no_duplicates_of_one_another() -> None:
    assert find_duplicates(["", "", "！！！", "？", "好", "好。"]).groups == [[4, 5]]
    assert find_duplicates([]).groups == []


def test_similarities_of_pairs_are_those_of_the_join() -> None:
    texts = edited([LONG, OTHER, LONG[10:] + OTHER], 3)
    pairs = similar_pairs(shingled(texts), 0.51)
    again = similarities([texts[i] for i in pairs.left], [texts[i] for i in pairs.right])
    np.testing.assert_allclose(again, pairs.similarities, atol=1e-6)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(BadInput, match=r"above 0\.5"):
        find_duplicates(["a"], threshold=0.5)
    with pytest.raises(UnknownName, match="longest"):
        find_duplicates(["a"], keep="longst")      # type: ignore[arg-type]
    with pytest.raises(BadInput, match="needs a field"):
        find_duplicates(["a"], keep="largest")
    with pytest.raises(BadInput, match=r"'3/4/2024' \(the field of text 2\) is neither"):
        find_duplicates(["a", "b"], keep="largest", values=[1, "3/4/2024"])
    with pytest.raises(ShapeMismatch):
        find_duplicates(["a", "b"], keep="largest", values=[1])


def sources(*texts: str) -> list[Source]:
    dates = [f"2024-01-{i:02d}" for i in range(1, len(texts) + 1)]
    return [Source("a.jsonl", text, i, {"date": date}, columns=("正文",), row={"正文": text, "date": date})
            for i, (text, date) in enumerate(zip(texts, dates, strict=True), 1)]


def test_a_job_writes_what_is_kept_with_its_fields_and_the_groups(tmp_path: Path) -> None:
    rows = sources(LONG, OTHER, LONG + "！")
    plan = DedupPlan(keep="largest", field="date")
    report = deduplicate(lambda: iter(rows), tmp_path / "kept.jsonl", plan, groups=tmp_path / "groups.jsonl")
    assert (report.n_texts, report.n_kept, report.n_groups, report.largest) == (3, 2, 1, 2)
    kept = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text("utf-8").splitlines()]
    assert kept == [{"正文": OTHER, "date": "2024-01-02"}, {"正文": LONG + "！", "date": "2024-01-03"}]
    group = json.loads((tmp_path / "groups.jsonl").read_text("utf-8"))
    assert group["kept"]["id"] == "a.jsonl:3"
    assert group["duplicates"] == [{"id": "a.jsonl:1", "similarity": 1.0, "text": LONG}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["groups.jsonl", "kept.jsonl"]


def test_a_job_in_files_finds_what_is_found_in_memory(tmp_path: Path, data: Path) -> None:
    lines = [line for line in (data / "articles/西游记.txt").read_text("utf-8").splitlines() if len(line) > 20][:300]
    texts = edited(lines, 5)
    rows = [Source("a.txt", text, i) for i, text in enumerate(texts, 1)]
    report = deduplicate(lambda: iter(rows), tmp_path / "kept.txt")
    found = find_duplicates(texts)
    assert report.n_kept == len(found.kept)
    assert (tmp_path / "kept.txt").read_text("utf-8").splitlines() == [texts[i] for i in found.kept.tolist()]


def test_a_stopped_job_goes_on_without_reading_or_comparing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "PROBED_AT_ONCE", 4)
    texts = edited([LONG[i:] + OTHER[i:] for i in range(20)], 2)
    rows = [Source("a.txt", text, i) for i, text in enumerate(texts, 1)]
    read, compared = [], []

    def reading() -> Iterator[Source]:
        read.append(1)
        return iter(rows)

    def stopping(what: str):      # type: ignore[no-untyped-def]
        def watch(done: int, total: int | None) -> None:
            if what == "Comparing" and done > 20:
                raise KeyboardInterrupt
        return watch

    with pytest.raises(KeyboardInterrupt):
        deduplicate(reading, tmp_path / "kept.txt", key="1", watch=stopping)
    assert not (tmp_path / "kept.txt").exists()
    slow = join._Block.probed

    def counted(self: join._Block, start: int, stop: int) -> list[Pairs]:
        compared.append(stop - start)
        return slow(self, start, stop)

    monkeypatch.setattr(join._Block, "probed", counted)
    report = deduplicate(reading, tmp_path / "kept.txt", key="1")
    assert len(read) == 2                       # once to read, once to write
    assert sum(compared) <= len(texts) - 20
    assert report.n_kept == len(find_duplicates(texts).kept)


def test_texts_that_change_meanwhile_are_told_and_nothing_is_written(tmp_path: Path) -> None:
    versions = [sources(LONG, OTHER), sources(LONG)]
    with pytest.raises(BadFile, match="1 texts where they held 2"):
        deduplicate(lambda: iter(versions.pop(0)), tmp_path / "kept.jsonl")
    assert not (tmp_path / "kept.jsonl").exists()
    with pytest.raises(BadFile, match="no text"):
        deduplicate(lambda: iter([]), tmp_path / "none.jsonl")
    with pytest.raises(UnknownName, match="date"):
        deduplicate(lambda: iter(sources(LONG)), tmp_path / "k.jsonl", DedupPlan(keep="largest", field="dat"))
    with pytest.raises(BadInput, match="jsonl"):
        deduplicate(lambda: iter(sources(LONG)), tmp_path / "k.parquet")
    assert {path.name for path in tmp_path.iterdir()} <= {".kept.jsonl.work"}


def test_nothing_is_kept_where_its_groups_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(StorageFailed, match="could not be written"):
        deduplicate(lambda: iter(sources(LONG, LONG)), tmp_path / "k.jsonl", groups=tmp_path / "file" / "g.jsonl")
    assert not (tmp_path / "k.jsonl").exists()


def test_a_threshold_is_learnt_from_judged_pairs(tmp_path: Path) -> None:
    near, far = LONG.replace("天下", "世上"), LONG.replace("分", "离").replace("合", "聚")
    rows = [(LONG, LONG + "。", True), (LONG, near, True), (LONG, far, False), (LONG, OTHER, False)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(json.dumps({"left": a, "right": b, "same": same}, ensure_ascii=False)
                              for a, b, same in rows), "utf-8")
    learnt = learnt_threshold(file, 0.99)
    assert learnt.precision == learnt.recall == 1
    assert learnt.min_score == pytest.approx(similarities([LONG], [near])[0])
    for line, said in (("[]", "needs"), ("{", "no JSON"), ('{"left": "a", "right": "b", "same": true}', "above 0.5")):
        file.write_text(line, "utf-8")
        with pytest.raises(BadInput, match=said):
            learnt_threshold(file, 0.99)
    with pytest.raises(BadFile):
        learnt_threshold(tmp_path / "none.jsonl", 0.9)


def test_the_page_of_groups_marks_what_differs_and_runs_no_text(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    deduplicate(lambda: iter(sources(LONG, LONG.replace("天下", "<script>"))), tmp_path / "kept.jsonl",
                groups=tmp_path / "groups.jsonl")
    draw_duplicates(np.array([0.9]), tmp_path / "groups.jsonl", tmp_path / "page.html", 0.8)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<del>天下</del><ins>&lt;script&gt;</ins>" in page
    draw_duplicates(np.array([0.9, 0.95]), None, tmp_path / "page.png", 0.8)
    draw_duplicates(np.zeros(0), None, tmp_path / "none.png", 0.8)
    assert (tmp_path / "none.png").exists()
