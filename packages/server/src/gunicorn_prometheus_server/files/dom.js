// Changing the page only where something has changed. Text is always text, never markup.

export const byId = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

// The children of `parent` become those made for `items`, each kept as long as its key is there.
export function keyed(parent, items, key, make, update) {
  const former = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = former.get(name);
    if (child) former.delete(name);
    else {
      child = make(item);
      child.dataset.key = name;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const child of former.values()) child.remove();
}

// A table with these columns: {name, title, kind, show(cell, item)}, the first one heading its row.
// Roles are said again, because narrow screens show rows as cards.
export class Table {
  constructor(table, caption, columns) {
    this.columns = columns;
    const heads = columns.map(({ name, kind = "" }) =>
      element("th", { scope: "col", role: "columnheader", class: kind }, name));
    this.body = element("tbody", { role: "rowgroup" });
    table.setAttribute("role", "table");
    table.append(
      element("caption", { class: "unseen" }, caption),
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads)),
      this.body,
    );
    this.table = table;
  }

  // What follows each other with the same `group`, which is no empty text, gets a row for its heading.
  show(items, key, rowClass = () => "", group = () => "") {
    this.table.hidden = items.length === 0;
    const rows = items.flatMap((item, i) => {
      const name = group(item);
      const isNext = name === "" || (i > 0 && group(items[i - 1]) === name);
      return isNext ? [{ item }] : [{ heading: name }, { item }];
    });
    const keyOf = ({ heading, item }) => (heading === undefined ? key(item) : `all of ${heading}`);
    const make = ({ heading }) => (heading === undefined ? this.#row() : this.#heading(heading));
    keyed(this.body, rows, keyOf, make, (row, { heading, item }) => {
      if (heading !== undefined) return;
      setClass(row, rowClass(item));
      this.columns.forEach(({ show }, i) => show(row.children[i].firstElementChild, item));
    });
  }

  #heading(text) {
    const attributes = { scope: "rowgroup", role: "rowheader", colspan: this.columns.length };
    return element("tr", { role: "row", class: "group" }, element("th", attributes, text));
  }

  #row() {
    const cells = this.columns.map(({ name, kind = "" }, i) => {
      const attributes = i === 0 ? { scope: "row", role: "rowheader" } : { role: "cell" };
      const classes = { class: kind, "data-name": name };
      return element(i === 0 ? "th" : "td", { ...attributes, ...classes }, element("span"));
    });
    return element("tr", { role: "row" }, ...cells);
  }
}
