// Verdicts by other thresholds, as sanity/analysis/verdicts.py makes them, from the scores in D.rows.

const measured = new Map(); // by number of a group
/* Of a scheme's methods by each metric, [value, null] by image, seed and stage, and the seeds. */
const scoresOf = (number) => {
  if (measured.has(number)) return measured.get(number);
  const found = new Map();
  const R = D.rows;
  for (let i = 0; i < R.value.length; i++) {
    const of = D.runs[R.run[i]];
    if (of.group !== number) continue;
    const key = `${R.metric[i]} ${R.method[i]}`;
    if (!found.has(key)) {
      found.set(key, { metric: D.metrics[R.metric[i]], method: D.methods[R.method[i]], cells: new Map(), seeds: new Set() });
    }
    const { cells, seeds } = found.get(key);
    seeds.add(of.seed);
    if (!cells.has(R.image[i])) cells.set(R.image[i], new Map());
    const ofImage = cells.get(R.image[i]);
    if (!ofImage.has(of.seed)) ofImage.set(of.seed, []);
    const byStage = ofImage.get(of.seed);
    if (!byStage[R.stage[i]]) byStage[R.stage[i]] = [num(R.value[i]), num(R.null[i])];
  }
  measured.set(number, [...found.values()]);
  return measured.get(number);
};

/* The early similarity over stages 1 to so many, of the images that have all scores there. */
const earlyOf = (one, stages, names) => {
  const seeds = [...one.seeds];
  const identity = num(one.metric.identity);
  const [images, tops, bottoms] = [[], [], []];
  for (const [image, ofSeed] of one.cells) {
    const pairs = seeds.map((seed) => {
      const chosen = Array.from({ length: stages }, (_, k) => (ofSeed.get(seed) || [])[k + 1] || [NaN, NaN]);
      return [mean(chosen.map(([value]) => value)), mean(chosen.map(([, null_]) => null_))];
    });
    if (!pairs.every(([value, null_]) => Number.isFinite(value + null_))) continue;
    images.push(image);
    tops.push(pairs.map(([value, null_]) => value - null_));
    bottoms.push(pairs.map(([, null_]) => identity - null_));
  }
  const below = images.length ? mean(bottoms.map(mean)) : NaN;
  const found = { images: images.length, seeds: seeds.length, null: identity - below, early: NaN, low: NaN, high: NaN, p: () => NaN, each: { image: [], value: [] } };
  if (!(Math.abs(below) >= 1e-9)) return found;
  const ratio = ratioOf(tops, bottoms);
  const every = images.map((image, i) => [image, mean(tops[i]) / below]).sort((a, b) => a[1] - b[1]);
  const dots = every.filter((_, i) => every.length <= 200 || i % Math.ceil(every.length / 200) === 0 || i === every.length - 1);
  return { ...found, early: ratio.mean, low: ratio.low, high: ratio.high, p: ratio.p, each: { image: dots.map(([i]) => names.indexOf(D.rows.images[i])), value: dots.map(([, v]) => v) } };
};
/* How many images have scores, or reasons for none, in every draw of the weights. */
const inAllDraws = ({ cells, seeds }) => [...cells.values()].filter((ofSeed) => ofSeed.size === seeds.size).length;
const estimates = new Map(); // by group and stages
const estimated = (number, stages) => {
  const key = `${number} ${stages}`;
  if (!estimates.has(key)) {
    estimates.set(key, scoresOf(number).map((one) => ({ method: one.method, metric: one.metric, all: inAllDraws(one), ...earlyOf(one, stages, D.groups[number].images) })));
  }
  return estimates.get(key);
};

/* Why the networks of the early stages say nothing; null if they do. */
const earlyComplaint = (of, stages) => {
  const upTo = (values) => values.slice(1, stages + 1);
  const said = of.runs.flatMap((i) => upTo(D.runs[i].complaints));
  const unsound = said.filter((words) => words && !words.startsWith("dead network"));
  if (2 * unsound.length > said.length) return unsound[0].split(":")[0];
  const shares = of.runs.flatMap((i) => upTo(D.runs[i].shares)).map(num).filter(Number.isFinite).sort((a, b) => a - b);
  const n = shares.length;
  if (!n) return null;
  return (shares[Math.floor((n - 1) / 2)] + shares[Math.floor(n / 2)]) / 2 < of.thresholds.dead ? "dead network" : null;
};

