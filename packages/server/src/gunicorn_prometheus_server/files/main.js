// Asks for the status once a second while somebody looks, and has it shown.

import { byId, setClass, setText } from "./dom.js";
import { Points } from "./points.js";
import { History } from "./reading.js";
import { age } from "./text.js";
import { View } from "./view.js";

const POLL_MS = 1000;
const SLOWEST_MS = 5000;
const PATIENCE_MS = 8000;

const view = new View();
const history = new History();
const points = new Points();

let timer = null;
let asking = false;
let failures = 0;
let answeredAt = null;
let trouble = "";

const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

function show() {
  if (history.polls.length === 0) return;
  const reading = history.reading(Number(chosen("window")));
  for (const worker of reading.workers) {
    worker.points = points.of(worker.key);
    worker.time = reading.now.time;
  }
  view.show(reading, points.all, chosen("order"));
}

async function poll() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  const started = performance.now();
  try {
    const answer = await fetch("api/v1/status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(await explain(answer));
    const status = await answer.json();
    failures = 0;
    trouble = "";
    answeredAt = performance.now();
    if (history.add(status)) points.add(history);
    show();
  } catch (error) {
    failures += 1;
    trouble = error.name === "TimeoutError" ? "No answer" : error instanceof TypeError ? "No connection" : error.message;
  }
  asking = false;
  showConnection();
  if (document.visibilityState === "visible") {
    const pause = failures > 3 ? SLOWEST_MS : POLL_MS;
    timer = setTimeout(poll, Math.max(0, pause - (performance.now() - started)));
  }
}

async function explain(answer) {
  if (answer.status === 401 || answer.status === 403) return "Not allowed any more: reload the page";
  const said = (await answer.text()).trim().slice(0, 200);
  return said ? `The exporter says: ${said}` : `The exporter answers ${answer.status}`;
}

function showConnection() {
  const state = trouble ? "lost" : answeredAt === null ? "waiting" : "live";
  setClass(document.body, state === "lost" && answeredAt === null ? "lost waiting" : state);
  let said = state === "live" ? "Live" : state === "waiting" ? "Connecting" : trouble;
  if (state === "lost" && answeredAt !== null) {
    said += ` · these numbers are ${age((performance.now() - answeredAt) / 1000)} old`;
  }
  setText(byId("connection-text"), said);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.visibilityState === "visible") poll();
});
// A page that comes back from the browser's memory has been stopped.
window.addEventListener("pageshow", (event) => { if (event.persisted) poll(); });
document.addEventListener("change", show);
byId("routes-more").addEventListener("click", () => {
  view.allRoutes = !view.allRoutes;
  show();
});
setInterval(() => { if (trouble) showConnection(); }, 1000);
poll();
