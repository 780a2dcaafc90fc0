"use strict";
// Tiles of the plane are drawn once for a zoom level and then only moved, so that panning costs a few image copies a frame.
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const unpack = (text, Kind) => {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
};
const FRAMES = DATA.frames.map((f) => ({
  ...f, vertices: unpack(f.vertices, Float32Array), start: unpack(f.start, Uint32Array),
  corners: unpack(f.corners, Uint32Array), interior: unpack(f.interior, Float32Array),
  edges: unpack(f.edges, Uint32Array), edgeSites: unpack(f.edgeSites, Int16Array),
  boundary: unpack(f.boundary, Float32Array), classes: unpack(f["class"], Uint16Array), maps: unpack(f.maps, Float32Array),
  pieceStart: unpack(f.pieceStart, Uint32Array), piecePoints: unpack(f.piecePoints, Float32Array),
  pieceClass: unpack(f.pieceClass, Uint16Array), pieceFace: unpack(f.pieceFace, Uint32Array),
  rootPattern: unpack(f.rootPattern, Uint8Array), parent: unpack(f.parent, Int32Array),
  flipStart: unpack(f.flipStart, Uint32Array), flips: unpack(f.flips, Uint32Array),
  colourings: Object.fromEntries(Object.entries(f.colourings).map(([k, c]) => [k, { ...c, values: unpack(c.values, Float32Array) }])),
}));
const ORIGIN = unpack(DATA.origin, Float32Array), DIRECTIONS = unpack(DATA.directions, Float32Array);
const C = DATA.classes.length, TILE = 128, GRID = 128;
const canvas = $("map"), context = canvas.getContext("2d", { alpha: false });
const box = DATA.domain.reduce((b, [x, y]) => [Math.min(b[0], x), Math.min(b[1], y), Math.max(b[2], x), Math.max(b[3], y)],
  [Infinity, Infinity, -Infinity, -Infinity]);
const view = { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, zoom: 1 };
for (const o of [...$("colour").options])  // a sign partition has no maps to colour by
  if (!["class", "depth"].includes(o.value) && !(o.value in FRAMES[0].colourings)) o.remove();
let frame = FRAMES[0], tiles = new Map(), older = null, pointer = null, picked = -1, asked = false;

function gridOf(f) {
  if (f.grid) return f.grid;
  const cellX = (box[2] - box[0]) / GRID, cellY = (box[3] - box[1]) / GRID;
  const put = (lists, x0, y0, x1, y1, item) => {
    const i0 = clampCell((x0 - box[0]) / cellX), i1 = clampCell((x1 - box[0]) / cellX);
    const j0 = clampCell((y0 - box[1]) / cellY), j1 = clampCell((y1 - box[1]) / cellY);
    for (let j = j0; j <= j1; j++) for (let i = i0; i <= i1; i++) lists[j * GRID + i].push(item);
  };
  const fresh = () => Array.from({ length: GRID * GRID }, () => []);
  const faces = fresh(), edges = fresh(), boundary = fresh(), v = f.vertices;
  f.bounds = new Float32Array(4 * f.faces);
  for (let k = 0; k < f.faces; k++) {
    let x0 = Infinity, y0 = Infinity, x1 = -Infinity, y1 = -Infinity;
    for (let c = f.start[k]; c < f.start[k + 1]; c++) {
      const x = v[2 * f.corners[c]], y = v[2 * f.corners[c] + 1];
      x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y);
    }
    f.bounds.set([x0, y0, x1, y1], 4 * k);
    put(faces, x0, y0, x1, y1, k);
  }
  for (let e = 0; e < f.edges.length / 2; e++) {
    const a = 2 * f.edges[2 * e], b = 2 * f.edges[2 * e + 1];
    put(edges, Math.min(v[a], v[b]), Math.min(v[a + 1], v[b + 1]), Math.max(v[a], v[b]), Math.max(v[a + 1], v[b + 1]), e);
  }
  for (let s = 0; s < f.boundary.length / 4; s++) {
    const [a, b, c, d] = f.boundary.subarray(4 * s, 4 * s + 4);
    put(boundary, Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d), s);
  }
  f.piecesOf = new Map();
  f.pieceFace.forEach((k, p) => { if (!f.piecesOf.has(k)) f.piecesOf.set(k, []); f.piecesOf.get(k).push(p); });
  f.seenFace = new Uint32Array(f.faces); f.seenEdge = new Uint32Array(f.edges.length / 2);
  f.seenBoundary = new Uint32Array(f.boundary.length / 4); f.stamp = 0;
  f.grid = { faces, edges, boundary, cellX, cellY };
  return f.grid;
}
const clampCell = (x) => Math.max(0, Math.min(GRID - 1, Math.floor(x)));

