/* chat -- the conversation: answers drawn as they stream, stopped by button or Escape.
 *
 * A question goes to the chosen model and to those ticked beside it; each has a conversation of its own, and their
 * answers stand side by side. */
import { ApiError, ChatRequest, Message, Usage, chat } from "./api";
import { button, copyButton, find, make } from "./dom";
import { render } from "./markdown";
import { onStats, selected } from "./panel";
import { current } from "./views";

const conversations = new Map<string, Message[]>(); /* by model */
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

function messagesOf(model: string): Message[] {
  let messages = conversations.get(model);
  if (!messages) conversations.set(model, messages = []);
  return messages;
}

/* The chosen model first, then those ticked beside it. */
function asked(): string[] {
  const first = selected() || "default";
  const ticked = [...find("beside").querySelectorAll<HTMLInputElement>("input:checked")].map((i) => i.value);
  return [first, ...ticked.filter((m) => m !== first)];
}

function fullRequest(model: string): ChatRequest {
  const system = find<HTMLTextAreaElement>("system").value.trim();
  const messages = messagesOf(model);
  return {
    model,
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
  private readonly thought = make("div", "thought");
  private readonly thinking = make("details", "thinking", make("summary", "", "Thinking"), this.thought);
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

  constructor(private readonly log: HTMLElement, into: HTMLElement, readonly model: string, named: boolean) {
    this.turn.setAttribute("aria-label", named ? `Answer of ${model}` : "Answer");
    if (named) this.turn.append(make("h3", "who", model));
    this.thinking.hidden = true;
    this.turn.append(this.thinking, this.text, this.foot);
    into.append(this.turn);
    log.scrollTop = log.scrollHeight;
  }

  reason(piece: string): void {
    if (!this.firstAt) this.firstAt = performance.now();
    this.pieces++;
    this.thinking.hidden = false;
    this.thought.append(piece);
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

async function answerOne(answer: Answer, signal: AbortSignal): Promise<void> {
  let failed = "";
  try {
    await chat(fullRequest(answer.model), {
      text: (piece) => answer.add(piece),
      reasoning: (piece) => answer.reason(piece),
      usage: (u) => { answer.usage = u; },
      finish: (reason) => { answer.finish = reason; },
    }, signal);
  } catch (e) {
    if (signal.aborted) {
      notice("Stopped.");
    } else {
      failed = e instanceof Error ? e.message : String(e);
      if (e instanceof ApiError && e.retryAfter) failed += ` (try again in ${e.retryAfter} s)`;
      notice("The answer is not complete.", true);
    }
  }
  answer.done(failed);
  messagesOf(answer.model).push({ role: "assistant", content: answer.content });
}

async function ask(models: string[]): Promise<void> {
  const log = find("log"), named = models.length > 1;
  const into = named ? make("div", "beside") : log;
  if (named) log.append(into);
  const answers = models.map((m) => new Answer(log, into, m, named));
  const abort = running = new AbortController();
  setBusy(true);
  notice("");
  await Promise.all(answers.map((a) => answerOne(a, abort.signal)));
  if (running === abort) running = null;
  setBusy(false);
  if (current() === "chat") prompt().focus();
}

/* Asks the same once more: only the last answer can be replaced. */
function again(a: Answer): void {
  const messages = messagesOf(a.model);
  if (running || a.turn !== find("log").lastElementChild || messages[messages.length - 1]?.role !== "assistant") return;
  messages.pop();
  a.turn.remove();
  void ask([a.model]);
}

function send(): void {
  const text = prompt().value.trim();
  if (!text || running) return;
  find("empty").hidden = true;
  prompt().value = "";
  grow();
  const models = asked();
  for (const m of models) messagesOf(m).push({ role: "user", content: text });
  showUser(text);
  void ask(models);
}

function clear(): void {
  running?.abort();
  conversations.clear();
  for (const turn of [...find("log").querySelectorAll(":scope > :not(#empty)")]) turn.remove();
  find("empty").hidden = false;
  notice("");
  prompt().focus();
}

function grow(): void {
  const p = prompt();
  p.style.height = "auto";
  p.style.height = `${p.scrollHeight}px`;
}

/* A tick for each model that could answer too; shown once there are two. */
function offerBeside(ids: string[]): void {
  const box = find("beside");
  const have = [...box.querySelectorAll("input")];
  box.hidden = ids.length < 2;
  if (have.map((i) => i.value).join("\n") === ids.join("\n")) return;
  const ticked = new Set(have.filter((i) => i.checked).map((i) => i.value));
  for (const label of [...box.querySelectorAll("label")]) label.remove();
  for (const id of ids) {
    const tick = make("input");
    tick.type = "checkbox";
    tick.value = id;
    tick.checked = ticked.has(id);
    box.append(make("label", "tick", tick, id));
  }
}

export function startChat(): void {
  onStats((s) => offerBeside(s.models.map((m) => m.id)));
  find("composer").addEventListener("submit", (ev) => { ev.preventDefault(); send(); });
  find("stop").addEventListener("click", () => running?.abort());
  find("new").addEventListener("click", clear);
  prompt().addEventListener("input", grow);
  prompt().addEventListener("keydown", (ev) => {
    if (ev.key === "Enter" && !ev.shiftKey && !ev.isComposing) { ev.preventDefault(); send(); }
  });
  document.addEventListener("keydown", (ev) => {
    if (current() !== "chat") return;
    if (ev.key === "Escape" && running) { ev.preventDefault(); running.abort(); }
    if (ev.altKey && ev.key.toLowerCase() === "n") { ev.preventDefault(); clear(); }
  });
  prompt().focus();
}
