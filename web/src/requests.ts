/* requests -- the server's pulse, and who is being served: curves of the last five minutes, a line for each request. */
import { ApiError, Histogram, Stats, call } from "./api";
import { Curve } from "./charts";
import { find, make } from "./dom";
import { duration, number } from "./format";
import { onStats, selected } from "./panel";
import { current, onShow } from "./views";

export interface RequestLine {
  id: string; path: string; model: string; tenant: string; state: string; status: number; started_ms: number;
  prompt_tokens: number; cached_tokens: number; output_tokens: number;
  waits_for?: string;
  queue_ms: number; prefill_ms: number; decode_ms: number; total_ms: number;
}

const curves = {
  rate: new Curve("Tokens a second", ["out", "in"], (v) => number(v)),
  crowd: new Curve("Requests", ["running", "waiting"], (v) => number(v)),
  memory: new Curve("Context memory", [""], (v) => `${number(v)} %`),
  first: new Curve("First token, mean of the last second", [""], duration),
  gap: new Curve("Token to token, mean of the last second", [""], duration),
};
let before: Record<string, Histogram> = {};

/* The mean of what a histogram took in since it was last looked at. */
function lately(h: Record<string, Histogram>, name: string): number {
  const now = h[name], then = before[name];
  const count = (x?: Histogram): number => x?.counts.reduce((a, b) => a + b, 0) ?? 0;
  const n = count(now) - count(then);
  return now && n > 0 ? (now.sum - (then?.sum ?? 0)) / n : 0;
}

function follow(s: Stats): void {
  const m = s.models.find((x) => x.id === selected());
  const g = m?.stats?.gauges ?? {}, h = m?.stats?.histograms ?? {};
  curves.rate.push(g.generation_tokens_per_second ?? 0, g.prefill_tokens_per_second ?? 0);
  curves.crowd.push(g.num_requests_running ?? 0, g.num_requests_waiting ?? 0);
  curves.memory.push(g.kv_pages ? (100 * (g.kv_pages_used ?? 0)) / g.kv_pages : 0);
  curves.first.push(lately(h, "time_to_first_token_seconds"));
  curves.gap.push(lately(h, "inter_token_latency_seconds"));
  before = h;
  if (current() === "requests") void list();
}

function line(r: RequestLine): HTMLTableRowElement {
  const time = new Date(r.started_ms).toLocaleTimeString("en-GB");
  const done = r.state === "done";
  const state = done && r.status >= 400 ? String(r.status) : r.waits_for ? `${r.state}: ${r.waits_for}` : r.state;
  const cells = [time, r.path, r.model, r.tenant, state];
  const figures = [r.prompt_tokens, r.cached_tokens, r.output_tokens, r.queue_ms, r.prefill_ms, r.decode_ms, r.total_ms];
  const row = make("tr", done ? (r.status >= 400 ? "failed" : "") : "busy", ...cells.map((c) => make("td", "", c)),
    ...figures.map((v) => make("td", "n", number(v))));
  row.title = r.id;
  return row;
}

async function list(): Promise<void> {
  const body = find("requests").querySelector("tbody")!;
  try {
    const { requests } = await call<{ requests: RequestLine[] }>("/tokenworks/requests");
    body.replaceChildren(...requests.map(line));
    if (!requests.length) body.append(make("tr", "", make("td", "fine", "None since the server started.")));
  } catch (e) {
    if (e instanceof ApiError) body.replaceChildren(make("tr", "", make("td", "fine", e.message)));
  }
}

export function startRequests(): void {
  find("charts").append(...Object.values(curves).map((c) => c.box));
  onStats(follow);
  onShow("requests", () => void list());
}
