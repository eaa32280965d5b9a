/** A collection as a map: clusters, their words, and the documents that a lasso catches. */
import { collectionPath, type Document, type MapData, type MapLabel, post, Refused, search, send } from "../api";
import { colour } from "../colours";
import { el, field, icon, set } from "../dom";
import { listen } from "../gestures";
import type { View } from "../main";
import { collectionChoice, failure, fields, heading, nothing, passage } from "../parts";
import { Scatter } from "../scatter";
import { args, type Key, number, say, t } from "../strings";
import { isDark } from "../theme";

const LIMIT = 50_000;
const READ = 40;            // of the chosen documents whose texts are shown
const FOUND = 50;           // hits that are looked for on the map

export function create(): View {
  const { select: collection, ready } = collectionChoice();
  const find = el("input", { type: "search", autocomplete: "off", spellcheck: "false", "t:placeholder": "search.placeholder" });
  const status = el("p", { class: "status", role: "status" });
  const plot = el("div", { class: "card plot" });
  const panel = el("aside", { class: "card panel", "t:aria-label": "map.clusters" });
  const atlas = el("div", { class: "atlas" }, plot, panel);
  let shown: Shown | undefined;
  let drawing: AbortController | undefined;

  const form = el("form", { class: "card form", onsubmit: (event: Event) => {
    event.preventDefault();
    void look();
  } }, el("div", { class: "row grow" }, field("label.collection", collection), field("map.find", find), el("button", { class: "primary", t: "search.go" })));

  async function draw(): Promise<void> {
    drawing?.abort();
    drawing = new AbortController();
    const { signal } = drawing;
    shown?.close();
    shown = undefined;
    panel.replaceChildren();
    const name = collection.value;
    try {
      const data = await mapOf(name, signal, (share) => progress(plot, share));
      if (signal.aborted) return;
      shown = new Shown(name, data, plot, panel, status);
    } catch (error) {
      if (signal.aborted) return;
      plot.replaceChildren(el("div", { class: "progress" }, failure(error)));
    }
  }

  async function look(): Promise<void> {
    const asked = find.value.trim();
    if (!shown) return;
    try {
      const hits = asked ? (await search(collection.value, asked, FOUND)).hits : [];
      shown?.find(hits.map((hit) => hit.id));
    } catch (error) {
      status.replaceChildren(failure(error));
    }
  }

  collection.addEventListener("change", () => void draw());
  addEventListener("themechange", () => shown?.theme());
  ready.catch((error: unknown) => plot.replaceChildren(failure(error)));
  return {
    node: el("div", { class: "view wide" }, heading("nav.map", "map.lead"), form, el("div", {}, status, atlas)),
    enter(asked) {
      void ready.then((all) => {
        const named = asked.get("c");
        if (named && all.some((one) => one.name === named) && named !== collection.value) [collection.value, shown] = [named, undefined];
        if (!all.length) atlas.replaceChildren(nothing("collection.none", "qianru index docs/ --collection notes\nqianru serve notes"));
        else if (!shown) void draw();
      }, () => undefined);
    },
    leave: () => shown || drawing?.abort(),
  };
}

/** The map of a collection, asked for until the server has made it. */
async function mapOf(name: string, signal: AbortSignal, tell: (share: number) => void): Promise<MapData> {
  const path = `${collectionPath(name)}/map?limit=${LIMIT}`;
  tell(0);
  for (;;) {
    const response = await send(path, { signal });
    if (response.status !== 202) return (await response.json()) as MapData;
    const { progress: share } = (await response.json()) as { progress?: number };
    tell(share ?? 0);
    const wait = Math.min(10, Math.max(0.25, Number(response.headers.get("Retry-After") ?? 1)));
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    if (signal.aborted) throw new Refused("", 0);
  }
}

function progress(plot: HTMLElement, share: number): void {
  const bar = plot.querySelector("progress");
  const percent = Math.round(share * 100);
  if (bar) {
    bar.value = share;
    say(plot.querySelector("label") as HTMLElement, "map.working", { percent });
    return;
  }
  plot.replaceChildren(el("div", { class: "progress" }, el("label", { for: "map-progress", t: "map.working", args: { percent } }),
    el("progress", { id: "map-progress", max: 1, value: share })));
}

