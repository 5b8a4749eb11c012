// Masks, coloured here: see sanity/report/tiles.py.

const COOLWARM = Array.from({ length: 256 }, (_, i) =>
  [0, 2, 4].map((at) => parseInt(D.coolwarm.slice(6 * i + at, 6 * i + at + 2), 16)));
const LEVELS = 31;
const SIGNED = Array.from({ length: 2 * LEVELS + 1 }, (_, q) => COOLWARM[Math.round((255 * q) / (2 * LEVELS))]);
let cards = [];
let generation = 0;

const pixels = (url, width, height) =>
  new Promise((done, failed) => {
    const picture = new Image();
    picture.onload = () => {
      const canvas = h("canvas", { width: width || picture.naturalWidth, height: height || picture.naturalHeight });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0, canvas.width, canvas.height);
      done(context.getImageData(0, 0, canvas.width, canvas.height).data);
    };
    picture.onerror = failed;
    picture.src = url;
  });

const paint = (canvas, levels, k, photo) => {
  const [height, width] = run().size;
  const context = canvas.getContext("2d", { willReadFrequently: true }); // many and small: no GPU
  const out = context.createImageData(width, height);
  const signed = state.mode === "signed";
  const n = width * height;
  for (let i = 0; i < n; i++) {
    const q = levels[k * n + i];
    const strength = Math.abs(q - LEVELS) / LEVELS;
    let r, g, b;
    if (signed) [r, g, b] = SIGNED[q];
    else r = g = b = Math.round(255 * strength);
    if (photo) {
      const [pr, pg, pb] = [photo[4 * i], photo[4 * i + 1], photo[4 * i + 2]];
      if (signed) {
        const grey = 0.3 * pr + 0.59 * pg + 0.11 * pb;
        const share = Math.min(1, 1.3 * strength);
        [r, g, b] = [r, g, b].map((v) => grey + (v - grey) * share);
      } else {
        const light = 0.12 + 0.88 * strength;
        [r, g, b] = [pr * light, pg * light, pb * light];
      }
    }
    out.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(out, 0, 0);
};

/* The last stage up to this one whose masks the page carries. */
const carried = (stage) => {
  const stages = run().stages;
  let k = 0;
  while (k + 1 < stages.length && stages[k + 1] <= stage) k++;
  return k;
};

const scoreOf = (() => {
  let index = null;
  return (i, image, method, metric, stage) => {
    const R = D.rows;
    if (!R) return null;
    if (!index) {
      index = new Map();
      R.value.forEach((_, row) => {
        index.set([R.run[row], R.image[row], R.method[row], R.metric[row], R.stage[row]].join(), row);
      });
    }
    const key = [i, R.images.indexOf(image), D.methods.indexOf(method), D.metrics.indexOf(metric), stage];
    const row = index.get(key.join());
    return row === undefined ? null : { value: R.value[row], null: R.null[row], reason: R.reasons[R.reason[row]] };
  };
})();

const buildMasks = async () => {
  const mine = ++generation;
  const host = $("pictures");
  host.replaceChildren();
  cards = [];
  const pictures = run().pictures;
  if (!pictures.length) {
    host.append(h("p", { class: "key" }, "No masks of this run are on this page."));
    $("masks-key").textContent = "";
    return;
  }
  const [height, width] = run().size;
  const coarse = Math.max(height, width) <= 64 ? " coarse" : "";
  const canvas = () => h("canvas", { width, height, role: "img" });
  const waiting = [];
  for (const picture of pictures) {
    const before = h("span", {}), after = h("span", {}), target = h("span", { class: "dim" });
    const photo = picture.photo ? h("img", { src: picture.photo, alt: `the image ${picture.image}` }) : null;
    const grid = h(
      "div",
      { class: `cards${coarse}` },
      h(
        "figure",
        { class: "card" },
        h("figcaption", {}, h("span", { class: "name" }, "image")),
        h("div", { class: "pair" }, h("div", {}, photo, h("small", {}, photo ? "as explained" : "not stored")), h("div", { class: "predicted" }, before, after, target)),
      ),
    );
    const first = { picture, before, after, target, photo: null };
    waiting.push(async () => {
      if (picture.photo) first.photo = await pixels(picture.photo, width, height);
    });
    cards.push({ first });
    for (const method of D.methods) {
      const masks = picture.masks[method];
      if (!masks) continue;
      const sides = [canvas(), canvas()];
      const labels = [h("small", {}), h("small", {})];
      const number = h("span", { class: "number" });
      const node = h(
        "figure",
        { class: "card", "data-method": method, "data-image": picture.image },
        h("figcaption", {}, name(method), number),
        h("div", { class: "pair" }, sides.map((side, i) => h("div", {}, side, labels[i]))),
      );
      node.hidden = !visible(method);
      grid.append(node);
      const card = { picture, method, masks, sides, labels, number, first, levels: null };
      cards.push(card);
      waiting.push(async () => {
        const all = await pixels(masks.png);
        const levels = new Uint8Array(all.length / 4);
        for (let i = 0; i < levels.length; i++) levels[i] = all[4 * i];
        card.levels = levels;
        if (mine === generation) show(card);
      });
    }
    host.append(h("article", { class: "picture" }, h("h3", {}, picture.image), grid));
  }
  showMasks();
  document.body.dataset.masks = "loading";
  for (const one of waiting) {
    if (mine !== generation) return;
    await one();
  }
  showMasks();
  document.body.dataset.masks = "ready";
};

const special = (side, what) => {
  const old = side.parentNode.querySelector(".special");
  if (old) old.remove();
  if (what) side.after(h("span", { class: `special ${what}` }, what));
};
const show = (card) => {
  const { picture, method, masks, sides, labels, number, first } = card;
  const ks = [0, carried(state.stage)];
  ks.forEach((k, i) => {
    const stage = run().stages[k];
    const block = layerName(run().layers, stage);
    if (card.levels) paint(sides[i], card.levels, k, state.overlay ? first.photo : null);
    special(sides[i], masks.special[k]);
    labels[i].textContent = stage ? `stage ${stage}, ${block}` : "as trained";
    labels[i].title = labels[i].textContent;
    sides[i].dataset.stage = stage;
    const found = scoreOf(state.run, picture.image, method, state.metric, stage);
    const said = found && stage ? `, ${state.metric} ${shown(found.value)}` : "";
    const state_ = masks.special[k] ? `, ${masks.special[k]}` : "";
    sides[i].setAttribute("aria-label", `${method} of ${picture.image}, ${labels[i].textContent}${said}${state_}`);
    if (i) {
      number.textContent = found ? `${state.metric} ${shown(found.value)}` : "";
      number.title = found ? `null ${shown(found.null)}${found.reason ? `; ${found.reason}` : ""}` : "";
      number.dataset.value = found ? exact(found.value) : "";
    }
  });
};
const showPredictions = ({ picture, before, after, target }) => {
  const classes = run().classes;
  const rows = new Map(picture.predictions.map((row) => [row[0], row]));
  const said = (row) => (row ? `${classes[row[1]] ?? row[1]} ${shown(row[2])}` : "–");
  const stage = run().stages[carried(state.stage)];
  const [original, now] = [rows.get(0), rows.get(stage)];
  before.replaceChildren(h("span", { class: "dim" }, "predicted as trained"), said(original));
  after.replaceChildren(h("span", { class: "dim" }, `at stage ${stage}`), said(now));
  target.textContent = now ? `explained: ${classes[now[3]] ?? `class ${now[3]}`}, its probability now ${shown(now[4])}` : "";
};
const showMasks = () => {
  const complaint = run().complaints[state.stage];
  $("dead").hidden = !complaint;
  $("dead").textContent = complaint ? `Stage ${state.stage}: ${complaint}. Masks there say nothing.` : "";
  if (!run().pictures.length) return;
  for (const card of cards) {
    if (card.method) show(card);
    else showPredictions(card.first);
  }
  $("overlay").disabled = !run().pictures.some((picture) => picture.photo);
  const [height, width] = run().size;
  const [h0, w0] = run().shape;
  const shrunk = height === h0 && width === w0 ? "" : ` Shrunk from ${w0} × ${h0} to ${width} × ${height}.`;
  const stages = run().stages.length < run().layers.length ? " Of stages without stored pictures, the one before is shown." : "";
  $("masks-key").textContent =
    (state.mode === "signed"
      ? "Summed over channels; blue is negative, red positive, ± the 99th percentile of each mask."
      : "The absolute value of the sum over channels, from black, 0, to white, the 99th percentile of the signed mask.") +
    " Left as trained, right at the stage chosen." + shrunk + stages;
};
