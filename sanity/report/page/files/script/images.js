// Image by image: the masks of one method, the most similar first.

let galleryShots = []; // a shot and what brings its stage up to date
const drawGallery = () => {
  const host = $("gallery");
  const method = $("gallery-method").value;
  const of = group();
  const each = ((of.each[state.metric] || {})[method]) || { image: [], value: [] };
  const similarity = new Map(each.image.map((i, at) => [of.images[i], each.value[at]]));
  const shots = run().pictures.filter((shot) => shot.masks[method]);
  shots.sort((a, b) => (similarity.get(b.image) ?? -9) - (similarity.get(a.image) ?? -9));
  const i = state.run;
  galleryShots = [];
  host.replaceChildren(...shots.map((shot) => {
    const [height, width] = run().size;
    const canvas = h("canvas", { width: 2 * width, height, role: "img" });
    const key = h("span", { class: "key" });
    const node = button(
      [
        h("span", { class: "figure-head" }, h("b", {}, middle(shot.image, 24)), D.roles[shot.role] ? h("span", {}, D.roles[shot.role] + (shot.role !== "typical" && shots.length < each.value.length ? " of these" : "")) : null),
        h("span", { class: "trio" }, shot.photo ? h("img", { src: shot.photo, alt: "" }) : h("span"), canvas),
        key,
      ],
      () => {
        set({ image: shot.image });
        $("masks").scrollIntoView({ block: "start" });
      },
      { class: `shot${Math.max(height, width) <= 64 ? " coarse" : ""}${shot.image === state.image ? " now" : ""}`, "data-image": shot.image, "aria-label": `Show ${shot.image} above` },
    );
    const say = () => {
      const k = carried(state.stage);
      canvas.setAttribute("aria-label", `${method} of ${shot.image}: as trained, and ${maskSaid(i, shot, method, k)}`);
      const found = scoreOf(i, shot.image, method, state.metric, run().stages[k]);
      key.textContent = `early ${short(similarity.get(shot.image))}${found ? `; stage ${state.stage}: ${short(found.value)}` : ""}`;
      return k;
    };
    say();
    galleryShots.push([node, () => paintMasks(canvas, i, shot, method, [0, say()])]);
    return node;
  }));
  stepGallery();
  const odd = outliers(each).map(([k, v]) => `${of.images[k]} (${short(v)})`);
  const n = each.value.length;
  $("gallery-said").textContent = n
    ? `${method} by ${state.metric}: early similarities of ${plural(n, "image")} from ${short(each.value[0])} (${of.images[each.image[0]]}) to ${short(each.value[n - 1])} (${of.images[each.image[n - 1]]})${odd.length ? `; far from the others: ${odd.join(", ")}` : ""}. Left as trained, right at the stage chosen.`
    : "Left as trained, right at the stage chosen.";
};
/* Another stage changes what is near the window alone. */
const stepGallery = () => galleryShots.forEach(([node, show]) => whenNear(node, show));
const showGallery = () => whenNear($("gallery"), drawGallery);
const listGallery = () => {
  const select = $("gallery-method");
  const before = select.value;
  const names = D.methods.filter(visible);
  select.replaceChildren(...names.map((m) => h("option", { value: m }, m)));
  const ranked = group().verdicts.filter((row) => row.metric === D.metrics[0].name && known(row.early) && names.includes(row.method) && !isControl(row.method));
  ranked.sort((a, b) => b.early - a.early);
  select.value = names.includes(before) ? before : ranked.length ? ranked[0].method : names[0] || "";
  showGallery();
};
$("gallery-method").addEventListener("change", showGallery);
watch("group run hidden", listGallery);
watch("metric image mode overlay", showGallery);
watch("stage", stepGallery);
