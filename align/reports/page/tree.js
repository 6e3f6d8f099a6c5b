// The modules as a tree. Each has a strip of squares for every stage that judges modules, one for each tensor that its
// own code made (a closed module: that anything inside it made), in order of execution.
const MOST_CELLS = 48; // in the strip of a closed module: more are drawn together, by the worst of them

/** The tree of modules; a chain of modules without anything beside them becomes one node. */
function plant() {
  const root = { name: "<root>", children: new Map(), depth: 0, info: data.modules[0], rows: {} };
  const nodes = new Map([["<root>", root]]);
  for (const info of data.modules.slice(1)) {
    let node = root;
    info.name.split(".").forEach((part, n, parts) => {
      const name = parts.slice(0, n + 1).join(".");
      if (!node.children.has(part)) {
        node.children.set(part, { name, children: new Map(), parent: node, info: null, rows: {} });
      }
      node = node.children.get(part);
    });
    node.info = info;
    nodes.set(info.name, node);
  }
  for (let row = 0; row < count; row++) {
    const node = nodes.get(text("module", row));
    const stage = text("stage", row);
    if (node && data.strips.includes(stage)) (node.rows[stage] ||= []).push(row);
  }
  for (const { module } of data.blamed) {
    const node = nodes.get(module);
    if (node) node.blamed = true;
  }
  compress(root, 0);
  return root;
}

function compress(node, depth) {
  node.depth = depth;
  node.label ||= node.name === "<root>" ? "the model itself" : node.name.split(".").pop();
  node.kids = [];
  for (let child of node.children.values()) {
    let label = child.name.split(".").pop();
    while (child.children.size === 1 && !Object.keys(child.rows).length && !child.blamed) {
      child = [...child.children.values()][0];
      label += "." + child.name.split(".").pop();
    }
    child.label = label;
    child.up = node;
    compress(child, node.name === "<root>" ? 0 : depth + 1);
    node.kids.push(child);
  }
}

/** All comparisons of one stage inside a node, in their order. */
function within(node, stage) {
  const found = [...(node.rows[stage] || [])];
  for (const kid of node.name === "<root>" ? [] : node.kids) found.push(...within(kid, stage));
  return found.sort((a, b) => a - b);
}

const hasFault = (node) => node.blamed || node.kids.some(hasFault);
const size = (node) => 1 + node.kids.reduce((sum, kid) => sum + size(kid), 0);
const worse = (a, b) => (step(b) > step(a) || (step(b) === step(a) && (rows.ratio[b] ?? Infinity) > (rows.ratio[a] ?? Infinity)) ? b : a);
const isCulprit = (row) => differs(row) && data.blamed.some((b) => b.stage === text("stage", row) && b.edge === text("name", row));

/** The squares of a strip: each is a list of rows that stand for it. One tensor is seen by several probes. */
function squares(found, most = MOST_CELLS) {
  const byName = new Map();
  for (const row of found) {
    const key = rows.name[row];
    if (byName.has(key)) byName.get(key).push(row);
    else byName.set(key, [row]);
  }
  const all = [...byName.values()];
  if (all.length <= most) return all;
  const cells = [];
  for (let n = 0; n < most; n++) {
    cells.push(all.slice(Math.floor((n * all.length) / most), Math.floor(((n + 1) * all.length) / most)).flat());
  }
  return cells;
}

/** One stage from its first comparison to its last as a single band, in which a fault stands out. */
function band(stage) {
  const found = [];
  for (let row = 0; row < count; row++) if (text("stage", row) === stage) found.push(row);
  const groups = squares(found, 240);
  const wrong = found.filter(differs).length;
  const bars = groups.map((group, n) => {
    const worst = group.reduce(worse);
    const names = new Set(group.map((row) => rows.name[row])).size;
    const tall = differs(worst);
    return make("rect", {
      class: rows.harmless[worst] ? "h5" : `h${step(worst)}`, x: n, y: tall ? 0 : 5, width: groups.length > 120 ? 1 : 0.9,
      height: tall ? 26 : 16, onpointerenter: () => inspect(group, worst, names), onclick: () => jump(worst),
    });
  });
  const said = `${stage}: ${found.length} comparisons from first to last, ${wrong} of them differ`;
  const svg = make("svg", { viewBox: `0 0 ${groups.length} 26`, preserveAspectRatio: "none", role: "img", "aria-label": said }, ...bars);
  return make("div", { class: "band" }, make("span", {}, stage), svg);
}

