// How a person moves: mouse, touch, keyboard, the link that holds the view, the film over checkpoints; then the start.
for (const o of [...$("colour").options])  // a sign partition has no maps to colour by
  if (!["class", "depth"].includes(o.value) && !(o.value in FRAMES[0].colourings)) o.remove();

function resize() {
  const width = Math.max(64, Math.round(canvas.clientWidth * ratio())), height = Math.max(64, Math.round(canvas.clientHeight * ratio()));
  if (width === canvas.width && height === canvas.height) return;
  if (tiles.size) remember();
  canvas.width = width; canvas.height = height;
  draw(1500);
}

const pixel = (x, y) => { const r = canvas.getBoundingClientRect(), k = canvas.width / r.width; return [(x - r.left) * k, (y - r.top) * k]; };
function planePoint(clientX, clientY) {
  const [x, y] = pixel(clientX, clientY), scale = scaleOf();
  return [view.x + (x - canvas.width / 2) / scale, view.y - (y - canvas.height / 2) / scale];
}
function zoomAt(clientX, clientY, factor) {
  const before = planePoint(clientX, clientY);
  remember();
  view.zoom = Math.max(0.5, Math.min(1e5, view.zoom * factor));
  const after = planePoint(clientX, clientY);
  view.x += before[0] - after[0]; view.y += before[1] - after[1];
  changed();
}
function panBy(dx, dy) {  // client pixels
  const k = canvas.width / canvas.clientWidth / scaleOf();
  view.x -= dx * k; view.y += dy * k;
  changed();
}
function seeAll() { remember(); view.zoom = 1; view.x = (box[0] + box[2]) / 2; view.y = (box[1] + box[3]) / 2; changed(); }

// Mouse and touch: one pointer pans (a mouse without a button, or a tap, reads a face), two pinch.
const down = new Map();
let travelled = 0;
canvas.addEventListener("pointerdown", (e) => {
  if (!down.size) travelled = 0;
  down.set(e.pointerId, [e.clientX, e.clientY]);
  try { canvas.setPointerCapture(e.pointerId); } catch { /* a pointer that is already gone */ }
});
for (const what of ["pointerup", "pointercancel"]) canvas.addEventListener(what, (e) => {
  const tapped = down.delete(e.pointerId) && !down.size && travelled < 6 && what === "pointerup";
  if (tapped) { tell(...planePoint(e.clientX, e.clientY), e.pointerType === "touch" ? "where you tapped" : "at the pointer"); changed(); }
});
canvas.addEventListener("pointermove", (e) => {
  const last = down.get(e.pointerId);
  if (!last) { if (e.pointerType !== "touch" && !down.size) { tell(...planePoint(e.clientX, e.clientY), "at the pointer"); changed(); } return; }
  travelled += Math.hypot(e.clientX - last[0], e.clientY - last[1]);
  const other = [...down].find(([id]) => id !== e.pointerId);
  down.set(e.pointerId, [e.clientX, e.clientY]);
  if (!other) { panBy(e.clientX - last[0], e.clientY - last[1]); return; }
  const [ox, oy] = other[1], was = Math.hypot(last[0] - ox, last[1] - oy), now = Math.hypot(e.clientX - ox, e.clientY - oy);
  panBy((e.clientX - last[0]) / 2, (e.clientY - last[1]) / 2);
  if (was > 0 && now > 0) zoomAt((e.clientX + ox) / 2, (e.clientY + oy) / 2, now / was);
});
canvas.addEventListener("wheel", (e) => { e.preventDefault(); zoomAt(e.clientX, e.clientY, Math.pow(2, -Math.sign(e.deltaY) / 2)); }, { passive: false });
canvas.addEventListener("dblclick", seeAll);
$("mini").addEventListener("pointerdown", (e) => {
  const r = $("mini").getBoundingClientRect();
  view.x = box[0] + (e.clientX - r.left) / r.width * (box[2] - box[0]);
  view.y = box[3] - (e.clientY - r.top) / r.height * (box[3] - box[1]);
  changed();
});

// Keyboard: with the map in focus. A cross in its middle stands for the pointer.
canvas.addEventListener("keydown", (e) => {
  const r = canvas.getBoundingClientRect(), step = 0.1 * Math.min(r.width, r.height), cx = r.left + r.width / 2, cy = r.top + r.height / 2;
  const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (moves[e.key]) panBy(...moves[e.key]);
  else if (e.key === "+" || e.key === "=") zoomAt(cx, cy, Math.SQRT2);
  else if (e.key === "-") zoomAt(cx, cy, Math.SQRT1_2);
  else if (e.key === "0" || e.key === "Home") seeAll();
  else if (e.key === "e") $("showEdges").click();
  else if (e.key === "b") $("showBoundary").click();
  else if (e.key === " " && FRAMES.length > 1) $("play").click();
  else if ((e.key === "[" || e.key === "]") && FRAMES.length > 1) choose(+$("frame").value + (e.key === "]" ? 1 : -1));
  else return;
  e.preventDefault();
  tell(view.x, view.y, "at the middle of the map");
});

