/** Day or night: as the system has it, or as the reader chooses. */

export type Theme = "auto" | "light" | "dark";
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const system = matchMedia("(prefers-color-scheme: dark)");
let chosen: Theme = kept();

function kept(): Theme {
  const value = localStorage.getItem("theme");
  return value === "light" || value === "dark" ? value : "auto";
}

function apply(): void {
  document.documentElement.dataset["theme"] = isDark() ? "dark" : "light";
  dispatchEvent(new Event("themechange"));
}

export const theme = (): Theme => chosen;
export const isDark = (): boolean => (chosen === "auto" ? system.matches : chosen === "dark");

export function nextTheme(): void {
  chosen = NEXT[chosen];
  localStorage.setItem("theme", chosen);
  apply();
}

system.addEventListener("change", apply);
apply();
