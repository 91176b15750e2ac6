"""The matrix file, read as deepTools reads it, against a loop over regions and offsets."""

import gzip
import json
import math

import numpy as np
import pytest
from gate_worlds import CROSSINGS, DIRECTIONS, ArrayUnits, base_at, draw_regions, noise

from gatescope.boundaries.matrix import matrix_file, write_matrix
from gatescope.boundaries.profile import find_sites, region_of

LENGTHS = {"b": 7001, "a": 9000}
PROFILE_BP = 60
CASES = [(direction, crossing) for direction in DIRECTIONS for crossing in CROSSINGS]
#: What `computeMatrix reference-point` of deepTools 3.5.6 writes into its header.
KEYS = {
    "upstream", "downstream", "body", "bin size", "ref point", "verbose", "bin avg type", "missing data as zero",
    "min threshold", "max threshold", "scale", "skip zeros", "nan after end", "proc number", "sort regions",
    "sort using", "unscaled 5 prime", "unscaled 3 prime", "group_labels", "group_boundaries", "sample_labels",
    "sample_boundaries",
}  # fmt: skip


@pytest.fixture
def regions():
    return draw_regions(LENGTHS, np.random.default_rng(3))


@pytest.fixture
def units():
    rng = np.random.default_rng(8)
    return ArrayUnits({contig: noise((2, 2, length), rng, scale=2.0) for contig, length in LENGTHS.items()})


def write(folder, units, regions, direction, crossing):
    sites = find_sites(regions, LENGTHS, DIRECTIONS.index(direction), crossing, PROFILE_BP)
    path = folder / matrix_file(direction, crossing)
    write_matrix(path, units, sites, regions, 1, PROFILE_BP)
    return path, sites


@pytest.mark.parametrize(("direction", "crossing"), CASES)
def test_rows_equal_a_loop_over_regions_and_offsets(tmp_path, units, regions, direction, crossing):
    path, _ = write(tmp_path, units, regions, direction, crossing)
    header, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    expected = []
    for region in regions.sort_values(["chrom", "start"], ascending=[False, True]).itertuples():
        at = [base_at(region, direction, crossing, k) for k in range(-PROFILE_BP, PROFILE_BP)]
        if min(at) < 0 or max(at) >= LENGTHS[region.chrom]:
            continue
        logits = units.logits(region.chrom, DIRECTIONS.index(direction), 1)[at]
        place = [region.chrom, str(region.start), str(region.end)]
        name = f"{region.chrom}:{region.start + 1}-{region.end}"
        strand = "+" if direction == "fwd" else "-"
        expected.append([*place, name, ".", strand, *(f"{1 / (1 + math.exp(-z)):.4f}" for z in logits)])
    assert [line.split("\t") for line in lines] == expected
    parameters = json.loads(header.removeprefix("@"))
    assert set(parameters) == KEYS
    assert parameters["group_boundaries"] == [0, len(expected)]
    assert parameters["sample_boundaries"] == [0, 2 * PROFILE_BP]
    assert parameters["ref point"] == [crossing]
    assert parameters["sample_labels"] == [f"forget gate of {direction} unit 1"]


def test_same_gates_same_bytes(tmp_path, units, regions):
    one, two = tmp_path / "one", tmp_path / "two"
    paths = [write(folder, units, regions, "rev", "exit")[0] for folder in (one, two)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes()[4:8] == bytes(4)  # no time


def test_many_boundaries_are_written_piece_by_piece(tmp_path, monkeypatch, units, regions):
    whole = write(tmp_path / "whole", units, regions, "rev", "entry")[0].read_bytes()
    monkeypatch.setattr("gatescope.boundaries.profile._CHUNK", 2)
    assert write(tmp_path / "pieces", units, regions, "rev", "entry")[0].read_bytes() == whole


def test_boundaries_of_other_regions_are_refused(regions):
    sites = find_sites(regions, LENGTHS, 0, "entry", PROFILE_BP)
    with pytest.raises(ValueError, match="are no region's start"):
        region_of(sites, regions.assign(start=regions["start"] + 1))


def test_regions_out_of_order_are_found(regions):
    sites = find_sites(regions, LENGTHS, 1, "entry", PROFILE_BP)
    shuffled = regions.sample(frac=1, random_state=1)
    one, two = region_of(sites, regions), region_of(sites, shuffled)
    for contig in LENGTHS:
        np.testing.assert_array_equal(one[contig], two[contig])
        np.testing.assert_array_equal(one[contig][:, 1], sites.positions[contig])
