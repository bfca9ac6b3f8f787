/* views -- one page, several views: the address says which is shown, links and Alt+number change it. */
import { find } from "./dom";

export type View = "chat" | "playground" | "requests" | "usage" | "cost" | "fleet";
const VIEWS: View[] = ["chat", "playground", "requests", "usage", "cost", "fleet"];
const shown: Partial<Record<View, () => void>> = {};
let at: View = "chat";

export const current = (): View => at;
/* Called whenever the view comes to the front. */
export const onShow = (view: View, act: () => void): void => { shown[view] = act; };

function show(): void {
  const wanted = location.hash.slice(1) as View;
  at = VIEWS.includes(wanted) ? wanted : "chat";
  for (const v of VIEWS) find(`view-${v}`).hidden = v !== at;
  for (const link of document.querySelectorAll<HTMLAnchorElement>(".tabs a")) {
    if (link.hash === `#${at}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  shown[at]?.();
}

export function startViews(): void {
  addEventListener("hashchange", show);
  addEventListener("keydown", (ev) => {
    const view = ev.altKey && !ev.ctrlKey && !ev.metaKey ? VIEWS[Number(ev.key) - 1] : undefined;
    if (view) { ev.preventDefault(); location.hash = view; }
  });
  show();
}
