"""Cut tracks against a loop over fragments, and the yeast track at every base."""

import gzip
import json
import logging

import bbi
import numpy as np
import pyBigWig
import pytest

from gatescope.atac.bigwig import bigwig_lengths, read_bigwig
from gatescope.atac.cuts import cuts
from gatescope.atac.formats import tell_format
from gatescope.errors import InputError
from gatescope.stages import STAGE_VERSIONS

LENGTHS = {"chr2": 3000, "chr10": 2000, "chr1": 2500}


@pytest.fixture
def genome(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "genome.fa"
    path.write_text(
        "".join(f">{name}\n{''.join(rng.choice(list('ACGT'), n))}\n" for name, n in LENGTHS.items())
    )
    return path


def random_rows(seed=0, n=300, margin=0):
    rng = np.random.default_rng(seed)
    rows = []
    for chrom, length in LENGTHS.items():
        starts = rng.integers(margin, length - 200, n)
        rows += [(chrom, int(start), int(start + rng.integers(20, 200 - margin))) for start in starts]
    # copies, and fragments that touch both ends of a contig
    return rows + rows[:50] + ([("chr1", 0, 2500), ("chr10", 0, 30)] if margin == 0 else [])


def write_fragments(path, rows):
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def counts_by_loop(rows, plus=4, minus=-5):
    """Count the cuts of raw fragments: start + 4 and end - 5 (the last base is end - 1)."""
    counts = {chrom: np.zeros(length) for chrom, length in LENGTHS.items()}
    for chrom, start, end in rows:
        for position in (start + plus, end + minus):
            if 0 <= position < LENGTHS[chrom]:
                counts[chrom][position] += 1
    return counts


def assert_track(path, expected):
    assert bigwig_lengths(path) == {chrom: len(array) for chrom, array in expected.items()}
    for chrom, array in expected.items():
        assert np.array_equal(read_bigwig(path, chrom, missing=0), array)
        assert np.array_equal(bbi.fetch(str(path), chrom, 0, len(array), missing=0), array)


def write_bigwig(path, values, lengths=LENGTHS):
    """Write with pyBigWig alone, one item for each value that is not 0."""
    with pyBigWig.open(str(path), "w") as bigwig:
        bigwig.addHeader(list(lengths.items()))
        for chrom, array in values.items():
            positions = np.flatnonzero(array)
            bigwig.addEntries(chrom, positions, values=array[positions].astype(np.float32), span=1)
    return path


def test_fragments_give_two_cuts_each_at_the_centre_of_the_duplication(tmp_path, genome):
    rows = random_rows()
    atac = write_fragments(tmp_path / "f.bed.gz", rows)
    counts = cuts(atac, genome, tmp_path / "cuts.bw", tn5_shift="+0/-0")
    expected = counts_by_loop(set(rows))
    assert_track(tmp_path / "cuts.bw", expected)
    assert counts.cuts == sum(array.sum() for array in expected.values()) == 2 * len(set(rows))
    assert counts.largest == max(array.max() for array in expected.values())
    assert counts.cuts_per_bp == pytest.approx(counts.cuts / sum(LENGTHS.values()))
    kept = cuts(atac, genome, tmp_path / "kept.bw", tn5_shift="+0/-0", duplicates="keep")
    assert_track(tmp_path / "kept.bw", counts_by_loop(rows))
    assert kept.files[0].used == len(rows)


def test_the_sidecar_accounts_for_every_row_and_cut(tmp_path, genome):
    rows = [*random_rows(), ("chrM", 1, 50)]
    atac = write_fragments(tmp_path / "f.bed", rows)
    cuts(atac, genome, tmp_path / "cuts.bw", tn5_shift="+0/-0", exclude_contigs=["chrM"])
    sidecar = json.loads((tmp_path / "cuts.bw.json").read_text())
    n_distinct = len(set(rows)) - 1
    assert sidecar["files"] == [
        {
            "file": "f.bed",
            "format": "BED3",
            "tn5_shift": "+0/-0",
            "rows": len(rows),
            "left_out": {"excluded_contigs": 1, "duplicates_by_position": len(rows) - 1 - n_distinct},
            "used": n_distinct,
            "distinct": n_distinct,
            "ends_per_row": 2,
            "other_bases_on": None,
        }
    ]
    assert (sidecar["duplicates"], sidecar["min_mapq"], sidecar["improper_pairs"]) == ("auto", 30, "remove")
    assert sidecar["cuts"] + sidecar["cuts_off_contig"] == 2 * n_distinct
    assert (sidecar["unit"], sidecar["gaps"], sidecar["resolution_bp"]) == ("cuts", "zero", 1)
    assert (sidecar["tn5_shift_declared"], sidecar["tn5_shift_target"]) == ("+0/-0", "+4/-4")
    assert sidecar["exclude_contigs"] == ["chrM"]
    assert sidecar["stage_version"] == STAGE_VERSIONS["cuts"]
    assert sidecar["range"] == [0, sidecar["largest"]]


@pytest.mark.parametrize(("plus", "minus"), [(4, -5), (4, -4), (5, -4), (-3, 2)])
def test_shifted_fragments_declared_so_give_the_same_cuts(tmp_path, genome, plus, minus):
    rows = random_rows(margin=10)
    shifted = [(chrom, start + plus, end + minus) for chrom, start, end in rows]
    cuts(write_fragments(tmp_path / "raw.bed", rows), genome, tmp_path / "raw.bw", tn5_shift="+0/-0")
    declared = f"{plus:+d}/{minus:+d}"
    cuts(write_fragments(tmp_path / "s.bed", shifted), genome, tmp_path / "s.bw", tn5_shift=declared)
    assert (tmp_path / "raw.bw").read_bytes() == (tmp_path / "s.bw").read_bytes()
    cuts(tmp_path / "s.bed", genome, tmp_path / "wrong.bw", tn5_shift="+0/-0")
    assert (tmp_path / "raw.bw").read_bytes() != (tmp_path / "wrong.bw").read_bytes()


def test_cuts_off_the_contig_are_counted(tmp_path, genome, caplog):
    rows = [*random_rows(margin=10), ("chr10", 1990, 2000), ("chr1", 0, 3)]
    atac = write_fragments(tmp_path / "f.bed", rows)
    with caplog.at_level(logging.INFO):
        counts = cuts(atac, genome, tmp_path / "cuts.bw", tn5_shift="+4/-5")
    # declared as shifted inwards, so the right cut is the base `end`; 2000 is beyond chr10
    assert_track(tmp_path / "cuts.bw", counts_by_loop(set(rows), plus=0, minus=0))
    assert counts.cuts_off_contig == 1
    assert "1 cuts beyond the end" in caplog.text
    assert "left out: 50 with the ends of another row" in caplog.text


def test_tenx_rows_count_once_each(tmp_path, genome):
    rows = random_rows()
    atac = write_fragments(
        tmp_path / "f.tsv.gz", [(*row, f"CELL{n}-1", n % 7 + 1) for n, row in enumerate(rows)]
    )
    cuts(atac, genome, tmp_path / "cuts.bw", tn5_shift="+0/-0")
    assert_track(tmp_path / "cuts.bw", counts_by_loop(rows))


def test_row_order_and_repetition_do_not_change_a_byte(tmp_path, genome):
    rows = random_rows()
    for name, content in (("a", rows), ("b", rows), ("c", rows[::-1])):
        folder = tmp_path / name
        folder.mkdir()
        cuts(write_fragments(folder / "f.bed", content), genome, folder / "cuts.bw", tn5_shift="+0/-0")
    for name in ("cuts.bw", "cuts.bw.json"):
        assert len({(tmp_path / folder / name).read_bytes() for folder in "abc"}) == 1


def test_excluded_contigs_are_not_in_the_track(tmp_path, genome):
    rows = random_rows()
    atac = write_fragments(tmp_path / "f.bed", rows)
    cuts(atac, genome, tmp_path / "cuts.bw", tn5_shift="+0/-0", exclude_contigs=["chr10"])
    expected = counts_by_loop(set(rows))
    del expected["chr10"]
    assert_track(tmp_path / "cuts.bw", expected)
    with pytest.raises(InputError, match="exclude_contigs: every contig of the genome is excluded"):
        cuts(atac, genome, tmp_path / "none.bw", tn5_shift="+0/-0", exclude_contigs=list(LENGTHS))


@pytest.mark.parametrize("name", ["ready.bw", "ready.bigWig", "without_suffix"])
def test_a_ready_track_is_copied(tmp_path, genome, name):
    expected = counts_by_loop(random_rows())
    atac = write_bigwig(tmp_path / name, expected)
    assert tell_format(atac) == "bigWig"
    counts = cuts(atac, genome, tmp_path / "cuts.bw", tn5_shift="+4/-4")
    assert_track(tmp_path / "cuts.bw", expected)
    assert counts.cuts == sum(array.sum() for array in expected.values())
    assert [file.ends_per_row for file in counts.files] == [0]
    again = cuts(tmp_path / "cuts.bw", genome, tmp_path / "again.bw", tn5_shift="+4/-4")
    assert (again.cuts, again.largest) == (counts.cuts, counts.largest)
    assert (tmp_path / "again.bw").read_bytes() == (tmp_path / "cuts.bw").read_bytes()


def test_excluded_contigs_of_a_ready_track_are_counted(tmp_path, genome, caplog):
    expected = counts_by_loop(random_rows())
    atac = write_bigwig(tmp_path / "ready.bw", expected)
    with caplog.at_level(logging.INFO):
        counts = cuts(atac, genome, tmp_path / "cuts.bw", tn5_shift="+4/-4", exclude_contigs=["chr2", "chrM"])
    (file,) = counts.files
    n = {chrom: int(np.count_nonzero(values)) for chrom, values in expected.items()}
    assert file.left_out == {"excluded_contigs": n["chr2"]}
    assert (file.rows, file.used) == (sum(n.values()), sum(n.values()) - n["chr2"])
    assert f"bigWig, {file.rows:,} rows; left out: {n['chr2']:,} on excluded contigs" in caplog.text


def spoiled(change):
    """Return a good track with one thing changed."""
    values = counts_by_loop(random_rows())
    change(values)
    return values


def put(value):
    def change(values):
        values["chr10"][77] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(-1), "-1 at chr10 position 77"),
        (put(0.5), "0.5 at chr10 position 77.*smoothed, normalised"),
        (put(np.inf), "inf at chr10 position 77"),
        (put(np.nan), "NaN within chr10:0-2000"),
        (lambda values: values.pop("chr10"), "no cuts on contig chr10"),
        (lambda values: [array.fill(1) for array in values.values()], "have the value of the base before"),
    ],
)
def test_a_track_that_holds_no_counts_is_refused(tmp_path, genome, change, message):
    atac = write_bigwig(tmp_path / "ready.bw", spoiled(change))
    with pytest.raises(InputError, match=message) as caught:
        cuts(atac, genome, tmp_path / "out" / "cuts.bw", tn5_shift="+4/-4")
    assert str(caught.value).startswith(str(atac))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_track_of_another_genome_is_refused(tmp_path, genome):
    expected = counts_by_loop(random_rows())

    def refused(message, lengths, **options):
        values = {chrom: array[: lengths[chrom]] for chrom, array in expected.items() if chrom in lengths}
        values |= {chrom: np.ones(3) for chrom in lengths if chrom not in values}
        atac = write_bigwig(tmp_path / "ready.bw", values, lengths)
        with pytest.raises(InputError, match=message):
            cuts(atac, genome, tmp_path / "cuts.bw", **{"tn5_shift": "+4/-4"} | options)
        assert not (tmp_path / "cuts.bw").exists()

    refused("chr10 is 1999 bp long, in genome.fa 2000 bp.*another assembly", LENGTHS | {"chr10": 1999})
    refused("contig chrM not in genome.fa", LENGTHS | {"chrM": 99})
    refused("no contig 'chr10' of genome.fa.*leaves out", {"chr2": 3000, "chr1": 2500})
    refused(r"declared as \+0/-0.*cannot be shifted", LENGTHS, tn5_shift="+0/-0")
    excluded = {"chr2": 3000, "chr1": 2500, "chrM": 99}
    values = {chrom: expected.get(chrom, np.ones(9)) for chrom in excluded}
    atac = write_bigwig(tmp_path / "ready.bw", values, excluded)
    cuts(atac, genome, tmp_path / "cuts.bw", tn5_shift="+4/-4", exclude_contigs=["chr10", "chrM"])
    assert_track(tmp_path / "cuts.bw", {chrom: expected[chrom] for chrom in ("chr2", "chr1")})


