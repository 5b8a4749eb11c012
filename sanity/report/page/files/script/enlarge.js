// A mask enlarged, with the original to blink against.

let enlarged = null; // {method, timer, original}
const enlarge = (method, stage) => {
  if (!picture() || !picture().masks[method]) return;
  enlarged = { method, original: false, timer: null };
  set({ stage });
  const dialog = $("large");
  if (!dialog.open) dialog.showModal();
  drawEnlarged();
};
const drawEnlarged = async () => {
  const dialog = $("large");
  if (!enlarged || !dialog.open) return;
  const { method, original } = enlarged;
  const shot = picture();
  const k = original ? 0 : carried(state.stage);
  const said = maskSaid(state.run, shot, method, k);
  $("large-title").replaceChildren(nameOf(method), h("span", { class: "key" }, shot.image));
  $("large-said").textContent = original ? "as trained, to compare" : said;
  press($("blink-original"), original);
  $("large-stage").max = last();
  $("large-stage").value = state.stage;
  $("large-stage").setAttribute("aria-valuetext", said);
  const canvas = $("large-mask");
  canvas.setAttribute("aria-label", `${method} of ${shot.image}, ${said}`);
  canvas.classList.toggle("coarse", Math.max(...run().size) <= 64);
  await paintMasks(canvas, state.run, shot, method, [k]);
  $("large-photo").hidden = !shot.photo;
  if (shot.photo) {
    $("large-photo").src = shot.photo;
    $("large-photo").alt = `the image ${shot.image}`;
  }
};
const showOriginal = (on) => {
  enlarged.original = on;
  drawEnlarged();
};
const blink = (on) => {
  clearInterval(enlarged.timer);
  enlarged.timer = on ? setInterval(() => showOriginal(!enlarged.original), 700) : null;
  press($("blink"), on);
  if (!on) showOriginal(false);
};
/* To the method before or after, among those shown. */
const otherMethod = (by) => {
  const methods = D.methods.filter((m) => picture().masks[m] && visible(m));
  enlarged.method = methods[(methods.indexOf(enlarged.method) + by + methods.length) % methods.length];
  drawEnlarged();
};
(() => {
  const dialog = $("large");
  $("blink-original").addEventListener("click", () => showOriginal(!enlarged.original));
  $("blink").addEventListener("click", () => blink(!enlarged.timer));
  $("large-stage").addEventListener("input", (event) => set({ stage: Number(event.target.value) }));
  $("large-before").addEventListener("click", () => otherMethod(-1));
  $("large-next").addEventListener("click", () => otherMethod(1));
  $("large-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => blink(false));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("input")) return;
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      otherMethod(event.key === "ArrowUp" ? -1 : 1);
    } else stepByKey(event);
  });
  watch("stage image mode overlay run metric", drawEnlarged);
})();