function within(f, lists, seen, x0, y0, x1, y1) {
  const g = gridOf(f), found = [], stamp = f.stamp;
  if (x1 < box[0] || x0 > box[2] || y1 < box[1] || y0 > box[3]) return found;
  const i0 = clampCell((x0 - box[0]) / g.cellX), i1 = clampCell((x1 - box[0]) / g.cellX);
  const j0 = clampCell((y0 - box[1]) / g.cellY), j1 = clampCell((y1 - box[1]) / g.cellY);
  for (let j = j0; j <= j1; j++) for (let i = i0; i <= i1; i++)
    for (const k of lists[j * GRID + i]) if (seen[k] !== stamp) { seen[k] = stamp; found.push(k); }
  return found;
}

function faceColour(f, k) {
  const mode = $("colour").value;
  if (mode === "class") return DATA.classColours[f.classes[k]];
  if (mode === "depth") return "#ffffff";
  const c = f.colourings[mode];
  const t = Math.max(0, Math.min(255, Math.round(255 * (c.values[k] - c.low) / (c.high - c.low))));
  return `rgb(${DATA.scale[t]})`;
}

const scaleOf = () => view.zoom * Math.min(canvas.width / (box[2] - box[0]), canvas.height / (box[3] - box[1])) * 0.94;

