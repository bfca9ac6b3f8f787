/* main -- the console: a view in the middle, the engine at the side, the colour scheme as chosen. */
import { startChat } from "./chat";
import { startCost } from "./cost";
import { find } from "./dom";
import { startFleet } from "./fleet";
import { startPanel } from "./panel";
import { startPlayground } from "./playground";
import { startRequests } from "./requests";
import { startUsage } from "./usage";
import { startViews } from "./views";

const THEME = "tokenworks-theme", THEMES = ["auto", "light", "dark"];

function applyTheme(name: string): void {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  find("theme").textContent = `Theme: ${name}`;
}

function startTheme(): void {
  let at = Math.max(0, THEMES.indexOf(localStorage.getItem(THEME) ?? "auto"));
  applyTheme(THEMES[at] ?? "auto");
  find("theme").addEventListener("click", () => {
    at = (at + 1) % THEMES.length;
    const name = THEMES[at] ?? "auto";
    localStorage.setItem(THEME, name);
    applyTheme(name);
  });
}

startTheme();
startPanel();
startChat();
startPlayground();
startRequests();
startUsage();
startCost();
startFleet();
startViews();
