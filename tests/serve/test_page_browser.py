"""The page in a real browser, in both languages: every feature, hostile texts, keys, keyboard, contrast, size.

Anything that the browser complains of, in its console or as a breach of the page's policy, fails the test.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_in import MODELS, served, stand_in

from qianru.index.collection import Collection
from qianru.types import Document
from qianru.use.map import map_of

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = os.environ.get("QIANRU_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.page, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: set QIANRU_CHROMIUM")]

AXE = Path(__file__).parents[2] / "page" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
VIEWS = ("search", "ask", "map", "compare", "similarity", "align", "metrics")
LANGUAGES = pytest.mark.parametrize("language", ["zh-CN", "en-US"])
POEMS = ["床前明月光，疑是地上霜。举头望明月，低头思故乡。", "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
         "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "红豆生南国，春来发几枝。愿君多采撷，此物最相思。"]
HOSTILE = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">明月 &lt;b&gt;"
ASTRAL = "𠮷野家的𠮷字，明月在后"
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Collection]]:
    folder = tmp_path_factory.mktemp("collections")
    with Collection.create(folder / "a", "bm25") as poems, Collection.create(folder / "b", "bm25") as others:
        documents = [Document(f"诗 {i}-{j}", f"{text}第{j}首", {"作者": "佚名", "年": 700 + i})
                     for i, text in enumerate(POEMS) for j in range(12)]
        poems.add([*documents, Document('<b>坏</b>"', HOSTILE, {"<i>": "<u>x</u>"}), Document("吉", ASTRAL)])
        others.add(documents[:30])
        yield {"诗 词": poems, "别的": others}


@pytest.fixture(scope="module")
def address(collections: dict[str, Collection]) -> Iterator[str]:
    with served(stand_in(collections)) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Open]:
    """Opens a view; complaints of the browser fail the test at its end."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def opened(
        view: str, language: str = "zh-CN", *, at: str = address, width: int = 1200, bears: str = "^$", **how: Any
    ) -> Any:
        context = browser.new_context(locale=language, viewport={"width": width, "height": 800},
                                      reduced_motion="reduce", **how)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()

        def complain(text: str) -> None:
            if not re.search(bears, text):
                complaints.append(text)

        page.on("console", lambda said: complain(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("dialog", lambda dialog: complain("a dialog was opened"))
        page.on("request", lambda asked: asked.url.startswith((at, "data:")) or complain(f"asked {asked.url}"))
        page.goto(f"{at}/ui/#/{view}")
        page.wait_for_selector("h1, .alert")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def until(page: Any, holds: str) -> None:
    """Waits for an expression to hold; Playwright's own way evaluates strings, which the page's policy forbids."""
    for _ in range(400):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"It has not come about in 20 s that {holds}")


def told(page: Any) -> str:
    return str(page.locator(".status").first.inner_text())


@LANGUAGES
def test_search_shows_highlights_scores_and_reasons(visit: Open, language: str) -> None:
    page = visit("search", language)
    assert page.locator("h1").inner_text() == {"zh-CN": "搜索", "en-US": "Search"}[language]
    page.fill("input[type=search]", "明月 故乡")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")
    assert page.locator(".hit").count() == 10
    first = page.locator(".hit").first
    assert {"明月", "故乡"} <= set(first.locator("mark").all_inner_texts())
    assert first.locator(".bar").count() == 1                                  # BM25 alone
    assert re.match({"zh-CN": r"10 条结果，[\d.]+ 毫秒", "en-US": r"10 hits in [\d.]+ ms"}[language], told(page))
    first.locator("footer button").click()
    page.wait_for_selector(".why .words .bar")
    assert "故乡" in first.locator(".why").inner_text()
    assert "低头思故乡" in "".join(first.locator("u.best").all_inner_texts())
    assert "q=%E6%98%8E" in page.url                                            # can be sent to others


def test_options_change_the_search(visit: Open) -> None:
    page = visit("search", bears="400")
    page.locator("summary").click()
    page.select_option("select >> nth=1", "5")
    page.fill("input[type=text]", "年 = 700")
    page.fill("input[type=search]", "明月")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")
    assert page.locator(".hit").count() == 5
    assert all("床前" in text for text in page.locator(".hit .passage").all_inner_texts())
    page.fill("input[type=text]", "年 >")
    page.locator("main button.primary").click()
    page.wait_for_selector(".alert")
    assert "400" in page.locator(".alert").inner_text()


def test_hostile_texts_are_only_ever_text(visit: Open) -> None:
    page = visit("search?q=hacked 明月&c=诗 词")
    page.wait_for_selector(".hit")
    shown = page.locator(".hit", has_text="坏")
    assert shown.locator("h2").inner_text() == '<b>坏</b>"'
    assert HOSTILE in shown.locator(".passage").inner_text()
    assert "<u>x</u>" in shown.locator(".fields").inner_text()
    assert page.locator("main script, main img, main b").count() == 0
    assert "hacked" not in page.title()


def test_highlights_count_characters_as_the_server_does(visit: Open) -> None:
    """𠮷 is one character, and two of JavaScript's."""
    page = visit("search?q=野家 明月&c=诗 词")
    page.wait_for_selector(".hit")
    assert page.locator(".hit", has_text="野家").locator("mark").all_inner_texts() == ["野家", "明月"]


@LANGUAGES
def test_the_similarity_of_pasted_texts(visit: Open, language: str) -> None:
    page = visit("similarity", language, bears="400")
    assert page.locator("textarea").input_value().split("\n") == ["这个多少钱", "这个什么价格", "这个给我吧"]
    page.locator("main button.primary").click()
    page.wait_for_selector("table.heat")
    assert page.locator("table.heat td.self").all_inner_texts() == ["1.000"] * 3
    assert page.locator("table.heat tbody td").count() == 9
    assert {"zh-CN": "最相似", "en-US": "Most alike"}[language] in told(page)
    page.select_option("select >> nth=2", "sparse")
    page.locator("main button.primary").click()
    page.wait_for_selector(".alert")
    assert "makes no sparse vectors" in page.locator(".alert").inner_text()


def test_a_large_matrix_shows_colours_instead_of_numbers(visit: Open) -> None:
    page = visit("similarity")
    page.fill("textarea", "\n".join(f"第{i}句话" for i in range(30)))
    page.locator("main button.primary").click()
    page.wait_for_selector("table.heat.dense")
    assert page.locator("tbody td").count() == 900
    page.fill("textarea", "一句")
    page.locator("main button.primary").click()
    until(page, "document.querySelector('.status').textContent.includes('两段')")


@LANGUAGES
def test_the_alignment_of_query_and_passage(visit: Open, language: str) -> None:
    page = visit("align", language)
    page.fill("input[type=text]", "思故乡")
    page.fill("textarea", "举头望明月，低头思故乡。")
    page.locator("main button.primary").click()
    page.wait_for_selector("table.tokens-map")
    assert page.locator("td.best").count() == 3
    page.locator(".chip").nth(1).click()
    assert page.locator(".token.best").all_inner_texts() == ["故"]
    assert page.locator(".chip").nth(1).get_attribute("aria-pressed") == "true"
    page.locator("summary").click()
    assert page.locator(".plain-table tbody tr").first.inner_text().split() == ["思", "思", "1.000"]
    assert {"zh-CN": "得分 1.000", "en-US": "Score 1.000"}[language] in told(page)


def test_a_hit_leads_to_its_alignment(visit: Open) -> None:
    page = visit("search?q=故乡&c=诗 词")
    page.locator(".hit a.link").first.click()
    page.wait_for_selector("table.tokens-map")
    assert page.locator("input[type=text]").input_value() == "故乡"


def test_where_no_model_aligns_no_hit_leads_to_it(visit: Open, collections: dict[str, Collection]) -> None:
    with served(stand_in(collections, models=MODELS[1:])) as dense_only:
        page = visit("search?q=故乡&c=诗 词", at=dense_only)
        page.wait_for_selector(".hit footer button")
        page.wait_for_load_state("networkidle")
        assert not page.locator(".hit a.link").first.is_visible()
        page.goto(f"{dense_only}/ui/#/align")
        page.wait_for_selector(".empty")


@LANGUAGES
def test_two_collections_side_by_side(visit: Open, language: str) -> None:
    page = visit("compare", language)
    until(page, "document.querySelectorAll('select')[2].options.length === 2")
    page.fill("input[type=search]", "红豆")
    page.keyboard.press("Enter")
    page.wait_for_selector(".columns .card")
    assert page.locator(".columns section").count() == 2
    assert page.locator(".badge.only").count() > 0
    assert told(page) == {"zh-CN": "10 条中有 0 条两边都有", "en-US": "0 of 10 hits in common"}[language]
    page.fill("input[type=search]", "明月")
    page.keyboard.press("Enter")
    page.wait_for_selector(".badge.same")
    page.locator(".columns .card").first.hover()
    assert page.locator(".pointed").count() == 2                        # the same document on both sides


@LANGUAGES
def test_two_models_on_texts_of_ones_own(visit: Open, language: str) -> None:
    page = visit("compare", language)
    until(page, "document.querySelectorAll('select')[4].options.length === 3")
    page.select_option("select >> nth=0", "models")
    page.fill("input[type=search]", "明月几时有")
    page.fill("textarea", "明月\n几时有\n大海")
    page.locator("main button.primary").click()
    page.wait_for_selector(".columns .card")
    left, right = (page.locator(".columns section").nth(i).locator(".passage").all_inner_texts() for i in (0, 1))
    assert sorted(left) == sorted(right) == sorted(["明月", "几时有", "大海"])


@LANGUAGES
def test_an_answer_streams_and_its_citations_are_checked(visit: Open, language: str) -> None:
    page = visit("ask", language)
    page.fill("textarea", "谁在思念故乡")
    page.keyboard.press("Enter")
    page.wait_for_selector(".source")
    answer = page.locator(".answer")
    assert answer.inner_text() == "答：𠮷人如是说 [1]。还有人说 [9]。<b>0</b>"
    assert answer.locator("button.cite").all_inner_texts() == ["[1]"]
    assert answer.locator(".invented").all_inner_texts() == ["[9]"]
    warning = page.locator(".sources .alert").inner_text()
    assert {"zh-CN": "没有对应的出处", "en-US": "points to no source"}[language] in warning
    answer.locator("button.cite").click()
    assert page.evaluate("document.activeElement.className") == "card compact source"
    page.fill("textarea", "还有明月呢")
    page.locator("main button.primary").click()
    until(page, "document.querySelectorAll('.turn .source').length >= 4 && !document.querySelector('[aria-busy]')")
    assert "<b>2</b>" in page.locator(".answer").first.inner_text()     # it sees the earlier question and answer
    assert page.locator("main b").count() == 0


@LANGUAGES
def test_an_answer_that_breaks_off_is_said_so(visit: Open, language: str) -> None:
    page = visit("ask", language)
    page.fill("textarea", "断了吗")
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn .alert")
    assert page.locator(".alert p").all_inner_texts() == [
        {"zh-CN": "回答中断了。", "en-US": "The answer broke off."}[language], "chat.example answers 500."]


@LANGUAGES
def test_figures_of_the_server_move(visit: Open, language: str) -> None:
    page = visit("metrics", language)
    until(page, "document.querySelectorAll('.tile .spark').length === 3")
    assert page.locator(".tile h2").all_inner_texts() == {
        "zh-CN": ["已回答的请求", "请求用时", "排队的词元"],
        "en-US": ["Requests answered", "Time to answer", "Tokens waiting"]}[language]
    before = page.locator(".tile .big").first.inner_text()
    until(page, f"document.querySelector('.tile .big').textContent !== '{before}'")
    page.locator("button[aria-pressed]").click()
    page.locator("summary").click()
    assert "qianru_queue_tokens" in page.locator(".plain-table").inner_text()


@LANGUAGES
def test_the_map_its_clusters_and_the_lasso(visit: Open, language: str) -> None:
    page = visit("map", language)
    page.wait_for_selector(".cluster", timeout=60_000)
    assert re.search({"zh-CN": r"50 篇文档，\d 个簇", "en-US": r"50 documents in \d clusters"}[language], told(page))
    n_colours = """(() => { const map = document.querySelector('.plot canvas');
        const pixels = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;
        return new Set(new Uint32Array(pixels.buffer)).size })()"""
    assert page.evaluate(n_colours) > 5
    page.locator(".plot-tools button").nth(2).click()                           # all smaller, away from the buttons
    page.locator(".plot-tools button").first.click()                            # the lasso
    box = page.locator(".plot canvas").first.bounding_box()
    x, y, right, bottom = box["x"] + 3, box["y"] + 60, box["x"] + box["width"] - 3, box["y"] + box["height"] - 3
    page.mouse.move(x, y)
    page.mouse.down()
    for place in ((right, y), (right, bottom), (x, bottom)):
        page.mouse.move(*place, steps=8)
    page.mouse.up()
    page.wait_for_selector(".chosen .passage")
    assert re.search({"zh-CN": r"已选 \d\d 篇文档", "en-US": r"\d\d documents chosen"}[language], told(page))
    assert page.locator(".chosen li").count() == 40
    page.locator(".panel button.link").click()
    page.locator(".cluster").first.click()
    page.wait_for_selector(".chosen .passage")


def test_a_map_of_very_many_documents_says_that_it_is_a_sample(
    visit: Open, collections: dict[str, Collection]
) -> None:
    sample = map_of(collections["诗 词"], 30).to_dict()
    with served(stand_in(collections, maps={"诗 词": sample})) as at:
        page = visit("map", "zh-CN", at=at)
        page.wait_for_selector(".cluster", timeout=60_000)
        assert told(page).startswith("从 50 篇文档中随机抽取 30 篇，")


def test_the_map_obeys_the_keyboard_and_finds_hits(visit: Open) -> None:
    page = visit("map")
    page.wait_for_selector(".cluster", timeout=60_000)
    page.locator(".plot canvas").first.focus()
    for key in ("+", "ArrowLeft", "ArrowUp", "-", "0", "]"):
        page.keyboard.press(key)
    page.wait_for_selector(".chosen")
    assert re.search(r"\(\d+\)", told(page))                                    # the words of the cluster, and its size
    page.keyboard.press("Escape")
    page.wait_for_selector(".cluster")
    page.fill("input[type=search]", "黄河")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.status').textContent.includes('12')")


def test_the_language_changes_at_once_and_is_remembered(visit: Open) -> None:
    page = visit("similarity", "zh-CN")
    page.fill("textarea", "我写的\n没有丢")
    page.locator("#language").click()
    until(page, "document.querySelector('h1').textContent === 'Similarity'")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("textarea").input_value() == "我写的\n没有丢"
    assert page.title() == "Similarity · Qianru"
    page.reload()
    page.wait_for_selector("h1")
    assert page.locator("h1").inner_text() == "Similarity"


def test_day_and_night(visit: Open) -> None:
    page = visit("search", color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(21, 23, 26)"
    page.locator("#theme").click()
    assert page.evaluate(paper) == "rgb(247, 246, 243)"
    assert page.locator("#theme").get_attribute("aria-label") == "主题：浅色。切换为深色"
    page.reload()
    page.wait_for_selector("h1")
    assert page.evaluate(paper) == "rgb(247, 246, 243)"


def test_a_key_is_asked_for_and_kept_in_the_tab(visit: Open, collections: dict[str, Collection]) -> None:
    with served(stand_in(collections, key="芝麻")) as locked:
        page = visit("search", at=locked, bears="401")
        page.wait_for_selector("dialog[open]")
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('dialog').open && document.querySelector('#key').value === ''")
        page.fill("#key", "sesame")
        page.keyboard.press("Escape")
        page.wait_for_selector(".alert")
    with served(stand_in(collections, key="sesame")) as locked:
        page = visit("search", at=locked, bears="401")
        page.wait_for_selector("dialog[open]")
        page.fill("#key", "sesame")
        page.keyboard.press("Enter")
        page.fill("input[type=search]", "明月")
        page.keyboard.press("Enter")
        page.wait_for_selector(".hit")
        assert page.evaluate("[sessionStorage.length, Object.values(localStorage).includes('sesame')]") == [1, False]


def test_a_server_that_is_gone_is_said_so(visit: Open, collections: dict[str, Collection]) -> None:
    with served(stand_in(collections)) as passing:
        page = visit("similarity", at=passing, bears="ERR_|Failed to load")
        until(page, "document.querySelector('select').options.length > 0")
    page.locator("main button.primary").click()
    page.wait_for_selector(".alert")
    assert "无法连接服务器" in page.locator(".alert").inner_text()


def test_a_server_without_anything_says_what_to_do(visit: Open) -> None:
    with served(stand_in({})) as empty:
        for view in ("search", "ask", "map"):
            page = visit(view, at=empty)
            page.wait_for_selector(".empty")
            assert "qianru index" in page.locator(".empty").inner_text()


def test_all_can_be_reached_without_a_mouse(visit: Open) -> None:
    page = visit("metrics")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for view in VIEWS:
        page.wait_for_timeout(100)          # the view before may welcome the reader to its first field
        page.locator(f'nav a[href="#/{view}"]').focus()
        page.keyboard.press("Enter")
        until(page, f"location.hash === '#/{view}' && document.querySelector('h1')")
        assert page.locator("nav a[aria-current=page]").count() == 1


@pytest.mark.parametrize("width", [320, 390, 820, 1600])
def test_nothing_is_cut_off_at_any_width(visit: Open, width: int) -> None:
    for view in VIEWS:
        page = visit(view, "en-US", width=width)
        if view in ("similarity", "align"):
            page.locator("main button.primary").click()
            page.wait_for_selector("table.heat")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, view


def use(page: Any, view: str) -> None:
    """Fills the view with results."""
    if view == "search":
        page.wait_for_selector(".hit")
        page.locator(".hit footer button").first.click()
        page.wait_for_selector(".why .bars")
    elif view == "ask":
        page.fill("textarea", "故乡")
        page.keyboard.press("Enter")
        page.wait_for_selector(".source")
    elif view == "map":
        page.wait_for_selector(".cluster", timeout=60_000)
    elif view == "compare":
        until(page, "document.querySelectorAll('select')[2].options.length === 2")
        page.fill("input[type=search]", "春")
        page.keyboard.press("Enter")
        page.wait_for_selector(".columns .card")
    elif view == "metrics":
        page.wait_for_selector(".tile")
        page.locator("summary").click()
    else:
        page.locator("main button.primary").click()
        page.wait_for_selector("table.heat")


@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: npm ci in page/")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(visit: Open, theme: str) -> None:
    """Names, roles, focus and contrast by Deque's rules for WCAG 2.2 AA, with results on the screen."""
    for view in ("search?q=明月&c=诗 词", *VIEWS[1:]):
        page = visit(view, color_scheme=theme)
        use(page, view.partition("?")[0])
        page.evaluate(AXE.read_text("utf-8"))
        found = page.evaluate(f"axe.run(document, {{runOnly: {RULES}}})")
        assert [(view, broken["id"], broken["nodes"][0]["html"][:200], broken["nodes"][0]["failureSummary"])
                for broken in found["violations"]] == []


def test_the_first_view_is_small(visit: Open) -> None:
    page = visit("search")
    page.wait_for_load_state("networkidle")
    sizes = page.evaluate("performance.getEntries().filter(e => e.transferSize).map(e => [e.name, e.transferSize])")
    assert len(sizes) >= 6
    assert sum(size for _, size in sizes) < 60_000, sizes       # the aim is 300,000
