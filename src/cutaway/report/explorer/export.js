// What is shown, as a file: PNG from the canvas, SVG from the same drawing.
class SvgPen {
  constructor(width, height) { this.width = width; this.height = height; this.parts = []; this.path = ""; this.lineCap = "butt"; }
  beginPath() { this.path = ""; }
  moveTo(x, y) { this.path += `M${x.toFixed(2)} ${y.toFixed(2)}`; }
  lineTo(x, y) { this.path += `L${x.toFixed(2)} ${y.toFixed(2)}`; }
  closePath() { this.path += "Z"; }
  arc(x, y, r) { this.path += `M${(x - r).toFixed(2)} ${y.toFixed(2)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`; }
  fill() { if (this.path) this.parts.push(`<path d="${this.path}" fill="${this.fillStyle}"/>`); }
  stroke() {
    if (this.path) this.parts.push(`<path d="${this.path}" fill="none" stroke="${this.strokeStyle}" stroke-width="${this.lineWidth}" stroke-linecap="${this.lineCap}"/>`);
  }
  fillRect(x, y, w, h) { this.parts.push(`<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="${this.fillStyle}"/>`); }
  fillText(text, x, y) { this.parts.push(`<text x="${x}" y="${y}" fill="${this.fillStyle}" style="font:${safe(this.font)}">${safe(text)}</text>`); }
  text() {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}">`
      + `<title>${safe(description())}</title><rect width="100%" height="100%" fill="${css("--paper")}"/>${this.parts.join("")}</svg>`;
  }
}

function svgOfView() {
  const scale = scaleOf(), left = view.x - canvas.width / 2 / scale, top = view.y + canvas.height / 2 / scale;
  const pen = new SvgPen(canvas.width, canvas.height);
  paint(frame, pen, left, top - canvas.height / scale, left + canvas.width / scale, top, (x) => (x - left) * scale, (y) => (top - y) * scale);
  drawMarks(pen, scale, left, top);
  return pen.text();
}

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${DATA.title.replace(/[^\w.-]+/g, "-") || "slice"}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

$("png").addEventListener("click", () => { draw(1e9); canvas.toBlob((blob) => save(blob, "png")); });
$("svg").addEventListener("click", () => save(new Blob([svgOfView()], { type: "image/svg+xml" }), "svg"));
