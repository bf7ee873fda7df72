// What somebody who was just woken up should look at first. Worst first; empty when all is well.

import { many, moment, percent } from "./text.js";

const RECENT_SECONDS = 300;

const CAUSES = {
  killed: ["was killed", "SIGKILL from outside, as when memory runs out"],
  timeout: ["was ended", "silent for longer than the timeout"],
  crash: ["crashed", "a signal or an exit status other than 0"],
  boot_error: ["failed to start", "Gunicorn's log says why"],
  load_error: ["could not load the application", "Gunicorn's log says why"],
  unknown: ["ended", "its exit status was taken by somebody else"],
};

// Each has a `key` that stays the same while the problem does.
export function problems({ now, workers, recent, utilisation }) {
  const found = [];
  const add = (key, text, level = "bad") => found.push({ key, text, level });
  const alive = workers.filter((worker) => worker.alive !== false).length;
  const target = now.workers_target;
  if (target !== null && alive < target) {
    add(`missing ${target - alive}`, `${alive} of ${many(target, "worker")} up`);
  }
  for (const [cause, end] of Object.entries(now.master.exits)) {
    if (end.type !== "error" || end.last === null || now.time - end.last > RECENT_SECONDS) continue;
    const who = workers
      .filter((worker) => worker.exits[cause]?.last === end.last)
      .map((worker) => `Worker ${worker.label}`)[0] ?? "A worker";
    const [what, why] = CAUSES[cause] ?? ["ended", cause];
    add(`exit ${cause} ${end.last}`, `${who} ${what} at ${moment(end.last, now.time)}: ${why}`);
  }
  for (const worker of workers) {
    if (worker.stuckSince !== null) {
      const at = many(worker.in_progress, "request");
      add(`stuck ${worker.key}`,
        `Worker ${worker.label} is at ${at} since ${moment(worker.stuckSince, now.time)} and has finished none`, "warn");
    }
  }
  if (recent.errorRatio !== null && recent.errorRatio >= 0.05) {
    add("errors", `${percent(recent.errorRatio)} of requests are answered with a server error`);
  }
  if (utilisation !== null && utilisation >= 0.9) {
    add("busy", `Workers are busy ${percent(utilisation)} of the time: requests wait`, "warn");
  }
  for (const { listener, waiting, limit } of now.backlog) {
    if (limit && waiting >= limit * 0.9) {
      add(`backlog ${listener}`, `The backlog of ${listener} is full: new connections are turned away`);
    }
  }
  if (now.storage.up === 0) {
    add("storage", `The storage ${now.storage.backend} is not available: other hosts' numbers are old`);
  }
  return found;
}
