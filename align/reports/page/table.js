// The table of all comparisons. Rows are made as they come into sight: a report may have thousands.
const FIRST = 60, MORE = 200;
const COLUMNS = [
  ["stage", "stage", "stage", (row) => rows.stage[row]],
  ["comparison", "name", "name", (row) => text("name", row)],
  ["probe", "probe", "probe", (row) => text("probe", row)],
  ["noise · limit · difference", "gauge", null, null],
  ["difference", "number", "max", (row) => rows.max[row] ?? Infinity],
  ["noise", "number", "noise", (row) => rows.noise[row] ?? Infinity],
  ["limit", "number", "limit", (row) => rows.limit[row] ?? Infinity],
  ["ratio", "number", "ratio", (row) => (step(row) === 8 ? Infinity : rows.ratio[row] ?? Infinity)],
  ["status", "status", "status", (row) => (differs(row) ? 1 - rows.harmless[row] / 2 : 0)],
];
const WAYS = { number: ["smallest first", "largest first"], status: ["agreeing first", "differing first"], stage: ["first to last", "last to first"] };
const falls = (key) => !["stage", "name", "probe"].includes(key); // whether what is asked for first is the largest
const state = { stage: "", only: "", search: "", module: "", sort: "", down: false, forPaper: false };
let view = [], drawn = 0;

const table = document.getElementById("table");
const body = make("div", { role: "rowgroup" });

function matches(row, words) {
  if (state.stage && text("stage", row) !== state.stage) return false;
  if (state.only && !differs(row)) return false;
  if (state.module && text("module", row) !== state.module && !text("module", row).startsWith(state.module + ".")) return false;
  if (!words.length) return true;
  const all = ["name", "module", "probe", "kind", "status", "stage"].map((field) => text(field, row)).join(" ").toLowerCase();
  return words.every((word) => all.includes(word));
}

/** Choose and order the rows anew, and draw the first. */
function refresh() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  view = [];
  for (let row = 0; row < count; row++) if (matches(row, words)) view.push(row);
  const column = COLUMNS.find(([, , key]) => key && key === state.sort);
  if (column) {
    const value = column[3];
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    view.sort((a, b) => (state.down ? compare(value(b), value(a)) : compare(value(a), value(b))) || a - b);
  }
  for (const head of table.querySelectorAll("[role=columnheader][data-key]")) {
    const current = head.dataset.key === state.sort;
    head.setAttribute("aria-sort", current ? (state.down ? "descending" : "ascending") : "none");
    head.querySelector("span").textContent = current ? (state.down ? " ↓" : " ↑") : "";
  }
  const wrong = view.filter(differs).length;
  const left = data.total > count ? ` The page holds ${count} of ${data.total}: of every stage those furthest beyond, or nearest to, their limit; the JSON report has all.` : "";
  document.getElementById("count").textContent = `${view.length} of ${count} comparisons, ${wrong} of them differ.${left}`;
  const chip = state.module ? make("button", { type: "button", onclick: () => update({ module: "" }) }, ...breakable(`only ${called(state.module)} ✕`)) : "";
  document.getElementById("chip").replaceChildren(chip);
  body.replaceChildren();
  drawn = 0;
  extend(FIRST);
}

function update(changes) {
  Object.assign(state, changes);
  for (const id of ["stage", "only", "search", "sort"]) document.getElementById(id).value = id === "sort" && state.sort && state.down ? "-" + state.sort : state[id];
  refresh();
}

function extend(number) {
  body.append(...view.slice(drawn, drawn + number).map(drawRow));
  drawn = Math.min(view.length, drawn + number);
  document.getElementById("more").hidden = drawn >= view.length;
}

function drawRow(row) {
  const wrong = differs(row);
  const status = rows.harmless[row] ? "harmless" : wrong ? (text("status", row) === "mismatch" ? "differs" : text("status", row)) : "agrees";
  const marks = `${wrong ? " differs" : ""}${rows.harmless[row] ? " is-harmless" : ""}`;
  const number = (label, value) => make("div", { role: "cell", class: "number", "data-label": label }, value);
  const place = text("at", row) ? `, largest at ${text("at", row)} of ${text("shape", row)}` : `, ${text("shape", row)}`;
  return make("div", { role: "row", class: "row" + marks, id: `row-${row}`, tabindex: -1 },
    make("div", { role: "cell", class: "stage" }, text("stage", row)),
    make("div", { role: "cell", class: "name wide" }, ...breakable(text("name", row)), make("span", { class: "kind" }, meaning(row) + place)),
    make("div", { role: "cell", class: "probe" }, text("probe", row)),
    make("div", { role: "cell", class: "gauge-cell wide" }, gauge(row)),
    number("difference", scientific(rows.max[row])),
    number("noise", scientific(rows.noise[row])),
    number("limit", scientific(rows.limit[row])),
    number("ratio", ratioOf(row)),
    make("div", { role: "cell", class: "status" }, status));
}

