// Instants come in UTC; readers get their own zone, and UTC on hover.
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" });
const dated = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const yearly = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY_MS = 86_400_000;

export function said(at, form) {
  const now = new Date(), apart = Math.abs(at - now);
  if (form === "clock" || at.toDateString() === now.toDateString()) return clock.format(at);
  if (apart < 6 * DAY_MS) return day.format(at);
  return (apart < 300 * DAY_MS ? dated : yearly).format(at);
}

export function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (!Number.isNaN(at.valueOf())) element.textContent = said(at, element.dataset.form);
  }
}

// Plotly draws the clock that it is given, without a zone: give it the reader's.
export function wall(at) {
  const moment = new Date(at), two = (value) => String(value).padStart(2, "0");
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())} ` +
    `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

export function zoneName() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "";
}