/** Bytes of base64, as the server's little-endian numbers. */
function bytes(text: string): ArrayBuffer {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

/** A map that is on the screen, with what has been chosen on it. */
class Shown {
  private readonly scatter: Scatter;
  private readonly places: Map<string, number>;
  private readonly labels: MapLabel[];
  private readonly stop = new AbortController();
  private readonly tip = el("div", { class: "tip", hidden: true });
  private lassoing = false;
  private at = -1;            // label that the keys have come to
  private turn = 0;
  private listed = 0;         // documents that the panel tells of, 0 while it tells of the clusters

  constructor(
    private readonly collection: string, private readonly data: MapData, plot: HTMLElement,
    private readonly panel: HTMLElement, private readonly status: HTMLElement,
  ) {
    this.labels = [...data.labels].sort((a, b) => b.size - a.size);
    this.places = new Map(data.ids.map((id, i) => [id, i]));
    const about = { n: data.ids.length, clusters: this.labels.length };
    const canvas = el("canvas", { tabindex: 0, role: "application", "t:aria-label": "map.canvas", args: about });
    const overlay = el("canvas", { class: "overlay", "aria-hidden": "true" });
    const lasso = this.tool("lasso", "map.lasso", () => {
      this.lassoing = !this.lassoing;
      lasso.setAttribute("aria-pressed", String(this.lassoing));
      canvas.classList.toggle("lasso", this.lassoing);
    });
    lasso.setAttribute("aria-pressed", "false");
    plot.replaceChildren(canvas, overlay, el("div", { class: "plot-tools", role: "toolbar", "t:aria-label": "nav.map" }, lasso,
      this.tool("plus", "map.in", () => this.scatter.zoom(1.5)), this.tool("minus", "map.out", () => this.scatter.zoom(1 / 1.5)),
      this.tool("fit", "map.fit", () => this.scatter.fit())), this.tip);
    this.scatter = new Scatter(canvas, overlay, {
      points: new Float32Array(bytes(data.points)), clusters: new Int16Array(bytes(data.clusters)), labels: this.labels,
    });
    listen(this.scatter, () => this.lassoing, {
      point: (i, px, py) => this.point(i, px, py),
      choose: (points) => this.choose(points),
      cluster: (step) => this.step(step),
      clear: () => this.clear(),
    }, this.stop.signal);
    this.listClusters();
    this.tell();
  }

  close(): void {
    this.stop.abort();
  }

  theme(): void {
    this.scatter.theme();
    for (const dot of this.panel.querySelectorAll<HTMLElement>("[data-cluster]")) paint(dot, Number(dot.dataset["cluster"]));
  }

  /** What is drawn: all documents, or some of very many. */
  private tell(): void {
    const [n, all] = [this.data.ids.length, this.data.n_documents];
    say(this.status, n < all ? "map.sample" : "map.told", { n, all, clusters: this.labels.length });
  }

  /** Rings around the documents that are on the map. */
  find(ids: string[]): void {
    const points = ids.map((id) => this.places.get(id)).filter((i): i is number => i !== undefined);
    if (points.length) this.choose(points);
    else this.clear();
    this.scatter.ring(points);
    if (ids.length) say(this.status, "map.found", { n: points.length, all: ids.length });
  }

  private tool(name: string, key: Key, act: () => void): HTMLButtonElement {
    return el("button", { type: "button", "t:aria-label": key, "t:title": key, onclick: act }, icon(name));
  }

  private point(i: number, px: number, py: number): void {
    this.tip.hidden = i < 0;
    if (i < 0) return;
    this.tip.textContent = this.data.titles[i] || this.data.ids[i] || "";
    const width = this.scatter.canvas.clientWidth;
    const right = px > width / 2;
    this.tip.style.transform = `translate(${right ? px - 14 : px + 14}px, ${py + 12}px)${right ? " translateX(-100%)" : ""}`;
  }

  private listClusters(): void {
    this.listed = 0;
    const list = el("div", { class: "list" }, ...this.labels.map((label) => {
      const words = label.words.slice(0, 5).join("，") || t("map.cluster", { n: label.cluster + 1 });
      const dot = el("i", { "aria-hidden": "true", "data-cluster": label.cluster });
      paint(dot, label.cluster);
      const button = el("button", { type: "button", class: "cluster", onclick: () => this.choose(this.scatter.members(label.cluster)) },
        dot, el("span", {}, words), el("span", { class: "quiet" }, number(label.size)));
      button.addEventListener("pointerenter", () => this.listed === 0 && this.scatter.mark(this.scatter.members(label.cluster)));
      button.addEventListener("pointerleave", () => this.listed === 0 && this.scatter.mark(null));
      return button;
    }));
    this.panel.replaceChildren(el("h2", { t: "map.clusters" }), list);
  }

  /** Goes on to the next cluster, tells its words, and lists its documents. */
  private step(by: 1 | -1): void {
    if (!this.labels.length) return;
    this.at = (this.at + by + this.labels.length) % this.labels.length;
    const label = this.labels[this.at] as MapLabel;
    this.scatter.visit(label.x, label.y);
    this.choose(this.scatter.members(label.cluster));
    this.status.removeAttribute("data-t");
    this.status.textContent = `${label.words.join("，")} (${number(label.size)})`;
  }

  private clear(): void {
    this.turn += 1;
    this.scatter.mark(null);
    this.scatter.ring([]);
    this.listClusters();
    this.tell();
  }

  /** Marks the points and lists their documents, the texts of the first few of them. */
  private choose(points: number[]): void {
    if (!points.length) return this.clear();
    this.turn += 1;
    const turn = this.turn;
    this.listed = points.length;
    this.scatter.mark(points);
    this.scatter.ring([]);
    const ids = points.slice(0, READ).map((i) => this.data.ids[i] as string);
    const list = el("ol", { class: "list chosen", tabindex: 0 }, ...ids.map((id, j) =>
      el("li", {}, el("h3", {}, id), el("p", {}, this.data.titles[points[j] as number] ?? ""))));
    args(list, "aria-label", "map.chosen", { n: points.length });
    this.panel.replaceChildren(el("div", { class: "row" }, el("h2", { t: "map.chosen", args: { n: points.length } }),
      el("button", { type: "button", class: "link", t: "map.clear", onclick: () => this.clear() })),
      ...(points.length > READ ? [el("p", { class: "quiet small", t: "map.first", args: { n: READ } })] : []), list);
    say(this.status, "map.chosen", { n: points.length });
    post<{ documents: Document[] }>(`${collectionPath(this.collection)}/documents/get`, { ids }).then(({ documents }) => {
      if (turn !== this.turn) return;
      list.replaceChildren(...documents.map((one) => el("li", {}, el("h3", {}, one.id), passage(one.text), fields(one.fields))));
    }, (error: unknown) => turn === this.turn && list.prepend(failure(error)));
  }
}

function paint(dot: HTMLElement, cluster: number): void {
  set(dot, "--colour", `rgb(${colour(cluster, isDark()).join(" ")})`);
}