/** A bar on a logarithmic scale from 10⁻⁶ to 10⁶ times the limit: the noise floor, the limit, the difference. */
function gauge(row) {
  const limit = rows.limit[row], error = rows.max[row];
  if (!limit || error === null) return "";
  const x = (value) => 4 + 142 * Math.min(1, Math.max(0, (Math.log10(Math.max(value, 1e-300) / limit) + 6) / 12));
  const svg = make("svg", { viewBox: "0 0 150 14", "aria-hidden": "true" },
    make("rect", { class: "track", x: 0, y: 5, width: 150, height: 4 }),
    make("rect", { class: "within", x: 0, y: 5, width: x(limit), height: 4 }),
    make("rect", { class: "limit", x: x(limit) - 0.75, y: 1, width: 1.5, height: 12 }));
  if (rows.noise[row]) svg.append(make("rect", { class: "noise", x: x(rows.noise[row]) - 0.5, y: 3, width: 1, height: 8 }));
  svg.append(make("rect", { class: differs(row) ? "differs" : "agrees", x: x(error) - 4, y: 3, width: 8, height: 8, rx: 4 }));
  return svg;
}

/** All comparisons of one module and what is inside it. */
function ofModule(module, stage = "") {
  update({ module, stage, only: "", search: "" });
  document.getElementById("comparisons").scrollIntoView();
  document.getElementById("comparisons-title").focus({ preventScroll: true });
}

/** One row, with those of the same module around it. */
function jump(row) {
  update({ module: text("module", row), stage: text("stage", row), only: "", search: "" });
  const place = view.indexOf(row);
  if (place >= drawn) extend(place + 1 - drawn);
  for (const other of body.querySelectorAll(".found")) other.classList.remove("found");
  const found = document.getElementById(`row-${row}`);
  found.classList.add("found");
  found.scrollIntoView({ block: "center" });
  found.focus({ preventScroll: true });
}

/** The comparison that shows a finding, else all of the module that is blamed, else all of the stage. */
function ofFinding({ stage, module, edge }) {
  const here = [...Array(count).keys()].filter((row) => text("stage", row) === stage);
  const shown = here.find((row) => text("name", row) === edge && differs(row));
  if (shown !== undefined) jump(shown);
  else ofModule(here.some((row) => text("module", row) === module) ? module : "", stage);
}

function prepare() {
  const sortBy = (key) => update(state.sort !== key ? { sort: key, down: falls(key) } : { down: !state.down });
  const heads = COLUMNS.map(([label, kind, key]) =>
    make("div", { role: "columnheader", class: kind, "data-key": key },
      key ? make("button", { type: "button", onclick: () => sortBy(key) }, label, make("span", {})) : label));
  table.append(make("div", { role: "rowgroup" }, make("div", { role: "row", class: "row head" }, ...heads)), body);
  const stages = [...new Set(rows.stage)].map((number) => data.texts[number]);
  document.getElementById("stage").append(...stages.map((stage) => make("option", { value: stage }, stage)));
  const orders = COLUMNS.filter(([, , key]) => key).flatMap(([label, kind, key]) => {
    const [up, down] = WAYS[kind] ?? ["A to Z", "Z to A"];
    const both = [[key, `${label}, ${up}`], ["-" + key, `${label}, ${down}`]];
    return falls(key) ? both.reverse() : both;
  });
  document.getElementById("sort").append(make("option", { value: "" }, "order of execution"), ...orders.map(([key, label]) => make("option", { value: key }, label)));
  document.getElementById("sort").addEventListener("change", (event) => update({ sort: event.target.value.replace("-", ""), down: event.target.value.startsWith("-") }));
  for (const [id, when] of [["stage", "change"], ["only", "change"], ["search", "input"]]) {
    document.getElementById(id).addEventListener(when, (event) => update({ [id]: event.target.value }));
  }
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("comparisons-title").tabIndex = -1;
  const more = document.getElementById("more");
  more.addEventListener("click", () => extend(MORE));
  new IntersectionObserver((seen) => {
    if (seen.some((entry) => entry.isIntersecting) && !more.hidden) extend(MORE);
  }, { rootMargin: "600px" }).observe(more);
  for (const button of document.querySelectorAll("button[data-module]")) {
    button.addEventListener("click", () => ofFinding(button.dataset));
  }
  update({});
}

// Paper has the first rows only: where the reader has asked for no order, those that matter most.
addEventListener("beforeprint", () => {
  const wrong = view.some(differs);
  if (!state.sort) update({ sort: wrong ? "status" : "ratio", down: true, forPaper: true });
  const which = state.forPaper ? (wrong ? ", those that differ first" : ", those nearest to their limit first") : "";
  document.getElementById("printed").textContent = drawn < view.length ? `Printed are ${drawn} of them${which}.` : "";
});
addEventListener("afterprint", () => state.forPaper && update({ sort: "", down: false, forPaper: false }));

prepare();
