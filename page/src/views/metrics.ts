/** How the server is doing: its Prometheus figures as they move. */
import { send } from "../api";
import { el, set } from "../dom";
import type { View } from "../main";
import { failure, heading } from "../parts";
import { buckets, type Family, parse, quantile, total } from "../prometheus";
import { known, number, say } from "../strings";

const EVERY_MS = 2_000;
const KEPT = 60;            // looks back: two minutes
const HIDDEN = /^(python_|process_virtual|process_start|process_max)|_created$/;
const FIRST = ["qianru_requests", "qianru_request_seconds", "qianru_requests_in_house", "qianru_queue_requests", "qianru_queue_tokens",
  "qianru_queue_seconds", "qianru_tokens_per_second", "qianru_texts", "qianru_tokens"];

interface Look { at: number; families: Map<string, Family> }
type Drawn = { node: HTMLElement; show(now: Look, looks: Look[]): void };

export function create(): View {
  const cards = el("div", { class: "tiles" });
  const body = el("tbody");
  const problem = el("div");
  const pause = el("button", { type: "button", t: "metrics.pause", "aria-pressed": "false", onclick: () => {
    const on = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(on));
    if (on) stop();
    else start();
  } });
  const looks: Look[] = [];
  const drawn = new Map<string, Drawn>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let on = false;

  async function look(): Promise<void> {
    try {
      const families = parse(await (await send("metrics")).text());
      problem.replaceChildren();
      looks.push({ at: performance.now(), families: new Map(families.map((one) => [one.name, one])) });
      if (looks.length > KEPT) looks.shift();
      for (const family of inOrder(families)) showFamily(family);
      fillTable(families);
    } catch (error) {
      problem.replaceChildren(failure(error));
    }
    if (on) timer = setTimeout(() => void look(), EVERY_MS);
  }

  function showFamily(family: Family): void {
    let card = drawn.get(family.name);
    if (!card) {
      card = tile(family);
      drawn.set(family.name, card);
      cards.append(card.node);
    }
    card.show(looks.at(-1) as Look, looks);
  }

  function fillTable(families: Family[]): void {
    body.replaceChildren(...families.flatMap((family) => family.samples.filter((one) => !/_bucket$|_created$/.test(one.name)).map((one) =>
      el("tr", {}, el("td", {}, one.name), el("td", { class: "quiet" }, Object.entries(one.labels).map(([name, value]) => `${name}=${value}`).join(" ")),
        el("td", { class: "number" }, short(one.value, one.name))))));
  }

  function start(): void {
    if (on) return;
    on = true;
    void look();
  }

  function stop(): void {
    on = false;
    clearTimeout(timer);
  }

  return {
    node: el("div", { class: "view wide" }, heading("nav.metrics", "metrics.lead"), problem,
      el("div", { class: "row" }, pause), cards,
      el("details", { class: "card" }, el("summary", { t: "metrics.all" }), el("div", { class: "scroll", tabindex: 0, role: "region", "t:aria-label": "metrics.all" },
        el("table", { class: "plain-table" }, el("thead", {}, el("tr", {}, el("th", { scope: "col", t: "metrics.name" }), el("th", { scope: "col", t: "metrics.labels" }), el("th", { scope: "col", class: "number", t: "metrics.value" }))), body)))),
    enter: () => pause.getAttribute("aria-pressed") === "true" || start(),
    leave: stop,
  };
}

/** One figure of a family at one look: a counter's growth a second, a histogram's median, a gauge's value. */
function valueOf(family: Family, now: Look, before: Look | undefined): number {
  const [here, there] = [now.families.get(family.name), before?.families.get(family.name)];
  if (!here) return NaN;
  if (family.type === "histogram") return quantile(0.5, buckets(here), there && buckets(there));
  if (family.type !== "counter") return total(here);
  return there && before ? Math.max(0, ((total(here) - total(there)) / (now.at - before.at)) * 1000) : NaN;
}

/** Those that are shown, the most telling first. */
function inOrder(families: Family[]): Family[] {
  const place = (family: Family): number => (FIRST.indexOf(plain(family.name)) + FIRST.length + 1) % (FIRST.length + 1);
  return families.filter((one) => !HIDDEN.test(one.name)).sort((a, b) => place(a) - place(b));
}

const plain = (name: string): string => name.replace(/_total$/, "");

/** Median and 99th percentile of what has been observed since the first look, or ever if nothing has since. */
function percentiles(family: Family, now: Look, looks: Look[]): [number, number] {
  const here = now.families.get(family.name) as Family;
  const first = looks[0]?.families.get(family.name);
  const since = first && looks.length > 1 && total(here) > total(first) ? buckets(first) : undefined;
  const counts = !/_seconds$/.test(family.name);       // there is no half a text
  return [0.5, 0.99].map((share) => quantile(share, buckets(here), since)).map((value) => (counts ? Math.ceil(value) : value)) as [number, number];
}

/** A value as people read it, by the unit that ends the name. */
function short(value: number, name: string): string {
  if (!Number.isFinite(value)) return "–";
  const unit = name.replace(/_(total|sum)$/, "");
  if (unit.endsWith("_seconds")) return value < 1 ? `${brief(value * 1000)} ms` : `${brief(value)} s`;
  if (unit.endsWith("_bytes")) return value < 2 ** 20 ? `${brief(value / 1024)} KiB` : value < 2 ** 30 ? `${brief(value / 2 ** 20)} MiB` : `${brief(value / 2 ** 30)} GiB`;
  return brief(value);
}

/** Three digits are enough; of whole numbers all. */
const brief = (value: number): string => number(Number.isInteger(value) ? value : Number(value.toPrecision(3)));

function tile(family: Family): Drawn {
  const key = `metric.of.${plain(family.name)}`;
  const head = el("h2", { title: family.help || family.name });
  if (known(key)) say(head, key);
  else head.textContent = plain(family.name).replace(/^qianru_/, "").replace(/_seconds$|_bytes$/, "").replaceAll("_", " ");
  const [big, more] = [el("p", { class: "big" }), el("p", { class: "quiet small" })];
  const bars = el("div", { class: "spark", "aria-hidden": "true" });
  return {
    node: el("section", { class: "card tile" }, head, big, more, bars),
    show(now, looks) {
      const values = looks.map((one, i) => valueOf(family, one, looks[i - 1]));
      const last = values.at(-1);
      if (family.type === "histogram") {
        const [middle, high] = percentiles(family, now, looks);
        big.textContent = short(middle, family.name);
        if (Number.isFinite(high)) say(more, "metrics.tail", { value: short(high, family.name) });
      } else {
        big.textContent = short(total(now.families.get(family.name) as Family), family.name);
        if (family.type === "counter" && last !== undefined && Number.isFinite(last)) say(more, "metrics.rate", { n: brief(last) });
      }
      const shown = values.filter(Number.isFinite).slice(-KEPT);
      const most = Math.max(...shown, 1e-9);
      while (bars.childElementCount < shown.length) bars.append(el("i"));
      shown.forEach((value, i) => set(bars.children[i] as HTMLElement, "--share", Math.max(0.02, value / most).toFixed(3)));
    },
  };
}
