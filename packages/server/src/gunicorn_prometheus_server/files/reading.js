// From the counts of two moments to rates, ratios and quantiles of the time between.

const KEEP_SECONDS = 310;
const DENSE_SECONDS = 15;
const SPARSE_SECONDS = 5;
const STUCK_SECONDS = 5;

// As Prometheus' histogram_quantile: evenly spread within a bucket, and the last bound for what is
// beyond. `buckets` are not cumulative. Null without observations.
export function quantile(buckets, bounds, q) {
  const total = buckets.reduce((sum, n) => sum + n, 0);
  if (total === 0) return null;
  let rank = q * total;
  for (let i = 0; i < bounds.length; i += 1) {
    if (rank <= buckets[i] && buckets[i] > 0) {
      const low = i === 0 ? 0 : bounds[i - 1];
      return low + (bounds[i] - low) * (rank / buckets[i]);
    }
    rank -= buckets[i];
  }
  return bounds.at(-1) ?? null;
}

export const errorsOf = (statuses) =>
  Object.entries(statuses).reduce((sum, [status, n]) => (status.startsWith("5") ? sum + n : sum), 0);

const NOTHING = { count: 0, seconds: 0, buckets: [], statuses: {} };

// What was counted between two moments.
function between(now, before, elapsed, bounds) {
  const then = before ?? NOTHING;
  const buckets = now.buckets.map((n, i) => Math.max(0, n - (then.buckets[i] ?? 0)));
  const number = Math.max(0, now.count - then.count);
  const errors = Math.max(0, errorsOf(now.statuses) - errorsOf(then.statuses));
  const at = (q) => quantile(buckets, bounds, q);
  return {
    count: number,
    errors,
    seconds: Math.max(0, now.seconds - then.seconds),
    rate: elapsed > 0 ? number / elapsed : null,
    errorRate: elapsed > 0 ? errors / elapsed : null,
    errorRatio: number > 0 ? errors / number : null,
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
  };
}

export const workerKey = (worker) => `${worker.instance}/${worker.id}`;
const routeKey = (route) => `${route.method} ${route.endpoint}`;
const exceptionKey = (one) => `${one.error_type} ${one.method} ${one.endpoint}`;
const indexed = (items, key) => new Map(items.map((item) => [key(item), item]));

export class History {
  constructor() {
    this.polls = [];
    this.stuck = new Map();
  }

  // Take note of a poll. False if it says nothing new; counts that fell, and other buckets, begin a
  // new history.
  add(status) {
    const last = this.polls.at(-1);
    if (last && status.time === last.time) return false;
    const fell = last && status.requests.count < last.requests.count;
    if (last && (fell || status.time < last.time || String(status.bounds) !== String(last.bounds))) {
      this.polls = [];
      this.stuck.clear();
    }
    this.polls.push(status);
    this.#thin(status.time);
    this.#watch(status);
    return true;
  }

  // Close together for the last seconds, further apart before, and not for ever.
  #thin(now) {
    let kept = -Infinity;
    this.polls = this.polls.filter((poll) => {
      const old = now - poll.time;
      if (old > KEEP_SECONDS) return false;
      if (old > DENSE_SECONDS && poll.time - kept < SPARSE_SECONDS) return false;
      kept = poll.time;
      return true;
    });
  }

  // Since when each worker is at requests without finishing any.
  #watch(status) {
    for (const worker of status.workers) {
      const key = workerKey(worker);
      const { count } = worker.requests;
      const known = this.stuck.get(key);
      if (!worker.in_progress || worker.alive === false) this.stuck.delete(key);
      else if (!known || known.count !== count || known.pid !== worker.pid) {
        this.stuck.set(key, { count, pid: worker.pid, since: status.time });
      }
    }
  }

  // The poll to compare with: as old as the window, or the oldest there is within it.
  #before(span) {
    const now = this.polls.at(-1);
    const former = this.polls.slice(0, -1);
    const old = former.filter((poll) => now.time - poll.time >= span - 0.2);
    const fitting = old.filter((poll) => now.time - poll.time <= span * 1.5 + 2).at(-1);
    return fitting ?? former.find((poll) => now.time - poll.time < span) ?? null;
  }

  // Everything that is shown, for a window in seconds. To be called after `add`.
  reading(span) {
    const now = this.polls.at(-1);
    const before = this.#before(span);
    // Without anything to compare with: counts from the beginning, and no rates.
    const elapsed = before ? now.time - before.time : 0;
    const compare = (own, then) => between(own, then, elapsed, now.bounds);
    const formerWorkers = indexed(before?.workers ?? [], workerKey);
    const hosts = new Set(now.workers.map((worker) => worker.instance)).size;
    const workers = now.workers.map((worker) => {
      const host = hosts > 1 ? worker.instance : "";
      const label = hosts > 1 ? `${worker.id} of ${host}` : worker.id;
      const recent = compare(worker.requests, formerWorkers.get(workerKey(worker))?.requests);
      return { ...worker, key: workerKey(worker), host, label, recent, ...this.#load(worker, recent, elapsed, now) };
    });
    const formerRoutes = indexed(before?.routes ?? [], routeKey);
    const routes = now.routes.map((route) => {
      const then = formerRoutes.get(routeKey(route));
      // One that was not among those given before: only what comes from now on is known.
      const unknown = before && !then && before.routes_left_out > 0;
      return { ...route, key: routeKey(route), recent: compare(route, unknown ? route : then) };
    });
    const seconds = routes.reduce((sum, route) => sum + route.recent.seconds, 0);
    for (const route of routes) route.share = seconds > 0 ? route.recent.seconds / seconds : null;
    const formerExceptions = indexed(before?.exceptions ?? [], exceptionKey);
    const exceptions = now.exceptions.map((one) => ({
      ...one,
      key: exceptionKey(one),
      recent: before ? one.count - (formerExceptions.get(exceptionKey(one))?.count ?? 0) : null,
    }));
    return {
      now, elapsed, workers, routes, exceptions,
      recent: compare(now.requests, before?.requests),
      ...utilisationOf(workers.filter((worker) => worker.alive !== false)),
    };
  }

  // How busy a worker is. Requests count when they end, so one that doesn't end shows otherwise.
  #load(worker, recent, elapsed, now) {
    const stuck = this.stuck.get(workerKey(worker));
    const stuckFor = stuck ? now.time - stuck.since : 0;
    const isStuck = stuckFor >= STUCK_SECONDS;
    let utilisation = null;
    if (worker.capacity && elapsed > 0) {
      const busy = recent.seconds / elapsed / worker.capacity;
      utilisation = Math.min(1, Math.max(busy, isStuck ? worker.in_progress / worker.capacity : 0));
    }
    return { utilisation, stuckSince: isStuck ? stuck.since : null };
  }
}

function utilisationOf(workers) {
  const limited = workers.filter((worker) => worker.capacity);
  const capacity = limited.reduce((sum, worker) => sum + worker.capacity, 0);
  const known = limited.filter((worker) => worker.utilisation !== null);
  const used = known.reduce((sum, worker) => sum + worker.utilisation * worker.capacity, 0);
  return {
    capacity: capacity || null,
    inProgress: workers.reduce((sum, worker) => sum + (worker.in_progress ?? 0), 0),
    utilisation: known.length > 0 ? used / capacity : null,
  };
}