function cell(group) {
  const worst = group.reduce(worse);
  const harmless = rows.harmless[worst];
  const names = new Set(group.map((row) => rows.name[row])).size;
  const marks = `${harmless ? "harmless" : "h" + step(worst)}${group.some(isCulprit) ? " culprit" : ""}`;
  const verdict = harmless ? "differs harmlessly" : differs(worst) ? "differs" : "agrees";
  const said = `${text("name", worst)}: ${verdict}, ratio ${ratioOf(worst)}${names > 1 ? `, the worst of ${names}` : ""}`;
  const show = () => inspect(group, worst, names);
  return make("button", {
    type: "button", class: `cell ${marks}`, tabindex: -1, "aria-label": said,
    onmouseenter: show, onfocus: show, onclick: () => jump(worst),
  }, differs(worst) && !harmless ? "×" : "");
}

/** Show the numbers of one square. */
function inspect(group, worst, names) {
  const box = document.getElementById("inspector");
  const lines = group.filter((row) => rows.name[row] === rows.name[worst]).map((row) => {
    const numbers = `difference ${scientific(rows.max[row])}, noise floor ${scientific(rows.noise[row])}, limit ${scientific(rows.limit[row])}`;
    return make("div", {}, `${text("probe", row)}: ${numbers} — ${ratioOf(row)} ${differs(row) ? "times" : "of"} the limit`);
  });
  const more = names > 1 ? ` (the worst of ${names} drawn together)` : "";
  box.replaceChildren(make("div", {}, make("strong", {}, ...breakable(text("name", worst))), ` ${meaning(worst)}${more}`), ...lines);
}

function strip(node, stage) {
  const closed = node.kids.length && !node.open;
  const found = closed ? within(node, stage) : node.rows[stage] || [];
  const cells = squares(found).map(cell);
  const label = cells.length ? make("span", { class: "of" }, stage) : "";
  const name = cells.length ? stage : `${stage}: nothing is compared here`;
  return make("div", { class: "strip", role: "gridcell", "aria-label": name }, ...(cells.length ? [label, ...cells] : []));
}

function draw(node) {
  const info = node.info || { classes: [] };
  const badge = node.blamed ? make("span", { class: "badge" }, "at fault") : "";
  const inside = node.up && !node.blamed && !node.open && node.kids.some(hasFault) ? make("span", { class: "badge" }, "fault inside") : "";
  const only = info.only ? make("span", { class: "badge" }, `only in ${info.only}`) : "";
  const toggle = node.kids.length && node.name !== "<root>"
    ? make("button", { type: "button", class: "toggle", tabindex: -1, "aria-label": `${node.open ? "close" : "open"} ${node.name}`, onclick: () => set(node, !node.open) }, node.open ? "▾" : "▸")
    : make("span", { class: "toggle" });
  const name = make("button", { type: "button", class: "name", tabindex: -1, title: node.name, onclick: () => ofModule(node.name) }, ...breakable(node.label));
  const classes = make("span", { class: "class" }, info.classes.join(" / "));
  const label = make("div", { class: "label", role: "rowheader" }, toggle, name, badge, inside, only, classes);
  node.element = make("div", {
    class: `node${node.blamed ? " blamed" : ""}`, role: "row", style: `--depth:${node.depth}`, "aria-level": node.depth + 1,
    "aria-expanded": node.kids.length && node.name !== "<root>" ? String(Boolean(node.open)) : null,
  }, label, ...data.strips.map((stage) => strip(node, stage)));
  return node.element;
}

