/** A map of many points to move about in: what is drawn where. Gestures are in gestures.ts. */
import type { MapLabel } from "./api";
import { colour, packed } from "./colours";
import { type Bounds, boundsOf, Grid, mostOf } from "./grid";
import { Raster, stamp } from "./raster";
import { isDark } from "./theme";

const MOST_PIXELS = 4_000_000;
const WORDS_SHOWN = 3;
const CLOSEST = 400;            // times the scale that shows all

export interface Points {
  points: Float32Array;         // (n, 2), x to the right, y upwards
  clusters: Int16Array;         // (n,), -1 for none
  labels: MapLabel[];           // the largest clusters' first
}

export class Scatter {
  readonly grid: Grid;
  private readonly raster: Raster;
  private readonly box: Bounds;
  private readonly clusters: number;
  private colours = new Uint32Array();
  private ratio = 1;
  private width = 1;            // in CSS pixels
  private height = 1;
  private scale = 1;            // CSS pixels for one unit of the data
  private least = 1;
  private x = 0;                // of the data, in the middle of the view
  private y = 0;
  private fitted = true;
  private waiting = 0;
  private marked: Uint32Array | null = null;
  private rings: number[] = [];
  private look = { ink: "", paper: "", blue: "", font: "" };
  private readonly signs = new Map<MapLabel, HTMLCanvasElement>();     // labels as pictures: outlined text is slow to draw
  /** x, y, … of the lasso in CSS pixels while it is drawn. */
  lasso: number[] = [];
  pointed = -1;

  constructor(readonly canvas: HTMLCanvasElement, private readonly overlay: HTMLCanvasElement, private readonly data: Points) {
    this.raster = new Raster(canvas.getContext("2d", { alpha: false }) as CanvasRenderingContext2D);
    this.box = boundsOf(data.points);
    this.grid = new Grid(data.points, this.box);
    this.clusters = data.clusters.reduce((most, one) => Math.max(most, one), -1) + 1;
    this.theme();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Takes up the colours of day or night. */
  theme(): void {
    this.colours = Uint32Array.from({ length: this.clusters + 1 }, (_, i) => packed(colour(i - 1, isDark())));
    const style = getComputedStyle(this.canvas);
    this.look = { ink: style.color, paper: style.backgroundColor, blue: style.accentColor, font: `600 13px ${style.fontFamily}` };
    this.signs.clear();
    this.redraw();
  }

  /** Marks points, all others fade; null for none. */
  mark(points: number[] | null): void {
    this.marked = points ? Uint32Array.from(points) : null;
    this.redraw();
  }

  /** Draws a ring around each of the points. */
  ring(points: number[]): void {
    this.rings = points;
    this.redraw();
  }

  /** The points of a cluster. */
  members(cluster: number): number[] {
    const found: number[] = [];
    this.data.clusters.forEach((one, i) => one === cluster && found.push(i));
    return found;
  }

  // moving about; places are CSS pixels from the upper left corner

  fit(): void {
    const { left, right, bottom, top } = mostOf(this.data.points, this.box);
    this.least = 0.94 * Math.min(this.width / (right - left), this.height / (top - bottom));
    [this.scale, this.x, this.y] = [this.least, (left + right) / 2, (bottom + top) / 2];
    this.fitted = true;
    this.redraw();
  }

  pan(dx: number, dy: number): void {
    this.x = Math.min(this.box.right, Math.max(this.box.left, this.x - dx / this.scale));
    this.y = Math.min(this.box.top, Math.max(this.box.bottom, this.y + dy / this.scale));
    this.fitted = false;
    this.redraw();
  }

  /** Makes all larger by the factor around a place, which stays where it is. */
  zoom(factor: number, px = this.width / 2, py = this.height / 2): void {
    const [x, y] = this.at(px, py);
    this.scale = Math.min(this.least * CLOSEST, Math.max(this.least * 0.6, this.scale * factor));
    this.x = x - (px - this.width / 2) / this.scale;
    this.y = y + (py - this.height / 2) / this.scale;
    this.fitted = false;
    this.redraw();
  }

  /** Shows a place of the data in the middle, near enough to see what is around. */
  visit(x: number, y: number): void {
    [this.x, this.y] = [x, y];
    this.scale = Math.max(this.scale, this.least * 2.5);
    this.fitted = false;
    this.redraw();
  }

  /** The data's x and y at a place. */
  at(px: number, py: number): [number, number] {
    return [this.x + (px - this.width / 2) / this.scale, this.y - (py - this.height / 2) / this.scale];
  }

  /** The place of a point. */
  place(i: number): [number, number] {
    return this.placed(this.data.points[2 * i] ?? 0, this.data.points[2 * i + 1] ?? 0);
  }

  private placed(x: number, y: number): [number, number] {
    return [(x - this.x) * this.scale + this.width / 2, this.height / 2 - (y - this.y) * this.scale];
  }

  /** The point under a place, or -1. */
  under(px: number, py: number): number {
    const [x, y] = this.at(px, py);
    return this.grid.nearest(x, y, Math.max(9, this.radius() + 4) / this.scale);
  }

  /** The points inside the lasso. */
  caught(): number[] {
    const polygon: number[] = [];
    for (let i = 0; i + 1 < this.lasso.length; i += 2) polygon.push(...this.at(this.lasso[i] as number, this.lasso[i + 1] as number));
    return this.grid.inside(polygon);
  }

  // drawing

  private resize(): void {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width || !box.height) return;
    [this.width, this.height] = [box.width, box.height];
    this.ratio = Math.min(devicePixelRatio || 1, Math.sqrt(MOST_PIXELS / (box.width * box.height)), 2);
    for (const canvas of [this.canvas, this.overlay]) {
      canvas.width = Math.round(box.width * this.ratio);
      canvas.height = Math.round(box.height * this.ratio);
    }
    this.raster.resize(this.canvas.width, this.canvas.height);
    this.signs.clear();
    if (this.fitted) this.fit();
    this.draw();        // at once: a canvas that has been resized is empty
  }

