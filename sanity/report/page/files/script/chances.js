// Intervals and p-values of a ratio of means, as sanity/analysis/intervals.py has them.

const LEAST_P = 1e-6; // that is told from 0
const total = (values) => values.reduce((sum, v) => sum + v, 0);

/* The probability that a sum of gamma variables, each times its term, is below 0 (Imhof 1961). */
const probabilityBelow = (terms, shapes) => {
  const centre = total(terms.map((v, i) => shapes[i] * v));
  const spread = Math.sqrt(total(terms.map((v, i) => shapes[i] * v * v)));
  if (Math.abs(centre) > 30 * spread) return centre < 0 ? 1 : 0;
  const logRho = (u) => total(terms.map((v, i) => shapes[i] * Math.log1p((v * u) ** 2))) / 2;
  const lowest = Math.log(1e-3 / total(terms.map((v, i) => shapes[i] * Math.abs(v))));
  let highest = lowest;
  while (highest < lowest + 80 && !(logRho(Math.exp(highest)) > 30)) highest += 2;
  const step = (highest - lowest) / 80;
  let [sum, first] = [0, 0];
  for (let k = 0; k <= 80; k++) {
    const u = Math.exp(lowest + step * k);
    const angle = total(terms.map((v, i) => shapes[i] * Math.atan(v * u)));
    const value = Math.sin(angle) * Math.exp(-logRho(u));
    if (!k) first = value;
    sum += value;
  }
  // Up to the lowest u by Euler and Maclaurin's formula.
  const integral = centre * Math.exp(lowest) + step * (sum - first / 2 + (step * first) / 12);
  return clamp(0.5 - integral / Math.PI, 0, 1);
};

/* The ratio's distribution with random weights on the images, and half an image at 0 and at 1. */
const weighted = (tops, bottoms) => {
  const scale = mean(bottoms);
  const order = tops.map((v, i) => [v / scale, bottoms[i] / scale]).sort((a, b) => a[0] - b[0]);
  const parts = Math.min(order.length, 200); // of more images, neighbours share a weight
  const [size, more] = [Math.floor(order.length / parts), order.length % parts];
  const groups = Array.from({ length: parts }, (_, k) => {
    const from = k * size + Math.min(k, more);
    return order.slice(from, from + size + (k < more ? 1 : 0));
  });
  const top = [...groups.map((g) => mean(g.map((one) => one[0]))), 0, 1];
  const bottom = [...groups.map((g) => mean(g.map((one) => one[1]))), 1, 1];
  const shapes = [...groups.map((g) => g.length), 0.5, 0.5];
  const below = (ratio) => {
    const terms = top.map((v, i) => v - ratio * bottom[i]);
    return terms.some((v) => v !== 0) ? probabilityBelow(terms, shapes) : 0.5;
  };
  const ratios = top.flatMap((v, i) => (bottom[i] > 0 ? [v / bottom[i]] : []));
  const [least, most] = [Math.min(...ratios), Math.max(...ratios)];
  const quantile = (probability) => {
    let [low, high] = [least, most];
    while (below(low) > probability) low -= most - least; // only where a denominator has the other sign
    while (below(high) < probability) high += most - least;
    return halved(low, high, (r) => below(r) < probability, 24);
  };
  return { below, quantile, least, most };
};
/* Where something stops to hold between two ends, by halving. */
const halved = (low, high, holds, steps) => {
  for (let k = 0; k < steps; k++) {
    const between_ = (low + high) / 2;
    if (holds(between_)) low = between_;
    else high = between_;
  }
  return (low + high) / 2;
};

/* Student's t that is exceeded either way with a probability, for whole degrees of freedom: by
   Abramowitz and Stegun 26.7.3 and 26.7.4. */
const student = (p, freedom) => {
  const within = (angle) => {
    const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
    const odd = freedom % 2;
    let [term, sum] = [odd ? cos : 1, 0];
    for (let k = odd ? 3 : 2; k <= freedom; k += 2) {
      sum += term;
      term *= ((k - 1) / k) * cos * cos;
    }
    return odd ? (2 / Math.PI) * (angle + sin * sum) : sin * sum;
  };
  return Math.sqrt(freedom) * Math.tan(halved(0, Math.PI / 2, (angle) => 1 - within(angle) > p, 60));
};
const deviation = (values) => {
  const centre = mean(values);
  return Math.sqrt(total(values.map((v) => (v - centre) ** 2)) / (values.length - 1));
};

/* Mean, 95 % interval and p-value of a threshold, of numerators and denominators by image and seed. */
const ratioOf = (tops, bottoms) => {
  const [images, seeds] = [tops.length, tops[0].length];
  const centre = mean(tops.map(mean)) / mean(bottoms.map(mean));
  if (images < 2) return { mean: centre, low: NaN, high: NaN, p: () => NaN };
  const of = weighted(tops.map(mean), bottoms.map(mean));
  const column = (rows, k) => mean(rows.map((row) => row[k]));
  const bySeed = Array.from({ length: seeds }, (_, k) => column(tops, k) / column(bottoms, k));
  const error = seeds > 1 ? deviation(bySeed) / Math.sqrt(seeds) : 0;
  const half = (p) => (error ? student(p, seeds - 1) * error : 0);
  const p = (threshold) => {
    const side = threshold < centre ? (r) => of.below(r) : (r) => 1 - of.below(r);
    const alone = 2 * Math.min(of.below(threshold), 1 - of.below(threshold));
    if (seeds === 1) return clamp(alone, LEAST_P, 1);
    // Of several seeds: the level at which the interval, joined in squares, ends at the threshold.
    const chance = (r) => Math.min(1, 2 * side(r));
    const reaches = (r) => Math.hypot(Math.max(0, threshold < centre ? centre - r : r - centre), half(Math.max(LEAST_P, chance(r)))) > Math.abs(centre - threshold);
    if (chance(threshold) >= 1) return 1;
    const end = threshold < centre ? Math.max(of.most, centre) : Math.min(of.least, centre);
    return clamp(chance(halved(threshold, end, reaches, 50)), LEAST_P, 1);
  };
  const [low, high] = [of.quantile(0.025), of.quantile(0.975)];
  const over = half(0.05);
  return {
    mean: centre,
    low: Math.min(1, centre - Math.hypot(Math.max(0, centre - low), over)),
    high: Math.min(1, centre + Math.hypot(Math.max(0, high - centre), over)),
    p,
  };
};

/* P-values corrected for how many there are (Holm 1979). */
const holm = (found) => {
  const order = found.map((p, i) => [p, i]).filter(([p]) => !Number.isNaN(p)).sort((a, b) => a[0] - b[0]);
  const corrected = found.map(() => NaN);
  let largest = 0;
  order.forEach(([p, i], k) => {
    largest = Math.max(largest, p * (order.length - k));
    corrected[i] = Math.min(1, largest);
  });
  return corrected;
};