function drawTile(f, i, j, scale) {
  const size = TILE / scale, x0 = i * size, y0 = j * size;
  const tile = document.createElement("canvas");
  tile.width = tile.height = TILE;
  const pen = tile.getContext("2d", { alpha: false });
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, TILE, TILE);
  const g = gridOf(f), v = f.vertices, X = (x) => (x - x0) * scale, Y = (y) => TILE - (y - y0) * scale;
  const byClass = $("colour").value === "class";
  const groups = new Map(), pieces = [];
  f.stamp++;
  for (const k of within(f, g.faces, f.seenFace, x0, y0, x0 + size, y0 + size)) {
    const b = 4 * k, colour = faceColour(f, k);
    if (f.bounds[b] > x0 + size || f.bounds[b + 2] < x0 || f.bounds[b + 1] > y0 + size || f.bounds[b + 3] < y0) continue;
    if (!groups.has(colour)) groups.set(colour, []);
    groups.get(colour).push(k);
    if (byClass && f.piecesOf.has(k)) pieces.push(...f.piecesOf.get(k));
  }
  for (const [colour, faces] of groups) {
    pen.beginPath();
    for (const k of faces) {
      for (let c = f.start[k]; c < f.start[k + 1]; c++) {
        const x = X(v[2 * f.corners[c]]), y = Y(v[2 * f.corners[c] + 1]);
        if (c === f.start[k]) pen.moveTo(x, y); else pen.lineTo(x, y);
      }
      pen.closePath();
    }
    pen.fillStyle = pen.strokeStyle = colour;
    pen.lineWidth = 0.6;
    pen.fill();
    if (!$("showEdges").checked) pen.stroke();  // closes the hairline gaps between neighbours
  }
  for (const p of pieces) {
    pen.beginPath();
    for (let c = f.pieceStart[p]; c < f.pieceStart[p + 1]; c++) pen.lineTo(X(f.piecePoints[2 * c]), Y(f.piecePoints[2 * c + 1]));
    pen.closePath();
    pen.fillStyle = DATA.classColours[f.pieceClass[p]];
    pen.fill();
  }
  if ($("showEdges").checked || $("colour").value === "depth") {
    const bySite = new Map();
    for (const e of within(f, g.edges, f.seenEdge, x0, y0, x0 + size, y0 + size)) {
      const s = f.edgeSites[e];
      if (!bySite.has(s)) bySite.set(s, []);
      bySite.get(s).push(e);
    }
    pen.lineWidth = Math.max(0.25, Math.min(1.4, 60 * Math.sqrt(view.zoom) / Math.sqrt(f.faces)));
    for (const [s, edges] of [...bySite].sort((a, b) => b[0] - a[0])) {
      pen.strokeStyle = s < 0 ? "#444444" : f.siteColours[s];
      pen.beginPath();
      for (const e of edges) {
        const a = 2 * f.edges[2 * e], b = 2 * f.edges[2 * e + 1];
        pen.moveTo(X(v[a]), Y(v[a + 1]));
        pen.lineTo(X(v[b]), Y(v[b + 1]));
      }
      pen.stroke();
    }
  }
  if ($("showBoundary").checked) {
    pen.lineWidth = 2.2; pen.strokeStyle = "#111111"; pen.lineCap = "round";
    pen.beginPath();
    for (const s of within(f, g.boundary, f.seenBoundary, x0, y0, x0 + size, y0 + size)) {
      const [a, b, c, d] = f.boundary.subarray(4 * s, 4 * s + 4);
      pen.moveTo(X(a), Y(b)); pen.lineTo(X(c), Y(d));
    }
    pen.stroke();
  }
  return tile;
}

function draw(budget) {
  asked = false;
  const scale = scaleOf(), until = performance.now() + budget;
  const left = view.x - canvas.width / 2 / scale, top = view.y + canvas.height / 2 / scale, size = TILE / scale;
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (older && older.scale !== scale) {
    const r = scale / older.scale;
    context.drawImage(older.image, (older.left - left) * scale, (top - older.top) * scale, older.image.width * r, older.image.height * r);
  }
  let missing = 0;
  const i1 = Math.floor((left + canvas.width / scale) / size), j0 = Math.floor((top - canvas.height / scale) / size);
  for (let j = j0; j <= Math.floor(top / size); j++)
    for (let i = Math.floor(left / size); i <= i1; i++) {
      const key = `${scale}|${i}|${j}`;
      let tile = tiles.get(key);
      if (!tile && performance.now() < until) {
        tile = drawTile(frame, i, j, scale);
        tiles.set(key, tile);
        if (tiles.size > 1500) tiles.delete(tiles.keys().next().value);
      }
      if (tile) context.drawImage(tile, Math.round((i * size - left) * scale), Math.round((top - (j + 1) * size) * scale));
      else missing++;
    }
  drawMarks(scale, left, top);
  if (missing) ask();
  return missing;
}

function drawMarks(scale, left, top) {
  context.lineWidth = 1.5; context.strokeStyle = "#111111"; context.fillStyle = "#ffffff";
  for (const [x, y] of DATA.anchors) {
    context.beginPath();
    context.arc((x - left) * scale, (top - y) * scale, 5, 0, 7);
    context.fill(); context.stroke();
  }
  if (picked < 0) return;
  const f = frame;
  context.beginPath();
  for (let c = f.start[picked]; c < f.start[picked + 1]; c++) {
    const x = (f.vertices[2 * f.corners[c]] - left) * scale, y = (top - f.vertices[2 * f.corners[c] + 1]) * scale;
    if (c === f.start[picked]) context.moveTo(x, y); else context.lineTo(x, y);
  }
  context.closePath();
  context.fillStyle = "#ffffff88"; context.fill();
  context.strokeStyle = "#d00000"; context.lineWidth = 2; context.stroke();
}

