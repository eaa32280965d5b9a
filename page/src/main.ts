/** Starts the page: language, theme, and the view that the address names. */
import "./style.css";
import { onLocked } from "./api";
import { el, icon } from "./dom";
import { failure } from "./parts";
import { args, currentLanguage, type Key, preferred, speak, t } from "./strings";
import { nextTheme, theme } from "./theme";

/** A part of the page. `enter` is called whenever the address leads to it, `leave` when it leads away. */
export interface View {
  node: HTMLElement;
  enter?(asked: URLSearchParams): void;
  leave?(): void;
}

const VIEWS: Record<string, () => Promise<{ create(): View }>> = {
  search: () => import("./views/search"),
  ask: () => import("./views/ask"),
  map: () => import("./views/map"),
  compare: () => import("./views/compare"),
  similarity: () => import("./views/similarity"),
  align: () => import("./views/align"),
  metrics: () => import("./views/metrics"),
};
const main = document.getElementById("main") as HTMLElement;
const made = new Map<string, View>();
let shown: View | undefined;
let wanted = "";

async function show(byReader: boolean): Promise<void> {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const name = path in VIEWS ? path : "search";
  wanted = name;
  for (const link of document.querySelectorAll<HTMLAnchorElement>("nav a")) {
    if (link.hash === `#/${name}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ inline: "center", block: "nearest" });      // on a narrow screen the strip is longer than it is wide
    }
    else link.removeAttribute("aria-current");
  }
  let view = made.get(name);
  if (!view) {
    try {
      view = (await (VIEWS[name] as () => Promise<{ create(): View }>)()).create();
    } catch (error) {
      main.replaceChildren(failure(error));
      return;
    }
    made.set(name, view);
  }
  if (wanted !== name) return;      // the reader has gone on meanwhile
  if (shown !== view) {
    shown?.leave?.();
    main.replaceChildren(view.node);
    shown = view;
    if (byReader) {
      main.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
  }
  title(name);
  view.enter?.(new URLSearchParams(query));
}

function title(name: string): void {
  document.title = `${t(`nav.${name}` as Key)} · Qianru`;
}

function showTheme(): void {
  const button = document.getElementById("theme") as HTMLButtonElement;
  button.replaceChildren(icon(theme()));
  args(button, "aria-label", `theme.${theme()}`);
  args(button, "title", `theme.${theme()}`);
}

function askForKey(): Promise<string | null> {
  const dialog = document.getElementById("locked") as HTMLDialogElement;
  const input = document.getElementById("key") as HTMLInputElement;
  if (!dialog.open) {
    input.value = "";
    dialog.returnValue = "";
    dialog.showModal();
  }
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? input.value : null), { once: true });
  });
}

await speak(preferred());
showTheme();
onLocked(askForKey);
(document.querySelector(".skip") as HTMLAnchorElement).addEventListener("click", (event) => {
  event.preventDefault();       // "#main" would be taken as the address of a view
  main.focus();
});
(document.getElementById("language") as HTMLButtonElement).addEventListener("click", () => {
  const other = currentLanguage() === "zh" ? "en" : "zh";
  localStorage.setItem("language", other);
  void speak(other).then(() => title(wanted));
});
(document.getElementById("theme") as HTMLButtonElement).addEventListener("click", () => {
  nextTheme();
  showTheme();
});
addEventListener("hashchange", () => void show(true));
main.replaceChildren(el("p", { class: "quiet", t: "shell.loading" }));
void show(false);
