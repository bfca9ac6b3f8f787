/* usage -- what was used by whom, and the keys: the admin API with a picture. Needs a key of role admin or auditor, or a
 * server that has no key yet. */
import { call } from "./api";
import { Bar, bars } from "./charts";
import { button, find, make } from "./dom";
import { number, short } from "./format";
import { onShow } from "./views";

interface Sums { requests: number; prompt_tokens: number; cached_tokens: number; output_tokens: number; cost_micros: number; energy_mj: number }
type Row = Sums & Record<string, string | number>;
interface Key { id: number; key: string; name: string; tenant: string; role: string; expires_ms: number; revoked_ms: number }

const DAY_MS = 86400000;
let tenant = ""; /* whose days the picture shows; "": everybody's */
const ask = <T>(verb: string, fields: object = {}): Promise<T> => call<T>(`/tokenworks/admin/${verb}`, fields);
const chosen = (id: string): string => find<HTMLSelectElement>(id).value;

const COLUMNS: [string, (s: Sums) => string][] = [
  ["Requests", (s) => number(s.requests)], ["Prompt tokens", (s) => number(s.prompt_tokens)],
  ["of these cached", (s) => number(s.cached_tokens)], ["Output tokens", (s) => number(s.output_tokens)],
  ["Spend", (s) => number(s.cost_micros / 1e6, 4)], ["Energy, Wh", (s) => number(s.energy_mj / 3.6e6, 3)],
];
const MEASURES: Record<string, { of: (s: Sums) => number; text: (v: number) => string; title: string }> = {
  tokens: { of: (s) => s.prompt_tokens + s.output_tokens, text: short, title: "Tokens a day" },
  cost: { of: (s) => s.cost_micros / 1e6, text: (v) => number(v, 4), title: "Spend a day" },
  energy: { of: (s) => s.energy_mj / 3.6e6, text: (v) => `${number(v, 3)} Wh`, title: "Energy a day" },
  requests: { of: (s) => s.requests, text: short, title: "Requests a day" },
};

function notice(text: string, bad = false): void {
  find("usage-notice").textContent = text;
  find("usage-notice").classList.toggle("bad", bad);
}

const said = (e: unknown): string => (e instanceof Error ? e.message : String(e));

/* Every day of the range has a bar, also the ones without use. */
function daily(rows: Row[], days: number, from: number): Bar[] {
  const measure = MEASURES[chosen("usage-what")] ?? MEASURES.tokens!;
  const byDay = new Map(rows.map((r) => [Number(r.day), measure.of(r)]));
  return Array.from({ length: days }, (_, i) => {
    const day = Math.floor(from / DAY_MS) + i;
    return { name: new Date(day * DAY_MS).toISOString().slice(0, 10), value: byDay.get(day) ?? 0 };
  });
}

function table(rows: Row[], by: string): void {
  const head = find("usage-table").querySelector("thead")!, body = find("usage-table").querySelector("tbody")!;
  head.replaceChildren(make("tr", "", make("th", "", by[0]!.toUpperCase() + by.slice(1)), ...COLUMNS.map(([name]) => make("th", "n", name))));
  body.replaceChildren(...rows.map((r) => {
    const name = make("td", "", String(r[by] ?? ""));
    if (by === "tenant") name.replaceChildren(button(String(r.tenant), "quiet", () => { tenant = tenant === r.tenant ? "" : String(r.tenant); void load(); }));
    return make("tr", by === "tenant" && tenant === r.tenant ? "busy" : "", name, ...COLUMNS.map(([, text]) => make("td", "n", text(r))));
  }));
  if (!rows.length) body.append(make("tr", "", make("td", "fine", "Nothing used in these days.")));
}

function keyRow(k: Key): HTMLTableRowElement {
  const state = k.revoked_ms ? "revoked" : k.expires_ms && k.expires_ms < Date.now() ? "expired"
    : k.expires_ms ? `until ${new Date(k.expires_ms).toISOString().slice(0, 10)}` : "in force";
  const act = make("td");
  if (!k.revoked_ms) {
    act.append(button("Revoke", "quiet", (b) => {
      if (b.dataset.sure) void ask("key/revoke", { id: k.id }).then(load, (e) => notice(said(e), true));
      b.dataset.sure = "yes";
      b.textContent = "Really revoke?";
    }));
  }
  return make("tr", k.revoked_ms ? "fine" : "", ...[k.key, k.tenant, k.name, k.role, state].map((t) => make("td", "", t)), act);
}

async function load(): Promise<void> {
  const days = Number(chosen("usage-days")), by = chosen("usage-by");
  const to = Math.floor(Date.now() / DAY_MS) * DAY_MS + DAY_MS, from = to - days * DAY_MS;
  try {
    const [rows, perDay, keys] = await Promise.all([
      ask<Row[]>("usage/show", { by, from_ms: from, to_ms: to }), ask<Row[]>("usage/show", { by: "day", from_ms: from, to_ms: to, ...(tenant ? { tenant } : {}) }),
      ask<Key[]>("key/list"),
    ]);
    const measure = MEASURES[chosen("usage-what")] ?? MEASURES.tokens!;
    find("usage-chart").replaceChildren(bars(tenant ? `${measure.title}, ${tenant}` : measure.title, daily(perDay, days, from), measure.text));
    table(rows, by);
    find("keys").querySelector("tbody")!.replaceChildren(...keys.map(keyRow));
    notice("");
  } catch (e) {
    notice(said(e), true);
  }
}

async function addKey(): Promise<void> {
  const text = (id: string): string => find<HTMLInputElement>(id).value.trim();
  const fields: Record<string, unknown> = { tenant: text("key-tenant"), role: chosen("key-role") };
  if (text("key-name")) fields.name = text("key-name");
  if (text("key-days")) fields.expires_days = Number(text("key-days"));
  try {
    const made = await ask<{ key: string }>("key/add", fields);
    find("key-made").hidden = false;
    find("key-made").textContent = `Shown once, keep it now: ${made.key}`;
    await load();
  } catch (e) {
    notice(said(e), true);
  }
}

export function startUsage(): void {
  for (const id of ["usage-by", "usage-days", "usage-what"]) find(id).addEventListener("change", () => void load());
  find("key-add").addEventListener("submit", (ev) => { ev.preventDefault(); void addKey(); });
  onShow("usage", () => void load());
}
