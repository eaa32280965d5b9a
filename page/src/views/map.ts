import { el } from "../dom";
import type { View } from "../main";
export function create(): View { return { node: el("div", { class: "view" }) }; }
