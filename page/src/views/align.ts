/** How the tokens of a query and of a passage answer one another. */
import { type Alignment, aligns, post } from "../api";
import { type Child, el, field, set } from "../dom";
import { scaled, strips } from "../heat";
import type { View } from "../main";
import { failure, heading, modelChoice, nothing, Stage } from "../parts";
import { currentLanguage, score } from "../strings";

const EXAMPLES = {
  zh: ["谁在思念故乡", "床前明月光，疑是地上霜。举头望明月，低头思故乡。"],
  en: ["Who thinks of home?", "Raising my head, I gaze at the bright moon; lowering it, I think of my old home."],
};
const BLANK = "␣";

export function create(): View {
  const { select: model, ready } = modelChoice(aligns);
  const query = el("input", { type: "text", autocomplete: "off", spellcheck: "false", maxlength: 1000 });
  const text = el("textarea", { rows: 4, spellcheck: "false" });
  const stage = new Stage();
  let touched = false;
  const form = el("form", { class: "card form", oninput: () => (touched = true), onsubmit: (event: Event) => {
    event.preventDefault();
    void ready.then(run, () => undefined);
  } },
    field("align.query", query), field("align.passage", text),
    el("div", { class: "row" }, field("label.model", model), el("button", { class: "primary", t: "align.go" })));

  function run(): void {
    if (!query.value.trim() || !text.value.trim() || !model.value) return;
    void stage.run(async () => {
      const made = await post<Alignment>("v1/align", { model: model.value, query: query.value, passage: text.value });
      stage.say("align.done", { score: score(made.score) });
      return drawn(made);
    });
  }

  ready.then((all) => {
    if (!all.length) stage.show(nothing("align.none", "qianru serve bge-m3"));
  }, (error: unknown) => stage.show(failure(error)));
  return {
    node: el("div", { class: "view" }, heading("nav.align", "align.lead"), form, stage.node),
    enter(asked) {
      const [q, p] = [asked.get("q"), asked.get("p")];
      if (q && p) {
        [query.value, text.value, touched] = [q, p, true];
        void ready.then(() => model.value && run(), () => undefined);
      } else if (!touched) [query.value, text.value] = EXAMPLES[currentLanguage()] as [string, string];
    },
  };
}

/** The passage shaded by its answers, the heat map, and the pairs as a table. */
function drawn(made: Alignment): Child[] {
  const shares = scaled(made.matrix);
  const readable = (tokens: string[]): string[] => tokens.map((token) => token.replace(/^##|^▁/, "") || BLANK);
  const [mine, theirs] = [readable(made.query_tokens), readable(made.passage_tokens)];
  const read = el("p", { class: "tokens" });

  function shade(chosen: number | null): void {
    read.replaceChildren(...theirs.map((token, j) => {
      const share = chosen === null ? Math.max(...shares.map((row) => row[j] ?? 0)) : (shares[chosen]?.[j] ?? 0);
      return set(el("span", { class: "token", title: `${token} ${score(chosen === null ? 0 : (made.matrix[chosen]?.[j] ?? 0))}` }, token), "--v", share.toFixed(3));
    }));
    read.querySelectorAll("span").forEach((node, j) => {
      if (chosen === null) node.removeAttribute("title");
      else if (made.best[chosen] === j) node.classList.add("best");
    });
  }
  const buttons = mine.map((token, i) => el("button", { type: "button", class: "chip", "aria-pressed": "false", onclick: () => {
    const on = buttons[i]?.getAttribute("aria-pressed") !== "true";
    buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(on && other === i)));
    shade(on ? i : null);
  } }, token));
  shade(null);
  const pairs = el("table", { class: "plain-table" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col", t: "align.mine" }), el("th", { scope: "col", t: "align.theirs" }), el("th", { scope: "col", class: "number", t: "align.score" }))),
    el("tbody", {}, ...mine.map((token, i) => el("tr", {}, el("th", { scope: "row" }, token), el("td", {}, theirs[made.best[i] ?? -1] ?? "–"),
      el("td", { class: "number" }, score(made.matrix[i]?.[made.best[i] ?? -1] ?? 0))))));
  return [
    el("div", { class: "card" }, el("h2", { t: "align.read" }), el("p", { class: "quiet", t: "align.choose" }),
      el("div", { class: "chips" }, ...buttons), read),
    el("div", { class: "card" }, el("h2", { t: "align.map" }), strips(made.matrix, shares, mine, theirs, made.best)),
    el("details", { class: "card" }, el("summary", { t: "align.pairs" }), el("div", { class: "scroll" }, pairs)),
  ];
}
