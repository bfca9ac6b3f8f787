/* charts -- small pictures of figures: lines over time, bars over days. SVG from elements, one figure's colours from the
 * sheet, the newest value in words beside it so that nobody has to read a curve. */
import { make } from "./dom";

const SVG = "http://www.w3.org/2000/svg", WIDTH = 300, HEIGHT = 80;

function svg(tag: string, attributes: Record<string, string | number>): SVGElement {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, String(v));
  return e;
}

function frame(title: string): { box: HTMLElement; picture: SVGElement; value: HTMLElement; top: HTMLElement } {
  const value = make("span", "value"), top = make("span", "top");
  const head = make("figcaption", "", make("span", "", title), value);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title });
  const box = make("figure", "chart", head);
  box.append(picture, top);
  return { box, picture, value, top };
}

/* A curve of the last `points` values of each of its lines, drawn against the highest of them. */
export class Curve {
  readonly box: HTMLElement;
  private readonly lines: { points: number[]; line: SVGElement }[];
  private readonly value: HTMLElement;
  private readonly top: HTMLElement;

  constructor(title: string, names: string[], private readonly text: (v: number) => string, private readonly points = 300) {
    const f = frame(title);
    this.box = f.box; this.value = f.value; this.top = f.top;
    this.lines = names.map((_, i) => {
      const line = svg("polyline", { class: `line-${i}`, points: "" });
      f.picture.append(line);
      return { points: [], line };
    });
    this.names = names;
  }
  private readonly names: string[];

  push(...values: number[]): void {
    this.lines.forEach((l, i) => {
      l.points.push(values[i] ?? 0);
      if (l.points.length > this.points) l.points.shift();
    });
    const highest = Math.max(1e-9, ...this.lines.flatMap((l) => l.points));
    for (const l of this.lines) {
      l.line.setAttribute("points", l.points.map((v, i) =>
        `${((i + this.points - l.points.length) * WIDTH) / (this.points - 1)},${(HEIGHT - 2 - ((HEIGHT - 6) * v) / highest).toFixed(1)}`).join(" "));
    }
    this.value.textContent = this.lines.map((l, i) =>
      `${this.names[i] ? `${this.names[i]} ` : ""}${this.text(l.points[l.points.length - 1] ?? 0)}`).join(" · ");
    this.top.textContent = `top ${this.text(highest)}`;
  }
}

export interface Bar { name: string; value: number }

/* Bars beside each other; each says its name and value when pointed at, and to who listens. */
export function bars(title: string, values: Bar[], text: (v: number) => string): HTMLElement {
  const f = frame(title);
  const highest = Math.max(1e-9, ...values.map((b) => b.value)), step = WIDTH / Math.max(1, values.length);
  values.forEach((b, i) => {
    const height = ((HEIGHT - 6) * b.value) / highest;
    const bar = svg("rect", { x: i * step + 1, y: HEIGHT - height, width: Math.max(1, step - 2), height, class: "bar-0" });
    const label = svg("title", {});
    label.textContent = `${b.name}: ${text(b.value)}`;
    bar.append(label);
    f.picture.append(bar);
  });
  f.value.textContent = text(values.reduce((sum, b) => sum + b.value, 0));
  f.top.textContent = values.length ? `${values[0]?.name} to ${values[values.length - 1]?.name}, top ${text(highest)}` : "nothing yet";
  return f.box;
}

/* A range for each name, from low to high, about a middle: what a result is sensitive to. */
export function ranges(title: string, values: { name: string; low: number; high: number }[], text: (v: number) => string): HTMLElement {
  const f = frame(title);
  const all = values.flatMap((v) => [v.low, v.high]);
  const least = Math.min(...all), most = Math.max(...all), span = Math.max(1e-12, most - least);
  f.box.classList.add("ranges");
  f.picture.remove();
  for (const v of values) {
    const from = (100 * (Math.min(v.low, v.high) - least)) / span, to = (100 * (Math.max(v.low, v.high) - least)) / span;
    const bar = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img",
      "aria-label": `${v.name}: ${text(Math.min(v.low, v.high))} to ${text(Math.max(v.low, v.high))}` });
    bar.append(svg("rect", { x: from, y: 1, width: Math.max(0.5, to - from), height: 8, class: "bar-0" }));
    const row = make("div", "range", make("span", "", v.name));
    row.append(bar, make("span", "n", `${text(Math.min(v.low, v.high))} to ${text(Math.max(v.low, v.high))}`));
    f.box.insertBefore(row, f.top);
  }
  f.top.textContent = "";
  return f.box;
}
