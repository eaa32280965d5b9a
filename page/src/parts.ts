/** Pieces that several views are made of. */
import { allCollections, allModels, BROKEN, type CollectionInfo, type Hit, type ModelInfo, Refused } from "./api";
import { type Child, choice, el, set } from "./dom";
import { args, type Key, number, say, score } from "./strings";
import { merged, type Span, toUnits, wrapped } from "./spans";

const FOLDED = 360;       // letters of a text that are shown before the reader asks for all

/** The head of a view: what it is and what it is for. */
export function heading(title: Key, lead: Key): HTMLElement {
  return el("div", { class: "heading" }, el("h1", { t: title }), el("p", { t: lead }));
}

/** Something that failed, said where it happened. */
export function failure(error: unknown): HTMLElement {
  if (error instanceof Refused) {
    const known: Record<number, Key> = { [BROKEN]: "error.broken", 0: "error.unreachable", 401: "error.locked", 429: "error.busy" };
    const key = known[error.status];
    const other: Key = error.status < 500 ? "error.refused" : "error.failed";
    return el("div", { class: "alert", role: "alert" },
      key ? el("p", { t: key }) : el("p", { t: other, args: { status: String(error.status) } }),
      error.message && el("p", { class: "small" }, error.message));
  }
  return el("div", { class: "alert", role: "alert" }, el("p", { t: "error.page" }), el("p", { class: "small" }, String(error)));
}

/** A place for results that tells a screen reader when they have come. */
export class Stage {
  readonly status = el("p", { class: "status", role: "status" });
  readonly content = el("div", { class: "stage" });
  readonly node = el("section", { "t:aria-label": "shell.results" }, this.status, this.content);
  private turn = 0;

  /** Runs the work, and shows what it makes unless something newer has been asked for meanwhile. */
  async run(work: () => Promise<Child[]>): Promise<void> {
    const turn = ++this.turn;
    this.content.setAttribute("aria-busy", "true");
    const slow = setTimeout(() => turn === this.turn && this.say("shell.working"), 250);
    try {
      const made = await work();
      if (turn === this.turn) this.show(...made);
    } catch (error) {
      if (turn === this.turn && !(error instanceof DOMException && error.name === "AbortError")) {
        this.clear();
        this.content.append(failure(error));
      }
    } finally {
      clearTimeout(slow);
      if (turn === this.turn) this.content.removeAttribute("aria-busy");
    }
  }

  say(key: Key, about?: Record<string, string | number>): void {
    say(this.status, key, about);
  }

  show(...made: Child[]): void {
    this.content.replaceChildren(...made.filter((one): one is Node => one instanceof Node));
  }

  clear(): void {
    this.status.removeAttribute("data-t");
    this.status.textContent = "";
    this.content.replaceChildren();
  }
}

/** A select of the server's collections, which fills itself; `ready` gives what there is. */
export function collectionChoice(): { select: HTMLSelectElement; ready: Promise<CollectionInfo[]> } {
  const select = choice([]);
  const ready = allCollections().then((all) => {
    for (const one of all) {
      const option = el("option", { value: one.name, t: "collection.option", args: { name: one.name, n: one.n_documents } });
      select.append(option);
    }
    select.disabled = all.length === 0;
    return all;
  });
  ready.catch(() => (select.disabled = true));
  return { select, ready };
}

/** A select of those models of the server that fit. */
export function modelChoice(fits: (model: ModelInfo) => boolean): { select: HTMLSelectElement; ready: Promise<ModelInfo[]> } {
  const select = choice([]);
  const ready = allModels().then((all) => {
    const good = all.filter(fits);
    for (const one of good) select.append(el("option", { value: one.id }, one.id));
    select.disabled = good.length === 0;
    return good;
  });
  ready.catch(() => (select.disabled = true));
  return { select, ready };
}

/** What there is to do where nothing is served that a view needs. */
export function nothing(key: Key, command: string): HTMLElement {
  return el("div", { class: "empty" }, el("p", { t: key }), el("pre", {}, el("code", {}, command)));
}

