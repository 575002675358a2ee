// Follow what changes: one stream of events, which names what this page has when it begins again.
import { draw } from "./charts.js";
import { localise } from "./times.js";

const trouble = document.getElementById("trouble");
let seen = document.body.dataset.seen, source = null, lost = null;

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}

function replaced(name, html, known) {
  const fresh = parsed(html);
  if (!fresh) return null;
  localise(fresh);
  if (fresh.matches("time")) localise(fresh.parentNode ?? fresh);
  if (!known) return fresh;
  if (known.contains(document.activeElement) && document.activeElement.matches("button")) {
    const act = document.activeElement.dataset.act;
    queueMicrotask(() => fresh.querySelector(`button[data-act="${act}"]`)?.focus());
  }
  if (known.matches("details")) fresh.open = known.open;
  for (const details of known.querySelectorAll("details[open]")) fresh.querySelector(`#${CSS.escape(details.id)}`)?.setAttribute("open", "");
  if (fresh.matches("tr")) fresh.classList.add("changed");
  known.replaceWith(fresh);
  return fresh;
}

function apply(change) {
  const made = new Map();
  for (const [name, html] of Object.entries(change.fragments)) {
    made.set(name, replaced(name, html, document.querySelector(`[data-fragment="${CSS.escape(name)}"]`)));
  }
  for (const [name, keys] of Object.entries(change.lists)) {
    const list = document.querySelector(`[data-list="${CSS.escape(name)}"]`);
    if (!list) continue;
    const rows = keys.map((key) => list.querySelector(`[data-fragment="${CSS.escape(key)}"]`) ?? made.get(key)).filter(Boolean);
    if (rows.some((row, place) => list.children[place] !== row) || list.children.length !== rows.length) list.replaceChildren(...rows);
    document.querySelector(`[data-empty="${name}"]`)?.toggleAttribute("hidden", rows.length > 0);
    document.querySelector(`[data-full="${name}"]`)?.toggleAttribute("hidden", rows.length === 0);
  }
  if (change.redraw) document.querySelectorAll("figure[data-source='/page/timeline']").forEach(draw);
}

function say(text) {
  if (trouble.textContent !== text) trouble.textContent = text;
  trouble.hidden = !text;
}

export function follow() {
  source?.close();
  source = new EventSource(`${document.body.dataset.live}?seen=${encodeURIComponent(seen)}`);
  source.addEventListener("open", () => { clearTimeout(lost); lost = null; say(""); });
  source.addEventListener("change", (event) => { seen = event.lastEventId; apply(JSON.parse(event.data)); });
  source.addEventListener("trouble", (event) => say(`The daemon has trouble: ${JSON.parse(event.data).text}`));
  source.addEventListener("error", () => {
    const since = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    lost ??= setTimeout(() => say(`The daemon does not answer since ${since}; what is below was so then. If it was stopped, start it: ` +
      "“systemctl --user start greenrun”, or “greenrun serve” in a terminal. This page connects again by itself."), 4000);
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  });
}
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => { if (event.persisted && document.body.dataset.live) follow(); });
