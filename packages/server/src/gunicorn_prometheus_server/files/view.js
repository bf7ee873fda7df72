// Shows a reading: headline, tiles, tables.

import { byId, element, keyed, setClass, setText } from "./dom.js";
import { Plot } from "./plot.js";
import { problems } from "./problems.js";
import { errorsOf } from "./reading.js";
import { errorLevel, exceptionsTable, exitsTable, lastExit, routesTable, signalsTable, workersTable } from "./tables.js";
import * as text from "./text.js";

const FEW_ROUTES = 8;
const FEW_EXCEPTIONS = 8;
const SHOW_ENDED_SECONDS = 10;
const SHOW_FAILED_SECONDS = 300;

const SHORTEST_PLOT_SECONDS = 60;
const LONGEST_PLOT_SECONDS = 300;

function tile(id, lines, options) {
  const root = byId(id);
  const found = (name) => root.querySelector(`[data-${name}]`);
  const plot = new Plot(found("plot"), lines, options);
  const legend = element("p", { class: "legend", "aria-hidden": "true" }, element("span"), element("span"));
  found("plot").append(legend);
  return { found, plot, legend };
}

function figure(node, [number, unit]) {
  if (node.children.length === 0) node.append(element("span"), element("span", { class: "unit" }));
  setText(node.firstElementChild, number);
  setText(node.lastElementChild, unit === "" || unit === "/s" || unit === "%" ? unit : ` ${unit}`);
}

export class View {
  constructor() {
    this.tiles = {
      requests: tile("tile-requests", ["rate"]),
      errors: tile("tile-errors", ["errorRate"]),
      latency: tile("tile-latency", ["p50", "p95", "p99"]),
      utilisation: tile("tile-utilisation", ["utilisation"], { most: 1 }),
    };
    this.tables = { workers: workersTable(), routes: routesTable(), exits: exitsTable(), signals: signalsTable(), exceptions: exceptionsTable() };
    this.allRoutes = false;
    this.told = "";
  }

  // `points` are those of the plots; `order` is what routes are sorted by.
  show(reading, points, order) {
    const { now } = reading;
    setText(byId("host"), now.instance || now.host);
    document.title = `${now.instance || now.host} · Gunicorn`;
    this.#verdict(reading);
    this.#showTiles(reading, points);
    this.#workers(reading);
    this.#routes(reading, order);
    this.#events(reading);
    this.#health(now);
    setText(byId("versions"), versions(now.versions));
  }

