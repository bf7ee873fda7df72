// What the plots show: a point for each poll, of everything and of each worker.

import { workerKey } from "./reading.js";

const MOST = 300;
const MOST_OF_WORKER = 90;
const AVERAGED_SECONDS = 5;  // quantiles and errors of a single second would jump about

export class Points {
  constructor() {
    this.all = [];
    this.workers = new Map();
  }

  of(worker) {
    return this.workers.get(worker) ?? [];
  }

  // Add what has happened since the poll before the last. Begins anew where the history has.
  add(history) {
    const [before, now] = history.polls.slice(-2);
    if (now === undefined) {
      this.all = [];
      this.workers.clear();
      return;
    }
    const elapsed = now.time - before.time;
    if (elapsed > AVERAGED_SECONDS) return;
    const per = (later, earlier) => Math.max(0, later - earlier) / elapsed;
    const { recent, utilisation } = history.reading(AVERAGED_SECONDS);
    this.all.push({
      time: now.time,
      rate: per(now.requests.count, before.requests.count),
      errorRate: recent.errorRate,
      p50: recent.p50, p95: recent.p95, p99: recent.p99,
      utilisation,
    });
    if (this.all.length > MOST) this.all.shift();
    const former = new Map(before.workers.map((worker) => [workerKey(worker), worker]));
    const known = this.workers;
    this.workers = new Map();
    for (const worker of now.workers) {
      const key = workerKey(worker);
      const then = former.get(key);
      const points = known.get(key) ?? [];
      if (then) points.push({ time: now.time, rate: per(worker.requests.count, then.requests.count) });
      this.workers.set(key, points.slice(-MOST_OF_WORKER));
    }
  }
}
