"""The IGV session in igv.js, through a server with byte ranges."""

import pytest

from gatescope.browser.view import igv_script

pytestmark = pytest.mark.browser

_PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"></head><body><div id="igv"></div>
<script>{igv}</script>
<script>
const options = {{sessionURL: "igv_session.xml", loadDefaultGenomes: false, search: false}};
igv.createBrowser(document.getElementById("igv"), options)
  .then((browser) => {{ window.shown = browser; }}, (error) => {{ window.failed = String(error); }});
</script></body></html>"""
_DRAWN = "window.shown.trackViews.every((v) => v.viewports.every((port) => !port.loading && port.canvas))"


@pytest.fixture(scope="module")
def session(fake, open_page, served):
    (fake.results / "browser" / "session.html").write_text(_PAGE.format(igv=igv_script()))
    address, answered = served(fake.results)
    opened = open_page(f"{address}/browser/session.html")
    opened.page.wait_for_function("window.shown || window.failed")
    assert opened.page.evaluate("window.failed || ''") == ""
    opened.page.wait_for_function(_DRAWN)
    return opened, answered, address


def test_session_shows_every_track_from_0_to_1(fake, session):
    opened, _, address = session
    tracks = opened.tracks("window.shown")
    assert len(tracks) == 14
    for track in tracks:
        assert track["drawn"] > 100, track
        if "gate" in track["name"]:
            assert track["range"] == {"min": 0, "max": 1}
    assert all(request.startswith(address) for request in opened.requests)
    assert not [item for item in opened.complaints if "favicon" not in item and "404" not in item]


def test_every_track_was_read_in_ranges(session):
    _, answered, _ = session
    tracks = {path for path, _ in answered if path.endswith(".bw")}
    assert len(tracks) == 12
    assert all(status == 206 for path, status in answered if path.endswith(".bw"))


def test_values_are_those_of_the_track(fake, session):
    opened, _, _ = session
    items = opened.values("window.shown", "forget gate rev, unit 11", "ctgA", 14_570, 14_610)
    expected = fake.gates["ctgA", "forget_gate.rev.boundary_unit", fake.runs[0]]
    found = {start: value for start, _, value in items}
    assert all(found[base] == pytest.approx(expected[base], abs=1e-6) for base in range(14_570, 14_610))
