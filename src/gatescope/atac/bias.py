"""How much of the signal is Tn5's taste, not open chromatin? Its sequence preference as a track, from background alone.

Public names: `bias`, `MARGIN_BP`.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.atac.bias_figure import draw_bias
from gatescope.atac.bigwig import BigWigWriter, TrackInfo, check_bigwig_contigs, read_bigwig, write_sidecar
from gatescope.atac.explained import BINS_BP, Explained, compare_counts, explain
from gatescope.atac.tn5_model import (
    MOST_CUTS_PER_BP,
    REACH_BP,
    PairTally,
    Tn5Model,
    fit_model,
    tally_pairs,
)
from gatescope.errors import InputError
from gatescope.files import file_hash, write_json
from gatescope.genome.contigs import kept_lengths
from gatescope.genome.fasta import Genome
from gatescope.genome.folds import read_folds
from gatescope.genome.regions import (
    ExclusionLists,
    cover,
    list_exclusions,
    read_exclusion_lists,
    read_regions,
    spans_by_contig,
)
from gatescope.genome.sequence import ALPHABET, UNKNOWN
from gatescope.samples import BIAS_TRACK
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

#: Peaks end where the caller says; bases this close to one are no background.
MARGIN_BP = 200
#: A model of fewer cuts is poor (docs/adr/0009): below this, held-out contigs are counted as well.
_FEWEST_CUTS = 5_000
#: Shares below this are called "hardly anything".
_HARDLY = 0.05
#: The track is rounded to steps of 5 %, finer than the model is exact: the file is half as large.
_STEP = 0.05
_PLACES = {
    "background": f"known bases more than {MARGIN_BP} bp from a peak and outside the exclusion list",
    "peaks": "known bases in peaks",
    "genome": "all known bases outside the exclusion list",
}


class _Contig(NamedTuple):
    """Hold what is needed of one contig of L bases; `places` as `_PLACES`, each (L,) bool."""

    codes: NDArray[np.uint8]
    cuts: NDArray[np.float32]
    places: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class _Inputs:
    """Read one contig at a time."""

    genome: Genome
    cuts: Path
    lengths: dict[str, int]
    peaks: dict[str, NDArray[np.int64]]
    excluded: dict[str, NDArray[np.int64]]

    def read(self, contig: str) -> _Contig:
        """Return bases, cuts and places of a contig."""
        codes, length = self.genome.codes(contig), self.lengths[contig]
        scored = (codes != UNKNOWN) & ~cover(self.excluded, contig, length)
        in_peak = cover(self.peaks, contig, length)
        is_far = ~cover(self.peaks, contig, length, MARGIN_BP)
        places = {"background": scored & is_far, "peaks": scored & in_peak, "genome": scored}
        return _Contig(codes, read_bigwig(self.cuts, contig, missing=0.0), places)

    def __iter__(self) -> Iterator[tuple[str, _Contig]]:
        for contig in self.lengths:
            yield contig, self.read(contig)


@dataclass(frozen=True)
class _Fit:
    """Hold the counts of each contig, and say which of them the model is made of, and why."""

    tallies: dict[str, PairTally]
    contigs: tuple[str, ...]
    why: str

    @cached_property
    def counted(self) -> PairTally:
        """Counts of all contigs that the model is made of."""
        return sum((self.tallies[contig] for contig in self.contigs), PairTally())

    def model(self, without: str | None = None) -> Tn5Model | None:
        """Return the model, or that of the contigs but one; None where nothing was counted."""
        counted = self.counted - self.tallies[without] if without in self.contigs else self.counted
        return fit_model(counted) if counted.bases else None


def bias(
    genome: Path | str,
    cuts: Path | str,
    peaks: Path | str,
    output: Path | str,
    *,
    folds: Any,
    exclusion_list: ExclusionLists = None,
    exclude_contigs: Iterable[str] = (),
) -> None:
    """Write the relative cut rate that Tn5's sequence preference alone gives each base.

    Beside `output` (and its sidecar ``.json``), of the same name: ``.json``, the model and how much of the cuts it
    explains, and ``.svg``, the same as a figure.

    Parameters
    ----------
    genome : path
        FASTA.
    cuts : path
        bigWig of cut counts at the centre of the duplication, from `gatescope.atac.cuts.cuts`.
    peaks : path
        BED3+ or narrowPeak; the model never sees them, nor what lies within `MARGIN_BP`.
    output : path
        bigWig to write, ``.bw``: mean 1 over the background, a gap at unknown bases.
    folds : any
        As `gatescope.genome.folds.read_folds` takes it. Contigs that no fold tests or validates on are counted; where
        these hold too few background cuts, or no contig is such, all are.
    exclusion_list : path or paths, optional
        BED of regions that are not counted.
    exclude_contigs : iterable of str
        Contigs to leave out.

    Raises
    ------
    InputError
        If the files do not fit each other, or there is no background.
    """
    target = _check_output(Path(output))
    inputs = _open_inputs(genome, cuts, peaks, exclusion_list, tuple(exclude_contigs))
    held_out = {c for fold in read_folds(folds, inputs.lengths).values() for c in (*fold.test, *fold.valid)}
    tallies = {name: tally_pairs(each.codes, each.cuts, each.places["background"]) for name, each in inputs}
    fit = _choose_contigs(tallies, held_out)
    model = fit.model()
    if model is None:
        raise InputError(
            f"no base of the genome is {MARGIN_BP} bp away from every peak and outside the exclusion list",
            where=peaks,
            remedy="Tn5's preference is read from the background: give narrower peaks",
        )
    found, mean_rate = _compare(inputs, fit, model)
    sentence = _in_words(found)
    _write_track(target, inputs, model, mean_rate, fit)
    sources = {"genome": genome, "cuts": cuts, "peaks": peaks, **list_exclusions(exclusion_list)}
    content = {"sentence": sentence, **_describe(fit, model, mean_rate, found), "inputs": _hashes(sources)}
    write_json(target.with_suffix(".json"), content)
    draw_bias(model, found, f"{fit.counted.cuts:,.0f} background cuts", sentence, target.with_suffix(".svg"))
    log.info("%s", sentence)


def _check_output(path: Path) -> Path:
    """Refuse a name whose neighbours would be others' files."""
    if path.suffix != ".bw":
        raise InputError("wanted a name that ends in .bw", where=f"--output {path}")
    return path