function ask() { if (!asked) { asked = true; requestAnimationFrame(() => draw(12)); } }
function remember() {
  const scale = scaleOf(), image = document.createElement("canvas");
  image.width = canvas.width; image.height = canvas.height;
  image.getContext("2d").drawImage(canvas, 0, 0);
  older = { image, scale, left: view.x - canvas.width / 2 / scale, top: view.y + canvas.height / 2 / scale };
}
function redraw() { tiles = new Map(); older = null; ask(); }

// Even-odd rule over a ring of points: the faces of a sign partition need not be convex.
function holds(points, start, end, index, x, y) {
  let inside = false;
  for (let c = start; c < end; c++) {
    const a = 2 * index(c), b = 2 * index(c + 1 < end ? c + 1 : start);
    if ((points[a + 1] > y) !== (points[b + 1] > y)
      && x < points[a] + (points[b] - points[a]) * (y - points[a + 1]) / (points[b + 1] - points[a + 1])) inside = !inside;
  }
  return inside;
}

function faceAt(x, y) {
  const f = frame, g = gridOf(f);
  f.stamp++;
  for (const k of within(f, g.faces, f.seenFace, x, y, x, y))
    if (holds(f.vertices, f.start[k], f.start[k + 1], (c) => f.corners[c], x, y)) return k;
  return -1;
}

function classAt(k, x, y) {
  const f = frame;
  const piece = (f.piecesOf.get(k) || []).find((p) => holds(f.piecePoints, f.pieceStart[p], f.pieceStart[p + 1], (c) => c, x, y));
  return piece === undefined ? f.classes[k] : f.pieceClass[piece];
}

function probabilities(k, x, y) {
  const f = frame, dx = x - f.interior[2 * k], dy = y - f.interior[2 * k + 1], logits = [];
  for (let c = 0; c < C; c++) {
    const m = 3 * (k * C + c);
    logits.push(f.maps[m] + f.maps[m + 1] * dx + f.maps[m + 2] * dy);
  }
  const top = Math.max(...logits), e = logits.map((l) => Math.exp(l - top)), sum = e.reduce((a, b) => a + b, 0);
  return e.map((a) => a / sum);
}

const short = (x) => (x === null || x === undefined ? "-" : Number.isInteger(x) ? x.toLocaleString("en") : Number(x).toPrecision(4));
const safe = (t) => String(t).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

function tell(x, y) {
  picked = faceAt(x, y);
  showInput(x, y);
  if (picked < 0) { $("face").textContent = "outside the domain"; $("probabilities").innerHTML = ""; return; }
  const f = frame, affine = f.maps.length > 0, p = affine ? probabilities(picked, x, y) : [];
  const best = affine ? p.indexOf(Math.max(...p)) : classAt(picked, x, y);
  $("face").innerHTML = `<table><tr><td>face</td><td>${picked.toLocaleString("en")}</td></tr>
    <tr><td>class here</td><td>${safe(DATA.classes[best])}</td></tr>
    <tr><td>log10 area</td><td>${short(f.colourings.area.values[picked])}</td></tr>
    ${affine ? `<tr><td>map norm (along the slice)</td><td>${short(f.colourings.norm.values[picked])}</td></tr>
    <tr><td>log10 condition number</td><td>${short(f.colourings.condition.values[picked])}</td></tr>` : ""}
    <tr><td>sides</td><td>${f.start[picked + 1] - f.start[picked]}</td></tr></table>`;
  const order = p.map((q, c) => [q, c]).sort((a, b) => b[0] - a[0]).slice(0, 5);
  $("probabilities").innerHTML = !affine ? "" : "<h2>Class probabilities</h2><table>" + order.map(([q, c]) =>
    `<tr><td style="width:38%"><span class="swatch" style="background:${DATA.classColours[c]}"></span>${safe(DATA.classes[c])}</td>
     <td style="width:44%"><div class="bar" style="width:${Math.max(1, 100 * q)}%;background:${DATA.classColours[c]}"></div></td><td>${q.toFixed(3)}</td></tr>`).join("") + "</table>";
  showPattern();
}

