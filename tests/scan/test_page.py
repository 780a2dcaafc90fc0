"""The report in a real browser: every figure drawn, no error on the console, nothing fetched."""

import pytest

from cutaway.report.page import number_text, write_report
from cutaway.scanning import ScanSettings, scan


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    import torch

    from cutaway.network import Network
    from cutaway.scanning import default_instruments
    from cutaway.testing.contract import small_classifier, small_data

    folder = tmp_path_factory.mktemp("page")
    data = small_data(36)
    network = Network(small_classifier(), data.inputs[:2], name="<script>alert(1)</script>")
    assert torch.is_tensor(data.inputs)
    run = scan(network, data, folder / "run", instruments=default_instruments(data), settings=ScanSettings(nulls=2))
    return write_report(run), run


def test_the_page_is_one_offline_file(page):
    path, run = page
    html = path.read_text()
    outside = html.split("<script>")[0] + html.rsplit("</script>", 1)[1]
    assert "http" not in outside
    assert 'src="' not in outside
    assert "<script>alert(1)" not in html
    for reading in run.readings:
        assert f'id="{reading.instrument}"' in html or reading.reason in html


@pytest.mark.browser
def test_all_figures_are_drawn_and_nothing_is_fetched(page, browse):
    path, run = page
    seen = browse(path)
    drawn = sum(bool(r.figures) for r in run.readings) + 1  # the first one leads the page as well
    assert f'data-drawn="{drawn}"' in seen.dom
    assert seen.dom.count('class="marks"') == drawn
    assert not seen.messages
    assert not seen.fetched


def test_numbers_for_people():
    assert [number_text(v) for v in (None, float("nan"), float("inf"), 1234567.0, 0.00012345)] == [
        "–", "–", "∞", "1,234,567", "0.000123",
    ]  # fmt: skip