def _open_inputs(
    genome: Path | str,
    cuts: Path | str,
    peaks: Path | str,
    exclusion_list: ExclusionLists,
    exclude_contigs: tuple[str, ...],
) -> _Inputs:
    """Read the tables, and check that the files fit each other."""
    sequence = Genome(genome)
    lengths = kept_lengths(sequence.lengths, exclude_contigs)
    check_bigwig_contigs(cuts, lengths, genome)
    regions = read_regions(peaks, lengths, Path(genome).name, exclude_contigs)
    excluded = read_exclusion_lists(exclusion_list, lengths, Path(genome).name, exclude_contigs)
    return _Inputs(sequence, Path(cuts), lengths, spans_by_contig(regions), spans_by_contig(excluded))


def _choose_contigs(tallies: dict[str, PairTally], held_out: set[str]) -> _Fit:
    """Count training contigs only, where these tell enough."""
    train = tuple(contig for contig in tallies if contig not in held_out)
    cuts = sum(tallies[contig].cuts for contig in train)
    if cuts >= _FEWEST_CUTS:
        return _Fit(tallies, train, "contigs that no fold tests or validates on")
    why = (
        f"all contigs: those that no fold tests or validates on hold {cuts:,.0f} background cuts, wanted at "
        f"least {_FEWEST_CUTS:,}. Peaks were never counted, on no contig"
    )
    log.info("Tn5 preference: counted on %s", why)
    return _Fit(tallies, tuple(tallies), why)


def _compare(inputs: _Inputs, fit: _Fit, model: Tn5Model) -> tuple[dict[str, tuple[Explained, ...]], float]:
    """Compare every contig with a model that was fitted without it; return the model's mean on the background, too."""
    sums = {place: np.zeros((len(BINS_BP), 6)) for place in _PLACES}
    rates, bases = 0.0, 0
    for name, contig in inputs:
        background = contig.places["background"]
        bases += int(background.sum())
        for piece, rate in model.rates(contig.codes):
            rates += float(rate[background[piece]].sum(dtype=np.float64))
        other = fit.model(without=name)
        for piece, rate in other.rates(contig.codes) if other else ():
            for place, mask in contig.places.items():
                sums[place] += compare_counts(contig.cuts[piece], rate, mask[piece])
    return {place: tuple(explain(each)) for place, each in sums.items()}, rates / bases


