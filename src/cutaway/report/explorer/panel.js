// The panel beside the map: what lies at the pointer, the input there, the pattern, the legend, the slice in numbers.
let told = null;
const short = (x) => (x === null || x === undefined ? "-" : Number.isInteger(x) ? x.toLocaleString("en") : Number(x).toPrecision(4));
const safe = (t) => String(t).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

// What lies at (x, y), which is `where`: "at the pointer", "at the first sample", ...
function tell(x, y, where) {
  picked = faceAt(x, y);
  told = [x, y, where];
  $("where").textContent = where[0].toUpperCase() + where.slice(1);
  showInput(x, y);
  if (picked < 0) { $("face").textContent = "Outside the domain."; $("probabilities").innerHTML = ""; showPattern(); return; }
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
  canvas.setAttribute("aria-label", description());
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

// The slice in one sentence, for those who do not see it.
function description() {
  const f = frame, classes = f.present.map((c) => DATA.classes[c]), many = classes.length > 8 ? `${classes.length} classes` : classes.join(", ");
  return `${DATA.title}${f.label ? ", " + f.label : ""}: a plane cut into ${f.faces.toLocaleString("en")} ${f.kind}; classes on it: ${many}.`;
}
