// Numbers as people read them: short, with units, "–" for what isn't known.

const NONE = "–";
const thousands = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

export const isKnown = known;

export function count(value) {
  return known(value) ? thousands.format(value) : NONE;
}

export function many(value, one, more = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : more}`;
}

// Number and unit apart, so that a tile can set the unit smaller.
function parts(value, unit, digits) {
  return [digits ? value.toFixed(digits) : thousands.format(value), unit];
}

export function rateParts(value) {
  if (!known(value)) return [NONE, ""];
  if (value === 0) return ["0", "/s"];
  return parts(value, "/s", value < 1 ? 2 : value < 100 ? 1 : 0);
}

export function secondsParts(value) {
  if (!known(value)) return [NONE, ""];
  const ms = value * 1000;
  if (ms < 999.5) return parts(ms, "ms", ms < 9.95 ? 1 : 0);
  return parts(value, "s", value < 9.995 ? 2 : 1);
}

export function percentParts(ratio) {
  if (!known(ratio)) return [NONE, ""];
  const value = ratio * 100;
  if (value === 0) return ["0", "%"];
  return parts(value, "%", value < 1 ? 2 : value < 9.95 ? 1 : 0);
}

export function bytesParts(value) {
  if (!known(value)) return [NONE, ""];
  const mib = value / 2 ** 20;
  return mib < 1023.5 ? parts(mib, "MiB", mib < 9.95 ? 1 : 0) : parts(mib / 1024, "GiB", 2);
}

const joined = (make) => (value) => {
  const [number, unit] = make(value);
  return unit === "" || unit === "/s" || unit === "%" ? number + unit : `${number} ${unit}`;
};

export const rate = joined(rateParts);
export const seconds = joined(secondsParts);
export const percent = joined(percentParts);
export const bytes = joined(bytesParts);

// A span of time, in its two largest units.
export function age(value) {
  if (!known(value)) return NONE;
  const s = Math.max(0, Math.floor(value));
  if (s < 60) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function ago(moment, now) {
  if (!known(moment)) return NONE;
  return now - moment < 1 ? "just now" : `${age(now - moment)} ago`;
}

// The time of day, with the date if that was on another day.
export function moment(unix, now) {
  const date = new Date(unix * 1000);
  return (now - unix < 43200 ? clock : day).format(date);
}