/** A text with spans marked, folded if it is long and the reader has not asked for all of it. */
export function passage(text: string, highlights: readonly Span[] = [], underline?: Span): HTMLElement {
  const spans = merged(toUnits(text, highlights));
  const body = el("p", { class: "passage" });
  const first = spans[0]?.[0] ?? 0;
  const start = text.length > FOLDED * 1.3 && first > FOLDED * 0.7 ? Math.max(0, first - 80) : 0;
  const end = Math.min(text.length, start + FOLDED);
  const long = text.length > FOLDED * 1.3;

  function fill(from: number, to: number): void {
    const inside = spans.filter(([a, b]) => a >= from && b <= to).map(([a, b]): Span => [a - from, b - from]);
    const piece = text.slice(from, to);
    const nodes = underline ? underlined(piece, inside, toUnits(text, [underline]).map(([a, b]): Span => [a - from, b - from])[0])
      : wrapped(piece, inside, (word) => el("mark", {}, word));
    body.replaceChildren(from > 0 ? "…" : "", ...nodes, to < text.length ? "…" : "");
  }

  if (!long || underline) {
    fill(0, text.length);
    return body;
  }
  fill(start, end);
  const more = el("button", { type: "button", class: "link", t: "passage.more", "aria-expanded": "false", onclick: () => {
    const open = more.getAttribute("aria-expanded") === "true";
    more.setAttribute("aria-expanded", String(!open));
    say(more, open ? "passage.more" : "passage.less");
    if (open) fill(start, end);
    else fill(0, text.length);
  } });
  return el("div", {}, body, more);
}

/** Marks and one underlined sentence, whose borders may cut through marks' neighbours. */
function underlined(text: string, marks: readonly Span[], sentence: Span | undefined): Node[] {
  const [from, to] = sentence ?? [0, 0];
  const cuts = [...new Set([0, text.length, from, to, ...marks.flat()])].filter((c) => c >= 0 && c <= text.length).sort((a, b) => a - b);
  return cuts.slice(1).map((end, i) => {
    const start = cuts[i] ?? 0;
    const piece = text.slice(start, end);
    const node: Node = marks.some(([a, b]) => a <= start && end <= b) ? el("mark", {}, piece) : document.createTextNode(piece);
    return from <= start && end <= to && to > from ? el("u", { class: "best" }, node) : node;
  });
}

/** One bar for each kind of score: how much of the best hit's this one has. */
export function kindBars(hit: Hit, most: Record<string, number>): HTMLElement {
  const rows = Object.entries(hit.scores).map(([kind, value]) => {
    const top = most[kind] ?? value;
    const share = top > 0 ? Math.max(0, Math.min(1, value / top)) : 0;
    const rank = hit.ranks?.[kind];
    return el("div", { class: "bar", "data-kind": kind },
      kindName(kind, "bar-name"),
      el("span", { class: "bar-track" }, set(el("span", { class: "bar-fill" }), "--share", share.toFixed(4))),
      el("span", { class: "bar-value" }, score(value)),
      rank ? el("span", { class: "bar-rank", t: "hit.rank", args: { n: String(rank) } }) : el("span", { class: "bar-rank" }));
  });
  return el("div", { class: "bars" }, ...rows);
}

const KINDS = new Set(["dense", "sparse", "multi", "bm25", "reranker", "maxsim"]);

/** The name of a kind of vector in the reader's language, with what it means as a hint. */
export function kindName(kind: string, style = ""): HTMLElement {
  const node = el("span", { class: style });
  if (!KINDS.has(kind)) {
    node.textContent = kind;
    return node;
  }
  say(node, `kind.${kind}` as Key);
  args(node, "title", `kind.${kind}.means` as Key);
  return node;
}

/** The largest score of each kind among the hits. */
export function tops(hits: readonly Hit[]): Record<string, number> {
  const most: Record<string, number> = {};
  for (const hit of hits) {
    for (const [kind, value] of Object.entries(hit.scores)) most[kind] = Math.max(most[kind] ?? -Infinity, value);
  }
  return most;
}

/** The fields of a document as small labels. */
export function fields(of: Record<string, unknown> | undefined): HTMLElement | null {
  const shown = Object.entries(of ?? {}).filter(([, value]) => value !== "" && value !== null).slice(0, 8);
  if (!shown.length) return null;
  return el("dl", { class: "fields" }, ...shown.map(([name, value]) => el("div", {}, el("dt", {}, name),
    el("dd", {}, typeof value === "number" ? number(value) : Array.isArray(value) ? value.join(", ") : String(value)))));
}
