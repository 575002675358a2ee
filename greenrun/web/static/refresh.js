// A part of a page that is read again while it changes.
import { localise } from "./times.js";

const EVERY_MS = 8000;

export function refresh(place) {
  let shown = null;
  const read = async () => {
    try {
      const answer = await fetch(place.dataset.refresh, { headers: { accept: "text/html" } });
      const html = (await answer.text()).trim();
      if (answer.ok && html !== shown) {
        if (shown !== null && !place.contains(document.activeElement)) {
          const before = place.querySelector(".state")?.textContent;
          place.innerHTML = html;
          localise(place);
          if (before !== place.querySelector(".state")?.textContent) location.reload();
        }
        shown = html;
      }
    } catch { /* the daemon is away: what is shown stays */ }
    setTimeout(read, document.hidden ? 4 * EVERY_MS : EVERY_MS);
  };
  setTimeout(read, EVERY_MS / 4);
}
