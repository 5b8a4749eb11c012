// What is chosen; who is told when it changes; the address, which keeps it.

const state = {
  group: Math.max(0, D.groups.findIndex((of) => of.verdicts.some((row) => row.verdict !== "none"))), // number
  run: 0, // number of a run, whose masks are shown
  metric: D.metrics[0].name,
  stage: 1,
  image: "", // name of an image of that run; "" for its first one
  hidden: "", // methods that are not shown, with commas between, in the page's order
  mode: "absolute", // or signed
  overlay: false, // masks over the image
  scale: "relative", // of curves; or score
  pair: "", // methods A,B that are compared image by image
  whatif: "", // threshold,early,images of verdicts that are not the run's; "" for the run's own
};
const group = () => D.groups[state.group];
const run = () => D.runs[state.run];
const last = () => group().layers.length - 1;
const picture = () => run().pictures.find((one) => one.image === state.image) || run().pictures[0];
const isControl = (method) => D.looks[method].control;
const layerName = (layers, stage) => (stage ? layers[stage] || "?" : "trained");
const metricOf = (name) => D.metrics.find((one) => one.name === name);

let hiddenSet = new Set();
const visible = (method) => !hiddenSet.has(method);
const hide = (methods) => {
  const set_ = new Set(methods);
  set({ hidden: D.methods.filter((m) => set_.has(m)).join(",") });
};

const watchers = [];
/* Has `draw` called whenever one of the keys, with spaces between, changes. */
const watch = (keys, draw) => watchers.push([keys.split(" "), draw]);

/* The thresholds that an address or a slider asks for, as far as there are such; null if none. */
const whatIfOf = (text, of) => {
  const [threshold, early, images] = text.split(",").map(Number);
  if (![threshold, early, images].every((v) => v > 0 && Number.isFinite(v))) return null;
  return { threshold: clamp(threshold, 0.01, 0.99), early: clamp(Math.round(early), 1, Math.max(of.layers.length - 1, of.thresholds.early)), images: clamp(Math.round(images), 2, Math.max(of.images.length, of.thresholds.images)) };
};

/* Makes of what is asked for what there is. */
const settle = () => {
  if (!D.groups[state.group]) state.group = 0;
  if (!group().runs.includes(state.run)) {
    const withMasks = group().runs.find((i) => D.runs[i].pictures.length);
    state.run = withMasks === undefined ? group().runs[0] : withMasks;
  }
  if (!metricOf(state.metric)) state.metric = D.metrics[0].name;
  state.stage = clamp(Math.round(state.stage) || 0, 0, last());
  state.image = picture() ? picture().image : "";
  const asked = whatIfOf(state.whatif, group());
  const same = !asked || Object.keys(asked).every((key) => asked[key] === group().thresholds[key]);
  state.whatif = same ? "" : Object.values(asked).join(",");
  hiddenSet = new Set(state.hidden ? state.hidden.split(",") : []);
};
const set = (changes, remember = true) => {
  const before = { ...state };
  Object.assign(state, changes);
  settle();
  const changed = new Set(Object.keys(state).filter((key) => state[key] !== before[key]));
  if (remember && changed.size) note();
  for (const [keys, draw] of watchers) if (keys.some((key) => changed.has(key))) draw();
};

// The address: what is not as it was at first, after a #.
settle();
const first = { ...state };
let noted = 0;
const note = () => {
  const said = new URLSearchParams();
  for (const key of Object.keys(state)) if (state[key] !== first[key]) said.set(key, state[key]);
  const address = `#${said}`;
  if (address === (location.hash || "#")) return;
  const now = performance.now();
  // Steps in quick succession are one for the back button.
  history[now - noted > 700 ? "pushState" : "replaceState"](null, "", address);
  noted = now;
};
const recalled = () => {
  const said = new URLSearchParams(location.hash.slice(1));
  const found = {};
  for (const [key, value] of Object.entries(first)) {
    const text = said.get(key);
    if (text === null) found[key] = value;
    else found[key] = typeof value === "number" ? Number(text) || 0 : typeof value === "boolean" ? text === "true" : text;
  }
  if (!["absolute", "signed"].includes(found.mode)) found.mode = first.mode;
  if (!["relative", "score"].includes(found.scale)) found.scale = first.scale;
  return found;
};
const recall = () => set(recalled(), false);

/* Has `draw` called now if the node is near the window, else when it comes there or is printed.
   What is empty is never near: then it is its section that counts. */
const waiting = new Map(); // node: draw
const about = new Map(); // what is observed: nodes
const seen = new Set();
const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) seen.add(target);
      else seen.delete(target);
      if (isIntersecting) [...about.get(target)].forEach(flush);
    }
  },
  { rootMargin: "300px" },
);
const flush = (node) => {
  const draw = waiting.get(node);
  waiting.delete(node);
  if (draw && node.isConnected) draw();
};
const whenNear = (node, draw) => {
  const target = node.isConnected && !node.clientHeight ? node.closest("section") : node;
  waiting.set(node, draw);
  if (seen.has(target)) return flush(node);
  if (!about.has(target)) about.set(target, new Set());
  about.get(target).add(node);
  near.observe(target);
};
const flushAll = () => {
  while (waiting.size) [...waiting.keys()].forEach(flush); // what is drawn may wait for more
};
window.addEventListener("beforeprint", flushAll);
