/** What the page says, in the language of the reader; a change of language is heard by all that stands there. */
import type zh from "./strings/zh.json";

export type Key = keyof typeof zh;
export type Language = "zh" | "en";
export type About = Record<string, string | number>;

const LOADED: Record<Language, () => Promise<{ default: Record<Key, string> }>> = {
  zh: () => import("./strings/zh.json"),
  en: () => import("./strings/en.json"),
};
const told = new WeakMap<Element, Map<string, [Key, About | undefined]>>();
let strings: Record<Key, string>;
let language: Language = "en";
let format = new Intl.NumberFormat("en");

/** The language that was chosen here before, else the first of the browser's that there is. */
export function preferred(): Language {
  const kept = localStorage.getItem("language");
  if (kept === "zh" || kept === "en") return kept;
  for (const wanted of navigator.languages) {
    if (wanted.toLowerCase().startsWith("zh")) return "zh";
    if (wanted.toLowerCase().startsWith("en")) return "en";
  }
  return "en";
}

export const currentLanguage = (): Language => language;

/** Speaks the language from now on, also where something stands already. */
export async function speak(wanted: Language): Promise<void> {
  strings = (await LOADED[wanted]()).default;
  language = wanted;
  format = new Intl.NumberFormat(wanted);
  document.documentElement.lang = wanted === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-t]")) retell(node);
}

/** A number as this language writes it. */
export const number = (value: number): string => format.format(value);

/** A score with as many decimals as tell something. */
export function score(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : size >= 0.1 || size === 0 ? 3 : 4);
}

/** The text of a key: {name} is filled in, {n|item|items} is the word for one or for several. */
export function t(key: Key, about?: About): string {
  return (strings[key] ?? key).replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g, (whole, name: string, one?: string, many?: string) => {
    const value = about?.[name];
    if (value === undefined) return whole;
    if (one !== undefined) return value === 1 ? one : (many ?? "");
    return typeof value === "number" ? number(value) : value;
  });
}

/** Whether there is such a key. */
export const known = (key: string): key is Key => key in strings;

/** Makes the key's text that of the node. */
export function say(node: Element, key: Key, about?: About): void {
  args(node, "", key, about);
}

/** Makes the key's text an attribute of the node, or its content if the attribute is "". */
export function args(node: Element, attribute: string, key: Key, about?: About): void {
  const all = told.get(node) ?? new Map<string, [Key, About | undefined]>();
  told.set(node, all.set(attribute, [key, about]));
  node.setAttribute("data-t", "");
  write(node, attribute, key, about);
}

function retell(node: Element): void {
  // the shell of index.html names its keys itself
  const named = node.getAttribute("data-t");
  if (named) write(node, "", named as Key);
  const label = node.getAttribute("data-t-label");
  if (label) write(node, "aria-label", label as Key);
  for (const [attribute, [key, about]] of told.get(node) ?? []) write(node, attribute, key, about);
}

function write(node: Element, attribute: string, key: Key, about?: About): void {
  if (attribute) node.setAttribute(attribute, t(key, about));
  else node.textContent = t(key, about);
}