  #verdict(reading) {
    const { now, workers } = reading;
    const found = problems(reading);
    const alive = workers.filter((worker) => worker.alive !== false).length;
    const target = now.workers_target;
    const level = found.some((one) => one.level === "bad") ? "bad" : found.length > 0 ? "warn" : "good";
    setClass(byId("verdict"), level);
    let headline = `${text.many(alive, "worker")} up`;
    if (target !== null && target > 0) {
      headline = alive >= target ? `All ${text.many(alive, "worker")} up` : `${alive} of ${text.many(target, "worker")} up`;
      if (alive === 1 && target === 1) headline = "The worker is up";
      if (alive > target) headline = `${text.many(alive, "worker")} up, ${target} wanted`;
    }
    setText(byId("verdict-text"), headline);
    const { started } = now.master;
    const since = started === null ? "" : `The server is up for ${text.age(now.time - started)}`;
    const more = [found.length === 0 ? "No trouble in sight" : "", since, backlog(now)];
    setText(byId("verdict-more"), more.filter(Boolean).join(" · "));
    // The headline has said it already.
    const listed = found.filter((one) => !one.key.startsWith("missing"));
    keyed(byId("problems"), listed, (one) => one.key, () => element("li"), (item, one) => {
      setText(item, one.text);
      setClass(item, one.level);
    });
    this.#tell(found);
  }

  // To screen readers, when there is something new, and not each time a number changes.
  #tell(found) {
    const keys = found.map((one) => one.key).join();
    if (keys === this.told) return;
    const isFirst = this.told === "" && found.length === 0;
    this.told = keys;
    if (!isFirst) {
      setText(byId("announcements"), found.map((one) => one.text).join(". ") || "No trouble in sight any more");
    }
  }

  #showTiles({ now, workers, recent, inProgress, capacity, utilisation }, points) {
    const end = now.time;
    const open = points.length > 0 ? end - points[0].time : 0;
    const span = Math.min(LONGEST_PLOT_SECONDS, Math.max(SHORTEST_PLOT_SECONDS, open));
    const draw = ({ plot, legend }, peak) => {
      const highest = plot.draw(points, end, span);
      setText(legend.firstElementChild, `last ${text.age(span)}`);
      setText(legend.lastElementChild, highest > 0 ? `peak ${peak(highest)}` : "");
    };
    const { requests, errors, latency, utilisation: load } = this.tiles;
    figure(requests.found("figure"), text.rateParts(recent.rate));
    setText(requests.found("more"), `${text.count(now.requests.count)} in all`);
    draw(requests, text.rate);
    figure(errors.found("figure"), text.percentParts(recent.errorRatio));
    const failed = errorsOf(now.requests.statuses);
    const rate = recent.errorRate > 0 ? `${text.rate(recent.errorRate)} · ` : "";
    setText(errors.found("more"), `${rate}${text.count(failed)} in all`);
    setClass(errors.found("figure"), `figure ${errorLevel(recent.errorRatio)}`);
    draw(errors, text.rate);
    for (const q of ["p50", "p95", "p99"]) figure(latency.found(q), text.secondsParts(recent[q]));
    draw(latency, text.seconds);
    if (capacity) {
      figure(load.found("figure"), text.percentParts(utilisation));
      setText(load.found("more"), `${text.count(inProgress)} of ${text.count(capacity)} in progress`);
    } else if (workers.some((worker) => worker.alive !== false)) {
      figure(load.found("figure"), [text.count(inProgress), " in progress"]);
      setText(load.found("more"), "no limit");
    } else {
      figure(load.found("figure"), text.percentParts(null));
      setText(load.found("more"), "no worker is up");
    }
    setClass(load.found("figure"), utilisation >= 0.9 ? "figure warn" : "figure");
    draw(load, text.percent);
  }

  #workers({ now, workers }) {
    const shown = workers.filter((worker) => {
      if (worker.alive !== false) return true;
      const span = lastExit(worker)?.[1].type === "error" ? SHOW_FAILED_SECONDS : SHOW_ENDED_SECONDS;
      return now.time - (worker.since ?? 0) < span;
    });
    this.tables.workers.show(shown, (worker) => worker.key, (worker) =>
      worker.alive === false ? "stopped" : worker.stuckSince === null ? worker.state : "stuck", (worker) => worker.host);
    const former = workers.length - shown.length;
    const ended = former === 1 ? "has ended" : "have ended";
    const gone = now.storage.up === 0 ? "can't be seen now, or ended" : ended;
    setText(byId("workers-note"), former > 0 ? `not shown: ${text.count(former)} that ${gone}` : "");
  }

  #routes({ now, routes }, order) {
    const by = {
      time: (route) => [route.recent.seconds, route.seconds],
      errors: (route) => [route.recent.errors, errorsOf(route.statuses)],
      requests: (route) => [route.recent.count, route.count],
    }[order];
    const sorted = routes.map((route) => ({ route, by: by(route) }))
      .sort((a, b) => b.by[0] - a.by[0] || b.by[1] - a.by[1]).map(({ route }) => route);
    const shown = this.allRoutes ? sorted : sorted.slice(0, FEW_ROUTES);
    this.tables.routes.show(shown, (route) => route.key);
    byId("routes-empty").hidden = routes.length > 0;
    const button = byId("routes-more");
    button.hidden = routes.length <= FEW_ROUTES;
    const all = now.routes_left_out > 0 ? `the first ${routes.length}` : `all ${routes.length}`;
    setText(button, this.allRoutes ? `Show ${FEW_ROUTES}` : `Show ${all}`);
  }

  #events({ now, exceptions }) {
    const latest = (a, b) => (b.last ?? 0) - (a.last ?? 0) || b.count - a.count;
    const timed = (entries, name) => Object.entries(entries)
      .map(([key, one]) => ({ ...one, [name]: key, time: now.time })).sort(latest);
    // Of a child's end the other table tells more.
    const signals = timed(now.master.signals, "reason").filter((signal) => signal.reason !== "chld");
    const shown = exceptions.slice().sort((a, b) => (b.recent ?? 0) - (a.recent ?? 0) || b.count - a.count);
    const fill = (name, items, key) => {
      this.tables[name].show(items, key);
      byId(`${name}-empty`).hidden = items.length > 0;
    };
    fill("exits", timed(now.master.exits, "cause"), (end) => end.cause);
    fill("signals", signals, (signal) => signal.reason);
    fill("exceptions", shown.slice(0, FEW_EXCEPTIONS), (one) => one.key);
    setText(byId("master-note"), now.master.pid === null ? "" : `PID ${now.master.pid}`);
  }

  #health({ storage, exporter, time }) {
    const facts = [
      ["Storage", storage.up === null ? storage.backend : `${storage.backend}, ${storage.up ? "available" : "not available"}`, storage.up === 0],
    ];
    if (storage.published !== null) {
      facts.push(["Last published", storage.published ? text.ago(storage.published, time) : "never", storage.published === 0]);
    }
    facts.push(["Scrapes", text.count(exporter.scrapes), false]);
    const mean = exporter.scrapes > 0 ? exporter.scrape_seconds / exporter.scrapes : null;
    if (mean !== null) facts.push(["Time for one", text.seconds(mean), false]);
    const worries = Object.entries(WORRIES).map(([field, name]) => [name, exporter[field] ?? storage[field] ?? 0]);
    for (const [name, number] of worries) {
      if (number > 0 || ALWAYS.has(name)) facts.push([name, text.count(number), number > 0]);
    }
    const fine = worries.every(([, number]) => number === 0);
    setText(byId("health-note"), fine ? "nothing lost, nothing failed" : "");
    keyed(byId("health"), facts, ([name]) => name,
      ([name]) => element("div", {}, element("dt", {}, name), element("dd")),
      (row, [, value, isBad]) => {
        setText(row.lastElementChild, value);
        setClass(row, isBad ? "bad" : "");
      });
  }
}

const WORRIES = {
  scrape_errors: "Failed scrapes",
  collector_errors: "Failures of collectors",
  recording_errors: "Failures to record",
  restarts: "Restarts of the exporter",
  bind_failures: "Failures to open the port",
  series_dropped: "Series dropped",
  pages_quarantined: "Corrupt pages",
  keys_rejected: "Keys not understood",
  publish_errors: "Failures to publish",
  collect_errors: "Failures to collect",
};

// Said also when there are none.
const ALWAYS = new Set(["Failed scrapes", "Restarts of the exporter", "Series dropped", "Corrupt pages"]);

function backlog(now) {
  const listeners = now.backlog;
  if (listeners.length === 0) return "";
  const waiting = listeners.reduce((sum, one) => sum + (one.waiting ?? 0), 0);
  return waiting === 0 ? "nobody waits to be accepted" : `${text.many(waiting, "connection")} waiting to be accepted`;
}

function versions(found) {
  const names = { gunicorn: "Gunicorn", "gunicorn-prometheus-exporter": "exporter", python: "Python" };
  return Object.entries(names).filter(([key]) => found[key])
    .map(([key, name]) => `${name} ${found[key]}`).join(" · ");
}
