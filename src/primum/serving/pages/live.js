"use strict";
// Asks the server every second how it is, and draws it. Values reach the page as text only, never as HTML.

const EVERY_MS = 1000, KEPT = 300;
const CLASSES = ["emergency", "urgent", "routine", "background"];
const SVG = "http://www.w3.org/2000/svg", WIDTH = 520, HEIGHT = 150, LEFT = 44, BOTTOM = 20, TOP = 10;
const histories = new Map();
let secret = "";

const number = (value, digits = 3) =>
  value === null || value === undefined || !Number.isFinite(value) ? "–"
    : value >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(digits)));
const share = (part, whole) => (whole ? `${number((100 * part) / whole)} %` : "–");
const sum = (counts) => Object.values(counts || {}).reduce((total, n) => total + n, 0);
const words = (name) => name.replaceAll("_", " ");
const listed = (counts) =>
  Object.entries(counts).filter(([, n]) => n).map(([name, n]) => `${words(name)} ${number(n)}`).join(", ");

async function ask() {
  const headers = secret ? { "x-api-key": secret } : {};
  const answer = await fetch("optimization/status", { headers, cache: "no-store" });
  if (answer.status === 401 || answer.status === 403) throw new Denied(secret ? "this key may not see metrics" : "");
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  return answer.json();
}

class Denied extends Error {}

