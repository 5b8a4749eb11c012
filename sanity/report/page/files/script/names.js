// How methods, verdicts and terms look.

const marker = (look, x, y, size) =>
  s("path", {
    d: look.marker,
    transform: `translate(${x},${y}) scale(${size})`,
    fill: look.filled ? look.color : "none",
    stroke: look.color,
    "stroke-width": look.filled ? 0.05 : 0.22,
  });
const swatch = (method) => {
  const look = D.looks[method];
  return s(
    "svg",
    { class: "swatch", viewBox: "-16 -7 32 14", "aria-hidden": "true" },
    s("path", { d: "M-15,0H15", fill: "none", stroke: look.color, "stroke-width": 2, "stroke-dasharray": look.dash }),
    marker(look, 0, 0, 8),
  );
};
const nameOf = (method) => h("span", { class: "name" }, swatch(method), h("span", { class: "word" }, breakable(method)));

/* Of a method by a metric, what verdicts say. */
const verdictOf = (method, metric, of = group()) =>
  of.verdicts.find((row) => row.method === method && row.metric === metric);
const symbol = (verdict) => D.symbols[verdict] || "–";
const chip = (row) => {
  const verdict = row ? row.verdict : "none";
  const said = [h("span", { "aria-hidden": "true" }, symbol(verdict)), ` ${row ? row.word : "no verdict"}`];
  const node = term(verdict, said);
  node.classList.add("chip", verdict);
  if (row && row.leans) node.classList.add(`leans_${row.leans}`);
  return node;
};

/* A word that the glossary explains, on hover and focus. */
const term = (key, label) => h("button", { type: "button", class: "term", "aria-describedby": `term-${key}` }, label);
(() => {
  const box = $("gloss");
  let about_ = null;
  const show = (node) => {
    const said = $(node.getAttribute("aria-describedby"));
    if (!said) return;
    box.textContent = said.textContent;
    box.hidden = false;
    about_ = node;
    place(box, node.getBoundingClientRect());
  };
  const over = (event) => {
    const node = event.target.closest && event.target.closest(".term");
    if (node) show(node);
    else if (event.type === "focusin" || !document.activeElement.matches(".term")) box.hidden = true;
  };
  document.addEventListener("pointerover", over);
  document.addEventListener("focusin", over);
  document.addEventListener("click", over);
  document.addEventListener("keydown", (event) => event.key === "Escape" && (box.hidden = true));
  window.addEventListener("scroll", () => box.hidden || place(box, about_.getBoundingClientRect()), { passive: true });
})();

/* Puts a box below what it is about, or above it where there is no room. */
const place = (box, about) => {
  const { width, height } = box.getBoundingClientRect();
  const room = { x: document.documentElement.clientWidth, y: window.innerHeight };
  const below = about.bottom + 6;
  const top = below + height > room.y - 4 ? about.top - height - 6 : below;
  box.style.left = `${clamp(about.left, 8, Math.max(8, room.x - width - 8))}px`;
  box.style.top = `${Math.max(4, top)}px`;
};
