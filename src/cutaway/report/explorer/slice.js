"use strict";
// The slice as the page holds it: arrays of every frame (a checkpoint), a grid over its faces, and what lies at a point.
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
const ORTHONORMAL = (() => {  // then a length in the plane is a length in input space
  const D = ORIGIN.length, dot = (a, b) => { let sum = 0; for (let d = 0; d < D; d++) sum += DIRECTIONS[a * D + d] * DIRECTIONS[b * D + d]; return sum; };
  return Math.abs(dot(0, 0) - 1) < 1e-4 && Math.abs(dot(1, 1) - 1) < 1e-4 && Math.abs(dot(0, 1)) < 1e-4;
})();
const C = DATA.classes.length, GRID = 128;
const box = DATA.domain.reduce((b, [x, y]) => [Math.min(b[0], x), Math.min(b[1], y), Math.max(b[2], x), Math.max(b[3], y)],
  [Infinity, Infinity, -Infinity, -Infinity]);
let frame = FRAMES[0];

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

// A face's pattern differs from its parent's in the gates on the edge between them: climb to the root and flip.
function patternOf(f, k) {
  const bits = new Uint8Array(f.gates.length);
  for (let g = 0; g < bits.length; g++) bits[g] = (f.rootPattern[g >> 3] >> (g & 7)) & 1;
  for (; f.parent[k] >= 0; k = f.parent[k]) for (let i = f.flipStart[k]; i < f.flipStart[k + 1]; i++) bits[f.flips[i]] ^= 1;
  return bits;
}
