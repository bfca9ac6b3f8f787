/* dom -- making elements from text alone: nothing here, and nothing else in the console, parses HTML. */

export function find<T extends Element = HTMLElement>(id: string): T {
  const e = document.getElementById(id);
  if (!e) throw new Error(`the page has no #${id}`);
  return e as unknown as T;
}

type Child = Node | string;

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K, className = "", ...children: Child[]
): HTMLElementTagNameMap[K] {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

export function button(label: string, className: string, onClick: (b: HTMLButtonElement) => void): HTMLButtonElement {
  const b = make("button", className, label);
  b.type = "button";
  b.addEventListener("click", () => onClick(b));
  return b;
}

/* A copy button says that it worked, then is itself again. */
export function copyButton(text: () => string): HTMLButtonElement {
  return button("Copy", "quiet", async (b) => {
    try {
      await navigator.clipboard.writeText(text());
      b.textContent = "Copied";
    } catch {
      b.textContent = "Not allowed";
    }
    setTimeout(() => { b.textContent = "Copy"; }, 1500);
  });
}

/* Rows of a <dl>, replaced only where they changed. */
export function fillList(list: HTMLElement, rows: [string, string][]): void {
  const wanted = rows.length * 2;
  while (list.children.length > wanted) list.lastElementChild?.remove();
  rows.forEach(([name, value], i) => {
    if (!list.children[2 * i]) list.append(make("dt"), make("dd"));
    const dt = list.children[2 * i], dd = list.children[2 * i + 1];
    if (dt && dt.textContent !== name) dt.textContent = name;
    if (dd && dd.textContent !== value) dd.textContent = value;
  });
}
