/* api -- the server as the console sees it: models, figures, and a chat that streams. */

export interface Histogram { le: number[]; counts: number[]; sum: number }
export interface EngineStats {
  counters?: Record<string, number>;
  gauges?: Record<string, number>;
  histograms?: Record<string, Histogram>;
}
export interface ModelState {
  id: string;
  state: "ready" | "loading" | "restarting";
  loading: number;
  restarts: number;
  facts?: Record<string, unknown> | null;
  stats?: EngineStats | null;
}
export interface Stats { version: string; uptime_s: number; in_flight: number; draining: boolean; fleet?: boolean; models: ModelState[] }

export interface Message { role: "system" | "user" | "assistant"; content: string }
export interface ChatRequest {
  model: string;
  messages: Message[];
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  seed?: number;
  [more: string]: unknown; /* response_format, tools, guided_regex ...: the playground's */
}
export interface Usage { prompt_tokens: number; completion_tokens: number; prompt_tokens_details?: { cached_tokens?: number } }

/* What the server said when it said no. */
export class ApiError extends Error {
  constructor(readonly status: number, message: string, readonly retryAfter = 0) { super(message); }
}

const KEY = "tokenworks-key";
export const key = {
  get: (): string => sessionStorage.getItem(KEY) ?? "",
  set: (v: string): void => sessionStorage.setItem(KEY, v),
};

function headers(): Record<string, string> {
  const k = key.get();
  return k ? { Authorization: `Bearer ${k}` } : {};
}

async function failure(r: Response): Promise<ApiError> {
  let message = `the server answered ${r.status}`;
  try {
    const body = await r.json();
    if (typeof body?.error?.message === "string") message = body.error.message;
  } catch { /* no JSON: the status must do */ }
  return new ApiError(r.status, message, Number(r.headers.get("retry-after") ?? 0));
}

export async function stats(signal: AbortSignal): Promise<Stats> {
  const r = await fetch("/tokenworks/stats", { headers: headers(), signal, cache: "no-store" });
  if (!r.ok) throw await failure(r);
  return r.json();
}

/* The data lines of an event stream, one event at a time; bytes may be cut anywhere. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const parts = rest.split(/\r\n\r\n|\n\n|\r\r/);
      rest = parts.pop() ?? "";
      for (const part of parts) {
        const data = part.split(/\r\n|\n|\r/).filter((l) => l.startsWith("data:")).map((l) => l.slice(5).replace(/^ /, ""));
        if (data.length) yield data.join("\n");
      }
      if (done) return;
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

/* A JSON answer of any other route: GET without a body, POST with one. */
export async function call<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const r = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers() },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal, cache: "no-store",
  });
  if (!r.ok) throw await failure(r);
  return r.json();
}

/* A piece of a call: its name once, its arguments bit by bit. */
export interface CallPiece { index: number; id?: string; function?: { name?: string; arguments?: string } }
export interface ChatEvents {
  text(piece: string): void;
  reasoning?(piece: string): void;
  call?(piece: CallPiece): void;
  usage(u: Usage): void;
  finish(reason: string): void;
}

export async function chat(request: ChatRequest, on: ChatEvents, signal: AbortSignal): Promise<void> {
  const r = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers() },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!r.ok || !r.body) throw await failure(r);
  for await (const data of events(r.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(500, String(chunk.error.message ?? "the stream broke off"));
    const choice = chunk.choices?.[0];
    if (typeof choice?.delta?.content === "string") on.text(choice.delta.content);
    if (typeof choice?.delta?.reasoning_content === "string") on.reasoning?.(choice.delta.reasoning_content);
    for (const piece of choice?.delta?.tool_calls ?? []) on.call?.(piece);
    if (typeof choice?.finish_reason === "string") on.finish(choice.finish_reason);
    if (chunk.usage) on.usage(chunk.usage);
  }
  throw new ApiError(0, "the connection ended before the answer did");
}
