/** Questions answered from a collection, with citations; one that the passages do not bear out is marked. */
import { BROKEN, type Citation, collectionPath, type Passage, posted, Refused, send } from "../api";
import { el, field, unique, welcome } from "../dom";
import { events } from "../events";
import type { View } from "../main";
import { collectionChoice, failure, heading, nothing, passage } from "../parts";
import { toUnits, wrapped } from "../spans";
import { args, say } from "../strings";

interface Turn { role: "user" | "assistant"; content: string }

export function create(): View {
  const { select: collection, ready } = collectionChoice();
  const question = el("textarea", { rows: 2, maxlength: 4000, "t:placeholder": "ask.placeholder" });
  const go = el("button", { class: "primary", t: "ask.go" });
  const stop = el("button", { type: "button", t: "ask.stop", hidden: true, onclick: () => last?.abort() });
  const fresh = el("button", { type: "button", class: "link", t: "ask.fresh", hidden: true, onclick: () => {
    last?.abort();
    history = [];
    talk.replaceChildren();
    fresh.hidden = true;
    question.focus();
  } });
  const talk = el("div", { class: "talk" });
  const status = el("p", { class: "status", role: "status" });
  let history: Turn[] = [];
  let last: AbortController | undefined;

  const form = el("form", { class: "card form", onsubmit: (event: Event) => {
    event.preventDefault();
    const asked = question.value.trim();
    if (asked && !go.hidden) void ready.then((all) => (all.length ? ask(asked) : undefined), () => undefined);
  } },
    field("label.collection", collection), field("ask.question", question, "ask.hint"),
    el("div", { class: "row end" }, fresh, stop, go));
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {     // composing: Enter chooses Chinese characters
      event.preventDefault();
      form.requestSubmit();
    }
  });
  collection.addEventListener("change", () => fresh.click());

  async function ask(asked: string): Promise<void> {
    last = new AbortController();
    const answer = el("div", { class: "answer", "aria-busy": "true" });
    const sources = el("div", { class: "sources" });
    const turn = el("article", { class: "turn" }, el("h2", { class: "asked" }, asked), answer, sources);
    talk.prepend(turn);         // where it can be seen: below the question
    question.value = "";
    [go.hidden, stop.hidden] = [true, false];
    say(status, "ask.searching");
    let text = "";
    let done: { citations: Citation[]; extractive: boolean } | undefined;
    let passages: Passage[] = [];
    try {
      const response = await send(`${collectionPath(collection.value)}/ask`, posted({ question: asked, history, stream: true }, last.signal));
      for await (const { event, data } of events(response)) {
        if (event === "passages") {
          passages = (data as { passages: Passage[] }).passages;
          say(status, "ask.writing", { n: passages.length });
        } else if (event === "text") {
          text += (data as { text: string }).text;
          answer.textContent = text;
        } else if (event === "done") done = data as typeof done;
        else if (event === "error") throw new Refused(messageOf(data), BROKEN);
      }
      if (!done) throw new Refused("", BROKEN);
      say(status, "ask.done");
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") say(status, "ask.stopped");
      else {
        status.removeAttribute("data-t");
        status.textContent = "";
        turn.append(failure(error));
      }
    } finally {
      answer.removeAttribute("aria-busy");
      [go.hidden, stop.hidden] = [false, true];
    }
    if (text && done) {
      finish(answer, sources, text, passages, done);
      history = [...history, { role: "user" as const, content: asked }, { role: "assistant" as const, content: text }].slice(-8);
      fresh.hidden = false;
    }
    question.focus();
  }

  ready.then((all) => {
    if (!all.length) talk.append(nothing("collection.none", "qianru index docs/ --collection notes\nqianru serve notes"));
  }, (error: unknown) => talk.append(failure(error)));
  return {
    node: el("div", { class: "view" }, heading("nav.ask", "ask.lead"), form, status, talk),
    enter: () => welcome(question),
  };
}

/** The answer with its citations as links to the passages, which then stand below it. */
function finish(answer: HTMLElement, sources: HTMLElement, text: string, passages: Passage[], done: { citations: Citation[]; extractive: boolean }): void {
  const ids = new Map(passages.map((one) => [one.number, unique("passage")]));
  const told = new Set(passages.map((one) => one.number));
  const sorted = [...done.citations].sort((a, b) => a.start - b.start);
  const spans = toUnits(text, sorted.map(({ start, end }) => [start, end]));
  const invented = sorted.filter((one) => !one.resolved || !told.has(one.number));
  answer.replaceChildren(...wrapped(text, spans, (piece, i) => {
    const cited = sorted[i] as Citation;
    if (!cited.resolved || !told.has(cited.number)) {
      const mark = el("span", { class: "cite invented", role: "img" }, piece);
      args(mark, "aria-label", "ask.invented.label", { n: String(cited.number) });
      args(mark, "title", "ask.invented.label", { n: String(cited.number) });
      return mark;
    }
    const target = ids.get(cited.number) ?? "";
    return el("button", { type: "button", class: "cite", "t:aria-label": "ask.cite.label", args: { n: String(cited.number) }, onclick: () => point(target) }, piece);
  }));
  if (invented.length) sources.append(el("p", { class: "alert", role: "note", t: "ask.invented", args: { n: invented.length } }));
  if (done.extractive) sources.append(el("p", { class: "quiet", t: "ask.extractive" }));
  if (!passages.length) return;
  const used = passages.filter((one) => sorted.some((cited) => cited.number === one.number));
  const rest = passages.filter((one) => !used.includes(one));
  const card = (one: Passage): HTMLElement => el("li", { class: "card compact source", id: ids.get(one.number), tabindex: -1 },
    el("header", {}, el("span", { class: "rank" }, one.number), el("h4", {}, one.source ? `${one.source}${one.line ? `:${one.line}` : ""}` : one.id)),
    passage(one.text));
  if (used.length) sources.append(el("h3", { t: "ask.sources" }), el("ol", { class: "hits" }, ...used.map(card)));
  if (rest.length) sources.append(el("details", {}, el("summary", { t: "ask.unused", args: { n: rest.length } }), el("ol", { class: "hits" }, ...rest.map(card))));
}

function point(id: string): void {
  const target = document.getElementById(id);
  target?.focus({ preventScroll: true });
  target?.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function messageOf(data: unknown): string {
  const told = data as { message?: string; error?: { message?: string } };
  return told.error?.message ?? told.message ?? JSON.stringify(data);
}