function showInput(x, y) {
  const shape = DATA.shape, D = ORIGIN.length, values = new Float32Array(D), picture = $("input");
  for (let d = 0; d < D; d++) values[d] = ORIGIN[d] + x * DIRECTIONS[d] + y * DIRECTIONS[D + d];
  const colour = shape.length === 3 && shape[0] === 3, grey = shape.length === 2 || (shape.length === 3 && shape[0] === 1);
  const side = Math.sqrt(D), flat = shape.length === 1 && Number.isInteger(side) && D >= 64;
  const pen = picture.getContext("2d");
  if (!colour && !grey && !flat) {
    picture.width = 280; picture.height = 70; picture.style.width = "280px";
    pen.clearRect(0, 0, 280, 70);
    const most = Math.max(1e-12, ...Array.from(values.subarray(0, 280), Math.abs)), n = Math.min(D, 280), w = 280 / n;
    pen.fillStyle = "#3d5a80";
    for (let d = 0; d < n; d++) pen.fillRect(d * w, 35, Math.max(1, w - 1), -34 * values[d] / most);
    return;
  }
  const height = flat ? side : shape[shape.length - 2], width = flat ? side : shape[shape.length - 1], n = height * width;
  picture.width = width; picture.height = height;
  picture.style.width = `${Math.max(112, Math.min(224, 4 * width))}px`;
  const pixels = pen.createImageData(width, height);
  let low = 0, high = 1;
  if (values.some((q) => q < -0.5 || q > 1.5)) { low = Math.min(...values); high = Math.max(...values); }
  for (let q = 0; q < n; q++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * q + c] = 255 * (values[colour ? c * n + q : q] - low) / (high - low || 1);
    pixels.data[4 * q + 3] = 255;
  }
  pen.putImageData(pixels, 0, 0);
}

// A face's pattern differs from its parent's in the gates on the edge between them: climb to the root and flip.
function patternOf(f, k) {
  const bits = new Uint8Array(f.gates.length);
  for (let g = 0; g < bits.length; g++) bits[g] = (f.rootPattern[g >> 3] >> (g & 7)) & 1;
  for (; f.parent[k] >= 0; k = f.parent[k]) for (let i = f.flipStart[k]; i < f.flipStart[k + 1]; i++) bits[f.flips[i]] ^= 1;
  return bits;
}

function showPattern() {
  const f = frame, n = f.gates.length, picture = $("pattern"), left = f.windowsLeftOut ? "; pooling windows are not shown" : "";
  picture.hidden = picked < 0 || !n;
  if (picture.hidden) { $("patternText").textContent = picked < 0 ? "" : "no neuron's boundary crosses this slice" + left; return; }
  const width = 64, pen = picture.getContext("2d"), bits = patternOf(f, picked);
  picture.width = width; picture.height = Math.ceil(n / width);
  const pixels = pen.createImageData(picture.width, picture.height);
  let on = 0;
  for (let g = 0; g < n; g++) {
    on += bits[g];
    pixels.data.set(bits[g] ? [29, 78, 137, 255] : [228, 232, 236, 255], 4 * g);
  }
  pen.putImageData(pixels, 0, 0);
  $("patternText").textContent = `${on} of ${n} on; first ${f.gates[0]}, last ${f.gates[n - 1]}${left}`;
}

