// Which block is random when.

const drawScheme = () => {
  const { blocks, layers, shares, complaints } = run();
  const host = $("blocks");
  const stages = blocks.length ? blocks[0].randomized.length : 0;
  const largest = Math.max(1, ...blocks.map((b) => b.parameters || 0));
  const strip = (cells, label, more) => h("div", { class: `strip${more || ""}`, role: "img", "aria-label": label }, cells);
  const heads = Array.from({ length: stages }, (_, k) => h("i", { "data-stage": k }, String(k)));
  const rows = [h("span", { class: "heads" }, "block"), h("span", { class: "heads size" }, "parameters"), strip(heads, "stages", " heads")];
  const cell = (k, share, title, kind) => h("i", { "data-stage": k, title, class: kind }, s("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, share ? s("rect", { width: 1, height: share, y: 1 - share }) : null));
  for (const block of blocks) {
    const name = block.name || "in no block";
    const of = block.parameters === null ? 1 : block.parameters;
    const cells = block.randomized.map((n, k) => {
      const said = !n ? "as trained" : block.parameters === null ? "random" : `${n.toLocaleString("en")} of ${of.toLocaleString("en")} random`;
      const share = of && n ? Math.max(0.12, n / of) : 0;
      return cell(k, share, `${name}, stage ${k}: ${said}`, n && (layers[k] === block.name || !block.randomized[k - 1]) ? "new" : null);
    });
    const random = block.randomized.flatMap((n, k) => (n ? [k] : []));
    const size = block.parameters === null ? "–" : block.parameters.toLocaleString("en");
    const width = (100 * (block.parameters || 0)) / largest;
    rows.push(
      h("span", { class: "block" }, name),
      h("span", { class: "size" }, s("svg", { class: "share", "aria-hidden": "true" }, s("rect", { x: `${100 - width}%`, width: `${width}%`, height: "100%" })), size),
      strip(cells, `${name}: ${random.length ? `random at stages ${random.join(", ")}` : "never randomized"}`),
    );
  }
  if (shares.some((share) => share !== null)) {
    const cells = shares.map((share, k) => cell(k, clamp(num(share) || 0, 0, 1), `stage ${k}: ${shown(share, 2)} of the logits' variance lies between images${complaints[k] ? `; ${complaints[k]}` : ""}`, complaints[k] ? "dead" : "health"));
    rows.push(
      h("span", { class: "block apart" }, "tells images apart"),
      h("span", { class: "size apart" }, h("small", {}, "share of variance")),
      strip(cells, `Share of the logits' variance between images, by stage: ${shares.map((share, k) => `${k}: ${shown(share, 2)}`).join(", ")}`, " apart"),
    );
  }
  host.replaceChildren(h("div", { class: "scheme" }, rows));
  markScheme();
};
const markScheme = () => {
  const host = $("blocks");
  host.querySelectorAll("[data-stage]").forEach((node) => node.classList.toggle("now", Number(node.dataset.stage) === state.stage));
  host.setAttribute("aria-valuenow", state.stage);
  host.setAttribute("aria-valuemax", last());
  const random = run().blocks.filter((b) => b.randomized[state.stage]).map((b) => b.name || "in no block");
  host.setAttribute("aria-valuetext", `stage ${state.stage}: ${random.length ? `random: ${random.join(", ")}` : "as trained"}`);
};
$("blocks").addEventListener("click", (event) => {
  const node = event.target.closest("[data-stage]");
  if (node) set({ stage: Number(node.dataset.stage) });
});
$("blocks").addEventListener("keydown", stepByKey);
let staleScheme = true;
const showScheme = () => whenNear($("blocks"), () => {
  if (staleScheme) drawScheme();
  else markScheme();
  staleScheme = false;
});
watch("group run", () => {
  staleScheme = true;
  showScheme();
});
watch("stage", showScheme);
