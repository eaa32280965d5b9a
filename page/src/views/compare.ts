/** Two collections, or two models over texts of the reader's, side by side on one query. */
import { type Hit, type ModelInfo, post, search } from "../api";
import { type Child, choice, el, field } from "../dom";
import type { View } from "../main";
import { collectionChoice, failure, heading, kindBars, modelChoice, passage, Stage, tops } from "../parts";
import { currentLanguage, score, t } from "../strings";

const EXAMPLES = {
  zh: ["怎么退货", "收到的衣服不合适，可以换吗\n退款多久到账\n这件衣服多少钱\n如何申请退货退款\n今天天气真好\n物流三天没有更新了"],
  en: ["How do I send it back?", "The shirt does not fit, can I exchange it?\nHow long does a refund take?\nWhat does this cost?\nHow to return an item for a refund\nLovely weather today\nMy parcel has not moved for three days"],
};
const MOST = 100;

/** What one side has found, best first. */
interface Side { name: string; hits: Hit[] }

export function create(): View {
  const [left, right] = [collectionChoice(), collectionChoice()];
  const [leftModel, rightModel] = [modelChoice(() => true), modelChoice(() => true)];
  const mode = choice([["collections", "compare.collections"], ["models", "compare.models"]], true);
  const query = el("input", { type: "search", autocomplete: "off", spellcheck: "false", maxlength: 2000 });
  const k = choice([["5", "5"], ["10", "10"], ["20", "20"]]);
  k.value = "10";
  const texts = el("textarea", { rows: 6, spellcheck: "false" });
  [query.value, texts.value] = ["", EXAMPLES[currentLanguage()][1] as string];
  const stage = new Stage();
  const ofCollections = el("div", { class: "row" }, field("compare.left", left.select), field("compare.right", right.select), field("search.k", k));
  const ofModels = el("div", {}, el("div", { class: "row" }, field("compare.leftModel", leftModel.select), field("compare.rightModel", rightModel.select)), field("compare.texts", texts));

  const form = el("form", { class: "card form", onsubmit: (event: Event) => {
    event.preventDefault();
    run();
  } },
    el("div", { class: "row" }, field("compare.what", mode)), ofCollections, ofModels,
    el("div", { class: "row grow" }, field("search.query", query), el("button", { class: "primary", t: "compare.go" })));

  function showMode(): void {
    ofCollections.hidden = mode.value !== "collections";
    ofModels.hidden = mode.value !== "models";
    if (mode.value === "models" && !query.value) query.value = EXAMPLES[currentLanguage()][0] as string;
    stage.clear();
  }
  mode.addEventListener("change", showMode);

  function run(): void {
    const asked = query.value.trim();
    if (!asked) return;
    void stage.run(async () => {
      const sides = mode.value === "collections"
        ? await Promise.all([left, right].map((one) => inCollection(one.select.value, asked, Number(k.value))))
        : await Promise.all([leftModel, rightModel].map((one) => overTexts(one.select.value, asked, lines(texts.value))));
      const [a, b] = sides as [Side, Side];
      const shared = a.hits.filter((hit) => b.hits.some((other) => other.id === hit.id)).length;
      if (mode.value === "collections") stage.say("compare.shared", { n: shared, all: Math.max(a.hits.length, b.hits.length) });
      else stage.say("compare.moved", { n: a.hits.filter((hit, i) => b.hits[i]?.id !== hit.id).length, all: a.hits.length });
      return drawn(a, b, mode.value === "collections");
    });
  }

  Promise.all([left.ready, rightModel.ready]).then(([all, models]) => {
    if (all.length > 1) right.select.selectedIndex = 1;
    if (models.length > 1) rightModel.select.selectedIndex = 1;
    if (all.length < 2 && models.length > 0) mode.value = "models";
    showMode();
  }, (error: unknown) => stage.show(failure(error)));
  showMode();
  return { node: el("div", { class: "view wide" }, heading("nav.compare", "compare.lead"), form, stage.node) };
}

async function inCollection(name: string, query: string, k: number): Promise<Side> {
  return { name, hits: (await search(name, query, k)).hits };
}

/** The texts in the order of a model, an embedder's or a reranker's. */
async function overTexts(model: ModelInfo["id"], query: string, texts: string[]): Promise<Side> {
  const made = await post<{ data: { index: number; score: number }[] }>("v1/score", { model, text_1: query, text_2: texts });
  const hits = made.data.map(({ index, score: value }): Hit => ({ id: String(index), text: texts[index] ?? "", score: value, scores: {}, ranks: {} }));
  return { name: model, hits: hits.sort((a, b) => b.score - a.score || Number(a.id) - Number(b.id)) };
}

const lines = (text: string): string[] => text.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, MOST);

function drawn(a: Side, b: Side, named: boolean): Child[] {
  const node = el("div", { class: "columns" }, column(a, b, named), column(b, a, named));
  const point = (id: string | undefined): void => {
    for (const item of node.querySelectorAll<HTMLElement>("[data-id]")) item.classList.toggle("pointed", id !== undefined && item.dataset["id"] === id);
  };
  const under = (event: Event): string | undefined => (event.target as Element).closest<HTMLElement>("[data-id]")?.dataset["id"];
  node.addEventListener("pointerover", (event) => point(under(event)));
  node.addEventListener("pointerleave", () => point(undefined));
  node.addEventListener("focusin", (event) => point(under(event)));
  return [node];
}

function column(mine: Side, other: Side, named: boolean): HTMLElement {
  const most = tops(mine.hits);
  const items = mine.hits.map((hit, i) => el("li", { class: "card compact", "data-id": hit.id, tabindex: 0 },
    el("header", {}, el("span", { class: "rank" }, i + 1), named ? el("h3", {}, hit.id) : el("span", { class: "fill" }),
      moved(i, other.hits.findIndex((one) => one.id === hit.id)), el("span", { class: "score" }, score(hit.score))),
    passage(hit.text, hit.highlights ?? []), Object.keys(hit.scores).length > 0 && kindBars(hit, most)));
  return el("section", { "t:aria-label": "compare.column", args: { name: mine.name } },
    el("h2", {}, mine.name), items.length ? el("ol", { class: "hits" }, ...items) : el("p", { class: "quiet", t: "search.nothing" }));
}

/** How far the other side has it from here. */
function moved(here: number, there: number): HTMLElement {
  if (there < 0) return el("span", { class: "badge only", t: "compare.only" });
  if (there === here) return el("span", { class: "badge same", t: "compare.same" });
  const far = Math.abs(there - here);
  return el("span", { class: `badge ${there > here ? "up" : "down"}`, t: there > here ? "compare.higher" : "compare.lower",
    args: { n: far }, title: t("compare.there", { n: there + 1 }) });
}
