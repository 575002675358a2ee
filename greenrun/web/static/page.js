import { listen } from "./actions.js";
import { drawAll } from "./charts.js";
import { follow } from "./live.js";
import { followLog } from "./log.js";
import { refresh } from "./refresh.js";
import { localise, zoneName } from "./times.js";

localise(document);
document.getElementById("zone").textContent = zoneName() ? ` (${zoneName()})` : "";
listen();
drawAll();
if (document.body.dataset.live) follow();
document.querySelectorAll("[data-log]").forEach(followLog);
document.querySelectorAll("[data-refresh]").forEach(refresh);
for (const part of document.querySelectorAll("[data-fetch]")) {
  fetch(part.dataset.fetch).then(async (answer) => {
    if (!answer.ok) throw new Error(String(answer.status));
    const template = document.createElement("template");
    template.innerHTML = (await answer.text()).trim();
    localise(template.content);
    part.replaceWith(template.content);
  }).catch(() => { part.querySelector(".note").textContent = "This could not be added up now: load the page again."; });
}
