// What somebody who was just woken up should look at first. Worst first; empty when all is well.

import { many, moment, percent } from "./text.js";

const RECENT_SECONDS = 300;

const CAUSES = {
  killed: "was killed (SIGKILL), for lack of memory perhaps",
  timeout: "was silent for longer than the timeout",
  crash: "crashed",
  boot_error: "failed to start",
  load_error: "could not load the application",
  unknown: "ended, nobody knows why",
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
      .map((worker) => `Worker ${worker.id}`)[0] ?? "A worker";
    add(`exit ${cause} ${end.last}`, `${who} ${CAUSES[cause] ?? "ended"} at ${moment(end.last, now.time)}`);
  }
  for (const worker of workers) {
    if (worker.stuckSince !== null) {
      const at = many(worker.in_progress, "request");
      add(`stuck ${worker.key}`,
        `Worker ${worker.id} is at ${at} since ${moment(worker.stuckSince, now.time)} and has finished none`, "warn");
    }
  }
  if (recent.errorRatio !== null && recent.errorRatio >= 0.05) {
    add("errors", `${percent(recent.errorRatio)} of requests are answered with a server error`);
  }
  if (utilisation !== null && utilisation >= 0.9) {
    add("busy", `Workers are busy ${percent(utilisation)} of the time: requests wait`, "warn");
  }
  if (now.storage.up === 0) {
    add("storage", `The storage ${now.storage.backend} is not available: other hosts' numbers are old`);
  }
  return found;
}
