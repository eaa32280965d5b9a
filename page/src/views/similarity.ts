/** How alike texts are: a matrix of all pairs. */
import { isReranker, post } from "../api";
import { choice, el, field } from "../dom";
import { matrix } from "../heat";
import type { View } from "../main";
import { failure, heading, modelChoice, nothing, Stage } from "../parts";
import { score } from "../strings";

const EXAMPLE = ["这个多少钱", "这个什么价格", "这个给我吧"];
const MOST = 60;

interface Similarities { matrix: number[][]; texts: string[]; metric: string }

export function create(): View {
  const { select: model, ready } = modelChoice((one) => !isReranker(one));
  const metric = choice([["cosine", "metric.cosine"], ["dot", "metric.dot"], ["euclidean", "metric.euclidean"]], true);
  const kind = choice([["", "kind.any"], ["dense", "kind.dense"], ["sparse", "kind.sparse"], ["multi", "kind.multi"]], true);
  const texts = el("textarea", { rows: 5, spellcheck: "false" });
  texts.value = EXAMPLE.join("\n");
  const stage = new Stage();
  const form = el("form", { class: "card form", onsubmit: (event: Event) => {
    event.preventDefault();
    void ready.then(run, () => undefined);
  } },
    field("similarity.texts", texts, "similarity.hint"),
    el("div", { class: "row" }, field("label.model", model), field("similarity.metric", metric), field("similarity.kind", kind),
      el("button", { class: "primary", t: "similarity.go" })));

  function run(): void {
    const lines = texts.value.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, MOST);
    if (!model.value) return;
    if (lines.length < 2) {
      stage.clear();
      stage.say("similarity.few");
      return;
    }
    void stage.run(async () => {
      const body = { model: model.value, texts: lines, metric: metric.value, ...(kind.value ? { kind: kind.value } : {}) };
      const made = await post<Similarities>("v1/similarity", body);
      const best = mostAlike(made.matrix);
      if (best) stage.say("similarity.best", { a: lines[best[0]] ?? "", b: lines[best[1]] ?? "", score: score(made.matrix[best[0]]?.[best[1]] ?? 0) });
      return [matrix(made.matrix, lines, "similarity.table")];
    });
  }

  ready.then((all) => {
    if (!all.length) stage.show(nothing("model.none", "qianru serve m3e-base"));
  }, (error: unknown) => stage.show(failure(error)));
  return { node: el("div", { class: "view" }, heading("nav.similarity", "similarity.lead"), form, stage.node) };
}

/** The pair of different texts with the largest value. */
function mostAlike(values: number[][]): [number, number] | undefined {
  let found: [number, number] | undefined;
  let most = -Infinity;
  values.forEach((row, i) => row.forEach((value, j) => {
    if (j > i && value > most) [most, found] = [value, [i, j]];
  }));
  return found;
}
