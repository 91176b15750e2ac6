"""The strongest boundaries, against loops over single bases."""

import json
import math

import numpy as np
import pyBigWig
import pytest

import fake_results
from fake_results import LENGTHS, REGION_BP, REGION_STARTS, UNITS, write_dense_bigwig, write_fake_results
from gatescope.browser.places import strongest_places
from gatescope.browser.view import embedded_view
from gatescope.errors import InputError


def falls_by_hand(fake, contig, flank_bp=250, dip_bp=25):
    """Every entry boundary with its fall: mean over the flank before it, but for its end, and minimum beyond."""
    rows = []
    for direction, step in (("fwd", 1), ("rev", -1)):
        path = fake.results / "trace" / fake.runs[0] / f"forget_gate.{direction}.boundary_unit.bw"
        with pyBigWig.open(str(path)) as bigwig:
            for start in REGION_STARTS:
                position = start if direction == "fwd" else start + REGION_BP
                first = position if direction == "fwd" else position - 1

                def gate(offset, first=first, step=step):
                    at = first + step * offset
                    return bigwig.values(contig, at, at + 1)[0]

                before = math.fsum(gate(offset) for offset in range(-flank_bp, -dip_bp)) / (flank_bp - dip_bp)
                lowest = min(gate(offset) for offset in range(dip_bp))
                rows.append((before - lowest, contig, position, direction, before, lowest))
    return sorted(rows, reverse=True)


def test_same_order_and_numbers_as_by_hand(fake):
    places = strongest_places(fake.results, fake.runs[0], 99)
    expected = falls_by_hand(fake, "ctgA")
    assert [(p.chrom, p.position, p.direction) for p in places] == [row[1:4] for row in expected]
    np.testing.assert_allclose(
        [(p.fall, p.before, p.lowest) for p in places], [(r[0], *r[4:]) for r in expected], atol=1e-6
    )
    assert all(place.unit == UNITS[place.direction] for place in places)


def change_shape(fake, **shape):
    path = fake.results / "boundaries" / fake.runs[0] / "verdict.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "shape": shape}))


def test_lengths_are_those_that_the_verdict_was_found_with(own_fake):
    change_shape(own_fake, profile_bp=60, flank_bp=50, dip_bp=4)
    places = strongest_places(own_fake.results, own_fake.runs[0], 99)
    np.testing.assert_allclose(
        [(p.fall, p.before, p.lowest) for p in places],
        [(row[0], *row[4:]) for row in falls_by_hand(own_fake, "ctgA", flank_bp=50, dip_bp=4)],
        atol=1e-6,
    )
    change_shape(own_fake, profile_bp=2_001, flank_bp=50, dip_bp=4)
    places = strongest_places(own_fake.results, own_fake.runs[0], 99)
    assert (2_000, "fwd") not in [(place.position, place.direction) for place in places]


def test_a_verdict_without_lengths_is_named(own_fake):
    change_shape(own_fake, profile_bp=60)
    with pytest.raises(InputError, match=r"verdict\.json: shape: no entry 'flank_bp'"):
        strongest_places(own_fake.results, own_fake.runs[0], 5)


def test_a_contig_with_a_colon_is_left_out(tmp_path, monkeypatch, caplog):
    """HLA contigs are called such: no browser finds the place in a locus with two colons."""
    caplog.set_level("INFO", "gatescope")
    monkeypatch.setattr(fake_results, "LENGTHS", {"ctgA": 20_000, "HLA-A*01:01": 20_000})
    fake = write_fake_results(tmp_path, is_planted=False)
    path = fake.results / "model" / fake.runs[0] / "model.json"
    model = json.loads(path.read_text())
    for test in (["HLA-A*01:01", "ctgA"], ["HLA-A*01:01"]):
        path.write_text(json.dumps({**model, "fold": {"name": "f1", "test": test, "valid": []}}))
        if "ctgA" in test:
            view = embedded_view(fake.results, fake.genome, fake.runs[0], count=99, window_bp=1000)
            assert {place.chrom for place in view.places} == {"ctgA"}
            assert "no boundary of HLA-A*01:01 is shown: a colon in its name" in caplog.text
        else:
            with pytest.raises(InputError, match="and have no colon in their names"):
                strongest_places(fake.results, fake.runs[0], 5)


def test_only_test_contigs_and_only_as_many_as_asked(fake):
    places = strongest_places(fake.results, fake.runs[0], 3)
    assert len(places) == 3 and {place.chrom for place in places} == {"ctgA"}


def test_neighbours_of_a_stronger_boundary_are_left_out(fake):
    places = strongest_places(fake.results, fake.runs[0], 99, apart_bp=REGION_BP + 1)
    assert [(place.position, place.direction) for place in places] == [
        (start, "fwd") for start in reversed(REGION_STARTS)
    ]


def test_a_gap_is_no_fall(own_fake):
    for direction in UNITS:
        path = own_fake.results / "trace" / own_fake.runs[0] / f"forget_gate.{direction}.boundary_unit.bw"
        values = {contig: own_fake.gates[contig, path.stem, own_fake.runs[0]].copy() for contig in LENGTHS}
        values["ctgA"][14_005] = np.nan  # the strongest boundary of fwd, beyond what rev reads
        write_dense_bigwig(path, values)
    places = strongest_places(own_fake.results, own_fake.runs[0], 99)
    found = {(place.position, place.direction) for place in places}
    assert (14_000, "fwd") not in found and (14_600, "rev") in found and len(found) == 7


def test_no_boundary_with_values(own_fake):
    for direction in UNITS:
        path = own_fake.results / "trace" / own_fake.runs[0] / f"forget_gate.{direction}.boundary_unit.bw"
        write_dense_bigwig(path, {"ctgB": own_fake.gates["ctgB", path.stem, own_fake.runs[0]]})
    with pytest.raises(InputError, match="no region boundary with gate values on the test contigs"):
        strongest_places(own_fake.results, own_fake.runs[0], 5)


@pytest.mark.parametrize(
    ("position", "window_bp", "locus"),
    [
        (14_000, 3000, "12501-15500"),
        (14_000, 1001, "13501-14501"),
        (2_000, 6000, "1-6000"),
        (2_000, 50_000, "1-20000"),
    ],
)
def test_locus_stays_on_the_contig(fake, position, window_bp, locus):
    places = strongest_places(fake.results, fake.runs[0], 99)
    place = next(place for place in places if place.position == position)
    assert place.locus(LENGTHS, window_bp) == f"ctgA:{locus}"
