/* panel -- the engine at a glance: asked once a second while the page is visible, drawn from /tokenworks/stats. */
import { ApiError, Histogram, ModelState, Stats, key, stats } from "./api";
import { fillList, find } from "./dom";
import { bytes, duration, number, short } from "./format";

const EVERY_MS = 1000, SPARK_POINTS = 60;
const rates: number[] = [];

const listeners: ((s: Stats) => void)[] = [];
/* Called with each answer of the server, about once a second. */
export const onStats = (act: (s: Stats) => void): void => { listeners.push(act); };

export const selected = (): string => find<HTMLSelectElement>("model").value;

/* The bound below which the share q of the observations lies; buckets are not cumulative. */
function quantile(h: Histogram | undefined, q: number): string {
  const total = h?.counts.reduce((a, b) => a + b, 0) ?? 0;
  if (!h || !total) return "-";
  let seen = 0;
  for (let i = 0; i < h.counts.length; i++) {
    seen += h.counts[i] ?? 0;
    if (seen >= q * total) {
      const bound = h.le[i];
      return bound === undefined ? `> ${duration(h.le[h.le.length - 1] ?? 0)}` : `≤ ${duration(bound)}`;
    }
  }
  return "-";
}

function meter(id: string, share: number): void {
  const m = find(id), percent = Math.round(100 * Math.min(1, Math.max(0, share)));
  m.setAttribute("aria-valuenow", String(percent));
  (m.firstElementChild as HTMLElement).style.width = `${percent}%`;
}

function spark(rate: number): void {
  rates.push(rate);
  if (rates.length > SPARK_POINTS) rates.shift();
  const top = Math.max(1, ...rates);
  const points = rates.map((r, i) => `${(120 * (i + SPARK_POINTS - rates.length)) / (SPARK_POINTS - 1)},${31 - (29 * r) / top}`);
  find<SVGSVGElement>("spark").firstElementChild?.setAttribute("points", points.join(" "));
}

const FACT_NAMES: Record<string, string> = {
  name: "Name", arch: "Architecture", params: "Parameters", type: "Weights", weight_bytes: "Weights take",
  ctx: "Context", kv_bytes: "KV memory", layers: "Layers", dim: "Width", vocab: "Vocabulary", isa: "Kernels",
  threads: "Threads",
};

function factRows(m: ModelState): [string, string][] {
  const rows: [string, string][] = [["Id", m.id]];
  for (const [k, label] of Object.entries(FACT_NAMES)) {
    const v = m.facts?.[k];
    if (typeof v === "number") rows.push([label, k.endsWith("_bytes") ? bytes(v) : k === "params" ? short(v) : number(v)]);
    else if (typeof v === "string" && v) rows.push([label, v]);
  }
  return rows;
}

function drawModel(m: ModelState): void {
  const c = m.stats?.counters ?? {}, g = m.stats?.gauges ?? {}, h = m.stats?.histograms ?? {};
  const rate = g.generation_tokens_per_second ?? 0;
  find("rate").textContent = number(rate, rate < 10 ? 1 : 0);
  spark(rate);
  fillList(find("now"), [
    ["Running", number(g.num_requests_running)],
    ["Waiting", number(g.num_requests_waiting)],
    ["Prompt tokens/s", number(g.prefill_tokens_per_second)],
    ["First token, p50", quantile(h.time_to_first_token_seconds, 0.5)],
    ["Token to token, p50", quantile(h.inter_token_latency_seconds, 0.5)],
  ]);
  const used = g.kv_pages_used ?? 0, total = g.kv_pages ?? 0;
  meter("kv-meter", total ? used / total : 0);
  fillList(find("memory"), [
    ["Pages in use", total ? `${number(used)} of ${number(total)}` : "-"],
    ["Kept for reuse", number(g.kv_pages_idle)],
  ]);
  fillList(find("facts"), factRows(m));
  const prompt = c.prompt_tokens_total ?? 0, cached = c.prompt_tokens_cached_total ?? 0;
  fillList(find("total"), [
    ["Requests", number(c.requests_total)],
    ["Prompt tokens", number(prompt)],
    ["from the prefix cache", prompt ? `${number((100 * cached) / prompt, 1)} %` : "-"],
    ["Generated tokens", number(c.generation_tokens_total)],
    ["Engine restarts", number(m.restarts)],
  ]);
  meter("loading-meter", m.loading);
  find("loading-meter").hidden = m.state !== "loading";
}

function setState(state: string, text: string): void {
  const s = find("state");
  s.dataset.state = state;
  if (s.textContent !== text) s.textContent = text;
}

function draw(s: Stats): void {
  const select = find<HTMLSelectElement>("model");
  const ids = s.models.map((m) => m.id);
  if (ids.join("\n") !== [...select.options].map((o) => o.value).join("\n")) {
    const before = select.value;
    select.replaceChildren(...ids.map((id) => new Option(id, id)));
    if (ids.includes(before)) select.value = before;
    select.disabled = ids.length < 2;
  }
  const m = s.models.find((x) => x.id === select.value);
  if (!m) return;
  const words = { ready: "ready", loading: `loading, ${Math.round(100 * m.loading)} %`, restarting: "restarting" };
  setState(s.draining ? "restarting" : m.state, s.draining ? "shutting down" : words[m.state]);
  drawModel(m);
}

async function tick(): Promise<void> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), 5 * EVERY_MS);
  try {
    const s = await stats(abort.signal);
    draw(s);
    for (const act of listeners) act(s);
    find("key-form").hidden = true;
  } catch (e) {
    const denied = e instanceof ApiError && e.status === 401;
    setState("unreachable", denied ? "needs a key" : "unreachable");
    if (denied && find("key-form").hidden) {
      find("key-form").hidden = false;
      find("panel").classList.add("open");
      find("key").focus();
    }
  } finally {
    clearTimeout(timer);
  }
}

export function startPanel(): void {
  find("key-form").addEventListener("submit", (ev) => {
    ev.preventDefault();
    key.set(find<HTMLInputElement>("key").value.trim());
    find<HTMLInputElement>("key").value = "";
    void tick();
  });
  const toggle = find("panel-toggle");
  toggle.addEventListener("click", () => {
    toggle.setAttribute("aria-expanded", String(find("panel").classList.toggle("open")));
  });
  const again = async (): Promise<void> => {
    if (!document.hidden) await tick();
    setTimeout(() => void again(), EVERY_MS);
  };
  void again();
  document.addEventListener("visibilitychange", () => { if (!document.hidden) void tick(); });
}