/* What may not be decided by the early similarity: [verdict, why]; null where it decides. */
const excluded = (one, of, broken) => {
  if (isControl(one.method)) return ["none", "a control"];
  if (one.metric.identity === null) return ["none", "this metric has no value that a mask has with itself"];
  if (broken) return ["invalid", broken];
  if (!one.all) return ["invalid", "no image is in all draws of the weights"];
  if (2 * one.images < one.all || !one.images) return ["invalid", `no score in ${one.all - one.images} of ${one.all} images`];
  const { identity, unrelated } = one.metric;
  if (unrelated !== null && unrelated !== identity && (one.null - unrelated) / (identity - unrelated) >= of.thresholds.alike) {
    return ["same_for_every_image", "the masks of different images are nearly the same"];
  }
  return Number.isNaN(one.early) ? ["inconclusive", "the null is as high as the identity"] : null;
};
/* The verdict and why it is withheld. */
const decided = (one, of, { threshold, images }) => {
  const verdict = one.early > threshold ? "insensitive" : "sensitive";
  const blends = (of.blends[one.metric.name] || {})[one.method];
  if (one.images < images) return ["inconclusive", `${plural(one.images, "image")}, fewer than ${images}`];
  if (!(one.p <= 1 - 0.95)) {
    const inside = one.low <= threshold && threshold <= one.high;
    return ["inconclusive", inside ? `the interval holds ${threshold}` : `p, corrected for ${one.tests} methods, is ${one.p.toPrecision(2)}`];
  }
  if (blends && verdict === "sensitive" && !(num(blends[0]) > threshold)) return ["inconclusive", "too strict a metric to say sensitive"];
  if (blends && verdict === "insensitive" && !(num(blends[1]) < threshold)) return ["inconclusive", "too lenient a metric to say insensitive"];
  return [verdict, ""];
};

/* The rows of verdicts of a scheme by a threshold, an early window and a least number of images. */
const judge = (number, wanted) => {
  const of = D.groups[number];
  const last_ = of.layers.length - 1;
  const stages = Math.ceil(last_ / wanted.early);
  const broken = of.outlived || earlyComplaint(of, stages);
  const primary = (of.verdicts.find((row) => row.primary) || {}).metric;
  const rows = estimated(number, stages).map((one) => ({ ...one, p: NaN, chance: one.p, tests: 1, out: excluded(one, of, broken) }));
  const open = rows.filter((row) => !row.out);
  const tested = open.filter((row) => row.images >= wanted.images);
  for (const row of tested) row.p = row.chance(wanted.threshold);
  const family = tested.filter((row) => row.metric.name === primary);
  holm(family.map((row) => row.p)).forEach((p, i) => Object.assign(family[i], { p, tests: family.length }));
  for (const row of rows) [row.verdict, row.said] = row.out || decided(row, of, wanted);
  for (const row of open.filter((one) => one.metric.name === primary && OPPOSITE[one.verdict])) {
    const against = open.filter((one) => one.method === row.method && one.verdict === OPPOSITE[row.verdict]);
    if (against.length) row.said = `${row.verdict} by ${primary}, ${against[0].verdict} by ${against.map((one) => one.metric.name).join(", ")}`;
    if (against.length) row.contradicted = true;
  }
  return rows.map(({ method, metric, verdict, contradicted, ...row }) => {
    const is = contradicted ? "depends_on_metric" : verdict;
    return { ...row, method, metric: metric.name, verdict: is, word: wordOf(is, isControl(method)) };
  });
};
const wordOf = (verdict, control) => {
  if (verdict === "none") return control ? "– (control)" : "no verdict";
  return verdict === "depends_on_metric" ? "depends on the metric" : verdict.replaceAll("_", " ");
};