  redraw(): void {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = 0;
      this.draw();
    });
  }

  /** Of a point, in CSS pixels: larger where there are few, and where one is near. */
  private radius(): number {
    const crowd = Math.min(1.6, Math.max(0, Math.log10(20_000 / Math.max(1, this.data.clusters.length))));
    return Math.min(7, 1.5 + crowd + 0.7 * Math.log2(Math.max(1, this.scale / this.least)));
  }

  private draw(): void {
    const paper = /(\d+)\D+(\d+)\D+(\d+)/.exec(this.look.paper) ?? ["", "255", "255", "255"];
    this.raster.clear(packed([Number(paper[1]), Number(paper[2]), Number(paper[3])]));
    const scale = this.scale * this.ratio;
    const at = { scale, x: this.canvas.width / 2 - this.x * scale, y: this.canvas.height / 2 + this.y * scale };
    const { points, clusters } = this.data;
    const radius = this.radius() * this.ratio;
    this.raster.draw(points, clusters, this.colours, stamp(radius, this.marked ? 0.13 : 0.72), at, null);
    if (this.marked) this.raster.draw(points, clusters, this.colours, stamp(radius + 0.6 * this.ratio, 0.95), at, this.marked);
    this.raster.show();
    this.annotate();
  }

  private annotate(): void {
    const context = this.overlay.getContext("2d") as CanvasRenderingContext2D;
    const { ink, paper, blue } = this.look;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.lineJoin = "round";
    for (const i of this.rings) {
      const [x, y] = this.place(i);
      for (const [colour, width] of [[paper, 5], [ink, 2.2]] as const) this.circle(context, x, y, this.radius() + 4, colour, width);
    }
    if (this.pointed >= 0) this.circle(context, ...this.place(this.pointed), this.radius() + 3, blue, 2.5);
    this.write(context);
    if (this.lasso.length > 2) {
      context.beginPath();
      for (let i = 0; i < this.lasso.length; i += 2) context.lineTo(this.lasso[i] as number, this.lasso[i + 1] as number);
      context.closePath();
      [context.strokeStyle, context.fillStyle, context.lineWidth] = [blue, blue, 1.8];
      context.globalAlpha = 0.12;
      context.fill();
      context.globalAlpha = 1;
      context.stroke();
    }
  }

  private circle(context: CanvasRenderingContext2D, x: number, y: number, radius: number, colour: string, width: number): void {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    [context.strokeStyle, context.lineWidth] = [colour, width];
    context.stroke();
  }

  /** The labels of clusters in view, the largest clusters' first, each where no other stands, none over the edge. */
  private write(context: CanvasRenderingContext2D): void {
    const taken: [number, number, number, number][] = [];
    for (const label of this.data.labels) {
      const sign = this.sign(label);
      const [wide, high] = [sign.width / this.ratio / 2, sign.height / this.ratio / 2];
      const [middle, level] = this.placed(label.x, label.y);
      if (middle < 0 || middle > this.width || level < 0 || level > this.height) continue;
      const [x, y] = [Math.max(wide, Math.min(middle, this.width - wide)), Math.max(high, Math.min(level, this.height - high))];
      const box: [number, number, number, number] = [x - wide, y - high, x + wide, y + high];
      if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
      taken.push(box);
      const [left, top] = [box[0], box[1]].map((side) => Math.round(side * this.ratio) / this.ratio) as [number, number];
      context.drawImage(sign, left, top, 2 * wide, 2 * high);     // on whole pixels, or it would be blurred
    }
  }

  private sign(label: MapLabel): HTMLCanvasElement {
    const made = this.signs.get(label);
    if (made) return made;
    const sign = document.createElement("canvas");
    const context = sign.getContext("2d") as CanvasRenderingContext2D;
    const text = label.words.slice(0, WORDS_SHOWN).join(" · ");
    context.font = this.look.font;
    sign.width = Math.ceil((context.measureText(text).width + 12) * this.ratio);
    sign.height = Math.ceil(22 * this.ratio);
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.font = this.look.font;
    context.textBaseline = "middle";
    context.lineJoin = "round";
    [context.strokeStyle, context.lineWidth, context.fillStyle] = [this.look.paper, 4, this.look.ink];
    context.strokeText(text, 6, 11);
    context.fillText(text, 6, 11);
    this.signs.set(label, sign);
    return sign;
  }
}