def test_empty_and_false_tracks_are_refused(tmp_path, genome):
    empty = write_bigwig(tmp_path / "empty.bw", {})
    with pytest.raises(InputError, match="empty track: no base has data"):
        cuts(empty, genome, tmp_path / "cuts.bw", tn5_shift="+4/-4")
    (tmp_path / "half.bw").write_bytes(empty.read_bytes()[:80])
    with pytest.raises(InputError, match="cannot be read as bigWig"):
        cuts(tmp_path / "half.bw", genome, tmp_path / "cuts.bw", tn5_shift="+4/-4")
    with pytest.raises(InputError, match="file does not exist"):
        cuts(tmp_path / "none", genome, tmp_path / "cuts.bw", tn5_shift="+4/-4")
    assert not list(tmp_path.glob("*cuts.bw*"))


def test_bad_fragments_leave_nothing(tmp_path, genome):
    atac = write_fragments(tmp_path / "f.bed", [*random_rows(), ("chr1", 2400, 2501)])
    with pytest.raises(InputError, match=r"line \d+: end 2501 exceeds chr1 length 2500 \(genome.fa\)"):
        cuts(atac, genome, tmp_path / "out" / "cuts.bw", tn5_shift="+0/-0")
    assert not (tmp_path / "out").exists()


@pytest.mark.realdata
def test_yeast_cuts_equal_the_published_track_at_every_base(data, tmp_path):
    counts = cuts(
        data / "raw" / "fragments.bed.gz", data / "genome.fa.gz", tmp_path / "cuts.bw", tn5_shift="+0/-0"
    )
    expected = data / "cuts_p4m4.bw"
    lengths = bigwig_lengths(expected)
    assert bigwig_lengths(tmp_path / "cuts.bw") == lengths
    for chrom, length in lengths.items():
        wanted = bbi.fetch(str(expected), chrom, 0, length, missing=0)
        assert np.array_equal(bbi.fetch(str(tmp_path / "cuts.bw"), chrom, 0, length, missing=0), wanted)
    assert counts.cuts == 192_696
    assert (counts.files[0].rows, counts.files[0].distinct) == (98_822, 96_348)
    assert (tmp_path / "cuts.bw").stat().st_size <= expected.stat().st_size
