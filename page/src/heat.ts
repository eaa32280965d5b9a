/** Matrices as tables of coloured cells: real tables, which a screen reader can walk through. */
import { el, set } from "./dom";
import { args, type Key, score } from "./strings";

const NUMBERS_UP_TO = 14;     // texts of a matrix whose values are written in its cells
const STRIP = 32;             // passage tokens beside one another before a heat map begins a new strip, at most
const CELL = 24;              // pixels that one takes
const CARD = 40;              // that a card takes beside what is in it
const VIEW = 860;             // the widest view (style.css)

/** The values as shares of the largest, from the smallest at 0. */
export function scaled(values: number[][]): number[][] {
  const every = values.flat().filter(Number.isFinite);
  const low = Math.min(...every);
  const span = Math.max(...every) - low || 1;
  return values.map((row) => row.map((value) => (value - low) / span));
}

/** A square table of texts with themselves. */
export function matrix(values: number[][], names: string[], label: Key): HTMLElement {
  const shares = scaled(values);      // so that the darkest is a text with itself, and what is nearly that looks so
  const written = names.length <= NUMBERS_UP_TO;
  const head = el("tr", {}, el("td", {}), ...names.map((name, j) => el("th", { scope: "col", title: name },
    written ? el("span", { class: "clip" }, name) : String(j + 1))));
  const rows = names.map((name, i) => el("tr", {},
    el("th", { scope: "row", title: name }, !written && el("span", { class: "quiet" }, `${i + 1} `), el("span", { class: "clip" }, name)),
    ...(values[i] ?? []).map((value, j) => {
      const share = i === j ? 0 : (shares[i]?.[j] ?? 0);
      const cell = el("td", { class: i === j ? "self" : share > 0.55 ? "strong" : "", title: `${name} ~ ${names[j]}: ${score(value)}` },
        written ? score(value) : el("span", { class: "unseen" }, score(value)));
      return i === j ? cell : set(cell, "--v", share.toFixed(3));
    })));
  const table = el("table", { class: written ? "heat" : "heat dense" }, el("thead", {}, head), el("tbody", {}, ...rows));
  args(table, "aria-label", label);
  return el("div", { class: "card scroll", tabindex: 0, role: "region", "t:aria-label": label }, table);
}

/** Pixels that a table in a card has. */
function room(): number {
  const main = document.getElementById("main") as HTMLElement;
  return Math.min(VIEW, main.clientWidth - 2 * parseFloat(getComputedStyle(main).paddingLeft)) - CARD;
}

/** Query tokens against passage tokens, in strips that fit a screen. best: (n query) column that answers each */
export function strips(values: number[][], shares: number[][], rows: string[], columns: string[], best: number[]): HTMLElement {
  const made: HTMLElement[] = [];
  const longest = Math.min(6, Math.max(...rows.map((row) => row.length)));
  const wide = Math.min(STRIP, Math.max(6, Math.floor((room() - 16 - 14 * longest) / CELL)));
  for (let start = 0; start < columns.length; start += wide) {
    const part = columns.slice(start, start + wide);
    const head = el("tr", {}, el("td", {}), ...part.map((token) => el("th", { scope: "col", class: token.length > 2 ? "upright" : "" }, el("span", {}, token))));
    const body = rows.map((token, i) => el("tr", {}, el("th", { scope: "row" }, token), ...part.map((other, j) => {
      const value = values[i]?.[start + j] ?? 0;
      const cell = el("td", { class: best[i] === start + j ? "best" : "", title: `${token} ~ ${other}: ${score(value)}` }, el("span", { class: "unseen" }, score(value)));
      return set(cell, "--v", (shares[i]?.[start + j] ?? 0).toFixed(3));
    })));
    made.push(el("table", { class: "heat tokens-map", "t:aria-label": "align.map" }, el("thead", {}, head), el("tbody", {}, ...body)));
  }
  return el("div", { class: "scroll", tabindex: 0, role: "region", "t:aria-label": "align.map" }, ...made);
}
