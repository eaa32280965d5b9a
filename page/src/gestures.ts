/** What a reader does on the map with mouse, finger or keys. */
import type { Scatter } from "./scatter";

export interface Heard {
  point(i: number, px: number, py: number): void;       // the pointer rests on a point, -1: on none
  choose(points: number[]): void;                       // a lasso has been closed, or a point clicked
  cluster(step: 1 | -1): void;                          // the keys go on to the next cluster
  clear(): void;
}

const CLICK = 4;            // pixels that a click may tremble
const STEP = 60;            // pixels that an arrow key moves

/** Listens on the map's canvas until the signal. lassoing: whether a drag draws a lasso just now */
export function listen(map: Scatter, lassoing: () => boolean, heard: Heard, signal: AbortSignal): void {
  const canvas = map.canvas;
  const fingers = new Map<number, [number, number]>();
  let mode: "none" | "pan" | "lasso" | "pinch" = "none";
  let began: [number, number] = [0, 0];
  let last: [number, number] = [0, 0];
  const on = <K extends keyof HTMLElementEventMap>(name: K, hear: (event: HTMLElementEventMap[K]) => void): void =>
    canvas.addEventListener(name, hear, { signal, passive: false });
  const place = (event: MouseEvent): [number, number] => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    map.pointed = -1;
    heard.point(-1, 0, 0);
    began = last = place(event);
    fingers.set(event.pointerId, last);
    if (fingers.size === 2) [mode, map.lasso] = ["pinch", []];
    else if (lassoing() !== event.shiftKey) [mode, map.lasso] = ["lasso", [...last]];     // shift: the other of the two
    else mode = "pan";
    canvas.classList.toggle("panning", mode === "pan");
  });

  on("pointermove", (event) => {
    const now = place(event);
    if (mode === "none") {
      const i = map.under(...now);
      if (i !== map.pointed) {
        map.pointed = i;
        map.redraw();
      }
      heard.point(i, ...now);
    } else if (mode === "pan") map.pan(now[0] - last[0], now[1] - last[1]);
    else if (mode === "lasso") {
      map.lasso.push(...now);
      map.redraw();
    } else {
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      const was = fingers.get(event.pointerId);
      if (other && was) {
        const [far, near] = [Math.hypot(now[0] - other[0], now[1] - other[1]), Math.hypot(was[0] - other[0], was[1] - other[1])];
        if (near > 0) map.zoom(far / near, (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
        map.pan((now[0] - was[0]) / 2, (now[1] - was[1]) / 2);
      }
    }
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, now);
    last = now;
  });

  const end = (event: PointerEvent): void => {
    fingers.delete(event.pointerId);
    const now = place(event);
    const still = Math.hypot(now[0] - began[0], now[1] - began[1]) < CLICK && map.lasso.length < 20;
    const was = mode;
    mode = "none";
    canvas.classList.remove("panning");
    if (event.type === "pointercancel" || was === "pinch") map.lasso = [];
    else if (still && was !== "none") {
      const i = map.under(...now);
      map.lasso = [];
      if (i >= 0) heard.choose([i]);
      else heard.clear();
    } else if (was === "lasso") {
      const caught = map.caught();
      map.lasso = [];
      heard.choose(caught);
    }
    map.redraw();
  };
  on("pointerup", end);
  on("pointercancel", end);
  on("pointerleave", () => {
    if (mode !== "none") return;
    map.pointed = -1;
    heard.point(-1, 0, 0);
    map.redraw();
  });
  on("wheel", (event) => {
    event.preventDefault();
    map.zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0016)), ...place(event));
  });
  on("dblclick", (event) => map.zoom(2, ...place(event)));

  const keys: Record<string, () => void> = {
    ArrowLeft: () => map.pan(STEP, 0),
    ArrowRight: () => map.pan(-STEP, 0),
    ArrowUp: () => map.pan(0, STEP),
    ArrowDown: () => map.pan(0, -STEP),
    "+": () => map.zoom(1.4),
    "=": () => map.zoom(1.4),
    "-": () => map.zoom(1 / 1.4),
    "0": () => map.fit(),
    "]": () => heard.cluster(1),
    "[": () => heard.cluster(-1),
    Escape: () => heard.clear(),
  };
  on("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
}
