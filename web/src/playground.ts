/* playground -- an answer of a given form: schema, tools, regex, list or grammar; what came, and whether it holds. */
import { CallPiece, ChatRequest, Usage, chat, key } from "./api";
import { find } from "./dom";
import { fillList } from "./dom";
import { duration, number } from "./format";
import { selected } from "./panel";
import { current } from "./views";

type Form = "schema" | "tools" | "regex" | "choice" | "grammar";
interface Example { label: string; source: string; prompt: string }

const EXAMPLES: Record<Form, Example> = {
  schema: {
    label: "JSON Schema",
    source: JSON.stringify({
      type: "object", additionalProperties: false, required: ["city", "country", "sights"],
      properties: {
        city: { type: "string", maxLength: 40 }, country: { type: "string", pattern: "^[A-Z]{2}$" },
        sights: { type: "array", minItems: 1, maxItems: 3, items: { type: "string", maxLength: 60 } },
      },
    }, null, 2),
    prompt: "Describe the capital of France.",
  },
  tools: {
    label: "Tools: a list of functions, or of {\"type\": \"function\", \"function\": ...}",
    source: JSON.stringify([{
      name: "weather", description: "The weather of a place",
      parameters: {
        type: "object", additionalProperties: false, required: ["place", "unit"],
        properties: { place: { type: "string", maxLength: 40 }, unit: { enum: ["C", "F"] } },
      },
    }], null, 2),
    prompt: "How warm is it in Oslo?",
  },
  regex: { label: "Regular expression", source: "(Mon|Tues|Wednes|Thurs|Fri)day, [0-2][0-9]:[0-5][0-9]", prompt: "When shall we meet?" },
  choice: { label: "One of these, a line each", source: "positive\nneutral\nnegative", prompt: "The soup was cold. The mood of this sentence:" },
  grammar: {
    label: "GBNF grammar",
    source: "root ::= sum\nsum ::= product (\" + \" product)*\nproduct ::= atom (\" * \" atom)*\natom ::= [1-9] [0-9]{0,2} | \"(\" sum \")\"",
    prompt: "A sum that makes seven:",
  },
};

const area = (id: string) => find<HTMLTextAreaElement>(id);
const form = (): Form => find<HTMLSelectElement>("play-form").value as Form;
const edited = new Map<Form, Example>();
let shown: Form = "schema";
let running: AbortController | null = null;

function verdict(text: string, kind: "" | "good" | "bad" = ""): void {
  find("play-verdict").textContent = text;
  find("play-verdict").dataset.kind = kind;
}

function figure(id: string): number | undefined {
  const text = find<HTMLInputElement>(id).value.trim();
  return text ? Number(text) : undefined;
}

function tools(source: unknown): unknown[] {
  const list = Array.isArray(source) ? source : [source];
  return list.map((t) => (t && typeof t === "object" && !("function" in t) ? { type: "function", function: t } : t));
}

function request(): ChatRequest {
  const source = area("play-source").value, r: ChatRequest = {
    model: selected() || "default", messages: [{ role: "user", content: area("play-prompt").value }],
    max_tokens: figure("play-tokens"), temperature: figure("play-temperature"),
  };
  switch (form()) {
    case "schema": r.response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema: JSON.parse(source) } }; break;
    case "tools": r.tools = tools(JSON.parse(source)); r.tool_choice = find<HTMLSelectElement>("play-choice").value; break;
    case "regex": r.guided_regex = source; break;
    case "choice": r.guided_choice = source.split("\n").filter((l) => l); break;
    case "grammar": r.guided_grammar = source; break;
  }
  return r;
}

/* What can be said of the answer here; the server has held it to the form while it wrote. */
function judge(text: string, calls: { name: string; args: string }[], finish: string): void {
  const json = (s: string): boolean => { try { JSON.parse(s); return true; } catch { return false; } };
  if (finish === "length") return verdict("Cut at the token limit: what is there is the beginning of a valid answer.", "bad");
  if (calls.length) {
    const good = calls.every((c) => json(c.args));
    return verdict(`${calls.length === 1 ? "One call" : `${calls.length} calls`}, ${good ? "arguments are valid JSON" : "an argument is not JSON"}.`, good ? "good" : "bad");
  }
  if (form() === "schema") return json(text) ? verdict("Valid JSON, held to the schema.", "good") : verdict("Not valid JSON.", "bad");
  if (form() === "tools") return verdict("No call: the model answered in words.");
  verdict("Complete, held to the form.", "good");
}

