// Reading a curve: the numbers of the update under the pointer, or of the one that the arrow keys have reached.
function readable(figure) {
  const curve = data.curves[Number(figure.dataset.curve)];
  const svg = figure.querySelector("svg"), cross = svg.querySelector(".cross"), reading = figure.querySelector(".reading");
  const left = 58, right = 390;
  let at = -1;

  function show(n) {
    at = Math.min(curve.updates.length - 1, Math.max(0, n));
    const update = curve.updates[at];
    const x = left + (update / Math.max(curve.of - 1, 1)) * (right - left);
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
    cross.removeAttribute("hidden");
    const values = curve.expected.length ? `torch ${curve.expected[at] ?? "not finite"}, paddle ${curve.actual[at] ?? "not finite"}; ` : "";
    const judged = update < curve.judged ? `allowed ${scientific(curve.limit[at])}` : "not judged";
    reading.textContent = `update ${update}: ${values}difference ${scientific(curve.gap[at])}, ${judged}`;
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const part = (((event.clientX - box.left) / box.width) * 400 - left) / (right - left);
    const update = part * (curve.of - 1);
    const nearest = curve.updates.reduce((best, value, n) => (Math.abs(value - update) < Math.abs(curve.updates[best] - update) ? n : best), 0);
    show(nearest);
  });
  figure.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(at + steps[event.key]);
  });
}

document.querySelectorAll("figure[data-curve]").forEach(readable);

const copy = document.getElementById("copy");
if (copy) {
  copy.addEventListener("click", async () => {
    const command = document.getElementById("command");
    try {
      await navigator.clipboard.writeText(command.textContent);
      copy.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(command);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      copy.textContent = "Selected: press Ctrl+C";
    }
  });
}

// On paper everything is open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
