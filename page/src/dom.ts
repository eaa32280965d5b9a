/** Elements made of plain values. Texts become text nodes, never markup, so what a document says cannot act here. */
import { args, type Key, say } from "./strings";

export type Child = Node | string | number | null | undefined | false;
type Handler = (event: never) => void;
type Value = string | number | boolean | null | undefined | Handler | Record<string, string | number>;

/**
 * An element. Properties: `t` is the key of its text, `t:title` (and the like) that of an attribute, `args` what these
 * texts are about; `onclick` and other functions listen; false and undefined leave an attribute out.
 */
export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag, properties: Record<string, Value> = {}, ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  const about = properties["args"] as Record<string, string | number> | undefined;
  for (const [name, value] of Object.entries(properties)) {
    if (name === "args" || value === undefined || value === null || value === false) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value as unknown as EventListener);
    else if (name === "t") say(made, value as Key, about);
    else if (name.startsWith("t:")) args(made, name.slice(2), value as Key, about);
    else if (name === "value" && "value" in made) (made as unknown as HTMLInputElement).value = String(value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child): child is Exclude<Child, null | undefined | false> =>
    child !== null && child !== undefined && child !== false).map((child) => (typeof child === "number" ? String(child) : child)));
  return made;
}

/** Sets a length or share that the style sheet reads; the policy of the page allows no style attributes. */
export function set<E extends HTMLElement>(node: E, name: `--${string}`, value: string | number): E {
  node.style.setProperty(name, String(value));
  return node;
}

/** An icon of the sprite in index.html. */
export function icon(name: string): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

let lastId = 0;

/** A name for an element that others refer to. */
export function unique(prefix: string): string {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

/** A control with its label above it. */
export function field(label: Key, control: HTMLElement, hint?: Key): HTMLElement {
  control.id ||= unique("f");
  const parts: Child[] = [el("label", { for: control.id, t: label })];
  if (hint) {
    const told = el("p", { class: "hint", id: `${control.id}-hint`, t: hint });
    control.setAttribute("aria-describedby", told.id);
    return el("div", { class: "field" }, ...parts, control, told);
  }
  return el("div", { class: "field" }, ...parts, control);
}

/** A select of (value, text); keys: the texts are keys of strings. */
export function choice(options: [string, string][], keys = false): HTMLSelectElement {
  return el("select", {}, ...options.map(([value, text]) =>
    keys ? el("option", { value, t: text as Key }) : el("option", { value }, text)));
}

/** Puts the cursor into the control, unless the reader has gone elsewhere meanwhile. */
export function welcome(control: HTMLElement): void {
  const at = document.activeElement;
  if (!at || at === document.body || at.id === "main") control.focus();
}
