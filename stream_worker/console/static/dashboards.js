// Draws each panel when it comes into sight, and again every 15 seconds while it is.
"use strict";

const EVERY_MS = 15000;
const HUES = [243, 168, 28, 330, 205, 90, 0, 280, 48, 130];

const colour = (n) => {
  const isDark = getComputedStyle(document.body).getPropertyValue("--is-dark").trim() === "1";
  return `hsl(${HUES[n % HUES.length]} ${isDark ? "70% 68%" : "62% 46%"})`;
};

function formatted(unit, value) {
  if (value == null) return "–";
  const short = (number) => Math.abs(number) >= 1e6 ? `${+(number / 1e6).toPrecision(3)} M`
    : Math.abs(number) >= 1e4 ? `${+(number / 1e3).toPrecision(3)} k` : `${+number.toPrecision(3)}`;
  switch (unit) {
    case "s": return Math.abs(value) < 0.1 ? `${+(value * 1000).toPrecision(3)} ms` : `${+value.toPrecision(3)} s`;
    case "percentunit": return `${+(value * 100).toPrecision(3)} %`;
    case "percent": return `${+value.toPrecision(3)} %`;
    case "bytes": return `${+(value / 1048576).toPrecision(3)} MiB`;
    default: return short(value);
  }
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });

function stacked(data) {
  const sums = data.x.map(() => 0);
  return data.series.map((each) => each.values.map((value, at) => (sums[at] += value ?? 0)));
}

function drawPlot(figure, data) {
  const plot = figure.querySelector(".plot");
  figure.uplot?.destroy();
  plot.replaceChildren();
  if (!data.series.length) return note(figure, "No data in this span");
  if (figure.dataset.kind === "stat" || figure.dataset.kind === "gauge") return drawValues(plot, data);
  const style = getComputedStyle(document.body);
  const axis = { stroke: style.getPropertyValue("--muted"), grid: { stroke: style.getPropertyValue("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const values = data.stacked ? stacked(data) : data.series.map((each) => each.values);
  const order = data.series.map((_, n) => n);
  if (data.stacked) order.reverse();
  figure.uplot = new uPlot({
    width: plot.clientWidth, height: 190,
    cursor: { points: { size: 6 } },
    legend: { live: true, markers: { width: 2 } },
    scales: { y: { range: (_, low, high) => [Math.min(0, low), high > low ? high * 1.06 : low + 1] } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 62, values: (_, ticks) => ticks.map((tick) => formatted(data.unit, tick)) }],
    series: [{ value: (_, at) => at == null ? "" : new Date(at * 1000).toLocaleTimeString([], { hour12: false }) },
      ...order.map((n) => ({
        label: data.series[n].label || "value", stroke: colour(n), width: 1.75, spanGaps: false,
        fill: data.stacked ? colour(n).replace(")", " / 0.35)") : data.series.length === 1 ? colour(n).replace(")", " / 0.12)") : undefined,
        points: { show: false }, value: (_, value) => formatted(data.unit, value),
      }))],
  }, [data.x, ...order.map((n) => values[n])], plot);
}

function drawValues(plot, data) {
  for (const each of data.series.slice(0, 6)) {
    const last = each.values.findLast((value) => value != null);
    const line = document.createElement("p");
    line.className = "stat";
    const number = document.createElement("b");
    number.textContent = formatted(data.unit, last);
    line.append(number, ` ${data.series.length > 1 ? each.label : ""}`);
    plot.append(line);
  }
}

function note(figure, text) {
  const line = document.createElement("p");
  line.className = "empty";
  line.textContent = text;
  figure.querySelector(".plot").replaceChildren(line);
}

async function load(figure) {
  const { panel, uid, span } = figure.dataset;
  try {
    const answer = await fetch(`/dashboards/data?${new URLSearchParams({ panel, uid, span })}`);
    if (answer.ok) { figure.points = await answer.json(); drawPlot(figure, figure.points); }
    else note(figure, await answer.text());
  } catch {
    note(figure, "The console does not answer.");
  }
  figure.dataset.drawn = "";
}

const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) visible.delete(target);
    else { visible.add(target); if (!("drawn" in target.dataset)) load(target); }
  }
}, { rootMargin: "200px" });

for (const figure of document.querySelectorAll("[data-panel]")) watcher.observe(figure);
setInterval(() => { if (!document.hidden) visible.forEach(load); }, EVERY_MS);
const redraw = () => document.querySelectorAll("[data-panel]").forEach((figure) => figure.points && drawPlot(figure, figure.points));
addEventListener("theme", redraw);
addEventListener("resize", redraw);
