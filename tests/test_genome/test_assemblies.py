"""Assemblies told from contig lengths, and clashes between them said in words."""

import pytest

from gatescope.errors import InputError
from gatescope.genome.assemblies import _ASSEMBLIES, assembly_clash, assembly_of, assembly_with_room
from gatescope.genome.regions import read_regions

#: Typed in again, from samtools headers of public files.
HG38 = {"chr1": 248956422, "chr2": 242193529, "chrX": 156040895, "chrM": 16569}
HG19 = {"1": 249250621, "2": 243199373, "X": 155270560, "MT": 16569}
SACCER3 = {"chrI": 230218, "chrII": 813184, "chrIII": 316620, "chrX": 745751}


@pytest.mark.parametrize(
    ("lengths", "name"),
    [
        (HG38, "hg38 (GRCh38)"),
        (HG19, "hg19 (GRCh37)"),
        (SACCER3, "sacCer3 (R64-1-1)"),
        ({"NC_000067.7": 195154279, "NC_000086.8": 169476592}, "mm39 (GRCm39)"),
        ({"2L": 23513712, "2R": 25286936, "X": 23542271}, "dm6 (BDGP6)"),
        ({"Chr1": 30427671, "Chr5": 26975502, "ChrC": 154478}, "TAIR10"),
        ({"chr1": 248956422}, ""),  # one contig may be chance
        ({"chr1": 248956422, "chr2": 242193529, "chr3": 1, "chr4": 2, "chr5": 3}, ""),
        ({"a": 500, "b": 900}, ""),
        ({}, ""),
    ],
)
def test_an_assembly_is_told_from_its_lengths(lengths, name):
    assert assembly_of(lengths) == name


def test_no_two_assemblies_have_a_contig_of_the_same_length():
    """Otherwise a few contigs would not tell them apart."""
    seen = [length for assembly in _ASSEMBLIES for length in assembly.lengths.values()]
    assert len(set(seen)) == len(seen)


def test_clashes_name_what_is_known():
    assert assembly_clash(HG19, HG38) == (
        "another assembly: the genome is hg38 (GRCh38), this file was made on hg19 (GRCh37)"
    )
    assert assembly_clash({"a": 5}, HG38).endswith(
        "the genome is hg38 (GRCh38), this file was made on another"
    )
    assert "this file was made on hg19" in assembly_clash(HG19, {"a": 5})
    assert assembly_clash({"a": 5}, {"a": 6}) == assembly_clash(HG38, HG38) == "another assembly"


def test_a_peak_beyond_its_contig_names_the_assembly_that_it_fits(tmp_path):
    (tmp_path / "peaks.bed").write_text("chr1\t249000000\t249000500\n")
    with pytest.raises(
        InputError, match=r"is hg38 .*; chr1 is long enough in hg19 \(GRCh37\): 249,250,621 bp; lift"
    ):
        read_regions(tmp_path / "peaks.bed", HG38)
    assert assembly_with_room("chr1", 260_000_000, HG38) == ""
    assert assembly_with_room("chr1", 9, {"chr1": 5}) == ""
