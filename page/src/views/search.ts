/** Search: what was found, by which words and by which kinds of vectors, and why. */
import { aligns, allModels, collectionPath, type Explanation, type Hit, post, search } from "../api";
import { choice, el, field, set, unique, welcome } from "../dom";
import type { View } from "../main";
import { collectionChoice, failure, fields, heading, kindBars, kindName, nothing, passage, Stage, tops } from "../parts";
import { score } from "../strings";

const WORDS_SHOWN = 12;

export function create(): View {
  const { select: collection, ready } = collectionChoice();
  const query = el("input", { type: "search", name: "q", autocomplete: "off", spellcheck: "false", "t:placeholder": "search.placeholder", maxlength: 2000 });
  const k = choice([["5", "5"], ["10", "10"], ["20", "20"], ["50", "50"]]);
  k.value = "10";
  const fusion = choice([["", "search.fusion.plan"], ["rrf", "search.fusion.rrf"], ["weighted", "search.fusion.weighted"]], true);
  const filter = el("input", { type: "text", autocomplete: "off", spellcheck: "false", "t:placeholder": "search.filter.example" });
  const kinds = el("div", { class: "checks" });
  const stage = new Stage();
  let last: AbortController | undefined;

  const form = el("form", { class: "card form", role: "search", onsubmit: (event: Event) => {
    event.preventDefault();
    void ready.then(() => {
      const address = `#/search?${new URLSearchParams({ c: collection.value, q: query.value.trim() })}`;
      if (location.hash === address) run();
      else location.hash = address;       // so that a search can be kept and sent to others
    }, () => undefined);
  } },
    el("div", { class: "row grow" }, field("label.collection", collection),
      field("search.query", query), el("button", { class: "primary", t: "search.go" })),
    el("details", {}, el("summary", { t: "search.options" }),
      el("div", { class: "row" }, field("search.k", k), field("search.fusion", fusion), field("search.filter", filter),
        el("fieldset", { class: "field" }, el("legend", { t: "search.kinds" }), kinds))));

  function showKinds(): void {
    void ready.then((all) => {
      const stored = all.find((one) => one.name === collection.value)?.kinds ?? [];
      kinds.replaceChildren(...stored.map((kind) => {
        const id = unique("kind");
        return el("span", { class: "check" }, el("input", { type: "checkbox", id, value: kind, checked: true }),
          el("label", { for: id }, kindName(kind)));
      }));
    });
  }

  function chosen(): object {
    const boxes = [...kinds.querySelectorAll<HTMLInputElement>("input")];
    const on = boxes.filter((box) => box.checked).map((box) => box.value);
    const plan: Record<string, unknown> = {};
    if (on.length && on.length < boxes.length) plan["kinds"] = on;
    if (fusion.value) plan["fusion"] = fusion.value;
    return { ...(Object.keys(plan).length ? { plan } : {}), ...(filter.value.trim() ? { filter: filter.value.trim() } : {}) };
  }

  function run(): void {
    const asked = query.value.trim();
    if (!asked || !collection.value) return;
    last?.abort();
    last = new AbortController();
    const { signal } = last;
    void stage.run(async () => {
      const found = await search(collection.value, asked, Number(k.value), chosen(), signal);
      stage.say(found.hits.length ? "search.found" : "search.none", { n: found.hits.length, ms: found.took_ms < 10 ? found.took_ms.toFixed(1) : String(Math.round(found.took_ms)) });
      const most = tops(found.hits);
      return [el("ol", { class: "hits" }, ...found.hits.map((hit, i) => hitCard(collection.value, asked, hit, i + 1, most)))];
    });
  }

  collection.addEventListener("change", showKinds);
  ready.then((all) => {
    if (!all.length) stage.show(nothing("collection.none", "qianru index docs/ --collection notes\nqianru serve notes"));
    showKinds();
  }, (error: unknown) => stage.show(failure(error)));

  return {
    node: el("div", { class: "view" }, heading("nav.search", "search.lead"), form, stage.node),
    enter(asked) {
      const wanted = asked.get("q");
      void ready.then((all) => {
        const named = asked.get("c");
        if (named && all.some((one) => one.name === named) && named !== collection.value) {
          collection.value = named;
          showKinds();
        }
        if (wanted) {
          query.value = wanted;
          run();
        } else welcome(query);
      }, () => undefined);
    },
  };
}

/** A hit with its text, its scores, and the answer to "why". */
function hitCard(collection: string, query: string, hit: Hit, rank: number, most: Record<string, number>): HTMLElement {
  const text = el("div", { class: "hit-text" }, passage(hit.text, hit.highlights ?? []));
  const why = el("div", { class: "why", id: unique("why"), hidden: true });
  const button = el("button", { type: "button", class: "link", t: "hit.why", "aria-expanded": "false", "aria-controls": why.id, onclick: () => {
    const open = why.hidden;
    why.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open && !why.childNodes.length) {
      why.append(el("p", { class: "quiet", t: "shell.working" }));
      post<Explanation>(`${collectionPath(collection)}/explain`, { query, id: hit.id }).then((told) => {
        why.replaceChildren(...explanation(told));
        text.replaceChildren(passage(hit.text, hit.highlights ?? [], told.snippet));
      }, (error: unknown) => why.replaceChildren(failure(error)));
    }
  } });
  const align = el("a", { class: "link", hidden: true, href: `#/align?${new URLSearchParams({ q: query, p: hit.text.slice(0, 1200) })}`, t: "hit.align" });
  void allModels().then((all) => (align.hidden = !all.some(aligns)), () => undefined);       // where none can, there is nothing to lead to
  return el("li", { class: "card hit" },
    el("header", {}, el("span", { class: "rank" }, rank), el("h2", {}, hit.id),
      el("span", { class: "score", "t:title": "hit.score.means" }, score(hit.score))),
    text, kindBars(hit, most), fields(hit.fields), el("footer", {}, button, align), why);
}

/** What made the scores: words with what each adds, tokens with their answers. */
export function explanation(told: Explanation): HTMLElement[] {
  const parts: HTMLElement[] = [];
  const words = told.terms.slice(0, WORDS_SHOWN);
  if (words.length) {
    const most = Math.max(...words.map(([, adds]) => adds), 1e-9);
    parts.push(el("h3", { t: "why.words" }), el("div", { class: "bars words" }, ...words.map(([word, adds]) =>
      el("div", { class: "bar", "data-kind": "sparse" }, el("span", { class: "bar-name" }, word),
        el("span", { class: "bar-track" }, set(el("span", { class: "bar-fill" }), "--share", Math.max(0, adds / most).toFixed(4))),
        el("span", { class: "bar-value" }, `+${score(adds)}`)))));
    if (told.terms.length > words.length) parts.push(el("p", { class: "quiet", t: "why.more", args: { n: told.terms.length - words.length } }));
  }
  if (told.alignment?.length) {
    parts.push(el("h3", { t: "why.tokens" }), el("ul", { class: "pairs" }, ...told.alignment.map(([mine, theirs, value]) =>
      el("li", {}, el("b", {}, mine || "␣"), " → ", theirs || "␣", " ", el("span", { class: "quiet" }, score(value))))));
  }
  if (told.scores["dense"] !== undefined) {
    parts.push(el("p", { class: "quiet", t: "why.dense", args: { score: score(told.scores["dense"]) } }));
  }
  if (!parts.length) parts.push(el("p", { class: "quiet", t: "why.nothing" }));
  return parts;
}
