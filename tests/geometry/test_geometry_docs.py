"""docs/geometry.md: its Python runs and gives the figure it states, and the pictures it shows are there."""

import re
from pathlib import Path

DOC = Path(__file__).parents[2] / "docs" / "geometry.md"


def test_the_slice_of_the_guide_has_as_many_regions_as_it_says(real_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = DOC.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    found = next((real_data / "vnncomp2022").rglob("ACASXU_run2a_1_1_*.onnx"))
    names: dict = {"acas_xu": str(found)}
    exec(code, names)
    assert f"{names['result'].num_faces:,} affine regions" in text
    assert (tmp_path / "acas.png").stat().st_size > 100_000


def test_the_pictures_of_the_guides_are_there():
    for page in [*DOC.parent.glob("*.md"), DOC.parents[1] / "README.md"]:
        for path in re.findall(r"\]\(([^)#]+\.(?:png|svg|md))\)", page.read_text(encoding="utf-8")):
            assert (page.parent / path).is_file(), f"{page.name} shows {path}"