function showFrame() {
  const f = frame;
  $("title").textContent = DATA.title;
  $("subtitle").textContent = `${f.faces.toLocaleString("en")} ${f.kind}` + (f.faces === 1 ? ": no boundary crosses the domain" : "");
  $("frameLabel").textContent = f.label;
  $("summary").innerHTML = Object.entries(f.summary).map(([k, v]) => `<tr><td>${safe(k.replaceAll("_", " "))}</td><td>${short(v)}</td></tr>`).join("");
  $("sites").innerHTML = f.sites.map((s, i) => `<div><span class="swatch" style="background:${f.siteColours[i]}"></span>${safe(s)}</div>`).join("");
  showLegend();
}
function showLegend() {
  const mode = $("colour").value, f = frame;
  if (mode === "class") {
    const present = f.present;
    $("legend").innerHTML = present.map((c) => `<span style="white-space:nowrap;margin-right:10px"><span class="swatch" style="background:${DATA.classColours[c]}"></span>${safe(DATA.classes[c])}</span>`).join(" ");
  } else if (mode === "depth") $("legend").innerHTML = "";
  else {
    const c = f.colourings[mode], stops = DATA.scale.filter((_, i) => i % 32 === 0 || i === 255).map((s) => `rgb(${s})`);
    $("legend").innerHTML = `<div class="scale" style="background:linear-gradient(90deg,${stops})"></div><div class="ends"><span>${short(c.low)}</span><span>${short(c.high)}</span></div>`;
  }
}

function resize() {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(64, Math.round(canvas.clientWidth * ratio)), height = Math.max(64, Math.round(canvas.clientHeight * ratio));
  if (width === canvas.width && height === canvas.height) return;
  if (tiles.size) remember();
  canvas.width = width; canvas.height = height;
  draw(1500);
}
const planePoint = (event) => {
  const r = canvas.getBoundingClientRect(), ratio = canvas.width / r.width, scale = scaleOf();
  return [view.x + ((event.clientX - r.left) * ratio - canvas.width / 2) / scale, view.y - ((event.clientY - r.top) * ratio - canvas.height / 2) / scale];
};
canvas.addEventListener("pointerdown", (e) => { pointer = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
canvas.addEventListener("pointerup", () => { pointer = null; });
canvas.addEventListener("pointermove", (e) => {
  if (pointer) {
    const ratio = canvas.width / canvas.clientWidth, scale = scaleOf();
    view.x -= (e.clientX - pointer[0]) * ratio / scale;
    view.y += (e.clientY - pointer[1]) * ratio / scale;
    pointer = [e.clientX, e.clientY];
  } else tell(...planePoint(e));
  ask();
});
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  const before = planePoint(e);
  remember();
  view.zoom = Math.max(0.5, Math.min(1e5, view.zoom * Math.pow(2, -Math.sign(e.deltaY) / 2)));
  const after = planePoint(e);
  view.x += before[0] - after[0]; view.y += before[1] - after[1];
  ask();
}, { passive: false });
canvas.addEventListener("dblclick", () => { remember(); view.zoom = 1; view.x = (box[0] + box[2]) / 2; view.y = (box[1] + box[3]) / 2; ask(); });
for (const id of ["colour", "showEdges", "showBoundary"]) $(id).addEventListener("change", () => { showLegend(); redraw(); });
$("frame").max = FRAMES.length - 1;
$("frames").hidden = FRAMES.length < 2;
$("frame").addEventListener("input", () => { frame = FRAMES[+$("frame").value]; picked = -1; showFrame(); redraw(); });
window.addEventListener("resize", resize);

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
showFrame();
resize();
const options = new URLSearchParams(location.hash.slice(1));
if ([...$("colour").options].some((o) => o.value === options.get("colour"))) { $("colour").value = options.get("colour"); showLegend(); }
if (options.has("zoom")) view.zoom = +options.get("zoom");
if (options.has("frame")) { $("frame").value = options.get("frame"); frame = FRAMES[+options.get("frame")]; showFrame(); }
if (options.has("at")) tell(...options.get("at").split(",").map(Number));
draw(1e9);
if (options.has("measure")) measurePan();
