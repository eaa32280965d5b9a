"use strict";
// Maps: points on a canvas, their neighbours beside it. Texts come from the page's JSON and are only ever set as text.
for (const atlas of document.querySelectorAll(".atlas")) {
  const data = JSON.parse(atlas.querySelector("script").textContent);
  const canvas = atlas.querySelector("canvas"), pen = canvas.getContext("2d");
  const legend = atlas.querySelector(".legend"), chosen = atlas.querySelector(".chosen"), find = atlas.querySelector("input");
  const hidden = new Set();
  let wanted = "", over = -1, taken = -1, places = [];

  const colour = i => getComputedStyle(document.documentElement).getPropertyValue("--c" + i).trim();
  const ink = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const shown = i => !hidden.has(data.group[i]);

  function draw() {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const space = 18, [left, right, low, high] = data.box;
    places = data.x.map((x, i) => [
      space + (x - left) / (right - left) * (width - 2 * space),
      height - space - (data.y[i] - low) / (high - low) * (height - 2 * space)]);
    const colours = data.names.map((_, i) => colour(i));
    const size = data.x.length > 1500 ? 2.2 : 3.2;
    places.forEach(([x, y], i) => {
      if (!shown(i)) return;
      const match = wanted && data.texts[i].toLowerCase().includes(wanted);
      pen.globalAlpha = wanted ? (match ? 1 : .12) : .7;
      pen.fillStyle = colours[data.group[i]];
      pen.beginPath();
      pen.arc(x, y, match ? size + 1.5 : size, 0, 7);
      pen.fill();
    });
    pen.globalAlpha = 1;
    if (taken >= 0) {
      pen.strokeStyle = ink("--faint");
      for (const other of data.near[taken]) {
        pen.beginPath();
        pen.moveTo(...places[taken]);
        pen.lineTo(...places[other]);
        pen.stroke();
      }
    }
    for (const i of [taken, over]) if (i >= 0) {
      pen.strokeStyle = ink("--ink");
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(...places[i], 6, 0, 7);
      pen.stroke();
      pen.lineWidth = 1;
    }
    if (over >= 0) label(over, width);
  }

  function label(i, width) {
    const text = [...data.texts[i]].slice(0, 36).join("") + (data.texts[i].length > 36 ? "…" : "");
    pen.font = "13px system-ui, sans-serif";
    const long = pen.measureText(text).width, [x, y] = places[i];
    const at = Math.max(4, Math.min(x + 10, width - long - 14)), up = y > 34 ? y - 30 : y + 12;
    pen.fillStyle = ink("--ink");
    pen.fillRect(at - 5, up, long + 10, 21);
    pen.fillStyle = ink("--back");
    pen.fillText(text, at, up + 15);
  }

  function nearest(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, reach = 144;
    places.forEach(([a, b], i) => {
      const away = (a - x) ** 2 + (b - y) ** 2;
      if (away < reach && shown(i)) { reach = away; best = i; }
    });
    return best;
  }

  function choose(i) {
    taken = i;
    chosen.replaceChildren();
    const add = (tag, text, to = chosen) => {
      const part = to.appendChild(document.createElement(tag));
      part.textContent = text;
      return part;
    };
    add("div", data.labels[i]).className = "faint";
    add("p", data.texts[i]);
    const list = add("ol", "");
    data.near[i].forEach((other, rank) => {
      const item = add("li", "", list);
      add("b", data.close[i][rank].toFixed(3), item);
      add("span", data.texts[other] + "  ", item);
      add("span", data.labels[other], item).className = "faint";
      item.addEventListener("click", () => choose(other));
    });
    draw();
  }

  data.names.forEach((name, i) => {
    const button = legend.appendChild(document.createElement("button"));
    button.type = "button";
    const dot = button.appendChild(document.createElement("i"));
    dot.style.background = "var(--c" + i + ")";
    button.appendChild(document.createTextNode(name + " (" + data.sizes[i] + ")"));
    button.addEventListener("click", () => {
      hidden.has(i) ? hidden.delete(i) : hidden.add(i);
      button.classList.toggle("off");
      draw();
    });
  });
  canvas.addEventListener("mousemove", event => {
    const now = nearest(event);
    if (now !== over) { over = now; draw(); }
  });
  canvas.addEventListener("mouseleave", () => { over = -1; draw(); });
  canvas.addEventListener("click", event => { const i = nearest(event); if (i >= 0) choose(i); });
  find.addEventListener("input", () => { wanted = find.value.trim().toLowerCase(); draw(); });
  find.addEventListener("change", () => {
    const i = wanted ? data.texts.findIndex(text => text.toLowerCase().includes(wanted)) : -1;
    if (i >= 0) choose(i);
  });
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  if (data.texts.length) choose(0);
}
