// Masks: decoded when they are wanted, and coloured here; see sanity/report/page/tiles.py.

const LEVELS = 31;
const rgb = (r, g, b) => (255 << 24) | (b << 16) | (g << 8) | r; // as ImageData has it, little-endian
const PALETTES = {
  absolute: Uint32Array.from({ length: LEVELS + 1 }, (_, q) => {
    const grey = Math.round((255 * q) / LEVELS);
    return rgb(grey, grey, grey);
  }),
  signed: Uint32Array.from({ length: 2 * LEVELS + 1 }, (_, q) => {
    const at = 6 * Math.round((255 * q) / (2 * LEVELS));
    return rgb(...[0, 2, 4].map((i) => parseInt(D.coolwarm.slice(at + i, at + i + 2), 16)));
  }),
};

const pixels = (url, width, height) =>
  new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => {
      const canvas = h("canvas", { width: width || image.naturalWidth, height: height || image.naturalHeight });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      done(context.getImageData(0, 0, canvas.width, canvas.height).data);
    };
    image.onerror = failed;
    image.src = url;
  });
const decode = async (url) => {
  const all = await pixels(url);
  return Uint8Array.from({ length: all.length / 4 }, (_, i) => all[4 * i]);
};
/* A function of a URL that keeps what it made last. */
const keeping = (make, most) => {
  const kept = new Map();
  return (url, ...more) => {
    const key = url + more;
    if (!kept.has(key)) kept.set(key, make(url, ...more));
    const found = kept.get(key);
    kept.delete(key); // to the end: used last
    kept.set(key, found);
    if (kept.size > most) kept.delete(kept.keys().next().value);
    return found;
  };
};
const levelsOf = keeping(decode, 150);
const photoOf = keeping(pixels, 20);

/* Paints masks of stages carried, `ks`, side by side. */
const paintMasks = async (canvas, i, shot, method, ks) => {
  const { mode, overlay } = state;
  const [height, width] = D.runs[i].size;
  const sprite = shot.masks[method][mode];
  const levels = await levelsOf(sprite.png);
  const photo = overlay && shot.photo ? await photoOf(shot.photo, width, height) : null;
  canvas.width = width * ks.length;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true }); // many and small: no GPU
  const out = context.createImageData(canvas.width, height);
  const colors = new Uint32Array(out.data.buffer);
  const palette = PALETTES[mode];
  ks.forEach((k, column) => {
    for (let y = 0; y < height; y++) {
      let from = (k * height + y) * width, to = y * canvas.width + column * width;
      for (let x = 0; x < width; x++) colors[to++] = palette[levels[from++]];
    }
    if (photo) layOver(out.data, photo, levels, k, column, [height, width], canvas.width, mode);
  });
  context.putImageData(out, 0, 0);
  ks.forEach((k, column) => {
    if (sprite.special[k]) mark(context, sprite.special[k], column * width, width, height);
  });
  canvas.dataset.painted = `${shot.image} ${method} ${mode} ${ks}${overlay ? " over" : ""}`;
};

/* A mask over the photograph: coloured where it is strong if signed, lit up if absolute. */
const layOver = (out, photo, levels, k, column, [height, width], stride, mode) => {
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x, o = 4 * (y * stride + column * width + x);
      const [r, g, b] = [photo[4 * i], photo[4 * i + 1], photo[4 * i + 2]];
      const q = levels[k * height * width + i];
      if (mode === "signed") {
        const grey = 0.3 * r + 0.59 * g + 0.11 * b;
        const share = Math.min(1, (1.3 * Math.abs(q - LEVELS)) / LEVELS);
        for (let c = 0; c < 3; c++) out[o + c] = grey + (out[o + c] - grey) * share;
      } else {
        const light = 0.12 + (0.88 * q) / LEVELS;
        out[o] = r * light;
        out[o + 1] = g * light;
        out[o + 2] = b * light;
      }
    }
  }
};

/* What is special about a mask, written where it would stand. */
const mark = (context, special, left, width, height) => {
  context.fillStyle = "#d9dce0";
  context.fillRect(left, 0, width, height);
  context.fillStyle = "#22262c";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = `${Math.min(16, width / 5)}px sans-serif`;
  context.fillText(special, left + width / 2, height / 2, width);
};

/* The place among the stages carried of the last one up to this. */
const carried = (stage, of = run()) => {
  let k = 0;
  while (k + 1 < (of.stages || [0]).length && of.stages[k + 1] <= stage) k++;
  return k;
};

/* A score of the page's rows: {value, null, reason}, or null. */
const scoreOf = (() => {
  let index = null;
  return (i, image, method, metric, stage) => {
    const R = D.rows;
    if (!R) return null;
    if (!index) {
      index = new Map();
      R.value.forEach((_, row) => index.set(`${R.run[row]} ${R.image[row]} ${R.method[row]} ${R.metric[row]} ${R.stage[row]}`, row));
    }
    const at = [R.images.indexOf(image), D.methods.indexOf(method), D.metrics.findIndex((one) => one.name === metric)];
    const row = index.get(`${i} ${at.join(" ")} ${stage}`);
    return row === undefined ? null : { value: R.value[row], null: R.null[row], reason: R.reasons[R.reason[row]] };
  };
})();
const maskSaid = (i, shot, method, k) => {
  const stage = D.runs[i].stages[k];
  const found = scoreOf(i, shot.image, method, state.metric, stage);
  const what = shot.masks[method][state.mode].special[k];
  return `stage ${stage}, ${layerName(D.runs[i].layers, stage)}${found ? `, ${state.metric} ${shown(found.value)}` : ""}${what ? `, ${what}` : ""}`;
};
