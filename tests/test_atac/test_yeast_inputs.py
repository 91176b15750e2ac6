"""Real fragments written in every format give the published cuts at every base."""

import gzip
import json
from pathlib import Path

import bbi
import numpy as np
import pytest

from gatescope.atac.bigwig import bigwig_lengths
from gatescope.atac.cuts import cuts
from test_atac.atac_files import bedpe_rows, tagalign_rows, write_alignments, write_text

pytestmark = pytest.mark.realdata
#: Added to start and end of the raw fragments.
SHIFTS = {"+0/-0": (0, 0), "+4/-5": (4, -5), "+4/-4": (4, -4)}


@pytest.fixture(scope="module")
def fragments(data):
    with gzip.open(data / "raw" / "fragments.bed.gz", "rt") as file:
        rows = [line.split() for line in file]
    return [(name, int(start), int(end)) for name, start, end in rows]


@pytest.fixture(scope="module")
def expected(data):
    track = data / "cuts_p4m4.bw"
    lengths = bigwig_lengths(track)
    return {name: bbi.fetch(str(track), name, 0, length, missing=0) for name, length in lengths.items()}


def write(path: Path, kind: str, rows, lengths, genome) -> Path:
    """Write all rows, but only distinct ones where a format cannot or need not tell copies."""
    distinct = list(dict.fromkeys(rows))
    if kind in ("bam", "cram"):
        return write_alignments(path.with_suffix(f".{kind}"), lengths, rows, reference=genome)
    if kind == "name-sorted bam":
        return write_alignments(path.with_suffix(".bam"), lengths, rows, order="name")
    if kind == "tagAlign":
        return write_text(path.with_suffix(".tagAlign.gz"), tagalign_rows(distinct))
    if kind == "10x":
        copies = dict.fromkeys(rows, 0)
        for row in rows:
            copies[row] += 1
        return write_text(path.with_suffix(".tsv.gz"), [(*row, "AC-1", n) for row, n in copies.items()])
    return write_text(path.with_suffix(".bedpe"), bedpe_rows(rows))


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("kind", ["bam", "name-sorted bam", "cram", "tagAlign", "10x", "bedpe"])
def test_every_format_gives_the_published_cuts(tmp_path, data, fragments, expected, kind, shift):
    """Shifted in advance and declared so, the same again."""
    plus, minus = SHIFTS[shift]
    lengths = {name: len(counts) for name, counts in expected.items()}
    rows = [(name, start + plus, end + minus) for name, start, end in fragments]
    genome = data / "genome.fa.gz"
    told = cuts(
        write(tmp_path / "a", kind, rows, lengths, genome), genome, tmp_path / "cuts.bw", tn5_shift=shift
    )
    assert told.cuts == 192_696
    assert json.loads((tmp_path / "tn5_shift.json").read_text())["detected"] == shift
    (file,) = told.files
    assert file.rows == file.used + sum(file.left_out.values())
    assert file.used * file.ends_per_row == 192_696
    assert bigwig_lengths(tmp_path / "cuts.bw") == lengths
    for name, counts in expected.items():
        found = bbi.fetch(str(tmp_path / "cuts.bw"), name, 0, lengths[name], missing=0)
        np.testing.assert_array_equal(found, counts, err_msg=name)
