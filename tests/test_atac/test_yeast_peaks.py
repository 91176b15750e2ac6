"""MACS3 itself on real fragments: the published peaks again, and edges on the step in cut density."""

import gzip
import json
import shutil
from pathlib import Path

import bbi
import numpy as np
import pandas as pd
import pytest

from gatescope.atac.bigwig import bigwig_lengths
from gatescope.atac.macs3 import find_macs3
from gatescope.atac.peaks import peaks
from gatescope.errors import InputError
from gatescope.genome.regions import merge_regions, read_regions
from test_atac.atac_files import write_alignments

pytestmark = pytest.mark.realdata
FLANK_BP, INSIDE_BP = 150, 100


@pytest.fixture(scope="module", autouse=True)
def real_macs3():
    try:
        return find_macs3()
    except InputError:
        pytest.skip("no MACS3: run `make peaks-env`")


@pytest.fixture(scope="module")
def cut_counts(data):
    track = data / "cuts_p4m4.bw"
    return {name: bbi.fetch(str(track), name, 0, n, missing=0) for name, n in bigwig_lengths(track).items()}


@pytest.fixture(scope="module")
def called(tmp_path_factory, data) -> Path:
    output = tmp_path_factory.mktemp("called") / "peaks.narrowPeak"
    peaks(data / "raw/fragments.bed.gz", data / "genome.fa.gz", output, tn5_shift="+0/-0")
    return output


@pytest.fixture(scope="module")
def published(data) -> Path:
    return data / "peaks/macs3_bedpe_q0.01.narrowPeak"


def regions(path: Path) -> pd.DataFrame:
    return merge_regions(read_regions(path))


def shared_bases(one: pd.DataFrame, other: pd.DataFrame, cut_counts) -> float:
    """Return the Jaccard index of the bases in two sets of regions."""
    both = either = 0
    for name, counts in cut_counts.items():
        masks = np.zeros((2, len(counts)), bool)
        for mask, table in zip(masks, (one, other), strict=True):
            for start, end in table.loc[table["chrom"] == name, ["start", "end"]].to_numpy():
                mask[start:end] = True
        both += int(masks.all(axis=0).sum())
        either += int(masks.any(axis=0).sum())
    return both / either


def half_rise(path: Path, cut_counts) -> int:
    """Return how far inside the edges the mean density of cuts passes half of its rise, bp; < 0 is outside."""
    profiles = []
    for name, rows in regions(path).groupby("chrom"):
        edges = np.c_[rows["start"], rows["end"]]
        length = len(cut_counts[name])
        before = np.append(0, edges[:-1, 1])
        after = np.append(edges[1:, 0], length)
        for (start, end), left, right in zip(edges, before, after, strict=True):
            if end - start < 2 * INSIDE_BP:
                continue
            if start - left >= FLANK_BP:
                profiles.append(cut_counts[name][start - FLANK_BP : start + INSIDE_BP])
            if right - end >= FLANK_BP:
                profiles.append(cut_counts[name][end - INSIDE_BP : end + FLANK_BP][::-1])
    mean = np.mean(profiles, axis=0)
    smooth = np.convolve(mean, np.ones(11) / 11, mode="same")
    halfway = (mean[: FLANK_BP // 2].mean() + mean[FLANK_BP + INSIDE_BP // 2 :].mean()) / 2
    return int(np.flatnonzero(smooth[20:-20] >= halfway)[0]) + 20 - FLANK_BP


def test_the_published_peaks_again(called, published, cut_counts):
    """These were called from the fragments of the whole genome, of which the data hold eight chromosomes."""
    found, wanted = regions(called), regions(published)
    keys = [
        set(map(tuple, table[["chrom", "start", "end"]].to_numpy().tolist())) for table in (found, wanted)
    ]
    print(len(found), len(wanted), len(keys[0] & keys[1]), shared_bases(found, wanted, cut_counts))
    assert len(wanted) == 477 and abs(len(found) - 477) <= 10
    assert len(keys[0] & keys[1]) >= 440
    assert shared_bases(found, wanted, cut_counts) > 0.99
    sidecar = json.loads(called.with_name(f"{called.name}.json").read_text())
    assert (sidecar["given"], sidecar["genome_size"], sidecar["mode"]) == (96_348, 3_876_404, "fragments")


def test_edges_lie_on_the_density_step(called, published, data, cut_counts):
    """The same measure finds those of the widened cuts far outside."""
    assert abs(half_rise(called, cut_counts)) <= 10
    assert half_rise(called, cut_counts) == half_rise(published, cut_counts)
    widened = data / "peaks/macs3_cuts_shift-75_ext150_q0.01.narrowPeak"
    assert half_rise(widened, cut_counts) > 45


def test_without_fragments_edges_lie_a_little_further_out(tmp_path, data, published, cut_counts):
    output = tmp_path / "peaks.narrowPeak"
    told = peaks(data / "cuts_p4m4.bw", data / "genome.fa.gz", output, tn5_shift="+4/-4")
    assert (told.mode, told.given) == ("cuts", 192_696)
    assert 0 <= half_rise(output, cut_counts) <= 20
    assert shared_bases(regions(output), regions(published), cut_counts) > 0.7


def test_shifted_pairs_give_the_same_bytes(tmp_path, data, called, cut_counts):
    with gzip.open(data / "raw/fragments.bed.gz", "rt") as file:
        rows = [line.split() for line in file]
    shifted = [(name, int(start) + 4, int(end) - 5) for name, start, end in rows]
    lengths = {name: len(counts) for name, counts in cut_counts.items()}
    bam = write_alignments(tmp_path / "a.bam", lengths, shifted)
    output = tmp_path / "peaks.narrowPeak"
    peaks(bam, data / "genome.fa.gz", output, tn5_shift="auto")
    assert output.read_bytes() == called.read_bytes()


def test_twice_the_same_bytes(tmp_path, data, called):
    output = tmp_path / "peaks.narrowPeak"
    shutil.copy(data / "raw/fragments.bed.gz", tmp_path / "fragments.bed.gz")
    peaks(tmp_path / "fragments.bed.gz", data / "genome.fa.gz", output, tn5_shift="+0/-0")
    for name in ("", ".json"):
        assert Path(f"{output}{name}").read_bytes() == Path(f"{called}{name}").read_bytes()
