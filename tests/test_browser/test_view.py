"""What the page hands to igv.js: the windows, base by base."""

import base64
import re

import numpy as np
import pyBigWig
import pytest

from gatescope.browser.view import embedded_view, igv_script, igv_version


@pytest.fixture(scope="module")
def view(fake):
    return embedded_view(fake.results, fake.genome, fake.runs[0], count=2, window_bp=1400)


def decoded(uri):
    return base64.b64decode(uri.split(",", 1)[1])


def test_tracks_hold_the_windows_and_nothing_else(fake, view, tmp_path):
    names = {
        "forget gate fwd, unit 3": "forget_gate.fwd.boundary_unit",
        "output gate rev, mean": "output_gate.rev.mean",
    }
    by_name = {track["name"]: track for track in view.options["tracks"]}
    for name, stem in names.items():
        (tmp_path / "x.bw").write_bytes(decoded(by_name[name]["url"]))
        with pyBigWig.open(str(tmp_path / "x.bw")) as bigwig:
            assert bigwig.chroms() == {"ctgA": 20_000}
            values = np.array(bigwig.values("ctgA", 0, 20_000))
        inside = np.zeros(20_000, bool)
        inside[13_300:14_700] = inside[9_300:10_700] = True
        np.testing.assert_array_equal(np.isfinite(values), inside)
        expected = fake.gates["ctgA", stem, fake.runs[0]]
        np.testing.assert_allclose(values[inside], expected[inside], atol=1e-6)


def test_no_cut_is_drawn_as_zero(view, tmp_path):
    track = next(track for track in view.options["tracks"] if track["name"] == "ATAC cuts")
    (tmp_path / "x.bw").write_bytes(decoded(track["url"]))
    with pyBigWig.open(str(tmp_path / "x.bw")) as bigwig:
        assert np.isfinite(bigwig.values("ctgA", 13_300, 14_700, numpy=True)).all()


def test_sequence_slices(fake, view):
    lines = decoded(view.options["reference"]["fastaURL"]).decode().splitlines()
    assert lines[::2] == [">ctgA:9301-10700 @len=20000", ">ctgA:13301-14700 @len=20000"]
    assert lines[1::2] == [fake.sequence["ctgA"][9_300:10_700], fake.sequence["ctgA"][13_300:14_700]]


def test_windows_that_overlap_are_joined(fake):
    view = embedded_view(fake.results, fake.genome, fake.runs[0], count=4, window_bp=9000)
    headers = decoded(view.options["reference"]["fastaURL"]).decode().splitlines()[::2]
    assert headers == [">ctgA:1501-18500 @len=20000"]


def test_strongest_first_and_told_so(view):
    assert view.options["locus"] == view.loci[0] == "ctgA:13601-14400"
    assert view.places[0].title.startswith(
        "ctgA:14,000, entry for fwd: the forget gate of unit 3 falls from 0.95 to "
    )


def test_scales_and_what_a_pixel_shows(view):
    for track in view.options["tracks"]:
        if "gate" in track["name"] or "state" in track["name"] or track["name"] == "best possible":
            assert (track["min"], track["max"]) == (0.0, 1.0) and "autoscale" not in track
    shown = {track["name"].split()[0]: track.get("windowFunction") for track in view.options["tracks"]}
    assert (shown["forget"], shown["input"]) == ("min", "max")


def test_truth_is_shown_where_there_is_one(view):
    assert [name for name, _, _ in view.key][-2:] == ["best possible", "planted truth"]


def test_igv_can_stand_in_a_page():
    assert re.fullmatch(r"\d+\.\d+\.\d+", igv_version())
    assert "</script" not in igv_script()
