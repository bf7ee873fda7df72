// What the columns of the tables are.

import { Table, byId, element, setClass, setText } from "./dom.js";
import { Plot } from "./plot.js";
import * as text from "./text.js";
import { errorsOf } from "./reading.js";

const plain = (make) => (cell, item) => setText(cell, make(item));
const number = "number";

// A share as a bar, and as a number beside it.
function bar(cell, ratio, level = "") {
  if (!cell.firstElementChild) {
    cell.append(element("span", { class: "share", "aria-hidden": "true" }, element("span")), element("span"));
  }
  const [track, label] = cell.children;
  setClass(cell, text.isKnown(ratio) ? `shared ${level}` : "shared none");
  track.firstElementChild.style.inlineSize = `${Math.min(1, ratio ?? 0) * 100}%`;
  setText(label, text.percent(ratio));
}

const PLOT_SECONDS = 60;
const plots = new WeakMap();

function rateWithPlot(cell, worker) {
  if (!plots.has(cell)) {
    cell.append(element("span", { class: "plot" }), element("span"));
    plots.set(cell, new Plot(cell.firstElementChild, ["rate"], { height: 24 }));
  }
  plots.get(cell).draw(worker.points, worker.points.at(-1)?.time ?? 0, PLOT_SECONDS);
  setText(cell.lastElementChild, text.rate(worker.recent.rate));
}

function state(cell, worker) {
  if (!cell.firstElementChild) cell.append(element("span", { class: "dot", "aria-hidden": "true" }), element("span"));
  setText(cell.lastElementChild, worker.stuckSince === null ? worker.state : "busy");
}

// The cause of the last exit and how long ago that was; of several, the latest.
export function lastExit(worker) {
  const ends = Object.entries(worker.exits).filter(([, end]) => end.last !== null);
  return ends.sort(([, a], [, b]) => b.last - a.last)[0] ?? null;
}

function showLastExit(cell, worker) {
  const end = lastExit(worker);
  setText(cell, end ? `${words(end[0])} ${text.ago(end[1].last, worker.time)}` : "none");
  setClass(cell, end === null ? "none" : end[1].type === "error" ? "bad" : "");
  cell.title = end ? text.moment(end[1].last, worker.time) : "";
}

export const errorLevel = (ratio) => (ratio >= 0.05 ? "bad" : ratio >= 0.01 ? "warn" : "");

export const words = (name) => name.replaceAll("_", " ");

export function workersTable() {
  return new Table(byId("workers"), "Worker processes", [
    { name: "Worker", kind: "title", show: plain((w) => w.id) },
    { name: "State", kind: "title", show: state },
    { name: "PID", kind: `${number} title`, show: plain((w) => (w.pid === null ? "–" : String(w.pid))) },
    { name: "Age", kind: `${number} title`, show: plain((w) => text.age(w.started === null ? null : w.time - w.started)) },
    { name: "Requests", kind: `${number} wide`, show: rateWithPlot },
    { name: "p50", kind: number, show: plain((w) => text.seconds(w.recent.p50)) },
    { name: "p95", kind: number, show: plain((w) => text.seconds(w.recent.p95)) },
    { name: "p99", kind: number, show: plain((w) => text.seconds(w.recent.p99)) },
    {
      name: "In progress", kind: number,
      show: plain((w) => (w.in_progress === null ? "–" : w.capacity ? `${text.count(w.in_progress)} of ${text.count(w.capacity)}` : text.count(w.in_progress))),
    },
    { name: "Utilisation", kind: number, show: (cell, w) => bar(cell, w.utilisation, w.utilisation >= 0.9 ? "warn" : "") },
    { name: "Memory", kind: number, show: plain((w) => text.bytes(w.memory_bytes)) },
    { name: "CPU", kind: number, show: plain((w) => (w.cpu_percent === null ? "–" : text.percent(w.cpu_percent / 100))) },
    { name: "Last exit", kind: "wide", show: showLastExit },
  ]);
}

export function routesTable() {
  const errors = (route) => errorsOf(route.statuses);
  return new Table(byId("routes"), "Routes", [
    {
      name: "Route",
      show: (cell, route) => {
        if (!cell.firstElementChild) cell.append(element("span", { class: "method" }), " ", element("span", { class: "endpoint" }));
        setText(cell.firstElementChild, route.method);
        setText(cell.lastElementChild, route.endpoint);
      },
    },
    { name: "Time", kind: number, show: (cell, route) => bar(cell, route.share) },
    { name: "Requests", kind: number, show: plain((route) => text.rate(route.recent.rate)) },
    {
      name: "Errors", kind: number,
      show: (cell, route) => {
        setText(cell, text.percent(route.recent.errorRatio));
        setClass(cell, errorLevel(route.recent.errorRatio));
      },
    },
    { name: "p50", kind: number, show: plain((route) => text.seconds(route.recent.p50)) },
    { name: "p95", kind: number, show: plain((route) => text.seconds(route.recent.p95)) },
    { name: "p99", kind: number, show: plain((route) => text.seconds(route.recent.p99)) },
    { name: "In all", kind: number, show: plain((route) => text.count(route.count)) },
    {
      name: "Failed", kind: number,
      show: (cell, route) => {
        setText(cell, text.count(errors(route)));
        setClass(cell, errors(route) ? "" : "none");
      },
    },
  ]);
}

export function exitsTable() {
  return new Table(byId("exits"), "Exits of workers by cause", [
    {
      name: "Cause",
      show: (cell, end) => {
        setText(cell, words(end.cause));
        setClass(cell, end.type === "error" ? "bad" : "");
      },
    },
    { name: "Number", kind: number, show: plain((end) => text.count(end.count)) },
    { name: "Last", kind: number, show: when },
  ]);
}

export function signalsTable() {
  return new Table(byId("signals"), "Signals that the master has handled", [
    { name: "Signal", show: plain((signal) => signal.reason.toUpperCase()) },
    { name: "Number", kind: number, show: plain((signal) => text.count(signal.count)) },
    { name: "Last", kind: number, show: when },
  ]);
}

function when(cell, item) {
  setText(cell, text.ago(item.last, item.time));
  cell.title = text.isKnown(item.last) ? text.moment(item.last, item.time) : "";
}

export function exceptionsTable() {
  return new Table(byId("exceptions"), "Exceptions that reached a worker", [
    {
      name: "Exception",
      show: (cell, one) => {
        if (!cell.firstElementChild) cell.append(element("span", { class: "type" }), " ", element("span", { class: "endpoint" }));
        setText(cell.firstElementChild, one.error_type);
        setText(cell.lastElementChild, `${one.method} ${one.endpoint}`);
      },
    },
    { name: "Number", kind: number, show: plain((one) => text.count(one.count)) },
    { name: "New", kind: number, show: plain((one) => (one.recent === null ? "–" : one.recent > 0 ? `+${text.count(one.recent)}` : "0")) },
  ]);
}
