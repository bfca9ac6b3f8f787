/* fleet -- the machines of the fleet as this gateway sees them: a card for each site, its workers in it, what happened. */
import { ApiError, call } from "./api";
import { button, find, make } from "./dom";
import { duration, number } from "./format";
import { onStats } from "./panel";
import { current, onShow } from "./views";

interface Model { id: string; running: number; waiting: number; kv_pages: number; kv_pages_free: number; tokens_per_s: number }
interface Worker { name: string; state: string; age_ms: number; rtt_ms: number | null; open: number; models: Model[] }
interface Site { jurisdiction: string; site: string; workers: Worker[] }
interface Gateway { jurisdiction: string; site: string; name: string; age_ms: number; self: boolean }
interface Fleet {
  sites?: Site[]; gateways?: Gateway[]; events?: { at: number; what: string }[];
  moves?: { resumed: number; failed: number; refused: number };
  bus: { up: boolean; why: string };
  bills?: { sent: number; waiting: number; reached: boolean };
  limits?: { limits: number; held: number; waiting: number; reached: boolean };
}

const EVERY_MS = 1000;
let drains = true;

function meter(m: Model): HTMLElement {
  const used = m.kv_pages ? (100 * (m.kv_pages - m.kv_pages_free)) / m.kv_pages : 0;
  const fill = make("div");
  fill.style.width = `${used}%`;
  const box = make("div", "meter", fill);
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `context memory ${number(used)} %`);
  return box;
}

function drain(site: string, worker: string): HTMLButtonElement {
  return button("Drain", "quiet", async (b) => {
    b.disabled = true;
    try {
      await call("/tokenworks/fleet/drain", { site, worker });
    } catch (e) {
      if (e instanceof ApiError) find("fleet-notice").textContent = e.message;
    }
  });
}

function rows(s: Site, w: Worker): HTMLTableRowElement[] {
  const rtt = w.rtt_ms === null ? "-" : `${number(w.rtt_ms, 1)} ms`;
  const head = (): HTMLElement[] => [make("td", "", w.name), make("td", "", w.state), make("td", "n", `${number(w.age_ms)} ms`), make("td", "n", rtt)];
  const models = w.models.length ? w.models : [undefined];
  return models.map((m, i) => {
    const cells = i ? [make("td"), make("td"), make("td"), make("td")] : head();
    cells.push(make("td", "", m?.id ?? "no model"), make("td", "n", m ? number(m.running) : ""), make("td", "n", m ? number(m.waiting) : ""),
      make("td", "n", m ? number(m.tokens_per_s, 1) : ""), m ? make("td", "", meter(m)) : make("td"));
    cells.push(i || w.state !== "alive" || !drains ? make("td") : make("td", "", drain(s.site, w.name)));
    return make("tr", w.state === "alive" ? "" : w.state === "draining" ? "busy" : "failed", ...cells);
  });
}

const COLUMNS: [string, boolean][] = [["Worker", false], ["State", false], ["Heard", true], ["Round trip", true], ["Model", false],
  ["Running", true], ["Waiting", true], ["Tokens/s", true], ["Memory", false], ["", false]];

function card(s: Site): HTMLElement {
  const alive = s.workers.filter((w) => w.state === "alive").length;
  const rate = s.workers.filter((w) => w.state !== "dead").flatMap((w) => w.models).reduce((sum, m) => sum + m.tokens_per_s, 0);
  const head = make("tr", "", ...COLUMNS.map(([name, right]) => make("th", right ? "n" : "", name)));
  const table = make("table", "grid", make("thead", "", head), make("tbody", "", ...s.workers.flatMap((w) => rows(s, w))));
  const title = make("h2", "", `${s.jurisdiction.toUpperCase()} / ${s.site}`);
  return make("section", "site", title, make("p", "fine", `${alive} of ${s.workers.length} workers, ${number(rate, 1)} tokens/s`),
    make("div", "scroll", table));
}

/* What gateways keep together, in a sentence each; nothing where this one keeps to itself. */
function common(f: Fleet): string {
  const { bills: b, limits: l } = f;
  const away = (there: boolean): string => (there ? "" : " The home site is not reached.");
  return (b ? ` Bills: ${number(b.sent)} rows sent to the home site, ${number(b.waiting)} wait.${away(b.reached)}` : "") +
    (l ? ` Limits in common: ${number(l.limits)}, of which something is held of ${number(l.held)}.${away(l.reached)}` : "");
}

function draw(f: Fleet): void {
  const sites = [...(f.sites ?? [])].sort((a, b) => `${a.jurisdiction}/${a.site}`.localeCompare(`${b.jurisdiction}/${b.site}`));
  find("fleet-notice").textContent = f.bus.up ? "" : `The bus is away: ${f.bus.why}`;
  find("fleet-sites").replaceChildren(...sites.map(card));
  if (!sites.length) find("fleet-sites").append(make("p", "fine", "No worker is heard of."));
  const m = f.moves ?? { resumed: 0, failed: 0, refused: 0 };
  find("fleet-moves").textContent = `Requests of this gateway: ${number(m.resumed)} went on elsewhere, ${number(m.failed)} failed, ${number(m.refused)} were refused.` + common(f);
  find("fleet-gateways").textContent = "Gateways: " + (f.gateways ?? []).map((g) =>
    `${g.jurisdiction}/${g.site}/${g.name}${g.self ? " (this one)" : g.age_ms > 3000 ? ` (silent for ${duration(g.age_ms / 1000)})` : ""}`).join(", ");
  const lines = [...(f.events ?? [])].reverse().map((e) =>
    make("tr", "", make("td", "", new Date(1000 * e.at).toLocaleTimeString("en-GB")), make("td", "", e.what)));
  find("fleet-events").querySelector("tbody")!.replaceChildren(...lines);
}

async function refresh(): Promise<void> {
  try {
    const f = await call<Fleet>("/tokenworks/fleet");
    drains = f.gateways !== undefined;
    draw(f);
  } catch (e) {
    if (e instanceof ApiError) find("fleet-notice").textContent = e.message;
  }
}

export function startFleet(): void {
  onStats((s) => { find("fleet-tab").hidden = !s.fleet; }); // the tab is there where there is a fleet
  onShow("fleet", () => void refresh());
  setInterval(() => { if (current() === "fleet" && !document.hidden) void refresh(); }, EVERY_MS);
}
