"""The report in Chromium, from file://: nothing is fetched, everything is drawn, at the right base."""

import json
import re

import numpy as np
import pytest

pytestmark = pytest.mark.browser

BROWSER = "window.gatescope.browser"
UNIT = "forget gate fwd, unit 3"


@pytest.fixture(scope="module")
def report_page(fake, open_page):
    opened = open_page((fake.results / "browser" / "report.html").as_uri())
    opened.page.wait_for_function("window.gatescope !== undefined")
    assert opened.page.evaluate("window.gatescope.ready")
    return opened


@pytest.fixture
def opened(report_page):
    """The report at its first boundary."""
    report_page.page.set_viewport_size({"width": 1200, "height": 900})
    report_page.page.click("#places button[data-place='0']")
    wait_until_drawn(report_page)
    return report_page


def wait_until_drawn(opened):
    opened.page.wait_for_function(
        f"{BROWSER}.trackViews.every((view) => view.viewports.every((port) => !port.loading && port.canvas))"
    )


def test_one_request_and_no_complaint(fake, opened):
    assert opened.requests == [(fake.results / "browser" / "report.html").as_uri()]
    assert opened.complaints == []


def test_what_the_user_wrote_is_not_run(opened):
    assert opened.page.title() == 'gatescope report: demo <script>document.title = "bad"</script>'
    assert opened.page.inner_text("h1").startswith("demo <script>")


def test_every_track_is_named_and_drawn(opened):
    tracks = opened.tracks(BROWSER)
    assert [track["name"] for track in tracks] == [
        "forget gate fwd, unit 3",
        "forget gate rev, unit 11",
        "forget gate fwd, mean",
        "forget gate rev, mean",
        "input gate fwd, mean",
        "input gate rev, mean",
        "output gate fwd, mean",
        "output gate rev, mean",
        "predicted cuts",
        "predicted state",
        "open regions",
        "ATAC cuts",
        "best possible",
        "planted truth",
    ]
    for track in tracks:
        assert track["drawn"] > 100, track
        if "gate" in track["name"] or "state" in track["name"]:
            assert track["range"] == {"min": 0, "max": 1}


def test_values_are_those_of_the_track_at_their_bases(fake, opened):
    items = opened.values(BROWSER, UNIT, "ctgA", 13_990, 14_030)
    found = {start: value for start, end, value in items if end == start + 1}
    expected = fake.gates["ctgA", "forget_gate.fwd.boundary_unit", fake.runs[0]]
    for base in range(13_990, 14_030):
        assert found[base] == pytest.approx(expected[base], abs=1e-6)


def test_the_dip_is_drawn_just_beyond_the_boundary(opened):
    opened.page.evaluate(f"{BROWSER}.search('ctgA:13901-14100')")
    wait_until_drawn(opened)
    heights = opened.page.evaluate(f"({_COLUMN_HEIGHTS})({BROWSER}, {json.dumps(UNIT)}, 13900, 14100)")
    heights = np.array(heights) / max(heights)
    assert (
        heights[:98].min() > 0.9 and heights[122:].min() > 0.9
    )  # 20 bases beyond 14,000, and a pixel's width
    assert heights[102:118].max() < 0.4


#: Drawn pixels above each base of a span, in the middle of the base.
_COLUMN_HEIGHTS = """(browser, name, start, end) => {
    const view = browser.trackViews.find((view) => view.track.name === name);
    const port = view.viewports[0], canvas = port.canvas, frame = port.referenceFrame;
    const scale = canvas.width / canvas.getBoundingClientRect().width;
    const left = canvas.getBoundingClientRect().left - port.$viewport[0].getBoundingClientRect().left;
    const context = canvas.getContext("2d");
    const heights = [];
    for (let base = start; base < end; base++) {
        const x = Math.round(((base + 0.5 - frame.start) / frame.bpPerPixel - left) * scale);
        const column = context.getImageData(x, 0, 1, canvas.height).data;
        let drawn = 0;
        for (let at = 3; at < column.length; at += 4) drawn += column[at] > 0;
        heights.push(drawn);
    }
    return heights;
}"""


def test_buttons_walk_through_the_boundaries(opened):
    page = opened.page
    shown = [page.inner_text("#shown")]
    for button in ("#next", "#next", "#next", "#previous"):
        page.click(button)
        shown.append(page.inner_text("#shown"))
    assert [text.split(":")[0] for text in shown] == ["1 of 3", "2 of 3", "3 of 3", "1 of 3", "3 of 3"]
    page.click("#places button[data-place='1']")
    assert page.locator("#places tr.current th").inner_text() == "2"
    assert "10,000" in page.inner_text("#shown")
    page.wait_for_function(
        f"{BROWSER}.referenceFrameList[0].start < 10000 && {BROWSER}.referenceFrameList[0].start > 8000"
    )


def test_no_horizontal_scroll_on_a_small_screen(opened):
    opened.page.set_viewport_size({"width": 420, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(
    ("flag", "leak"),
    [("loadDefaultGenomes", "igv.org/genomes/genomes.json"), ("search", "igv.org/genomes/locus.php")],
)
def test_both_offline_flags_are_needed(fake, open_page, tmp_path, flag, leak):
    """Without the policy and one flag, this igv.js asks igv.org: if it no longer does, the flag can go."""
    text = (fake.results / "browser" / "report.html").read_text()
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert f'"{flag}":false' in text
    (tmp_path / "leaky.html").write_text(text.replace(f'"{flag}":false', f'"un{flag}":false'))
    opened = open_page("about:blank")
    opened.page.route(re.compile(r"^https?:"), lambda route: route.abort())
    opened.page.goto((tmp_path / "leaky.html").as_uri())
    opened.page.wait_for_function("window.gatescope !== undefined")
    if flag == "search":
        opened.page.evaluate(f"{BROWSER}.search('secretGene').catch(() => null)")
    assert any(leak in address for address in opened.requests)


def test_a_name_that_is_typed_stays_here(fake, opened):
    opened.page.evaluate(f"{BROWSER}.search('secretGene').catch(() => null)")
    assert opened.requests == [(fake.results / "browser" / "report.html").as_uri()]
