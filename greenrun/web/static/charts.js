// Charts are drawn by Plotly, whose script is loaded when there is one to draw; a table has the same figures.
import { wall } from "./times.js";

let loading = null;

function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.body.dataset.plotly;
    script.onload = () => resolve(globalThis.Plotly);
    script.onerror = () => { loading = null; reject(new Error("Plotly's script could not be loaded")); };
    document.head.append(script);
  });
  return loading;
}

const dark = matchMedia("(prefers-color-scheme: dark)");

function colours() {
  return dark.matches
    ? { ink: "#e6edf3", rule: "#2d343d", clean: "#3fb950", run: "#2f6fb5", plan: "#27803b", quiet: "#6b7681", now: "#ff7b72" }
    : { ink: "#1f2328", rule: "#d1d9e0", clean: "#1a7f37", run: "#2f6fb5", plan: "#2b7a3d", quiet: "#6b7681", now: "#b3261e" };
}

const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function stepped(steps, unit, name, colour, cut = 16) {
  const x = [], y = [], text = [];
  steps.forEach(([start, end, value], place) => {
    if (place && steps[place - 1][1] !== start) { x.push(wall(steps[place - 1][1])); y.push(null); text.push(""); }
    x.push(wall(start), wall(end)); y.push(value, value);
    const told = `${plain(wall(start).slice(5, cut))} to ${plain(wall(end).slice(11, cut))}`;
    text.push(told, told);
  });
  return { x, y, customdata: text, type: "scatter", mode: "lines", fill: "tozeroy", fillcolor: `${colour}33`, connectgaps: false,
    line: { color: colour, width: 2 }, name, hovertemplate: `%{customdata}<br><b>%{y:.4~g} ${unit}</b><extra></extra>` };
}

// A label that is no wider than its bar: what would stand across others is left out.
function fitted(bar, span_ms, width_px) {
  const room = Math.floor((new Date(bar.end) - new Date(bar.start)) / span_ms * (width_px - 74) / 7) - 1;
  return room >= bar.label.length ? plain(bar.label) : room > 4 ? `${plain(bar.label.slice(0, room - 1))}…` : room > 1 && bar.job !== null ? String(bar.job).slice(0, room) === String(bar.job) ? String(bar.job) : "" : "";
}

const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };

function layout(height, own) {
  const c = colours();
  return { height, margin: { l: 62, r: 12, t: 18, b: 36 }, showlegend: false, hovermode: "closest",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12, color: c.ink },
    hoverlabel: { bgcolor: "#ffffff", font: { color: "#1f2328" }, align: "left" }, dragmode: false, ...own };
}