// The film: frames one after the other.
let playing = null;
function choose(number) {
  const k = (number + FRAMES.length) % FRAMES.length;
  $("frame").value = k;
  frame = FRAMES[k];
  showFrame();
  redraw();
  if (told) tell(...told);
  changed();
}
$("frame").max = FRAMES.length - 1;
$("frames").hidden = FRAMES.length < 2;
$("frame").addEventListener("input", () => choose(+$("frame").value));
$("play").addEventListener("click", () => {
  if (playing) { clearInterval(playing); playing = null; } else playing = setInterval(() => choose(+$("frame").value + 1), 900);
  $("play").textContent = playing ? "Stop" : "Play";
});

for (const id of ["colour", "showEdges", "showBoundary"]) $(id).addEventListener("change", () => { showLegend(); redraw(); changed(); });
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  readColours();
  redraw();
});
window.addEventListener("resize", resize);

// The link holds the whole view: what is seen, how, of which checkpoint, and the point that is read.
let writing = null;
function changed() {
  ask();
  writing ??= setTimeout(() => { writing = null; history.replaceState(null, "", "#" + link()); }, 250);
}
function link() {
  const parts = { x: view.x.toPrecision(8), y: view.y.toPrecision(8), zoom: view.zoom.toPrecision(6), colour: $("colour").value,
    edges: +$("showEdges").checked, boundary: +$("showBoundary").checked };
  if (FRAMES.length > 1) parts.frame = $("frame").value;
  if (told) parts.at = `${told[0].toPrecision(8)},${told[1].toPrecision(8)}`;
  return Object.entries(parts).map(([k, v]) => `${k}=${v}`).join("&");
}
function follow(text) {
  const options = new URLSearchParams(text), number = (name) => (Number.isFinite(parseFloat(options.get(name))) ? parseFloat(options.get(name)) : null);
  if ([...$("colour").options].some((o) => o.value === options.get("colour"))) $("colour").value = options.get("colour");
  if (options.has("edges")) $("showEdges").checked = options.get("edges") !== "0";
  if (options.has("boundary")) $("showBoundary").checked = options.get("boundary") !== "0";
  const k = number("frame");
  if (k !== null && FRAMES[k]) { $("frame").value = k; frame = FRAMES[k]; }
  view.zoom = Math.max(0.5, Math.min(1e5, number("zoom") ?? view.zoom));
  view.x = number("x") ?? view.x; view.y = number("y") ?? view.y;
  showFrame();
  redraw();
  const at = (options.get("at") || "").split(",").map(Number);
  if (at.length === 2 && at.every(Number.isFinite)) tell(...at, "at the point of the link");
  else if (!told) {
    const first = DATA.anchors.find(([x, y]) => faceAt(x, y) >= 0);
    if (first) tell(...first, "at the first sample"); else tell((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, "at the middle of the slice");
  }
  return options;
}
window.addEventListener("hashchange", () => { follow(location.hash.slice(1)); draw(1e9); });

// #measure: zoom in so that the slice is four screens wide and pan across it and back; every frame is rasterised (a pixel is
// read back). Tiles come in as they are drawn, at most 12 ms of them a frame.
function measurePan() {
  view.zoom = 4;
  draw(1e9);
  const times = [], step = canvas.width / 40;
  for (let n = 0; n < 240; n++) {
    const began = performance.now();
    view.x += (n < 60 || n >= 180 ? 1 : -1) * step / scaleOf();
    view.y += (n % 120 < 60 ? 0.4 : -0.4) * step / scaleOf();
    draw(12);
    context.getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1);
    times.push(performance.now() - began);
  }
  times.sort((a, b) => a - b);
  const mean = times.reduce((a, b) => a + b, 0) / times.length;
  $("measured").textContent = JSON.stringify({ faces: frame.faces, frames: times.length, mean_ms: mean, p95_ms: times[Math.floor(0.95 * times.length)],
    worst_ms: times[times.length - 1], frames_per_second: 1000 / mean });
}
document.documentElement.dataset.theme = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
readColours();
canvas.setAttribute("aria-label", description());
resize();
const options = follow(location.hash.slice(1));
draw(1e9);
if (options.has("measure")) measurePan();
