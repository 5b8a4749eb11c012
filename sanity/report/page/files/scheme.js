// Which block is random when.

const drawScheme = () => {
  const { blocks, layers } = run();
  const host = $("blocks");
  const stages = blocks.length ? blocks[0].randomized.length : 0;
  const largest = Math.max(1, ...blocks.map((b) => b.parameters || 0));
  const strip = (cells, label, more) => {
    const node = h("div", { class: `strip${more || ""}`, role: "img", "aria-label": label }, cells);
    node.addEventListener("click", (event) => {
      const stage = [...node.children].indexOf(event.target);
      if (stage >= 0) setStage(stage);
    });
    return node;
  };
  const heads = Array.from({ length: stages }, (_, k) => h("i", { "data-stage": k }, String(k)));
  const grid = h("div", { class: "scheme" }, h("span", { class: "heads" }, "block"), h("span", { class: "heads size" }, "parameters"), strip(heads, "stages", " heads"));
  for (const block of blocks) {
    const of = block.parameters === null ? 1 : block.parameters;
    const cells = block.randomized.map((n, k) => {
      const title = `${block.name || "in no block"}, stage ${k}: ${n ? (block.parameters === null ? "random" : `${n.toLocaleString("en")} of ${of.toLocaleString("en")} random`) : "as trained"}`;
      const random = of ? n / of : 0;
      const style = random ? `--random:${Math.max(0.12, random)}` : null;
      return h("i", { "data-stage": k, title, style, class: n && (layers[k] === block.name || !block.randomized[k - 1]) ? "new" : null });
    });
    const random = block.randomized.flatMap((n, k) => (n ? [k] : []));
    const said = random.length ? `random at stages ${random.join(", ")}` : "never randomized";
    const size = block.parameters === null ? "–" : block.parameters.toLocaleString("en");
    grid.append(
      h("span", { class: "block" }, block.name || "in no block"),
      h("span", { class: "size" }, h("i", { style: `width:${(100 * (block.parameters || 0)) / largest}%` }), size),
      strip(cells, `${block.name || "in no block"}: ${said}`),
    );
  }
  const { shares, complaints } = run();
  if (shares.some((share) => share !== null)) {
    const cells = shares.map((share, k) => {
      const title = `stage ${k}: ${shown(share, 2)} of the logits' variance lies between images${complaints[k] ? `; ${complaints[k]}` : ""}`;
      return h("i", { "data-stage": k, title, class: complaints[k] ? "dead" : "health", style: `--random:${num(share) || 0}` });
    });
    const said = shares.map((share, k) => `${k}: ${shown(share, 2)}`).join(", ");
    grid.append(
      h("span", { class: "block apart" }, "tells images apart"),
      h("span", { class: "size apart" }, h("small", {}, "share of variance")),
      strip(cells, `Share of the logits' variance between images, by stage: ${said}`, " apart"),
    );
  }
  host.replaceChildren(grid);
  markScheme();
};
const markScheme = () => {
  document.querySelectorAll("#blocks [data-stage]").forEach((cell) =>
    cell.classList.toggle("now", Number(cell.dataset.stage) === state.stage));
};
