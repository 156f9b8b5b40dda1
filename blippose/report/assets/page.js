"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const by = (id) => document.getElementById(id);

  // The system's theme, until the button is used.
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const paint = () => { root.dataset.theme = chosen ?? (system.matches ? "dark" : "light"); };
  system.addEventListener("change", paint);
  by("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    paint();
  });
  paint();

  // Sorting: numbers as numbers; what has no value stays last either way.
  const body = by("runs").tBodies[0];
  const heads = [...by("runs").tHead.rows[0].cells];
  const valueOf = (row, column) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  const sortBy = (column) => {
    const sign = heads[column].getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * compare(x, y);
    });
    body.append(...rows);
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sortBy(column));
  });

  // Filtering: every word must occur, every choice must match.
  const selects = [...document.querySelectorAll("#filters select")];
  const filter = () => {
    const words = by("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const cell = data.cells[row.dataset.cell];
      const text = `${row.textContent} ${cell.label} ${cell.notes.join(" ")}`.toLowerCase();
      const matches = words.every((word) => text.includes(word)) && selects.every(
        (one) => !one.value || row.cells[one.dataset.column].textContent === one.value);
      row.hidden = !matches;
      shown += matches;
    }
    by("count").textContent = `${shown} of ${body.rows.length} runs`;
  };
  by("filters").addEventListener("input", filter);
  by("filters").addEventListener("reset", () => setTimeout(filter));
  by("filters").addEventListener("submit", (event) => event.preventDefault());
  filter();

  // A run's own curves, beside the best run's.
  const svgNode = (name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const short = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3))));
  const box = { left: 44, right: 10, top: 24, bottom: 26, width: 380, height: 220 };

  const chart = (title, own, other) => {
    const figure = document.createElement("figure");
    const svg = svgNode("svg", { viewBox: `0 0 ${box.width} ${box.height}`, role: "img" });
    svg.append(svgNode("title", {}, title), svgNode("text", { x: 4, y: 14, class: "chart-title" }, title));
    figure.append(svg);
    if (!own) {
      svg.append(svgNode("text", { x: 44, y: 100, class: "chart-text" }, "nothing logged"));
      return figure;
    }
    const curves = [own, other].filter(Boolean);
    const xs = curves.flatMap((curve) => curve[0]);
    const ys = curves.flatMap((curve) => curve[1]);
    const ends = [Math.max(...ys), Math.min(...ys)];
    const apart = ends[0] > ends[1] ? 0 : Math.abs(ends[0]) / 2 || 0.5;  // equal values: in the middle
    const [high, low] = [ends[0] + apart, ends[1] - apart];
    const only = new Set(xs).size === 1;  // one epoch: its points stand in the middle
    const last = only ? 2 * xs[0] : Math.max(...xs, 1);
    const span = high - low;
    const x = (value) => box.left + (box.width - box.left - box.right) * value / last;
    const y = (value) => box.top + (box.height - box.top - box.bottom) * (high - value) / span;
    for (const share of [0, 0.5, 1]) {
      const value = low + share * span;
      svg.append(
        svgNode("line", { x1: box.left, x2: box.width - box.right, y1: y(value), y2: y(value), class: "chart-rule" }),
        svgNode("text", { x: box.left - 5, y: y(value) + 4, "text-anchor": "end", class: "chart-text" }, short(value)));
    }
    svg.append(
      svgNode("text", { x: x(0), y: box.height - 8, class: "chart-text" }, "0"),
      svgNode("text", { x: x(only ? xs[0] : last), y: box.height - 8, "text-anchor": only ? "middle" : "end", class: "chart-text" },
        `epoch ${short(only ? xs[0] : last)}`));
    const points = (curve) => curve[0].map((at, i) => `${x(at).toFixed(1)},${y(curve[1][i]).toFixed(1)}`).join(" ");
    if (other) {
      svg.append(svgNode("polyline", { points: points(other), class: "chart-other" }));
      if (other[0].length < 3) other[0].forEach((at, i) => svg.append(
        svgNode("circle", { r: 2.5, class: "chart-other-dot", cx: x(at), cy: y(other[1][i]) })));
    }
    svg.append(svgNode("polyline", { points: points(own), class: "chart-line" }));
    const dot = svgNode("circle", { r: own[0].length < 3 ? 3 : 0, class: "chart-dot", cx: x(own[0].at(-1)), cy: y(own[1].at(-1)) });
    const read = svgNode("text", { x: box.width - box.right, y: 14, "text-anchor": "end", class: "chart-text" });
    svg.append(dot, read);
    svg.addEventListener("pointermove", (event) => {
      const area = svg.getBoundingClientRect();
      const at = (event.clientX - area.left) / area.width * box.width;
      const i = own[0].reduce((best, value, j) => (Math.abs(x(value) - at) < Math.abs(x(own[0][best]) - at) ? j : best), 0);
      dot.setAttribute("r", 3.5);
      dot.setAttribute("cx", x(own[0][i]));
      dot.setAttribute("cy", y(own[1][i]));
      read.textContent = `epoch ${short(own[0][i])}: ${own[1][i].toPrecision(4)}`;
    });
    return figure;
  };

  const show = (index) => {
    const cell = data.cells[index];
    const best = data.best === null || data.best === index ? null : data.cells[data.best];
    by("detail-other").hidden = best === null;
    by("detail").hidden = false;
    by("detail-title").textContent = `${cell.label}: ${cell.state}`;
    by("detail-notes").textContent = cell.notes.join("; ");
    by("detail-charts").replaceChildren(...data.charts.map(
      (one) => chart(one.title, cell.curves[one.name], best && best.curves[one.name])));
    by("detail-command").textContent = cell.command ?? "not recorded by this run";
    by("copy").hidden = !cell.command;
    by("detail-traceback").hidden = !cell.traceback;
    by("detail-traceback").querySelector("pre").textContent = cell.traceback ?? "";
    by("detail-settings").textContent = cell.settings;
    by("detail-versions").textContent = cell.versions;
    const picture = data.pictures[cell.name];
    by("detail-picture").replaceChildren();
    if (picture) {
      const image = document.createElement("img");
      image.src = document.querySelectorAll("#samples img")[picture.position].src;
      image.alt = "Predicted and true skeletons";
      image.style.maxWidth = "100%";
      by("detail-picture").append(image);
    }
    for (const row of body.rows) row.toggleAttribute("aria-current", Number(row.dataset.cell) === index);
    by("detail").scrollIntoView({ block: "nearest" });
  };
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !window.getSelection().toString()) show(Number(row.dataset.cell));
  });
  body.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      show(Number(event.target.closest("tr").dataset.cell));
    }
  });
  by("close").addEventListener("click", () => {
    by("detail").hidden = true;
    for (const row of body.rows) row.removeAttribute("aria-current");
  });
  by("copy").addEventListener("click", async () => {
    const text = by("detail-command").textContent;
    let said = "copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a page opened from a file may not: select it, so that Ctrl+C does
      const range = document.createRange();
      range.selectNodeContents(by("detail-command"));
      window.getSelection().removeAllRanges();
      window.getSelection().addRange(range);
      said = "selected";
    }
    by("copy").textContent = said;
    setTimeout(() => { by("copy").textContent = "copy"; }, 1500);
  });
})();
