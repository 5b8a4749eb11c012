// Intervals and p-values of a ratio of means, as sanity/analysis/intervals.py has them.

const LEAST_P = 1e-6; // that is told from 0
const total = (values) => values.reduce((sum, v) => sum + v, 0);

/* The probability that a sum of gamma variables, each times its term, is below 0, integrated where
   it does not oscillate (Helstrom and Ritcey 1985). */
const probabilityBelow = (terms, shapes) => {
  const negative = total(terms.map((v, i) => shapes[i] * v)) < 0;
  const largest = terms.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  const upward = terms.map((v) => (negative ? -v : v) / largest);
  const least = Math.min(...upward);
  if (least >= 0) return negative ? 1 : 0;
  // Where exp(K(-v)) / v is least, about: by halving, in the logarithm of the odds.
  const share = (odds) => -1 / least / (1 + Math.exp(-odds));
  const slope = (v) => total(upward.map((one, i) => (shapes[i] * one) / (1 + one * v))) + 1 / v;
  const v = share(halved(-24, 24, (odds) => slope(share(odds)) > 0, 16));
  const real = upward.map((one) => 1 + one * v);
  const rates = upward.map((one, i) => one / real[i]);
  const width = 1 / Math.sqrt(total(rates.map((one, i) => shapes[i] * one * one)) + 1 / (v * v));
  const logModulus = (y) => -(total(rates.map((one, i) => shapes[i] * Math.log1p((one * y) ** 2))) + Math.log1p((y / v) ** 2)) / 2;
  let last = 1;
  while (last < 24 && !(logModulus(width * Math.sinh(last)) + last < -25)) last += 1;
  const step = last / 48;
  let sum = -1 / 2;
  for (let k = 0; k <= 48; k++) {
    const y = width * Math.sinh(step * k);
    const angle = total(rates.map((one, i) => shapes[i] * Math.atan(one * y))) + Math.atan(y / v);
    sum += Math.exp(logModulus(y)) * Math.cos(angle) * Math.cosh(step * k);
  }
  const peak = Math.exp(-total(real.map((one, i) => shapes[i] * Math.log(one)))) / v;
  const below = clamp((peak * sum * step * width) / Math.PI, 0, 1);
  return negative ? 1 - below : below;
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
    // Only where a denominator has the other sign; 1e9 is no bound.
    for (let size = most - least; below(low) > probability && size < 1e9; size *= 2) low -= size;
    for (let size = most - least; below(high) < probability && size < 1e9; size *= 2) high += size;
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