def _in_words(found: Mapping[str, tuple[Explained, ...]]) -> str:
    """Say what a person should know."""
    base, bins = ({place: rows[k] for place, rows in found.items()} for k in (0, 2))
    if base["background"].share is None:
        return "How much of the cuts Tn5's sequence preference explains cannot be told: no background cut."
    within = base["peaks"].share
    peaks = "" if within is None else f", and {_percent(within)} in peaks"
    start = (
        f"Tn5's sequence preference explains {_percent(base['background'].share)} of the variation (Poisson "
        f"deviance) of cuts from base to base on background{peaks}"
    )
    share = bins["genome"].share
    if share is None:
        return f"{start}."
    so = (
        "it says where in a region Tn5 cuts, and hardly anything about how open the region is"
        if share < _HARDLY
        else "open regions hold more of what Tn5 likes to cut, or look more open because of it"
    )
    return f"{start}. In {bins['genome'].bin_bp}-bp bins of the whole genome it explains {_percent(share)}: {so}."


def _percent(share: float) -> str:
    """Write a share; a track that does worse than an even rate explains nothing."""
    return f"{share:.1%}" if share > 0 else "nothing"


def _write_track(path: Path, inputs: _Inputs, model: Tn5Model, mean_rate: float, fit: _Fit) -> None:
    """Write the track and its sidecar."""
    with BigWigWriter(path, inputs.lengths) as writer:
        for contig in inputs.lengths:
            codes = inputs.genome.codes(contig)
            for piece, rate in model.rates(codes):
                rounded = np.exp(_STEP * np.rint(np.log(rate / mean_rate) / _STEP))
                writer.add(contig, piece.start, np.where(codes[piece] == UNKNOWN, np.nan, rounded))
    info = TrackInfo(
        track=BIAS_TRACK,
        unit="relative cut rate",
        range=(0.0, None),
        gaps="missing",
        description="How often Tn5 would cut here if all DNA were equally open: 1 is the mean of the background. A "
        f"model of the {2 * REACH_BP + 1} bases around, fitted without peaks.",
        details={
            "stage_version": STAGE_VERSIONS["bias"],
            "step": _STEP,
            "fitted_on": list(fit.contigs),
        },
    )
    write_sidecar(path, info)


def _describe(
    fit: _Fit, model: Tn5Model, mean_rate: float, found: Mapping[str, tuple[Explained, ...]]
) -> dict[str, Any]:
    """Return what the JSON file says: what was found, then the model."""
    pairs = [first + second for first in ALPHABET for second in ALPHABET]
    offsets = range(-REACH_BP, REACH_BP)
    return {
        "stage_version": STAGE_VERSIONS["bias"],
        "explained": {place: [row.as_json() for row in rows] for place, rows in found.items()},
        "places": _PLACES,
        "held_out": "each contig is compared with a model that was fitted without it",
        "fitted_on": {
            "contigs": list(fit.contigs),
            "why": fit.why,
            "cuts": round(fit.counted.cuts),
            "bases": fit.counted.bases,
            "most_cuts_per_bp": MOST_CUTS_PER_BP,
        },
        "model": {
            "form": "ln(relative cut rate) is the sum, over the pairs of neighbouring bases within 12 bp of the cut, "
            "of log_ratio by offset of the pair's first base; a pair with an unknown base counts 0. The rate is "
            "limited to 0.01 to 100 and divided by mean_of_background",
            "mean_of_background": round(mean_rate, 6),
            "log_ratio": {
                str(offset): dict(zip(pairs, map(float, row.round(6)), strict=True))
                for offset, row in zip(offsets, model.log_ratio, strict=True)
            },
        },
    }


def _hashes(sources: Mapping[str, Path | str]) -> dict[str, dict[str, str]]:
    """Return name and hash of each file; no folder, so that equal inputs give equal bytes anywhere."""
    return {role: {"path": Path(path).name, "sha256": file_hash(path)} for role, path in sources.items()}
