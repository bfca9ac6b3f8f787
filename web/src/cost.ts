/* cost -- a machine of one's own against an API: sliders here, `tokenworks tco`'s own arithmetic on the server. */
import { call } from "./api";
import { ranges } from "./charts";
import { fillList, find, make } from "./dom";
import { number, short } from "./format";
import { onShow } from "./views";

interface Answer {
  catalogue: { hardware: string[]; models: string[]; api: string[] };
  result: Record<string, number | null> & { spread?: { p10: number; p50: number; p90: number; bars: { name: string; low: number; high: number }[] } };
}
interface Slider { name: string; label: string; least: number; most: number; step: number; start: number; text: (v: number) => string }

const percent = (v: number): string => `${number(100 * v)} %`, usd = (v: number): string => `$${number(v, v < 10 ? 3 : 0)}`;
const SLIDERS: Slider[] = [
  { name: "utilisation", label: "Busy share of the year", least: 0.01, most: 1, step: 0.01, start: 0.5, text: percent },
  { name: "power_price", label: "A kWh", least: 0.01, most: 0.6, step: 0.01, start: 0.1, text: usd },
  { name: "pue", label: "Site power per machine power", least: 1, most: 2, step: 0.05, start: 1.3, text: (v) => number(v, 2) },
  { name: "life", label: "Years of life", least: 1, most: 10, step: 0.5, start: 5, text: (v) => number(v, 1) },
  { name: "discount", label: "Interest a year", least: 0, most: 0.25, step: 0.01, start: 0.08, text: percent },
  { name: "input", label: "Prompt tokens of a request", least: 50, most: 20000, step: 50, start: 1000, text: number },
  { name: "output", label: "Answer tokens of a request", least: 10, most: 5000, step: 10, start: 300, text: number },
  { name: "cached", label: "Of the prompt found in the cache", least: 0, most: 0.95, step: 0.05, start: 0, text: percent },
];
const CHOICES = [["hardware", "Machine", "h200x8"], ["model", "Model", "llama-3.1-8b"], ["api", "API", "gpt-oss-120b"]] as const;

let asked = 0, waiting = 0;

function choice(name: string): HTMLSelectElement { return find<HTMLSelectElement>(`cost-${name}`); }

function fields(): Record<string, string | number> {
  const out: Record<string, string | number> = {};
  for (const s of SLIDERS) out[s.name] = Number(find<HTMLInputElement>(`cost-${s.name}`).value);
  for (const [name, , start] of CHOICES) {
    const v = choice(name).value || (choice(name).options.length ? "" : start);
    if (v) out[name] = v;
  }
  return out;
}

function offer(a: Answer): void {
  const lists = { hardware: a.catalogue.hardware, model: a.catalogue.models, api: a.catalogue.api };
  for (const [name, , start] of CHOICES) {
    if (choice(name).options.length) continue;
    choice(name).append(...(name === "api" ? [new Option("none", "")] : []), ...lists[name].map((id) => new Option(id, id)));
    choice(name).value = start;
  }
}

function verdict(r: Answer["result"]): string {
  if (!r.api_per_mtok) return `A million output tokens costs ${usd(r.usd_per_mtok ?? 0)} here.`;
  const own = r.usd_per_mtok ?? 0, api = r.api_per_mtok, at = r.breakeven_utilisation;
  const even = at === null || at === undefined ? "" : at > 1 ? " Even fully busy it would not break even." : ` It breaks even when busy ${percent(at)} of the year.`;
  return own < api ? `Owning costs ${usd(own)} a million output tokens, the API ${usd(api)}: owning is ${number(api / own, 1)} times cheaper.${even}`
    : `The API costs ${usd(api)} a million output tokens, owning ${usd(own)}: the API is ${number(own / api, 1)} times cheaper.${even}`;
}

function draw(a: Answer): void {
  const r = a.result, v = (k: string): number => r[k] as number ?? NaN;
  offer(a);
  find("cost-verdict").textContent = verdict(r);
  fillList(find("cost-result"), [
    ["Bought for", usd(v("capex"))], ["A year: capital", usd(v("annuity"))], ["energy", usd(v("energy"))], ["maintenance", usd(v("maintenance"))],
    ["all", usd(v("total"))], ["Output tokens a year", `${short(v("mtok") * 1e6)}`], ["A million output tokens, all cost", usd(v("usd_per_mtok"))],
    ["by machine time: input", usd(v("usd_in"))], ["cached input", usd(v("usd_cached"))], ["output", usd(v("usd_out"))],
    ["kWh a million", number(v("kwh_per_mtok"), 3)],
    ["Payback", r.payback_y == null ? "never" : `${number(v("payback_y"), 1)} years`],
    ["With each figure 20 % off", r.spread ? `${usd(r.spread.p10)} to ${usd(r.spread.p90)}` : "-"],
  ]);
  const list = r.spread?.bars ?? [];
  find("cost-chart").replaceChildren(...(list.length ? [ranges("A million output tokens, one figure 20 % lower or higher", list, usd)] : []));
}

/* One question at a time, the newest last: a slider that moves does not queue up work. */
async function compute(): Promise<void> {
  const mine = ++asked;
  try {
    const a = await call<Answer>("/tokenworks/tco", fields());
    if (mine === asked) draw(a);
  } catch (e) {
    if (mine === asked) find("cost-verdict").textContent = e instanceof Error ? e.message : String(e);
  }
}

function soon(): void {
  clearTimeout(waiting);
  waiting = window.setTimeout(() => void compute(), 80);
}

export function startCost(): void {
  const box = find("cost-sliders");
  for (const [name, label] of CHOICES) {
    const select = make("select");
    select.id = `cost-${name}`;
    select.addEventListener("change", soon);
    box.append(make("label", "", label, select));
  }
  for (const s of SLIDERS) {
    const range = make("input"), value = make("output", "", s.text(s.start));
    Object.assign(range, { type: "range", id: `cost-${s.name}`, min: String(s.least), max: String(s.most), step: String(s.step) });
    range.value = String(s.start);
    range.addEventListener("input", () => { value.textContent = s.text(Number(range.value)); soon(); });
    box.append(make("label", "slider", make("span", "", s.label), value, range));
  }
  onShow("cost", soon);
}
