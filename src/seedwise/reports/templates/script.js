"use strict";
const value = (row, column) => {
  const cell = row.cells[column];
  const given = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(given);
  if (given === "" || given === "–") return null;
  return Number.isNaN(number) ? given.toLowerCase() : number;
};
const compare = (a, b, sign) => {
  if (a === null || b === null) return (a === null) - (b === null); // what is missing stays last, either way
  return sign * order(a, b);
};
const order = (a, b) => {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
};
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1, column = head.cellIndex;
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    rows.sort((a, b) => compare(a[0], b[0], sign));
    body.append(...rows.map((pair) => pair[1]));
  });
}
for (const input of document.querySelectorAll("input[data-filters]")) {
  const body = document.getElementById(input.dataset.filters).tBodies[0];
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
for (const box of document.querySelectorAll(".scroll")) {
  const hint = document.createElement("p");
  hint.className = "more";
  hint.setAttribute("aria-hidden", "true"); // a screen reader reads the whole table
  hint.textContent = document.querySelector("main").dataset.more;
  box.before(hint);
  const look = () => {
    const hidden = box.scrollWidth - box.clientWidth;
    hint.hidden = hidden < 3;
    box.classList.toggle("cut", hidden - box.scrollLeft > 2);
  };
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
}
for (const button of document.querySelectorAll("button[data-save]")) {
  button.addEventListener("click", () => {
    const boxes = [...document.querySelectorAll("tr[data-pair] input[type=checkbox]")];
    const said = boxes.filter((box) => box.checked !== box.defaultChecked || box.checked || "judged" in box.dataset);
    const pairs = said.map((box) => {
      const { pair, names } = box.closest("tr").dataset, [first, second] = pair.split(" ");
      return { first, second, same: box.checked, names: JSON.parse(names) };
    });
    const content = JSON.stringify({ schema_version: 1, kind: "judged_pairs", pairs }, null, 2) + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
    link.download = button.dataset.save;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
