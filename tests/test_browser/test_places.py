"""The strongest boundaries, against loops over single bases."""

import math

import numpy as np
import pyBigWig
import pytest

from fake_results import LENGTHS, REGION_BP, REGION_STARTS, UNITS, write_dense_bigwig
from gatescope.browser.places import strongest_places
from gatescope.errors import InputError


def falls_by_hand(fake, contig):
    """Every entry boundary with its fall: flank 25 to 250 bases before, minimum of the 25 beyond."""
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

                before = math.fsum(gate(offset) for offset in range(-250, -25)) / 225
                lowest = min(gate(offset) for offset in range(25))
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