async function run(): Promise<void> {
  const output = find("play-output"), calls: { name: string; args: string }[] = [], started = performance.now();
  let text = "", finish = "", first = 0, usage: Usage | null = null, body: ChatRequest;
  try {
    body = request();
  } catch (e) {
    return verdict(`This is not JSON: ${e instanceof Error ? e.message : String(e)}`, "bad");
  }
  const draw = (): void => {
    first = first || performance.now();
    output.textContent = text + calls.map((c) => `${c.name}(${c.args})`).join("\n");
  };
  const abort = running = new AbortController();
  output.textContent = "";
  verdict("Running.");
  find("play-run").hidden = true;
  find("play-stop").hidden = false;
  try {
    await chat(body, {
      text: (piece) => { text += piece; draw(); },
      call: (p: CallPiece) => {
        const c = calls[p.index] ??= { name: "", args: "" };
        c.name += p.function?.name ?? "";
        c.args += p.function?.arguments ?? "";
        draw();
      },
      usage: (u) => { usage = u; },
      finish: (reason) => { finish = reason; },
    }, abort.signal);
    judge(text, calls, finish);
  } catch (e) {
    verdict(abort.signal.aborted ? "Stopped." : e instanceof Error ? e.message : String(e), abort.signal.aborted ? "" : "bad");
  }
  running = null;
  find("play-run").hidden = false;
  find("play-stop").hidden = true;
  const u = usage as Usage | null, now = performance.now();
  fillList(find("play-figures"), [
    ["Finish", finish || "-"], ["Prompt tokens", number(u?.prompt_tokens)], ["Output tokens", number(u?.completion_tokens)],
    ["First after", first ? duration((first - started) / 1000) : "-"], ["In all", duration((now - started) / 1000)],
  ]);
}

function curl(): string {
  const quoted = JSON.stringify(request(), null, 1).replace(/'/g, "'\\''");
  const auth = key.get() ? " -H \"Authorization: Bearer $TOKENWORKS_API_KEY\"" : "";
  return `curl ${location.origin}/v1/chat/completions -H 'Content-Type: application/json'${auth} -d '${quoted}'`;
}

function choose(): void {
  edited.set(shown, { label: "", source: area("play-source").value, prompt: area("play-prompt").value });
  shown = form();
  const now = edited.get(shown) ?? EXAMPLES[shown];
  area("play-source").value = now.source;
  area("play-prompt").value = now.prompt;
  find("play-label").textContent = EXAMPLES[shown].label;
  find("play-choice").parentElement!.hidden = shown !== "tools";
}

export function startPlayground(): void {
  area("play-source").value = EXAMPLES.schema.source;
  area("play-prompt").value = EXAMPLES.schema.prompt;
  find("play-choice").parentElement!.hidden = true;
  find("play-form").addEventListener("change", choose);
  find("play").addEventListener("submit", (ev) => { ev.preventDefault(); if (!running) void run(); });
  find("play-stop").addEventListener("click", () => running?.abort());
  find("play-curl").addEventListener("click", () => {
    try {
      void navigator.clipboard.writeText(curl()).then(() => verdict("Copied."), () => verdict("The browser does not allow copying here.", "bad"));
    } catch (e) {
      verdict(`This is not JSON: ${e instanceof Error ? e.message : String(e)}`, "bad");
    }
  });
  document.addEventListener("keydown", (ev) => {
    if (current() !== "playground") return;
    if (ev.key === "Escape" && running) { ev.preventDefault(); running.abort(); }
    if (ev.key === "Enter" && (ev.ctrlKey || ev.metaKey) && !running) { ev.preventDefault(); void run(); }
  });
}
