// The map: tiles of the plane are drawn once for a zoom level and then only moved, so that panning costs a few image copies a frame.
const canvas = $("map"), context = canvas.getContext("2d", { alpha: false });
const view = { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, zoom: 1 };
const TILE = 128, ratio = () => window.devicePixelRatio || 1, css = (name) => colours[name];
let colours = {}, tiles = new Map(), older = null, small = null, picked = -1, asked = false;

// The theme's colours, read once a theme.
function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = Object.fromEntries(["--paper", "--ink", "--soft", "--map"].map((name) => [name, style.getPropertyValue(name).trim()]));
}

function faceColour(f, k) {
  const mode = $("colour").value;
  if (mode === "class") return DATA.classColours[f.classes[k]];
  if (mode === "depth") return css("--map");
  const c = f.colourings[mode];
  const t = Math.max(0, Math.min(255, Math.round(255 * (c.values[k] - c.low) / (c.high - c.low))));
  return `rgb(${DATA.scale[t]})`;
}

const scaleOf = () => view.zoom * Math.min(canvas.width / (box[2] - box[0]), canvas.height / (box[3] - box[1])) * 0.94;

// Everything of the slice between (x0, y0) and (x1, y1), drawn with a pen: a canvas' context, or what writes SVG (export.js).
function paint(f, pen, x0, y0, x1, y1, X, Y) {
  const g = gridOf(f), v = f.vertices, byClass = $("colour").value === "class", shown = $("showEdges").checked;
  const groups = new Map(), pieces = [];
  f.stamp++;
  for (const k of within(f, g.faces, f.seenFace, x0, y0, x1, y1)) {
    const b = 4 * k, colour = faceColour(f, k);
    if (f.bounds[b] > x1 || f.bounds[b + 2] < x0 || f.bounds[b + 1] > y1 || f.bounds[b + 3] < y0) continue;
    if (!groups.has(colour)) groups.set(colour, []);
    groups.get(colour).push(k);
    if (byClass && f.piecesOf.has(k)) pieces.push(...f.piecesOf.get(k));
  }
  for (const [colour, faces] of groups) {
    pen.beginPath();
    for (const k of faces) ring(pen, f.start[k], f.start[k + 1], (c) => X(v[2 * f.corners[c]]), (c) => Y(v[2 * f.corners[c] + 1]));
    pen.fillStyle = pen.strokeStyle = colour;
    pen.lineWidth = 0.6;
    pen.fill();
    if (!shown) pen.stroke();  // closes the hairline gaps between neighbours
  }
  for (const p of pieces) {
    pen.beginPath();
    ring(pen, f.pieceStart[p], f.pieceStart[p + 1], (c) => X(f.piecePoints[2 * c]), (c) => Y(f.piecePoints[2 * c + 1]));
    pen.fillStyle = DATA.classColours[f.pieceClass[p]];
    pen.fill();
  }
  if (shown || $("colour").value === "depth") {
    const bySite = new Map();
    for (const e of within(f, g.edges, f.seenEdge, x0, y0, x1, y1)) {
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
    for (const s of within(f, g.boundary, f.seenBoundary, x0, y0, x1, y1)) {
      const [a, b, c, d] = f.boundary.subarray(4 * s, 4 * s + 4);
      pen.moveTo(X(a), Y(b)); pen.lineTo(X(c), Y(d));
    }
    pen.stroke();
  }
}

function ring(pen, start, end, X, Y) {
  for (let c = start; c < end; c++) if (c === start) pen.moveTo(X(c), Y(c)); else pen.lineTo(X(c), Y(c));
  pen.closePath();
}

function drawTile(f, i, j, scale) {
  const size = TILE / scale, x0 = i * size, y0 = j * size, tile = document.createElement("canvas");
  tile.width = tile.height = TILE;
  const pen = tile.getContext("2d", { alpha: false });
  pen.fillStyle = css("--paper");
  pen.fillRect(0, 0, TILE, TILE);
  paint(f, pen, x0, y0, x0 + size, y0 + size, (x) => (x - x0) * scale, (y) => TILE - (y - y0) * scale);
  return tile;
}

function draw(budget) {
  asked = false;
  const scale = scaleOf(), until = performance.now() + budget;
  const left = view.x - canvas.width / 2 / scale, top = view.y + canvas.height / 2 / scale, size = TILE / scale;
  context.fillStyle = css("--paper");
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
      const x = Math.round((i * size - left) * scale), y = Math.round((top - (j + 1) * size) * scale);  // up to where the next begins
      if (tile) context.drawImage(tile, x, y, Math.round(((i + 1) * size - left) * scale) - x, Math.round((top - j * size) * scale) - y);
      else missing++;
    }
  drawMarks(context, scale, left, top);
  drawMinimap();
  if (missing) ask();
  return missing;
}

