"""The explorer page and the picture: what is embedded is what the slice holds, and Chromium draws it."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from cutaway.errors import InputError
from cutaway.geometry.decision import as_logits
from cutaway.geometry.plane import plane_through, rectangle, square_around
from cutaway.geometry.slice import SliceSettings, slice_network
from cutaway.report.explorer import explorer_page, write_explorer, write_picture

BROWSER = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)


@pytest.fixture()
def through_images(mlp):
    model = torch.nn.Sequential(torch.nn.Flatten(), *mlp(16, 14, 14, 3, seed=3))
    plane = plane_through(np.random.default_rng(0).random((3, 1, 4, 4)))
    return slice_network(model, plane, square_around(plane, 3.0))


def embedded(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))


def unpack(text, kind):
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_page_holds_the_slice(through_images):
    result = through_images
    data = embedded(explorer_page([result], title="a <b> & c", class_names=["x", "y", "</script>"]))
    frame = data["frames"][0]
    assert frame["faces"] == result.num_faces and data["classes"][2] == "</script>"
    np.testing.assert_allclose(unpack(frame["vertices"], "<f4").reshape(-1, 2), result.vertices, atol=1e-5)
    start, corners = unpack(frame["start"], "<u4"), unpack(frame["corners"], "<u4")
    for face in range(0, result.num_faces, 9):
        np.testing.assert_array_equal(corners[start[face] : start[face + 1]], result.corners(face))
    maps = unpack(frame["maps"], "<f4").reshape(result.num_faces, 3, 3)
    face = result.num_faces // 2
    corner = result.corners(face)[0]
    step = result.vertices[corner] - result.measures.interior[face]
    np.testing.assert_allclose(maps[face] @ [1, *step], as_logits(result.outputs)[corner], atol=1e-4)
    gates = np.unique(result.edge_gates[result.edge_gates >= 0])
    bits = np.unpackbits(unpack(frame["rootPattern"], np.uint8), bitorder="little")[: len(gates)].astype(bool)
    parent, begin, flips = (unpack(frame[k], t) for k, t in (("parent", "<i4"), ("flipStart", "<u4"), ("flips", "<u4")))
    for face in range(0, result.num_faces, 9):
        found, k = bits.copy(), face
        while parent[k] >= 0:
            found[flips[begin[k] : begin[k + 1]]] ^= True
            k = parent[k]
        np.testing.assert_array_equal(found, result.patterns([face])[0, gates])
    assert len(frame["gates"]) == len(gates)


def test_class_pieces_fill_the_domain(through_images):
    areas = through_images.class_areas()
    assert areas.sum() == pytest.approx(through_images.measures.area.sum()) and (areas >= 0).all()
    u, v = np.random.default_rng(1).random((2, 20000, 1))
    corners = through_images.domain
    points = corners[0] + u * (corners[1] - corners[0]) + v * (corners[3] - corners[0])  # uniform in the square
    program = through_images.program
    with torch.no_grad():
        values = program.to_site(torch.from_numpy(through_images.plane.lift(points)), len(program.sites))
        found = program.outputs(values).argmax(dim=1).numpy()
    share = np.bincount(found, minlength=3) / len(points)
    error = np.sqrt(share * (1 - share) / len(points)) + 1e-4
    assert (np.abs(share - areas / areas.sum()) < 4 * error).all()


def test_frames_must_share_the_domain(mlp):
    small = slice_network(mlp(2, 5, 2), domain=rectangle(-1, 1, -1, 1))
    large = slice_network(mlp(2, 5, 2), domain=rectangle(-2, 2, -2, 2))
    with pytest.raises(InputError, match="another domain"):
        explorer_page([small, large])
    with pytest.raises(InputError, match="no slice"):
        explorer_page([])
    page = explorer_page([small, small], labels=["step 0", "step 9"])
    assert [f["label"] for f in embedded(page)["frames"]] == ["step 0", "step 9"]


def test_picture_of_every_colouring_and_of_an_empty_slice(mlp, tmp_path):
    result = slice_network(mlp(2, 8, 3), domain=rectangle(-1, 1, -1, 1), settings=SliceSettings(check=False))
    for colour in ("class", "area", "condition", "norm", "none"):
        files = write_picture(result, tmp_path / colour, colour=colour)
        assert [f.suffix for f in files] == [".png", ".svg"] and all(f.stat().st_size > 2000 for f in files)
    empty = slice_network(mlp(2, 5, 2), domain=rectangle(50, 50.001, 50, 50.001))
    write_picture(empty, tmp_path / "empty")
    assert "no boundary crosses" in (tmp_path / "empty.svg").read_text() or empty.num_faces == 1
    assert not list(tmp_path.glob(".*part"))


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_chromium_draws_the_page(through_images, tmp_path):
    page = write_explorer([through_images], tmp_path / "page.html", title="browser test")
    x, y = through_images.measures.interior[through_images.measures.area.argmax()]
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,800", "--dump-dom"]
    dom = subprocess.run(
        [*command, f"{page.as_uri()}#measure&at={x},{y}"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    face = int(through_images.measures.area.argmax())
    assert re.search(rf"<td>face</td><td>{face:,}</td>", dom)
    measured = json.loads(re.search(r'<pre id="measured"[^>]*>(\{[^<]*\})', dom).group(1))
    assert measured["frames"] == 240 and measured["faces"] == through_images.num_faces
    outputs = as_logits(through_images.interior_outputs)[face]
    top = np.exp(outputs - outputs.max())
    assert f"{(top / top.sum()).max():.3f}" in dom


ACTS = """
<script>
const said = {}, at = (x, y) => { const r = canvas.getBoundingClientRect(); return { clientX: r.left + x * r.width, clientY: r.top + y * r.height, bubbles: true }; };
const point = (what, id, x, y, kind) => canvas.dispatchEvent(new PointerEvent(what, { ...at(x, y), pointerId: id, pointerType: kind }));
const key = (k) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: k, bubbles: true, cancelable: true }));
said.first = $("where").textContent; said.read = $("face").textContent.includes("class here");
said.map = [canvas.clientWidth, canvas.clientHeight]; said.overflow = document.documentElement.scrollWidth - innerWidth;
said.paper = getComputedStyle(document.body).backgroundColor; said.label = canvas.getAttribute("aria-label");
said.zoom = [view.zoom]; said.mini = [$("mini").hidden];
point("pointerdown", 1, 0.4, 0.5, "touch"); point("pointerdown", 2, 0.6, 0.5, "touch"); point("pointermove", 2, 0.8, 0.5, "touch");
point("pointerup", 1, 0.4, 0.5, "touch"); point("pointerup", 2, 0.8, 0.5, "touch");
draw(1e9); said.zoom.push(view.zoom); said.mini.push($("mini").hidden);
point("pointerdown", 3, 0.5, 0.5, "touch"); point("pointerup", 3, 0.5, 0.5, "touch"); said.tapped = $("where").textContent;
const x = view.x; key("ArrowRight"); said.moved = view.x > x; key("]"); said.frame = $("frame").value; key("e"); said.edges = $("showEdges").checked;
said.svg = svgOfView(); said.png = canvas.toDataURL("image/png").length;
const kept = link(), told_before = told.slice(0, 2); key("0"); key("["); key("e"); said.all = view.zoom;
follow(kept); said.same = link() === kept && told_before.every((v, i) => Math.abs(v - told[i]) < 1e-6);
document.body.dataset.said = JSON.stringify(said);
</script>
"""


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("size", "dark"), [((420, 800), False), ((1000, 700), True), ((1600, 1000), False)])
def test_the_explorer_by_touch_and_keys_at_three_sizes(mlp, tmp_path, size, dark):
    """Pinch, tap, keys, minimap, checkpoints, the link that holds the view, export; in light and dark."""
    frames = [slice_network(mlp(2, 12, 12, 3, seed=s), domain=rectangle(-1, 1, -1, 1)) for s in (0, 1)]
    page = tmp_path / "page.html"
    page.write_text(explorer_page(frames, labels=["a", "b"], title="moves").replace("</body>", ACTS + "</body>"))
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--window-size={size[0]},{size[1]}",
        "--dump-dom",
    ]
    mode = ["--blink-settings=preferredColorScheme=0"] if dark else []
    dom = subprocess.run(
        [*command, *mode, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    found = re.search(r'data-said="([^"]*)"', dom)
    assert found, "the page's script ended early"
    said = json.loads(html.unescape(found.group(1)))
    assert said["first"] == "At the middle of the slice" and said["read"]
    assert said["overflow"] <= 0 and min(said["map"]) > 300
    assert said["paper"] == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
    assert f"{frames[0].num_faces:,} affine regions" in said["label"]
    assert said["zoom"][1] == pytest.approx(2 * said["zoom"][0], rel=0.02) and said["mini"] == [True, False]
    assert said["tapped"] == "Where you tapped" and said["moved"] and said["frame"] == "1" and said["edges"] is False
    assert said["all"] == 1 and said["same"], "the link does not bring the view back"
    drawing = ElementTree.fromstring(said["svg"])
    assert len(drawing.findall("{http://www.w3.org/2000/svg}path")) > 3 and said["png"] > 1000
