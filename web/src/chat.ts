/* chat -- the conversation: one answer at a time, drawn as it streams, stopped by button or Escape. */
import { ApiError, ChatRequest, Message, Usage, chat } from "./api";
import { button, copyButton, find, make } from "./dom";
import { render } from "./markdown";
import { selected } from "./panel";

const messages: Message[] = [];
let running: AbortController | null = null;

const prompt = () => find<HTMLTextAreaElement>("prompt");

function notice(text: string, bad = false): void {
  const n = find("notice");
  n.textContent = text;
  n.classList.toggle("bad", bad);
}

function setting(id: string): number | undefined {
  const text = find<HTMLInputElement>(id).value.trim();
  const v = Number(text);
  return text && Number.isFinite(v) ? v : undefined;
}

function fullRequest(): ChatRequest {
  const system = find<HTMLTextAreaElement>("system").value.trim();
  return {
    model: selected() || "default",
    messages: system ? [{ role: "system", content: system }, ...messages] : [...messages],
    temperature: setting("temperature"), top_p: setting("top-p"),
    max_tokens: setting("max-tokens"), seed: setting("seed"),
  };
}

function atBottom(log: HTMLElement): boolean {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 48;
}

/* One answer on the page. Text is drawn at most once a frame, however fast tokens come. */
class Answer {
  readonly turn = make("article", "turn assistant busy");
  private readonly text = make("div", "text");
  private readonly foot = make("div", "foot");
  private shown: string[] = [];
  private frame = 0;
  private readonly started = performance.now();
  private firstAt = 0;
  content = "";
  pieces = 0;
  usage: Usage | null = null;
  finish = "";

  constructor(private readonly log: HTMLElement) {
    this.turn.setAttribute("aria-label", "Answer");
    this.turn.append(this.text, this.foot);
    log.append(this.turn);
    log.scrollTop = log.scrollHeight;
  }

  add(piece: string): void {
    if (!piece) return;
    if (!this.firstAt) this.firstAt = performance.now();
    this.content += piece;
    this.pieces++;
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    this.frame = 0;
    const follow = atBottom(this.log);
    this.shown = render(this.text, this.content, this.shown);
    this.foot.textContent = this.figures();
    if (follow) this.log.scrollTop = this.log.scrollHeight;
  }

  private figures(): string {
    const n = this.usage?.completion_tokens ?? this.pieces;
    const wait = this.firstAt ? this.firstAt - this.started : 0;
    const seconds = this.firstAt ? (performance.now() - this.firstAt) / 1000 : 0;
    const parts = [`${n} tokens`];
    if (seconds > 0.2 && n > 1) parts.push(`${((n - 1) / seconds).toFixed(1)} tokens/s`);
    if (wait) parts.push(`first after ${wait < 1000 ? `${Math.round(wait)} ms` : `${(wait / 1000).toFixed(1)} s`}`);
    const cached = this.usage?.prompt_tokens_details?.cached_tokens;
    if (this.usage) parts.push(`prompt ${this.usage.prompt_tokens}${cached ? ` (${cached} cached)` : ""}`);
    if (this.finish === "length") parts.push("cut at the token limit");
    return parts.join(" · ");
  }

  done(failed = ""): void {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.draw();
    this.turn.classList.remove("busy");
    if (failed) this.turn.insertBefore(make("p", "failed", failed), this.foot);
    this.foot.append(copyButton(() => this.content), button("Again", "quiet", () => again(this)));
  }
}

function showUser(text: string): void {
  const turn = make("article", "turn user", make("div", "text", text));
  turn.setAttribute("aria-label", "You");
  find("log").append(turn);
}

function setBusy(busy: boolean): void {
  find("log").setAttribute("aria-busy", String(busy));
  find("send").hidden = busy;
  find("stop").hidden = !busy;
}

async function ask(): Promise<void> {
  const answer = new Answer(find("log"));
  let failed = "";
  running = new AbortController();
  setBusy(true);
  notice("");
  try {
    await chat(fullRequest(), {
      text: (piece) => answer.add(piece),
      usage: (u) => { answer.usage = u; },
      finish: (reason) => { answer.finish = reason; },
    }, running.signal);
  } catch (e) {
    if (running.signal.aborted) {
      notice("Stopped.");
    } else {
      failed = e instanceof Error ? e.message : String(e);
      if (e instanceof ApiError && e.retryAfter) failed += ` (try again in ${e.retryAfter} s)`;
      notice("The answer is not complete.", true);
    }
  }
  running = null;
  answer.done(failed);
  messages.push({ role: "assistant", content: answer.content });
  setBusy(false);
  prompt().focus();
}

/* Asks the same once more: only the last answer can be replaced. */
function again(a: Answer): void {
  const last = messages[messages.length - 1];
  if (running || a.turn !== find("log").lastElementChild || last?.role !== "assistant") return;
  messages.pop();
  a.turn.remove();
  void ask();
}

function send(): void {
  const text = prompt().value.trim();
  if (!text || running) return;
  find("empty").hidden = true;
  prompt().value = "";
  grow();
  messages.push({ role: "user", content: text });
  showUser(text);
  void ask();
}

function clear(): void {
  running?.abort();
  messages.length = 0;
  for (const turn of [...find("log").querySelectorAll(".turn")]) turn.remove();
  find("empty").hidden = false;
  notice("");
  prompt().focus();
}

function grow(): void {
  const p = prompt();
  p.style.height = "auto";
  p.style.height = `${p.scrollHeight}px`;
}

export function startChat(): void {
  find("composer").addEventListener("submit", (ev) => { ev.preventDefault(); send(); });
  find("stop").addEventListener("click", () => running?.abort());
  find("new").addEventListener("click", clear);
  prompt().addEventListener("input", grow);
  prompt().addEventListener("keydown", (ev) => {
    if (ev.key === "Enter" && !ev.shiftKey && !ev.isComposing) { ev.preventDefault(); send(); }
  });
  document.addEventListener("keydown", (ev) => {
    if (ev.key === "Escape" && running) { ev.preventDefault(); running.abort(); }
    if (ev.altKey && ev.key.toLowerCase() === "n") { ev.preventDefault(); clear(); }
  });
  prompt().focus();
}
