/** Places in texts. The server counts characters (code points), JavaScript counts UTF-16 units: 𠮷 is one, and two. */

export type Span = [number, number];

/** The spans in UTF-16 units. */
export function toUnits(text: string, spans: readonly Span[]): Span[] {
  const astral = /[\ud800-\udbff]/.test(text);
  if (!astral) return spans.map(([start, end]) => [start, end]);
  const places: number[] = [];
  let unit = 0;
  for (const character of text) {
    places.push(unit);
    unit += character.length;
  }
  places.push(unit);
  const at = (point: number): number => places[Math.min(Math.max(point, 0), places.length - 1)] ?? unit;
  return spans.map(([start, end]) => [at(start), at(end)]);
}

/** The spans in order, those that touch made one. */
export function merged(spans: readonly Span[]): Span[] {
  const ordered = spans.filter(([start, end]) => end > start).sort((a, b) => a[0] - b[0]);
  const made: Span[] = [];
  for (const [start, end] of ordered) {
    const last = made.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else made.push([start, end]);
  }
  return made;
}

/** The text with its spans wrapped: text nodes in between, what `wrap` makes of each span. */
export function wrapped(text: string, spans: readonly Span[], wrap: (piece: string, i: number) => Node): Node[] {
  const nodes: Node[] = [];
  let at = 0;
  spans.forEach(([start, end], i) => {
    if (start < at || end > text.length) return;
    if (start > at) nodes.push(document.createTextNode(text.slice(at, start)));
    nodes.push(wrap(text.slice(start, end), i));
    at = end;
  });
  if (at < text.length) nodes.push(document.createTextNode(text.slice(at)));
  return nodes;
}