function remember(model, now) {
  const past = histories.get(model.name) || [];
  const last = past[past.length - 1];
  const seconds = last ? (now - last.now) / 1000 : 0;
  const answered = model.batching.reasons.answered || 0;
  const rate = last && seconds > 0 && answered >= last.answered ? (answered - last.answered) / seconds : null;
  past.push({ now, answered, rate, latency: model.batching.latency_ms, queued: model.batching.queued });
  if (past.length > KEPT) past.shift();
  histories.set(model.name, past);
  return past;
}

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function frame(svg, most) {
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  for (const level of [0, 0.5, 1]) {
    const y = HEIGHT - BOTTOM - level * (HEIGHT - BOTTOM - TOP);
    svg.append(element("line", { x1: LEFT, x2: WIDTH, y1: y, y2: y, class: "grid" }));
    svg.append(element("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, number(level * most, 2)));
  }
}

function lines(svg, past, series) {
  const values = past.flatMap((one) => series.map(([, read]) => read(one))).filter(Number.isFinite);
  const most = Math.max(...values, 0) * 1.1 || 1;
  frame(svg, most);
  const x = (k) => LEFT + ((WIDTH - LEFT) * (k + KEPT - past.length)) / (KEPT - 1);
  const y = (value) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - BOTTOM - TOP);
  series.forEach(([name, read], which) => {
    let path = "", down = false;
    past.forEach((one, k) => {
      const value = read(one);
      if (!Number.isFinite(value)) { down = false; return; }
      path += `${down ? "L" : "M"}${x(k).toFixed(1)} ${y(value).toFixed(1)}`;
      down = true;
    });
    svg.append(element("path", { d: path || "M0 0", class: `s${which % 3}` }));
    if (series.length > 1)
      svg.append(element("text", { x: LEFT + 6 + 84 * which, y: HEIGHT - 4, class: `s${which % 3}` }, name));
  });
  const told = series.map(([name, read]) => `${name} ${number(read(past[past.length - 1]))}`).join(", ");
  svg.setAttribute("aria-label", told);
}

function bars(svg, counts) {
  const sizes = Object.entries(counts).map(([size, n]) => [Number(size), n]).sort((a, b) => a[0] - b[0]);
  const most = Math.max(...sizes.map(([, n]) => n), 1);
  frame(svg, most);
  const wide = (WIDTH - LEFT) / Math.max(sizes.length, 1);
  sizes.forEach(([size, n], k) => {
    const height = (n / most) * (HEIGHT - BOTTOM - TOP), x = LEFT + k * wide;
    svg.append(element("rect", { x: x + 1, y: HEIGHT - BOTTOM - height, width: Math.max(wide - 2, 1), height }));
    if (wide > 14 || k % Math.ceil(16 / wide) === 0)
      svg.append(element("text", { x: x + wide / 2, y: HEIGHT - 5, "text-anchor": "middle" }, String(size)));
  });
  svg.setAttribute("aria-label", sizes.map(([size, n]) => `${n} of ${size}`).join(", ") || "none yet");
}

function section(name) {
  const id = `model-${name}`;
  let found = document.getElementById(id);
  if (!found) {
    found = document.getElementById("model").content.firstElementChild.cloneNode(true);
    found.id = id;
    document.getElementById("models").append(found);
  }
  return found;
}

function rungs(list, ladder) {
  list.replaceChildren(...(ladder.length < 2 ? [] : ladder).map((rung) => {
    const item = document.createElement("li");
    item.textContent = rung.recipe + (rung.barred ? " (barred)" : "");
    item.classList.toggle("now", rung.current);
    item.classList.toggle("barred", rung.barred);
    return item;
  }));
}

function draw(model, now) {
  const past = remember(model, now), stats = model.batching, part = section(model.name);
  const put = (name, text) => { part.querySelector(`[data-put=${name}]`).textContent = text; };
  const lost = Object.fromEntries(Object.entries(stats.reasons).filter(([reason]) => reason !== "answered"));
  const queued = sum(stats.queued);
  put("name", model.name);
  put("verdict", model.verdict.toLowerCase().replaceAll("_", "-"));
  part.querySelector("[data-put=verdict]").classList.toggle("good", model.verdict === "NON_INFERIOR");
  put("unproven", model.unproven ? "UNPROVEN" : "");
  part.querySelector("[data-put=unproven]").hidden = !model.unproven;
  put("artifact", `${model.recipe} · version ${model.version}`);
  rungs(part.querySelector("[data-put=ladder]"), model.ladder || []);
  put("throughput", number(past[past.length - 1].rate));
  put("latency", `${number(stats.latency_ms.p50)} ms`);
  put("tail", `p95 ${number(stats.latency_ms.p95)}, p99 ${number(stats.latency_ms.p99)} ms`);
  put("waiting", number(queued));
  put("classes", listed(stats.queued) || `${number(stats.running)} in a call`);
  put("batch", number(stats.mean_batch_size));
  put("batches", listed(stats.releases) || "no batch yet");
  put("deferred", model.deferrals ? share(model.deferrals.deferred, model.deferrals.cases) : "no guard");
  const tests = model.shadow ? model.shadow.tests.filter((test) => test.cases) : [];
  put("shadow", tests.map((test) => `shadow: ${test.flips} of ${number(test.cases)} decided otherwise`).join("; "));
  put("lost", number(sum(lost)));
  put("reasons", listed(lost) || "every request was answered");
  const chart = (name) => part.querySelector(`[data-chart=${name}]`);
  lines(chart("throughput"), past, [["answers a second", (one) => one.rate]]);
  lines(chart("latency"), past, ["p50", "p95", "p99"].map((level) => [level, (one) => one.latency[level]]));
  const classes = CLASSES.filter((name) => name in stats.queued).slice(0, 3);
  lines(chart("queue"), past, classes.map((name) => [name, (one) => one.queued[name]]));
  bars(chart("sizes"), stats.batch_sizes);
  const moves = part.querySelector("[data-put=moves]");
  moves.hidden = !(model.moves || []).length;
  moves.querySelector("ul").replaceChildren(...(model.moves || []).map((move) => {
    const item = document.createElement("li");
    item.textContent = `${number(move.seconds_ago / 60)} min ago: ${move.from} → ${move.to} (${words(move.why)})`;
    return item;
  }));
}

function drawJobs(jobs) {
  document.getElementById("jobs").hidden = !jobs.length;
  document.querySelector("#jobs tbody").replaceChildren(...jobs.map((job) => {
    const row = document.createElement("tr");
    const result = job.result || {};
    const told = result.verdict
      ? `${words(result.verdict)}${result.speedup ? `, ${number(result.speedup)}× faster` : ""}` : job.error || "";
    const took = job.started && job.ended ? `${number((new Date(job.ended) - new Date(job.started)) / 60000)} min` : "–";
    for (const text of [job.model_name, words(job.state), job.started || job.created, took, told]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  }));
}

function say(text, kind) {
  const state = document.getElementById("state");
  state.textContent = text;
  state.className = `pill ${kind}`;
}

async function look() {
  try {
    const status = await ask();
    document.getElementById("key").hidden = true;
    document.getElementById("server").textContent =
      `${status.version} · ${status.worker ? `worker ${status.worker.number} of ${status.worker.of} alone · ` : ""}up ${number(status.uptime_s / 60)} min · ${number(status.memory.peak_bytes / 1e6)} MB at most`;
    say(status.ready ? "ready" : "not ready", status.ready ? "good" : "warn");
    const now = performance.now();
    status.models.filter((model) => model.batching).forEach((model) => draw(model, now));
    drawJobs([...status.optimization.running, ...status.optimization.history]);
  } catch (error) {
    if (error instanceof Denied) {
      document.getElementById("key").hidden = false;
      document.getElementById("refused").textContent = error.message;
      say("a key is needed", "warn");
      return;
    }
    say("no answer from the server", "bad");
  }
  setTimeout(look, EVERY_MS);
}

document.getElementById("key").addEventListener("submit", (event) => {
  event.preventDefault();
  // Kept in this page's memory alone.
  secret = document.getElementById("secret").value;
  look();
});
look();
