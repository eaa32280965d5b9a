/** Which points lie where: a grid of cells over the points, for what is under the pointer and inside a lasso. */

const CELLS = 128;

export interface Bounds { left: number; bottom: number; right: number; top: number }

/** The smallest box around all points; of size 1 around a single place. */
export function boundsOf(points: Float32Array): Bounds {
  const box = { left: Infinity, bottom: Infinity, right: -Infinity, top: -Infinity };
  for (let i = 0; i < points.length; i += 2) {
    box.left = Math.min(box.left, points[i] as number);
    box.right = Math.max(box.right, points[i] as number);
    box.bottom = Math.min(box.bottom, points[i + 1] as number);
    box.top = Math.max(box.top, points[i + 1] as number);
  }
  if (!(box.right > box.left)) [box.left, box.right] = [(box.left || 0) - 0.5, (box.left || 0) + 0.5];
  if (!(box.top > box.bottom)) [box.bottom, box.top] = [(box.bottom || 0) - 0.5, (box.bottom || 0) + 0.5];
  return box;
}

/** The box around nearly all points: a few that lie far off would make the rest small. */
export function mostOf(points: Float32Array, whole: Bounds): Bounds {
  const n = points.length / 2;
  if (n < 50) return whole;
  const [xs, ys] = [new Float32Array(n), new Float32Array(n)];
  for (let i = 0; i < n; i++) [xs[i], ys[i]] = [points[2 * i] as number, points[2 * i + 1] as number];
  const [first, last] = [Math.floor(n * 0.004), Math.ceil(n * 0.996) - 1];
  const span = (values: Float32Array): [number, number] => {
    values.sort();
    const [low, high] = [values[first] as number, values[last] as number];
    const margin = (high - low) * 0.06;
    return [low - margin, high + margin];
  };
  const [[left, right], [bottom, top]] = [span(xs), span(ys)];
  return {
    left: Math.max(whole.left, left), right: Math.min(whole.right, right),
    bottom: Math.max(whole.bottom, bottom), top: Math.min(whole.top, top),
  };
}

export class Grid {
  private readonly starts = new Uint32Array(CELLS * CELLS + 1);
  private readonly members: Uint32Array;

  constructor(private readonly points: Float32Array, private readonly box: Bounds) {
    const n = points.length / 2;
    const cells = new Uint32Array(n);
    for (let i = 0; i < n; i++) {
      cells[i] = this.cell(points[2 * i] as number, points[2 * i + 1] as number);
      this.starts[(cells[i] as number) + 1] = (this.starts[(cells[i] as number) + 1] as number) + 1;
    }
    for (let c = 0; c < CELLS * CELLS; c++) this.starts[c + 1] = (this.starts[c + 1] as number) + (this.starts[c] as number);
    const next = this.starts.slice();
    this.members = new Uint32Array(n);
    for (let i = 0; i < n; i++) {
      const c = cells[i] as number;
      this.members[next[c] as number] = i;
      next[c] = (next[c] as number) + 1;
    }
  }

  private column(x: number): number {
    return Math.min(CELLS - 1, Math.max(0, Math.floor(((x - this.box.left) / (this.box.right - this.box.left)) * CELLS)));
  }

  private row(y: number): number {
    return Math.min(CELLS - 1, Math.max(0, Math.floor(((y - this.box.bottom) / (this.box.top - this.box.bottom)) * CELLS)));
  }

  private cell(x: number, y: number): number {
    return this.row(y) * CELLS + this.column(x);
  }

  /** Calls `each` with the points of all cells that the box touches. */
  private within(box: Bounds, each: (i: number) => void): void {
    for (let row = this.row(box.bottom); row <= this.row(box.top); row++) {
      const first = this.starts[row * CELLS + this.column(box.left)] as number;
      const last = this.starts[row * CELLS + this.column(box.right) + 1] as number;
      for (let j = first; j < last; j++) each(this.members[j] as number);
    }
  }

  /** The nearest point no further away than that, or -1. */
  nearest(x: number, y: number, reach: number): number {
    let found = -1;
    let least = reach * reach;
    this.within({ left: x - reach, right: x + reach, bottom: y - reach, top: y + reach }, (i) => {
      const far = ((this.points[2 * i] as number) - x) ** 2 + ((this.points[2 * i + 1] as number) - y) ** 2;
      if (far < least || (far === least && i < found)) [least, found] = [far, i];
    });
    return found;
  }

  /** The points inside a polygon (even-odd), ascending. polygon: x, y, x, y, … */
  inside(polygon: readonly number[]): number[] {
    if (polygon.length < 6) return [];
    const box = boundsOf(Float32Array.from(polygon));
    const found: number[] = [];
    this.within(box, (i) => {
      if (surrounds(polygon, this.points[2 * i] as number, this.points[2 * i + 1] as number)) found.push(i);
    });
    return found.sort((a, b) => a - b);
  }
}

function surrounds(polygon: readonly number[], x: number, y: number): boolean {
  let inside = false;
  for (let a = 0, b = polygon.length - 2; a < polygon.length; b = a, a += 2) {
    const [ax, ay, bx, by] = [polygon[a] as number, polygon[a + 1] as number, polygon[b] as number, polygon[b + 1] as number];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
