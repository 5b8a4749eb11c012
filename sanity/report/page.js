"use strict";
(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const num = (v) => (v === null || v === undefined ? NaN : Number(v));
  const shown = (v, digits = 3) => {
    const x = num(v);
    if (Number.isNaN(x)) return "–";
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
    const small = Math.abs(x) < 10 ** -digits && x !== 0;
    const text = small || Math.abs(x) >= 1e6 ? x.toPrecision(2) : x.toFixed(digits);
    return text.replace("-", "−");
  };
  const exact = (v) => (v === null || v === undefined ? "" : String(v));

  // Elements. Text goes into text nodes and attributes only, so that names are never markup.
  const SVG = "http://www.w3.org/2000/svg";
  const fill = (node, attributes, children) => {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    for (const child of children.flat()) {
      if (child !== null && child !== undefined && child !== "") node.append(child);
    }
    return node;
  };
  const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  const state = {
    group: 0,
    run: D.groups[0].runs[0],
    metric: D.metrics[0],
    stage: Math.min(1, D.groups[0].layers.length - 1),
    hidden: new Set(),
    mode: "signed",
    overlay: false,
    key: Object.keys(D.differ)[0],
    table: "means",
    all: false,
    one: false,
    sort: null,
    most: 200,
  };
  const group = () => D.groups[state.group];
  const run = () => D.runs[state.run];
  const visible = (method) => !state.hidden.has(method);
  const layerName = (layers, stage) => (stage ? layers[stage] || "?" : "as trained");
  const middle = (text, longest) =>
    text.length <= longest ? text : text.slice(0, longest / 2 - 1) + "…" + text.slice(-longest / 2);

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
  const name = (method) => h("span", { class: "name" }, swatch(method), h("span", { class: "word" }, method));
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));

  // Curves

  const LEFT = 40, RIGHT = 12, TOP = 8, PLOT = 190;
  const limits = (lines) => {
    const values = [], originals = [];
    for (const { curve } of lines) {
      for (const v of [...curve.mean, ...curve.null].map(num)) if (Number.isFinite(v)) values.push(v);
      if (Number.isFinite(num(curve.mean[0]))) originals.push(num(curve.mean[0]));
    }
    if (!values.length) return [-0.1, 1.05];
    const low = Math.min(...values), high = Math.max(...values);
    if (low >= -1.001 && high <= 1.001 && (!originals.length || Math.max(...originals) > 0.5)) {
      return [Math.min(-0.1, low - 0.05), 1.05];
    }
    const pad = 0.05 * (high - low) || 0.05;
    return [low - pad, high + pad];
  };
  const ticks = (low, high) => {
    const rough = (high - low) / 5;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * [1, 2, 2.5, 5, 10].find((m) => m * unit >= rough * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(12)));
    return found;
  };
  const measure = document.createElement("canvas").getContext("2d");

  /* A chart of lines {method, curve, label}; its stages can be pointed at, clicked and stepped
     through with the arrow keys. */
  const chart = (host, title, layers, lines) => {
    const width = Math.max(240, host.clientWidth || 480);
    const last = layers.length - 1;
    const pitch = (width - LEFT - RIGHT) / Math.max(1, last);
    const x = (stage) => LEFT + (last ? stage * pitch : (width - LEFT - RIGHT) / 2);
    const names = layers.map((layer, stage) => middle(stage ? layer : "original", 18));
    measure.font = "11px system-ui, sans-serif";
    const longest = Math.max(...names.map((n) => measure.measureText(n).width));
    const upright = longest > 0.9 * pitch;
    const every = upright ? Math.ceil(13 / pitch) : 1;
    const [low, high] = limits(lines);
    const y = (value) => TOP + PLOT * (1 - (value - low) / (high - low));
    const clip = (value) => Math.max(low, Math.min(high, value));
    const foot = TOP + PLOT;
    const height = foot + (upright ? longest + 14 : 22);
    const svg = s("svg", {
      class: "chart",
      viewBox: `0 0 ${width} ${Math.ceil(height)}`,
      tabindex: 0,
      role: "slider",
      "aria-label": `${title}, similarity by stage`,
      "aria-valuemin": 0,
      "aria-valuemax": last,
    });
    for (const value of ticks(low, high)) {
      svg.append(
        s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
        s("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, String(value).replace("-", "−")),
      );
    }
    names.forEach((text, stage) => {
      if (stage % every) return;
      const at = x(stage);
      svg.append(
        upright
          ? s("text", { transform: `translate(${at + 4},${foot + 10}) rotate(-90)`, "text-anchor": "end" }, text)
          : s("text", { x: at, y: foot + 16, "text-anchor": stage === 0 ? "start" : stage === last ? "end" : "middle" }, text),
      );
    });
    const cursor = s("line", { class: "cursor", y1: TOP, y2: foot });
    const hover = s("line", { class: "hover", y1: TOP, y2: foot, visibility: "hidden" });
    svg.append(hover, cursor);
    const path = (points) => {
      let d = "", pen = "M";
      points.forEach(([px, v]) => {
        if (!Number.isFinite(v)) return void (pen = "M");
        d += `${pen}${px.toFixed(1)},${y(clip(v)).toFixed(1)}`;
        pen = "L";
      });
      return d;
    };
    const drawn = lines.filter((line) => visible(line.method));
    for (const { method, curve } of drawn) {
      const color = D.looks[method].color;
      let piece = [];
      const close = () => {
        if (piece.length > 1) {
          const there = piece.map(([k, , top]) => `${x(k).toFixed(1)},${y(clip(top)).toFixed(1)}`);
          const back = piece.slice().reverse().map(([k, bottom]) => `${x(k).toFixed(1)},${y(clip(bottom)).toFixed(1)}`);
          svg.append(s("path", { class: "band", d: `M${there.join("L")}L${back.join("L")}Z`, fill: color, "fill-opacity": drawn.length > 8 ? 0.06 : 0.12 }));
        }
        piece = [];
      };
      layers.forEach((_, k) => {
        const a = num(curve.low[k]), b = num(curve.high[k]);
        if (Number.isFinite(a) && Number.isFinite(b)) piece.push([k, a, b]);
        else close();
      });
      close();
    }
    for (const { method, curve } of drawn) {
      const look = D.looks[method];
      const values = layers.map((_, k) => [x(k), num(curve.mean[k])]);
      const nulls = layers.map((_, k) => [x(k), num(curve.null[k])]);
      svg.append(
        s("path", { class: "null", d: path(nulls), fill: "none", stroke: look.color, "stroke-width": 1.3, "stroke-dasharray": look.dotted, opacity: 0.8 }),
        s("path", { class: "line", "data-method": method, d: path(values), fill: "none", stroke: look.color, "stroke-width": look.control ? 1.5 : 2, "stroke-dasharray": look.dash }),
      );
      for (const [px, v] of values) if (Number.isFinite(v)) svg.append(marker(look, px, y(clip(v)), 6));
    }
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      const px = ((event.clientX - box.left) / box.width) * width;
      return Math.max(0, Math.min(last, Math.round((px - LEFT) / pitch)));
    };
    const point = (stage, left, top) => {
      hover.setAttribute("visibility", "visible");
      hover.setAttribute("x1", x(stage));
      hover.setAttribute("x2", x(stage));
      tip(title, stage, layers, drawn, left, top);
    };
    const leave = () => {
      hover.setAttribute("visibility", "hidden");
      $("tip").hidden = true;
    };
    const beside = () => {
      const box = svg.getBoundingClientRect();
      point(state.stage, box.left + (x(state.stage) * box.width) / width, box.top + 20);
    };
    svg.addEventListener("pointermove", (event) => point(at(event), event.clientX, event.clientY));
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("click", (event) => setStage(at(event)));
    svg.addEventListener("keydown", (event) => {
      const to = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -last, End: last }[event.key];
      if (event.key === "Escape") leave();
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      setStage(state.stage + to);
      beside();
    });
    svg.mark = () => {
      const stage = Math.min(state.stage, last);
      cursor.setAttribute("x1", x(stage));
      cursor.setAttribute("x2", x(stage));
      svg.setAttribute("aria-valuenow", stage);
      const said = drawn.map(({ method, curve, label }) => `${label || method} ${shown(curve.mean[stage])}`);
      svg.setAttribute("aria-valuetext", `stage ${stage}, ${layerName(layers, stage)}: ${said.join(", ")}`);
    };
    svg.mark();
    return svg;
  };

  const tip = (title, stage, layers, lines, left, top) => {
    const rows = lines
      .filter(({ curve }) => stage < curve.mean.length)
      .map((line) => [line, num(line.curve.mean[stage])])
      .sort((a, b) => (Number.isNaN(b[1]) ? -Infinity : b[1]) - (Number.isNaN(a[1]) ? -Infinity : a[1]));
    const box = $("tip");
    box.replaceChildren(
      h("p", {}, `${title} · stage ${stage}, ${layerName(layers, stage)}`),
      h("table", {}, h("tbody", {}, rows.map(([{ method, curve, label }]) => {
        const [low, high] = [curve.low[stage], curve.high[stage]];
        const interval = Number.isNaN(num(low)) ? "" : ` [${shown(low, 2)}, ${shown(high, 2)}]`;
        return h(
          "tr",
          { "data-method": method, "data-value": exact(curve.mean[stage]), "data-low": exact(low), "data-high": exact(high), "data-null": exact(curve.null[stage]) },
          h("td", {}, h("span", { class: "name" }, swatch(method), label || method)),
          h("td", {}, shown(curve.mean[stage]) + interval),
          h("td", {}, `null ${shown(curve.null[stage], 2)} · n ${curve.images[stage]}`),
        );
      }))),
    );
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const room = { x: document.documentElement.clientWidth, y: window.innerHeight };
    const over = left + 16 + width > room.x - 8 ? left - 16 - width : left + 16;
    box.style.left = `${Math.max(8, Math.min(over, room.x - width - 8))}px`;
    box.style.top = `${Math.max(8, Math.min(top + 16, room.y - height - 8))}px`;
  };

  const figure = (host, title) => {
    const node = h("figure", { class: "panel", "data-title": title }, h("figcaption", {}, title));
    host.append(node);
    return node;
  };
  const drawCurves = () => {
    const host = $("panels");
    host.replaceChildren();
    $("tip").hidden = true;
    const { curves, layers } = group();
    for (const metric of D.metrics) {
      if (!curves[metric]) continue;
      const lines = D.methods.filter((m) => curves[metric][m]).map((method) => ({ method, curve: curves[metric][method] }));
      const panel = figure(host, metric);
      panel.append(chart(panel, metric, layers, lines));
    }
  };
  const drawMultiples = () => {
    const host = $("small");
    if (!host) return;
    host.replaceChildren();
    for (const value of D.differ[state.key]) {
      const lines = [];
      const members = D.runs.map((_, i) => i).filter((i) => D.runs[i].values[state.key] === value);
      const groups = [...new Set(members.map((i) => D.runs[i].group))];
      let layers = [];
      for (const g of groups) {
        const own = members.filter((i) => D.runs[i].group === g);
        const whole = own.length === D.groups[g].runs.length;
        for (const source of whole ? [D.groups[g]] : own.map((i) => D.runs[i])) {
          const curves = (source.curves || {})[state.metric] || {};
          if (D.groups[g].layers.length > layers.length) layers = D.groups[g].layers;
          for (const method of D.methods) {
            if (!curves[method]) continue;
            const more = groups.length > 1 ? ` · ${D.groups[g].label}` : "";
            lines.push({ method, curve: curves[method], label: method + more });
          }
        }
      }
      const title = `${state.key}=${value}`;
      const panel = figure(host, title);
      if (!lines.length) panel.append(h("p", { class: "key" }, `nothing by ${state.metric}`));
      else panel.append(chart(panel, `${title} · ${state.metric}`, layers, lines));
    }
  };
  const markCharts = () => document.querySelectorAll(".chart").forEach((svg) => svg.mark());

  const drawLegend = () => {
    const host = $("legend");
    for (const method of D.methods) {
      const button = h("button", { type: "button", "aria-pressed": "true", "data-method": method }, swatch(method), method);
      button.addEventListener("click", () => {
        if (!state.hidden.delete(method)) state.hidden.add(method);
        showMethods();
      });
      host.append(button);
    }
    const all = h("button", { type: "button", class: "quiet", id: "all-methods" }, "show all");
    all.addEventListener("click", () => {
      state.hidden.clear();
      showMethods();
    });
    host.append(all);
  };
  const showMethods = () => {
    document.querySelectorAll("#legend [data-method]").forEach((b) => press(b, visible(b.dataset.method)));
    document.querySelectorAll(".card[data-method]").forEach((card) => (card.hidden = !visible(card.dataset.method)));
    $("all-methods").hidden = !state.hidden.size;
    drawCurves();
    drawMultiples();
    drawTable();
  };

  // Masks

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
    const context = canvas.getContext("2d");
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
          h("div", { class: "pair" }, h("div", {}, photo || h("small", {}, "not stored")), h("div", { class: "predicted" }, before, after, target)),
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
    if (!run().pictures.length) return;
    for (const card of cards) {
      if (card.method) show(card);
      else showPredictions(card.first);
    }
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

  // Scheme

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
        return h("i", { "data-stage": k, title, style, class: n && layers[k] === block.name ? "new" : null });
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
    host.replaceChildren(grid);
    markScheme();
  };
  const markScheme = () => {
    document.querySelectorAll("#blocks [data-stage]").forEach((cell) =>
      cell.classList.toggle("now", Number(cell.dataset.stage) === state.stage));
  };

  // Table

  const columns = () => {
    const keys = D.runs.length > 1 ? Object.keys(state.table === "means" ? D.groups[0].values : D.differ) : [];
    const own = state.table === "means" ? ["mean", "low", "high", "null", "images", "missing"] : ["value", "null", "reason"];
    return [...keys, "metric", "method", "stage", "block", ...(state.table === "means" ? [] : ["image"]), ...own];
  };
  const NUMBERS = new Set(["stage", "mean", "low", "high", "null", "images", "missing", "value"]);
  const rows = () => {
    const found = [];
    const wanted = (metric, method, stage) =>
      (state.all || metric === state.metric) && visible(method) && (!state.one || stage === state.stage);
    if (state.table === "means") {
      for (const { values, curves, layers } of D.groups) {
        for (const metric of D.metrics) {
          for (const method of D.methods) {
            const curve = (curves[metric] || {})[method];
            if (!curve) continue;
            layers.forEach((layer, stage) => {
              if (!wanted(metric, method, stage)) return;
              found.push({
                ...values, metric, method, stage, block: layer,
                mean: curve.mean[stage], low: curve.low[stage], high: curve.high[stage],
                null: curve.null[stage], images: curve.images[stage], missing: curve.missing[stage],
              });
            });
          }
        }
      }
      return found;
    }
    const R = D.rows;
    for (let i = 0; R && i < R.value.length; i++) {
      const [metric, method, stage] = [D.metrics[R.metric[i]], D.methods[R.method[i]], R.stage[i]];
      if (!wanted(metric, method, stage)) continue;
      const of = D.runs[R.run[i]];
      found.push({
        ...(D.runs.length > 1 ? of.values : {}), metric, method, stage, block: D.groups[of.group].layers[stage],
        image: R.images[R.image[i]], value: R.value[i], null: R.null[i], reason: R.reasons[R.reason[i]],
      });
    }
    return found;
  };
  const sorted = (found) => {
    if (!state.sort) return found;
    const { column, down } = state.sort;
    const key = NUMBERS.has(column) ? (row) => num(row[column]) : (row) => String(row[column]);
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    };
    return found.slice().sort(order);
  };
  const drawTable = () => {
    const names = columns();
    if (state.sort && !names.includes(state.sort.column)) state.sort = null;
    const found = sorted(rows());
    const head = names.map((column) => {
      const on = state.sort && state.sort.column === column;
      const arrow = on ? (state.sort.down ? " ↓" : " ↑") : "";
      const button = h("button", { type: "button" }, column + arrow);
      button.addEventListener("click", () => {
        state.sort = { column, down: on ? !state.sort.down : NUMBERS.has(column) && column !== "stage" };
        drawTable();
        [...$("table").querySelectorAll("thead button")][names.indexOf(column)].focus();
      });
      return h("th", { scope: "col", class: NUMBERS.has(column) ? "n" : null, "aria-sort": on ? (state.sort.down ? "descending" : "ascending") : "none" }, button);
    });
    const whole = new Set(["stage", "images", "missing"]);
    const body = found.slice(0, state.most).map((row) =>
      h("tr", {}, names.map((column) => {
        const value = row[column];
        if (!NUMBERS.has(column)) return h("td", { "data-column": column }, exact(value));
        return h("td", { class: "n", "data-column": column, "data-value": exact(value) }, whole.has(column) ? exact(value) : shown(value));
      })));
    $("table").replaceChildren(h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
    $("more").hidden = found.length <= state.most;
    $("more").textContent = `Show all ${found.length} rows`;
    $("copied").textContent = `${found.length} rows`;
  };
  const csv = () => {
    const names = columns();
    const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const lines = [names, ...sorted(rows()).map((row) => names.map((column) => exact(row[column])))];
    return lines.map((line) => line.map(cell).join(",")).join("\n") + "\n";
  };
  const copy = async () => {
    const text = csv();
    const n = text.split("\n").length - 2;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = h("textarea", { readonly: "", style: "position:fixed;left:0;top:0;opacity:0" });
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      $("copy").focus();
      if (!done) {
        $("copied").textContent = "The browser does not let this page copy.";
        return;
      }
    }
    $("copied").textContent = `Copied ${n} rows as CSV.`;
  };

  // What is chosen

  const setStage = (stage) => {
    state.stage = Math.max(0, Math.min(group().layers.length - 1, stage));
    $("stage").value = state.stage;
    const last = group().layers.length - 1;
    const said = `stage ${state.stage} of ${last} · ${layerName(group().layers, state.stage)}${state.stage ? " randomized" : ""}`;
    $("stage-label").textContent = said;
    $("stage-label").title = said;
    $("stage").setAttribute("aria-valuetext", said);
    $("back").disabled = state.stage === 0;
    $("next").disabled = state.stage === last;
    markCharts();
    markScheme();
    showMasks();
    if (state.one) drawTable();
  };
  const showAnswer = () => {
    document.querySelectorAll(".answer").forEach((part) => {
      part.hidden = Number(part.dataset.group) !== state.group || part.dataset.metric !== state.metric;
    });
    document.querySelectorAll(".answer-matrix").forEach((part) => (part.hidden = part.dataset.metric !== state.metric));
    document.querySelectorAll("#metric-tabs button").forEach((b) => press(b, b.dataset.metric === state.metric));
    if ($("metric")) $("metric").value = state.metric;
  };
  const setMetric = (metric) => {
    state.metric = metric;
    showAnswer();
    drawMultiples();
    showMasks();
    drawTable();
  };
  const setRun = (i) => {
    state.run = i;
    $("run-select").value = i;
    buildMasks();
    drawScheme();
  };
  const listRuns = () => {
    const members = group().runs;
    $("run-pick").hidden = members.length < 2;
    $("run-select").replaceChildren(...members.map((i) => {
      const own = Object.entries(D.runs[i].values).filter(([key]) => !(key in group().values));
      return h("option", { value: i }, own.map(([key, value]) => `${key}=${value}`).join(", ") || D.runs[i].id);
    }));
  };
  const setGroup = (g) => {
    state.group = g;
    $("stage").max = group().layers.length - 1;
    listRuns();
    const withMasks = group().runs.find((i) => D.runs[i].pictures.length);
    showAnswer();
    drawCurves();
    setRun(withMasks === undefined ? group().runs[0] : withMasks);
    setStage(state.stage);
  };
  const toggle = (ids, choose) => ids.forEach((id) => $(id).addEventListener("click", () => {
    ids.forEach((other) => press($(other), other === id));
    choose(id);
  }));

  for (const metric of D.metrics) {
    const button = h("button", { type: "button", "data-metric": metric, "aria-pressed": "false" }, metric);
    button.addEventListener("click", () => setMetric(metric));
    $("metric-tabs").append(button);
  }
  if ($("metric")) $("metric").addEventListener("change", (event) => setMetric(event.target.value));
  if ($("group")) $("group").addEventListener("change", (event) => setGroup(Number(event.target.value)));
  if ($("key")) $("key").addEventListener("change", (event) => {
    state.key = event.target.value;
    drawMultiples();
  });
  $("run-select").addEventListener("change", (event) => setRun(Number(event.target.value)));
  $("stage").addEventListener("input", (event) => setStage(Number(event.target.value)));
  $("back").addEventListener("click", () => setStage(state.stage - 1));
  $("next").addEventListener("click", () => setStage(state.stage + 1));
  toggle(["signed", "absolute"], (mode) => {
    state.mode = mode;
    showMasks();
  });
  $("overlay").addEventListener("change", (event) => {
    state.overlay = event.target.checked;
    showMasks();
  });
  toggle(["means", "each"], (kind) => {
    state.table = kind;
    drawTable();
  });
  if (!D.rows) $("each").disabled = true;
  $("all-metrics").addEventListener("change", (event) => {
    state.all = event.target.checked;
    drawTable();
  });
  $("one-stage").addEventListener("change", (event) => {
    state.one = event.target.checked;
    drawTable();
  });
  $("more").addEventListener("click", () => {
    state.most = Infinity;
    drawTable();
  });
  $("copy").addEventListener("click", copy);
  document.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const busy = event.target.closest && event.target.closest("input, select, textarea, .chart, .scroll");
    if (!step || busy || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    event.preventDefault();
    setStage(state.stage + step);
  });
  const themes = ["system", "light", "dark"];
  $("theme").addEventListener("click", () => {
    const theme = themes[(themes.indexOf(document.documentElement.dataset.theme || "system") + 1) % 3];
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
  });
  let width = 0;
  new ResizeObserver(() => {
    const now = $("panels").clientWidth;
    if (now === width || window.matchMedia("print").matches) return;
    width = now;
    requestAnimationFrame(() => {
      drawCurves();
      drawMultiples();
    });
  }).observe($("panels"));

  width = $("panels").clientWidth;
  drawLegend();
  setGroup(0);
  showMethods();
})();
