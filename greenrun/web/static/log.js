// The end of a job's log, read again while the job runs.
const EVERY_MS = 4000;

export function followLog(place) {
  const read = async () => {
    try {
      const answer = await fetch(place.dataset.log, { headers: { accept: "text/plain" } });
      const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 8;
      const text = await answer.text();
      if (answer.ok && place.textContent !== text) {
        place.textContent = text || "(nothing was written yet)";
        if (atEnd) place.scrollTop = place.scrollHeight;
      }
    } catch { /* the daemon is away: what is shown stays */ }
    if (place.dataset.follow === "yes") setTimeout(read, document.hidden ? 4 * EVERY_MS : EVERY_MS);
  };
  place.scrollTop = place.scrollHeight;
  if (place.dataset.follow === "yes") setTimeout(read, EVERY_MS);
}
