/* markdown -- the few forms models write, as elements: built with createElement and text nodes, so that whatever an
 * answer contains is shown and never run. Links are made for http, https and mailto only.
 *
 * An answer grows at its end: render() keeps the elements of blocks whose source did not change. */
import { copyButton, make } from "./dom";

interface Block { kind: "p" | "h" | "code" | "ul" | "ol" | "quote" | "table" | "hr"; source: string; lines: string[]; info: string }

const LIST = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;

function kindOf(line: string, next: string | undefined): Block["kind"] {
  if (/^#{1,6}\s/.test(line)) return "h";
  if (/^\s*(---+|\*\*\*+)\s*$/.test(line)) return "hr";
  const item = LIST.exec(line);
  if (item) return /\d/.test(item[2] ?? "") ? "ol" : "ul";
  if (line.startsWith(">")) return "quote";
  if (line.includes("|") && next !== undefined && /^[\s|:-]*-[\s|:-]*$/.test(next) && next.includes("|")) return "table";
  return "p";
}

export function split(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length;) {
    const line = lines[i] ?? "";
    const fence = /^\s*(`{3,}|~{3,})\s*([\w+#.-]*)/.exec(line);
    if (!line.trim()) { i++; continue; }
    const start = i++;
    let kind: Block["kind"] = "code";
    if (fence) {
      const mark = fence[1] ?? "```";
      while (i < lines.length && !(lines[i] ?? "").trim().startsWith(mark)) i++;
      blocks.push({ kind, info: fence[2] ?? "", lines: lines.slice(start + 1, i), source: lines.slice(start, i + 1).join("\n") });
      i++;
      continue;
    }
    kind = kindOf(line, lines[i]);
    const single = kind === "h" || kind === "hr";
    while (!single && i < lines.length && (lines[i] ?? "").trim()) {
      const here = lines[i] ?? "";
      if (/^\s*(`{3,}|~{3,})/.test(here)) break;
      const other = kindOf(here, lines[i + 1]);
      const continues = kind === "table" ? here.includes("|") : other === kind || ((kind === "ul" || kind === "ol") && other === "p");
      if (!continues) break;
      i++;
    }
    blocks.push({ kind, info: "", lines: lines.slice(start, i), source: lines.slice(start, i).join("\n") });
  }
  return blocks;
}

const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|(?<![\w*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?!\w)|(?<!\w)_(?=[^\s_])([^_\n]*[^\s_])_(?!\w)|\[([^\]\n]{1,300})\]\(([^\s()]{1,2000})\)/;

/* Bounded in depth and in length: a search for a closing mark may run to the end of the text at each opening one. */
export function inline(into: Node, text: string, depth = 0): void {
  let rest = text;
  const plain = depth >= 4 || text.length > 20000;
  for (;;) {
    const m = !plain ? INLINE.exec(rest) : null;
    if (!m) break;
    into.appendChild(document.createTextNode(rest.slice(0, m.index)));
    rest = rest.slice(m.index + m[0].length);
    if (m[2] !== undefined) {
      into.appendChild(make("code", "", m[2]));
    } else if (m[6] !== undefined) {
      into.appendChild(link(m[6], m[7] ?? "", depth));
    } else {
      const e = make(m[3] !== undefined ? "strong" : "em");
      inline(e, m[3] ?? m[4] ?? m[5] ?? "", depth + 1);
      into.appendChild(e);
    }
  }
  into.appendChild(document.createTextNode(rest));
}

function link(label: string, target: string, depth: number): Node {
  let url: URL;
  try { url = new URL(target); } catch { return document.createTextNode(`[${label}](${target})`); }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return document.createTextNode(`[${label}](${target})`);
  const a = make("a");
  a.href = url.href;
  a.rel = "noopener noreferrer nofollow";
  a.target = "_blank";
  inline(a, label, depth + 1);
  return a;
}

function list(b: Block): HTMLElement {
  const root = make(b.kind === "ol" ? "ol" : "ul");
  const stack: { indent: number; list: HTMLElement }[] = [{ indent: 0, list: root }];
  const first = LIST.exec(b.lines[0] ?? "");
  if (b.kind === "ol" && first) (root as HTMLOListElement).start = parseInt(first[2] ?? "1", 10);
  let item: HTMLElement | null = null;
  for (const line of b.lines) {
    const m = LIST.exec(line);
    if (!m) {
      if (item) { item.append("\n"); inline(item, line.trim()); }
      continue;
    }
    const indent = (m[1] ?? "").length;
    let top = stack[stack.length - 1]!;
    if (item && indent > top.indent + 1 && stack.length < 6) {
      const inner = make(/\d/.test(m[2] ?? "") ? "ol" : "ul");
      item.append(inner);
      stack.push({ indent, list: inner });
    }
    while (stack.length > 1 && indent < stack[stack.length - 1]!.indent) stack.pop();
    top = stack[stack.length - 1]!;
    item = make("li");
    inline(item, m[3] ?? "");
    top.list.append(item);
  }
  return root;
}

function table(b: Block): HTMLElement {
  const cells = (line: string) => line.trim().replace(/^\||\|$/g, "").split("|").map((c) => c.trim());
  const row = (line: string, tag: "th" | "td") => {
    const tr = make("tr");
    for (const c of cells(line)) { const e = make(tag); inline(e, c); tr.append(e); }
    return tr;
  };
  const t = make("table", "", make("thead", "", row(b.lines[0] ?? "", "th")));
  t.append(make("tbody", "", ...b.lines.slice(2).map((l) => row(l, "td"))));
  return t;
}

function element(b: Block): HTMLElement {
  const text = b.lines.join("\n");
  if (b.kind === "code") {
    const code = make("code", "", text);
    if (b.info) code.dataset.language = b.info;
    return make("div", "code", make("pre", "", code), copyButton(() => text));
  }
  if (b.kind === "hr") return make("hr");
  if (b.kind === "ul" || b.kind === "ol") return list(b);
  if (b.kind === "table") return table(b);
  const level = /^#+/.exec(text)?.[0].length ?? 0;
  const e = b.kind === "h" ? make(level <= 1 ? "h2" : level === 2 ? "h3" : "h4") : make(b.kind === "quote" ? "blockquote" : "p");
  inline(e, b.kind === "h" ? text.replace(/^#+\s+/, "") : b.kind === "quote" ? text.replace(/^> ?/gm, "") : text);
  return e;
}

/* Makes `into` show text; `shown` is what the last call returned. */
export function render(into: HTMLElement, text: string, shown: string[]): string[] {
  const blocks = split(text);
  let same = 0;
  while (same < blocks.length && same < shown.length && blocks[same]?.source === shown[same]) same++;
  while (into.children.length > same) into.lastElementChild?.remove();
  for (const b of blocks.slice(same)) into.append(element(b));
  return blocks.map((b) => b.source);
}