export async function timeline(figure) {
  const answer = await fetch(figure.dataset.source, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`the chart's figures: ${answer.status}`);
  const data = await answer.json(), c = colours(), Plotly = await plotly();
  const bars = Object.groupBy ? Object.groupBy(data.bars, (bar) => bar.kind) : grouped(data.bars);
  const traces = [], span_ms = new Date(data.until) - new Date(data.from), cut = data.is_short ? 19 : 16;
  const name = data.signal === "average" ? "carbon intensity" : `${data.signal} carbon intensity`;
  if (data.steps.length) traces.push({ ...stepped(data.steps, "g/kWh", name, data.is_fresh ? c.clean : c.quiet, cut), xaxis: "x", yaxis: "y" });
  for (const [kind, rows] of Object.entries(bars)) {
    traces.push({ type: "bar", orientation: "h", xaxis: "x", yaxis: "y2", name: kind, base: rows.map((bar) => wall(bar.start)),
      x: rows.map((bar) => Math.max(new Date(bar.end) - new Date(bar.start), span_ms / 2000)), y: rows.map((bar) => bar.lane),
      customdata: rows.map((bar) => bar.job), marker: { color: kind === "running" ? c.run : kind === "planned" ? c.plan : c.quiet, line: { width: 1, color: dark.matches ? "#0d1117" : "#ffffff" } },
      text: rows.map((bar) => fitted(bar, span_ms, figure.clientWidth)), textposition: "inside", insidetextanchor: "start", constraintext: "none", cliponaxis: true, textangle: 0,
      insidetextfont: { color: "#ffffff", size: 11 },
      hovertext: rows.map((bar) => `<b>${plain(bar.label)}</b><br>${kind}, ${plain(wall(bar.start).slice(5, cut))} to ${plain(wall(bar.end).slice(5, cut))}<br>${plain(bar.text)}`), hoverinfo: "text" });
  }
  if (data.lanes.length && !data.bars.length) traces.push({ type: "scatter", x: [wall(data.now)], y: [data.lanes[0]], xaxis: "x", yaxis: "y2", mode: "markers", marker: { opacity: 0 }, hoverinfo: "skip" });
  const below = Math.max(data.lanes.length, 1) * 30 + 10, height = 240 + below + 40, split = below / (height - 54);
  const axis = { gridcolor: c.rule, zerolinecolor: c.rule, fixedrange: true };
  await Plotly.react(figure.querySelector(".plot"), traces, layout(height, {
    barmode: "overlay", bargap: 0.18,
    xaxis: { ...axis, type: "date", range: [wall(data.from), wall(data.until)], anchor: "y2", tickformatstops: [{ dtickrange: [null, null], value: data.is_short ? "%H:%M:%S" : "%a %H:%M" }], nticks: figure.clientWidth < 600 ? 4 : 12 },
    yaxis: { ...axis, domain: [split + 0.06, 1], rangemode: "tozero", title: { text: "g/kWh" } },
    yaxis2: { ...axis, domain: [0, split], categoryorder: "array", categoryarray: [...data.lanes].reverse(), type: "category", range: [-0.5, Math.max(data.lanes.length, 1) - 0.5] },
    shapes: [{ type: "line", xref: "x", yref: "paper", x0: wall(data.now), x1: wall(data.now), y0: 0, y1: 1, line: { color: c.now, width: 2, dash: "dot" } }],
    annotations: [{ x: wall(data.now), y: 1, xref: "x", yref: "paper", yanchor: "bottom", xanchor: "left", text: "now", showarrow: false, font: { color: c.now } },
      ...(data.steps.length ? [{ x: 1, y: 1, xref: "paper", yref: "paper", xanchor: "right", yanchor: "bottom", showarrow: false, text: plain(`${data.zone ?? ""} · ${data.level}`) }]
        : [{ x: 0.5, y: 0.75, xref: "paper", yref: "paper", showarrow: false, text: "the intensity is not known" }])],
  }), CONFIG);
  const plot = figure.querySelector(".plot");
  if (!plot.dataset.clicks) {
    plot.dataset.clicks = "yes";
    plot.on("plotly_click", (event) => { const job = event.points?.[0]?.customdata; if (Number.isInteger(job)) location.assign(`/jobs/${job}`); });
  }
}

function grouped(bars) {
  const found = {};
  for (const bar of bars) (found[bar.kind] ??= []).push(bar);
  return found;
}

export async function steps(figure) {
  const answer = await fetch(figure.dataset.source, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`the chart's figures: ${answer.status}`);
  const data = await answer.json(), c = colours(), Plotly = await plotly();
  const palette = [c.clean, c.run, c.now, c.quiet], axis = { gridcolor: c.rule, zerolinecolor: c.rule, fixedrange: true };
  const traces = data.series.map((row, place) => ({ ...stepped(row.steps, data.unit, plain(row.name), palette[place % 4]), ...(row.axis === 2 ? { yaxis: "y2", fill: "none" } : {}) }));
  const shapes = data.now ? [{ type: "line", xref: "x", yref: "paper", x0: wall(data.now), x1: wall(data.now), y0: 0, y1: 1, line: { color: c.now, width: 2, dash: "dot" } }] : [];
  await Plotly.react(figure.querySelector(".plot"), traces, layout(260, { showlegend: traces.length > 1, legend: { orientation: "h", y: 1.15 }, shapes,
    xaxis: { ...axis, type: "date", nticks: figure.clientWidth < 600 ? 4 : 10, tickformatstops: [{ dtickrange: [null, null], value: "%b %d %H:%M" }] },
    yaxis: { ...axis, rangemode: "tozero", title: { text: plain(data.unit) } },
    ...(data.unit2 ? { yaxis2: { overlaying: "y", side: "right", rangemode: "tozero", showgrid: false, tickmode: "auto", nticks: 5, fixedrange: true, title: { text: plain(data.unit2) } }, margin: { l: 62, r: 62, t: 18, b: 36 } } : {}) }), CONFIG);
}

const KINDS = { timeline, steps };

export async function draw(figure) {
  try {
    await KINDS[figure.dataset.chart ?? "timeline"](figure);
    figure.classList.remove("failed");
    figure.dataset.drawn = String(Number(figure.dataset.drawn ?? 0) + 1);
  } catch (error) {
    figure.classList.add("failed");
    figure.querySelector("figcaption").textContent = `The chart cannot be drawn (${error.message}); its figures are in the table below.`;
  }
}

export function drawAll() {
  document.querySelectorAll("figure[data-source]").forEach(draw);
}

dark.addEventListener("change", drawAll);
