/** Prometheus' text format, read into families; and what histograms say between two looks. */

export interface Sample { name: string; labels: Record<string, string>; value: number }
export interface Family { name: string; help: string; type: string; samples: Sample[] }

/** The families of an exposition, in its order. */
export function parse(text: string): Family[] {
  const families = new Map<string, Family>();
  const family = (name: string): Family => {
    const found = families.get(name) ?? { name, help: "", type: "untyped", samples: [] };
    families.set(name, found);
    return found;
  };
  for (const line of text.split("\n")) {
    const told = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line);
    if (told) family(told[2] as string)[told[1] === "HELP" ? "help" : "type"] = told[3] as string;
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!sample || line.startsWith("#")) continue;
    const name = sample[1] as string;
    const base = name.replace(/_(bucket|sum|count|total|created)$/, "");
    const owner = families.get(name) ?? families.get(base) ?? families.get(`${base}_total`) ?? family(name);
    owner.samples.push({ name, labels: labelsOf(sample[2] ?? ""), value: Number((sample[3] as string).replace("Inf", "Infinity")) });
  }
  return [...families.values()].filter((one) => one.samples.length);
}

function labelsOf(text: string): Record<string, string> {
  const made: Record<string, string> = {};
  for (const [, name, value] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    made[name as string] = (value as string).replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
  }
  return made;
}

/** The sum of a family's samples: of a counter all that was counted, of a histogram how many observations. */
export function total(family: Family): number {
  const wanted = family.type === "histogram" ? family.samples.filter((one) => one.name.endsWith("_count"))
    : family.samples.filter((one) => !one.name.endsWith("_created"));
  return wanted.reduce((sum, one) => sum + one.value, 0);
}

/** Upper bound -> observations up to it, all labels together. */
export function buckets(family: Family): Map<number, number> {
  const made = new Map<number, number>();
  for (const one of family.samples) {
    const bound = one.labels["le"];
    if (!one.name.endsWith("_bucket") || bound === undefined) continue;
    const upper = Number(bound.replace("Inf", "Infinity"));
    made.set(upper, (made.get(upper) ?? 0) + one.value);
  }
  return made;
}

/** The value that a share of the observations does not exceed, by lines inside the buckets; NaN without any. */
export function quantile(share: number, now: Map<number, number>, before?: Map<number, number>): number {
  const bounds = [...now.keys()].sort((a, b) => a - b);
  const counts = bounds.map((bound) => (now.get(bound) ?? 0) - (before?.get(bound) ?? 0));
  const all = counts.at(-1) ?? 0;
  if (all <= 0) return NaN;
  const wanted = share * all;
  const i = counts.findIndex((count) => count >= wanted);
  const [low, high] = [i > 0 ? (bounds[i - 1] ?? 0) : 0, bounds[i] ?? Infinity];
  if (high === Infinity) return low;
  const below = i > 0 ? (counts[i - 1] ?? 0) : 0;
  return low + ((high - low) * (wanted - below)) / ((counts[i] ?? 0) - below || 1);
}
