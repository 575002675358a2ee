// What people may do with their own jobs; pages show these buttons only to who may.
export async function act(name, job) {
  const answer = await fetch(`/v1/jobs/${job}/${name}`, { method: "POST", headers: { accept: "application/json", ...guard() } });
  if (answer.ok) return null;
  if (answer.status === 401) return "Your session is over, so nothing was changed: run “greenrun web” again.";
  const told = await answer.json().catch(() => ({}));
  return told.detail ?? `The daemon answered ${answer.status}.`;
}

// What shows the daemon that this page asks, and not another one in whose hands the cookie is.
function guard() {
  return { "x-csrf-token": document.querySelector("meta[name=csrf-token]")?.content ?? "" };
}

const ASKED = { cancel: (job) => `Cancel job ${job}? A running job is stopped.` };

export function listen() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[data-act]");
    if (!button) return;
    const { act: name, job } = button.dataset;
    if (ASKED[name] && !confirm(ASKED[name](job))) return;
    button.disabled = true;
    const wrong = await act(name, job).catch(() => "The daemon does not answer, so nothing was changed.");
    button.disabled = false;
    const place = document.getElementById("trouble");
    place.textContent = wrong ?? "";
    place.hidden = !wrong;
    if (!wrong && !document.body.dataset.live) location.reload();
  });
}
