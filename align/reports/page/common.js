"use strict";

// What the page is drawn from: columns of comparisons, in which texts are numbers that `texts` resolves.
const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows;
const count = rows.name.length;
const text = (field, row) => data.texts[rows[field][row]];

/** An element with attributes and children; strings become text, never markup. */
function make(tag, attributes = {}, ...children) {
  const space = ["svg", "rect", "circle"].includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A long name with places where it may be broken. */
function breakable(name) {
  const parts = name.split(/(?<=[.:_])/);
  return parts.flatMap((part, n) => (n ? [document.createElement("wbr"), part] : [part]));
}

const differs = (row) => text("status", row) !== "ok";
const called = (module) => (module === "<root>" ? "the model itself" : module);
const scientific = (value) => (value === null ? "∞" : value === 0 ? "0" : value.toExponential(1));

/** difference / limit as people read it. */
function ratioOf(row) {
  const ratio = rows.ratio[row];
  if (ratio === null) return "∞";
  return ratio === 0 ? "0" : ratio >= 0.01 && ratio < 1e4 ? String(Number(ratio.toPrecision(2))) : ratio.toExponential(1);
}

/** What a comparison is about, in words. */
function meaning(row) {
  const name = text("name", row);
  const module = name.split(":")[0];
  switch (text("kind", row)) {
    case "input": return module === "<root>" ? "given to the model" : `passed on by ${called(text("module", row))}`;
    case "output": return "returned";
    case "gradient": return name.includes(":") ? `gradient, sent back by ${called(text("module", row))}` : "gradient of a parameter";
    case "parameter gradient": return "gradient of a parameter";
    default: return text("kind", row);
  }
}

// The steps of the colour scale: the largest ratio of each, and how it is named in the legend.
const STEPS = [
  [0, "equal"], [1e-3, "≤ 0.001 of the limit"], [1e-2, "≤ 0.01"], [1e-1, "≤ 0.1"], [1, "≤ 1: agrees"],
  [1e2, "≤ 100 times the limit"], [1e4, "≤ 10⁴ times"], [1e6, "≤ 10⁶ times"], [Infinity, "more, or not comparable"],
];

/** The place of a comparison on the colour scale; one that differs never looks as if it agreed. */
function step(row) {
  const ratio = rows.ratio[row];
  if (!differs(row)) return ratio === null ? 4 : Math.min(4, STEPS.findIndex(([most]) => ratio <= most));
  if (ratio === null || !["mismatch"].includes(text("status", row))) return 8;
  return Math.max(5, STEPS.findIndex(([most]) => ratio <= most));
}
