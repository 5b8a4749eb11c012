// What can be taken along: pictures as SVG and PNG, tables as CSV and LaTeX.

const save = (name, blob) => {
  const link = h("a", { href: URL.createObjectURL(blob), download: name.replace(/[^\w.+-]+/g, "_") });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
};
const file = (text, type) => new Blob([text], { type: `${type};charset=utf-8` });

const STYLED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "fill-opacity", "opacity", "font-size", "font-weight", "font-family", "text-anchor", "visibility"];
/* A drawing with its looks written into it, at a place in another: they come from the page's style. */
const standalone = (svg, left, top) => {
  const copy = svg.cloneNode(true);
  const box = svg.getBoundingClientRect();
  const [from, to] = [[svg, ...svg.querySelectorAll("*")], [copy, ...copy.querySelectorAll("*")]];
  from.forEach((node, i) => {
    const style = getComputedStyle(node);
    for (const key of STYLED) to[i].setAttribute(key, style.getPropertyValue(key));
  });
  for (const gone of copy.querySelectorAll(".cursor, .hover")) gone.remove();
  for (const [key, value] of Object.entries({ x: left, y: top, width: box.width, height: box.height, overflow: "visible" })) copy.setAttribute(key, value);
  for (const key of ["tabindex", "role", "class"]) copy.removeAttribute(key);
  return copy;
};
/* One SVG of what stands in an element: drawings, canvases, photographs and text where they stand. */
const asSvg = (host, title) => {
  const frame_ = host.getBoundingClientRect();
  const paper = getComputedStyle(document.body).backgroundColor;
  const [width, height] = [Math.ceil(frame_.width), Math.ceil(frame_.height) + 24];
  const out = s("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` }, s("title", {}, title), s("rect", { width, height, fill: paper }));
  const ink = getComputedStyle(document.body).color;
  out.append(s("text", { x: 4, y: 16, fill: ink, "font-size": 13, "font-weight": 600, "font-family": "sans-serif" }, title));
  const place_ = (node) => {
    const box = node.getBoundingClientRect();
    return { left: box.left - frame_.left, top: box.top - frame_.top + 24, width: box.width, height: box.height };
  };
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const text = node.data.trim(), parent = node.parentElement;
      const range = document.createRange();
      range.selectNodeContents(node);
      const box = range.getBoundingClientRect();
      if (!text || !box.width) return;
      const style = getComputedStyle(parent), size = parseFloat(style.fontSize);
      const [x, y] = [box.left - frame_.left, box.top - frame_.top + 24];
      const upright = style.writingMode.startsWith("vertical");
      const where = upright ? { transform: `translate(${x + box.width / 2 + size / 3},${y + box.height}) rotate(-90)` } : { x, y: y + box.height / 2 + size / 3 };
      out.append(s("text", { ...where, fill: style.color, "font-size": size, "font-family": "sans-serif", "font-weight": style.fontWeight }, text));
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE || node.hidden || node.matches(".export, .sr, .columns")) return;
    if (getComputedStyle(node).display === "none") return;
    const { left, top, width: w, height: h_ } = place_(node);
    if (node.matches("svg")) out.append(standalone(node, left, top));
    else if (node.matches("canvas, img")) {
      const href = node.matches("img") ? node.src : node.toDataURL();
      out.append(s("image", { href, x: left, y: top, width: w, height: h_, preserveAspectRatio: "none" }));
    } else node.childNodes.forEach(walk);
  };
  walk(host);
  return out;
};
const svgText = (svg) => `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(svg)}`;
const asPng = (svg, scale = 2) =>
  new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => {
      const canvas = h("canvas", { width: image.naturalWidth * scale, height: image.naturalHeight * scale });
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob(done, "image/png");
    };
    image.onerror = failed;
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText(svg))}`;
  });
const titled = (title) => `${document.querySelector("h1").textContent}: ${title}`;
/* Puts buttons by something that save it as a picture. */
const exportable = (host, title) => {
  const picture_ = () => asSvg(host, titled(title));
  const name = `${title}`;
  host.querySelector(":scope > .export")?.remove();
  host.append(h(
    "div",
    { class: "export" },
    button("SVG", () => save(`${name}.svg`, file(svgText(picture_()), "image/svg+xml")), { class: "quiet", "aria-label": `Save ${title} as SVG` }),
    button("PNG", async () => save(`${name}.png`, await asPng(picture_())), { class: "quiet", "aria-label": `Save ${title} as PNG` }),
  ));
};

// Tables: [head, rows of text].
const csvOf = ([head, rows]) => {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return [head, ...rows].map((one) => one.map(cell).join(",")).join("\n") + "\n";
};
const SPECIAL = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "−": "$-$", "–": "--", "×": "$\\times$" };
const latexCell = (text) => {
  const said = text.replace(/[\\~^−–×&%$#_{}]/g, (c) => SPECIAL[c] || `\\${c}`);
  return said.startsWith("[") ? `{${said}}` : said; // after \\ it would be an optional argument
};
const latexOf = ([head, rows], caption) => {
  const line_ = (cells) => `${cells.map(latexCell).join(" & ")} \\\\`;
  return [
    "\\begin{table}", "\\centering", `\\caption{${latexCell(caption)}}`, `\\begin{tabular}{${"l".repeat(head.length)}}`, "\\toprule",
    line_(head), "\\midrule", ...rows.map(line_), "\\bottomrule", "\\end{tabular}", "\\end{table}", "",
  ].join("\n");
};
const scoresTable = () => {
  const names = columns();
  return [names, sorted(rowsShown()).map((row) => names.map((column) => exact(row[column])))];
};
/* The verdicts of the scheme chosen, by all metrics; for reading rounded. */
const verdictsTable = (rounded) => {
  const number = rounded ? short : exact;
  const head = ["method", "metric", "verdict", "early", "low", "high", "score", "null", "images", "seeds"];
  const rows = group().verdicts.filter((row) => visible(row.method) && !isControl(row.method) && (!rounded || row.metric === state.metric));
  return [head, rows.map((row) => head.map((key) => (key === "verdict" ? row.word : ["early", "low", "high", "score", "null"].includes(key) ? number(row[key]) : exact(row[key]))))];
};
const verdictsCaption = () => {
  const of = group();
  const title = document.querySelector("h1").textContent;
  if (!of.early) return `${title}: no verdicts, as there are no early stages.`;
  return `${title}: early similarity by ${state.metric} (0 another image's mask, 1 unchanged) over ${windowOf(of.thresholds.early)}, with 95 % intervals; threshold ${of.thresholds.threshold}.`;
};
const copyText = async (text, said, node) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { readonly: "", style: "position:fixed;left:0;top:0;opacity:0" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    node.focus();
    if (!done) return void ($("copied").textContent = "The browser does not let this page copy.");
  }
  $("copied").textContent = said;
};
(() => {
  $("copy").addEventListener("click", () => {
    const table = scoresTable();
    copyText(csvOf(table), `Copied ${table[1].length} rows as CSV.`, $("copy"));
  });
  $("scores-csv").addEventListener("click", () => save("scores.csv", file(csvOf(scoresTable()), "text/csv")));
  $("verdicts-csv").addEventListener("click", () => save("verdicts.csv", file(csvOf(verdictsTable(false)), "text/csv")));
  $("verdicts-latex").addEventListener("click", () => save("verdicts.tex", file(latexOf(verdictsTable(true), verdictsCaption()), "text/x-tex")));
  $("strips-svg").addEventListener("click", () => save("masks.svg", file(svgText(asSvg($("strips"), titled(state.image))), "image/svg+xml")));
  $("strips-png").addEventListener("click", async () => save("masks.png", await asPng(asSvg($("strips"), titled(state.image)))));
  $("answer-svg").addEventListener("click", () => save("answer.svg", file(svgText(asSvg($("answer-table"), titled("verdicts"))), "image/svg+xml")));
  $("answer-png").addEventListener("click", async () => save("answer.png", await asPng(asSvg($("answer-table"), titled("verdicts")))));
})();