/** The nodes that are shown, from top to bottom. */
function* shown(node) {
  yield node;
  for (const kid of node.open || node.name === "<root>" ? node.kids : []) yield* shown(kid);
}

function redraw(focus) {
  const head = make("div", { class: "node head", role: "row" }, make("div", { role: "columnheader" }, "module"),
    ...data.strips.map((stage) => make("div", { role: "columnheader" }, stage)));
  tree.replaceChildren(head, ...[...shown(trunk)].map(draw));
  const name = (focus || trunk).element.querySelector(".name");
  name.tabIndex = 0;
  if (focus) name.focus();
}

function set(node, open) {
  node.open = open;
  redraw(node);
}

function setAll(node, open) {
  node.open = open;
  node.kids.forEach((kid) => setAll(kid, open));
}

/** Open what a reader must see: the way to every fault, and as much of the rest as fits a screen or two. */
function unfold() {
  const room = innerWidth > 860 ? 60 : 24;
  const visit = (node) => node.kids.forEach((kid) => {
    kid.open = hasFault(kid) && kid.kids.some(hasFault);
    visit(kid);
  });
  visit(trunk);
  let level = trunk.kids;
  while (level.length && [...shown(trunk)].length < room) {
    const next = level.filter((node) => node.kids.length && !node.open);
    if ([...shown(trunk)].length + next.reduce((sum, node) => sum + node.kids.length, 0) > room) break;
    next.forEach((node) => (node.open = true));
    level = level.flatMap((node) => node.kids);
  }
}

/** Arrow keys: up and down between modules, left and right between the squares of one, or open and close it. */
function move(event) {
  const nodes = [...shown(trunk)];
  const at = nodes.findIndex((node) => node.element.contains(document.activeElement));
  if (at < 0) return;
  const node = nodes[at];
  const stops = [node.element.querySelector(".name"), ...node.element.querySelectorAll(".cell")];
  const place = Math.max(0, stops.indexOf(document.activeElement));
  const foldable = node.kids.length && node.name !== "<root>";
  let next = null;
  if (event.key === "ArrowDown") next = nodes[at + 1]?.element.querySelector(".name");
  else if (event.key === "ArrowUp") next = nodes[at - 1]?.element.querySelector(".name");
  else if (event.key === "Home") next = nodes[0].element.querySelector(".name");
  else if (event.key === "End") next = nodes.at(-1).element.querySelector(".name");
  else if (event.key === "ArrowRight" && place === 0 && foldable && !node.open) return event.preventDefault(), set(node, true);
  else if (event.key === "ArrowLeft" && place === 0 && foldable && node.open) return event.preventDefault(), set(node, false);
  else if (event.key === "ArrowRight") next = stops[place + 1];
  else if (event.key === "ArrowLeft") next = place ? stops[place - 1] : node.up?.element?.querySelector(".name");
  else return;
  event.preventDefault();
  if (next) next.focus();
}

const tree = document.getElementById("tree");
const trunk = tree ? plant() : null;
if (tree) {
  tree.style.setProperty("--strips", data.strips.length);
  const squaresOf = STEPS.map(([, name], n) => make("span", {}, make("span", { class: `cell h${n}` }, n > 4 ? "×" : ""), name));
  const harmless = rows.harmless.some(Boolean) ? [make("span", {}, make("span", { class: "cell harmless" }), "differs harmlessly (see the notes)")] : [];
  const culprit = data.blamed.length ? [make("span", {}, make("span", { class: "cell h7 culprit" }, "×"), "what is blamed")] : [];
  document.getElementById("legend").append(...squaresOf, ...harmless, ...culprit);
  document.getElementById("bands").append(...data.strips.map(band));
  unfold();
  redraw(null);
  tree.addEventListener("keydown", move);
  tree.addEventListener("focusin", (event) => {
    for (const other of tree.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    event.target.tabIndex = 0;
  });
  for (const [id, open] of [["expand", true], ["collapse", false]]) {
    document.getElementById(id).addEventListener("click", () => {
      setAll(trunk, open);
      redraw(null);
    });
  }
}