function drawMarks(pen, scale, left, top) {
  pen.lineWidth = 1.5; pen.strokeStyle = "#111111"; pen.fillStyle = "#ffffff";
  for (const [x, y] of DATA.anchors) {
    pen.beginPath();
    pen.arc((x - left) * scale, (top - y) * scale, 5, 0, 7);
    pen.fill(); pen.stroke();
  }
  pen.font = "13px system-ui, sans-serif"; pen.lineJoin = "round";
  DATA.anchorLabels.forEach((label, i) => {
    const x = (DATA.anchors[i][0] - left) * scale + 8, y = (top - DATA.anchors[i][1]) * scale - 7;
    pen.lineWidth = 4; pen.strokeStyle = "#ffffff"; pen.strokeText(label, x, y);
    pen.fillStyle = "#111111"; pen.fillText(label, x, y);
  });
  pen.lineWidth = 1.5;
  if (picked >= 0) {
    const f = frame, v = f.vertices;
    pen.beginPath();
    ring(pen, f.start[picked], f.start[picked + 1], (c) => (v[2 * f.corners[c]] - left) * scale, (c) => (top - v[2 * f.corners[c] + 1]) * scale);
    pen.fillStyle = "rgba(255,255,255,.53)"; pen.fill();
    pen.strokeStyle = "#d00000"; pen.lineWidth = 2; pen.stroke();
  }
  drawScaleBar(pen, scale);
}

// A bar of a round length: in input space where the plane's directions are orthonormal, else in the plane's own units.
function drawScaleBar(pen, scale) {
  const most = canvas.width / 4 / scale, step = 10 ** Math.floor(Math.log10(most)), r = ratio();
  const length = [5, 2, 1].map((k) => k * step).find((l) => l <= most) || step, x = 14 * r, y = canvas.height - 16 * r;
  const words = `${Number(length.toPrecision(1))}${ORTHONORMAL ? " (l2 in input space)" : " (along the slice)"}`;
  pen.fillStyle = css("--paper");
  pen.fillRect(x - 6 * r, y - 24 * r, Math.max(length * scale, 7 * r * words.length) + 12 * r, 30 * r);
  pen.strokeStyle = css("--ink"); pen.lineWidth = 2 * r;
  pen.beginPath();
  pen.moveTo(x, y - 5 * r); pen.lineTo(x, y); pen.lineTo(x + length * scale, y); pen.lineTo(x + length * scale, y - 5 * r);
  pen.stroke();
  pen.fillStyle = css("--ink"); pen.font = `${12 * r}px system-ui, sans-serif`;
  pen.fillText(words, x + 2 * r, y - 9 * r);
}

// The whole slice, small, with what is seen of it framed; shown once part of it is out of sight.
function drawMinimap() {
  const mini = $("mini"), side = 132 * ratio(), width = box[2] - box[0], height = box[3] - box[1], scale = side / Math.max(width, height);
  mini.hidden = view.zoom < 1.25;
  if (mini.hidden) return;
  if (small === null) {
    small = document.createElement("canvas");
    small.width = Math.max(1, Math.round(width * scale)); small.height = Math.max(1, Math.round(height * scale));
    const pen = small.getContext("2d", { alpha: false });
    pen.fillStyle = css("--paper"); pen.fillRect(0, 0, small.width, small.height);
    paint(frame, pen, ...box, (x) => (x - box[0]) * scale, (y) => (box[3] - y) * scale);
  }
  mini.width = small.width; mini.height = small.height;
  mini.style.width = `${small.width / ratio()}px`;
  const pen = mini.getContext("2d"), s = scaleOf();
  pen.drawImage(small, 0, 0);
  pen.strokeStyle = "#d00000"; pen.lineWidth = 2 * ratio();
  const w = Math.max(4, canvas.width / s * scale), h = Math.max(4, canvas.height / s * scale);
  pen.strokeRect((view.x - box[0]) * scale - w / 2, (box[3] - view.y) * scale - h / 2, w, h);
}

function ask() { if (!asked) { asked = true; requestAnimationFrame(() => draw(12)); } }
function remember() {
  const scale = scaleOf(), image = document.createElement("canvas");
  image.width = canvas.width; image.height = canvas.height;
  image.getContext("2d").drawImage(canvas, 0, 0);
  older = { image, scale, left: view.x - canvas.width / 2 / scale, top: view.y + canvas.height / 2 / scale };
}
function redraw() { tiles = new Map(); older = small = null; ask(); }
