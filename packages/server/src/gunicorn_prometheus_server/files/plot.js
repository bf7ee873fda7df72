// Little plots: the last minutes of a few lines, newest at the right. Decoration beside numbers
// that say the same, so hidden from screen readers.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;

function part(tag, attributes, parent) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

export class Plot {
  // `lines` are names of the values in the points; the first one is filled underneath.
  constructor(parent, lines, { height = 48, most = null } = {}) {
    this.lines = lines;
    this.height = height;
    this.most = most;
    const svg = part("svg", {
      viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true",
      focusable: "false",
    }, parent);
    part("line", { class: "base", x1: 0, x2: WIDTH, y1: height - 0.5, y2: height - 0.5 }, svg);
    this.area = part("path", { class: `area ${lines[0]}` }, svg);
    this.paths = lines.map((line) => part("path", { class: `line ${line}` }, svg));
  }

  // Points are {time, [line]: value or null}. Gives the highest value that is shown.
  draw(points, end, span) {
    const shown = points.filter((point) => end - point.time <= span + 2);
    const values = shown.flatMap((point) => this.lines.map((line) => point[line] ?? 0));
    const peak = Math.max(0, ...values.filter(Number.isFinite));
    const top = this.most ?? (peak || 1);
    const x = (time) => (WIDTH * (1 - (end - time) / span)).toFixed(1);
    const y = (value) => (this.height - 1 - (this.height - 4) * (Math.min(value, top) / top)).toFixed(1);
    this.lines.forEach((line, i) => {
      const stretches = unbroken(shown, line);
      const drawn = stretches.map((points_) => points_.map((p) => `${x(p.time)} ${y(p[line])}`));
      this.paths[i].setAttribute("d", drawn.map((run) => `M${run.join("L")}`).join(""));
      if (i === 0) {
        const floor = this.height;
        const filled = drawn.map((run, n) =>
          `M${x(stretches[n][0].time)} ${floor}L${run.join("L")}L${x(stretches[n].at(-1).time)} ${floor}Z`);
        this.area.setAttribute("d", filled.join(""));
      }
    });
    return peak;
  }
}

// The points that have a value, cut where one is missing or nobody looked for a while.
function unbroken(points, line) {
  const runs = [];
  let before = null;
  for (const point of points) {
    if (point[line] === null || point[line] === undefined || !Number.isFinite(point[line])) before = null;
    else {
      if (before === null || point.time - before > 5) runs.push([]);
      runs.at(-1).push(point);
      before = point.time;
    }
  }
  return runs;
}
