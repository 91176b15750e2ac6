"""Which shift is used, and what do the data say to that? Declared and detected shift side by side, kept as a file.

Public names: `judge_shift`, `ShiftJudgement`, `settle_shifts`, `SampleShift`, `write_shift_evidence`, `EVIDENCE_NAMES`.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.atac.detect import AXES, CANDIDATES, LAGS, ShiftFinding, compare_shifts, detect_shift
from gatescope.atac.preference import OFFSETS, STRANDS, StrandEnds, information
from gatescope.atac.shift import AUTO, Tn5Shift
from gatescope.atac.shift_figure import Block, draw_shifts
from gatescope.errors import InputError
from gatescope.files import write_json
from gatescope.genome.fasta import Genome
from gatescope.genome.sequence import ALPHABET
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)

#: What `write_shift_evidence` writes.
EVIDENCE_NAMES = ("tn5_shift.json", "tn5_shift.svg")
_DIGITS = 5


@dataclass(frozen=True)
class ShiftJudgement:
    """Hold the shift that is used beside what was declared and what was found.

    Attributes
    ----------
    source : str
        Name of the file.
    declared : Tn5Shift or None
        None: ``auto``.
    used : Tn5Shift
        The declared one, or the one found where ``auto`` was declared.
    finding : ShiftFinding or None
        None where the file does not tell the strands apart.
    """

    source: str
    declared: Tn5Shift | None
    used: Tn5Shift
    finding: ShiftFinding | None

    @property
    def is_contradicted(self) -> bool:
        """True if the data tell their shift, and it is not the one that is used."""
        return self.finding is not None and self.finding.shift not in (None, self.used)

    @property
    def sentence(self) -> str:
        """One sentence for a person."""
        if self.finding is None:
            return f"{self.used} is declared; a track of both strands together cannot be checked"
        if self.finding.shift is None:
            return f"{self.used} is declared and cannot be checked: {self.finding.reason}"
        found = f"{self.finding.shift} is found in the read ends ({_evidence(self.finding)})"
        if self.declared is None:
            return f"{found} and used"
        if not self.is_contradicted:
            return f"{self.used} is declared, and {found}"
        return (
            f"{self.declared} is declared and used, but {found}: {_difference(self.used, self.finding.shift)};"
            f" declare tn5_shift {self.finding.shift} unless you know better (`cuts` draws {EVIDENCE_NAMES[1]})"
        )

    @property
    def detected(self) -> str | None:
        """What was found; None where the data do not tell."""
        return str(self.finding.shift) if self.finding and self.finding.shift else None

    def summary(self) -> dict[str, Any]:
        """Return what goes into a JSON file: the shifts and the evidence in numbers."""
        found = self.finding
        numbers = found and {
            "best": str(found.best),
            "score": round(found.score, _DIGITS),
            "second": str(found.second),
            "second_score": round(found.second_score, _DIGITS),
            "lead_95": [round(each, _DIGITS) for each in found.lead_interval],
            "support": round(found.support, _DIGITS),
            "strands_apart_bp": found.strands_apart_bp,
            "ends": dict(zip(STRANDS, found.ends, strict=True)),
        }
        return {
            "declared": AUTO if self.declared is None else str(self.declared),
            "used": str(self.used),
            "detected": self.detected,
            "sentence": self.sentence,
            "evidence": numbers,
        }

    def record(self) -> dict[str, Any]:
        """Return `summary` with the name of the file, the scores of every shift and the base frequencies."""
        details = {} if self.finding is None else _details(self.finding)
        return {"source": self.source, **self.summary(), **details}


@dataclass(frozen=True)
class SampleShift:
    """Hold what was judged of each file of a sample; all carry one shift. Made by `settle_shifts`.

    Attributes
    ----------
    files : tuple of ShiftJudgement
        In the order given.
    """

    files: tuple[ShiftJudgement, ...]

    @property
    def used(self) -> Tn5Shift:
        """The shift that the ends of every file are taken to carry."""
        return self.files[0].used

    @property
    def declared(self) -> str | list[str]:
        """What was declared, ``auto`` included; one per file where these differ."""
        told = [AUTO if each.declared is None else str(each.declared) for each in self.files]
        return told if len(set(told)) > 1 else told[0]

    @property
    def detected(self) -> str | list[str | None] | None:
        """What was found, None where the data do not tell; one per file where these differ."""
        found = [each.detected for each in self.files]
        return found if len(set(found)) > 1 else found[0]

    @property
    def sentence(self) -> str:
        """Say it for a person, file by file if there are several."""
        if len(self.files) == 1:
            return self.files[0].sentence
        return ". ".join(f"{each.source}: {each.sentence}" for each in self.files)

    def summary(self) -> dict[str, Any]:
        """Return what goes into a JSON file: of one file its summary, of several one for each below ``files``."""
        if len(self.files) == 1:
            return self.files[0].summary()
        return {**self._head(), "files": [{"source": each.source, **each.summary()} for each in self.files]}

    def record(self) -> dict[str, Any]:
        """Return `summary` with the scores of every shift and the base frequencies of each file."""
        if len(self.files) == 1:
            return self.files[0].record()
        return {**self._head(), "files": [each.record() for each in self.files]}

    def _head(self) -> dict[str, Any]:
        return {
            "declared": self.declared,
            "used": str(self.used),
            "detected": self.detected,
            "sentence": self.sentence,
        }


def settle_shifts(judged: Mapping[str, ShiftJudgement]) -> SampleShift:
    """Make sure that all files of a sample carry the same shift.

    Parameters
    ----------
    judged : mapping of str to ShiftJudgement
        By path, at least one.

    Raises
    ------
    InputError
        If two files do not; it names the two. Where a shift is declared, the data are not asked.
    """
    compare_shifts(
        {path: each.finding for path, each in judged.items() if each.finding and each.declared is None}
    )
    first, one = next(iter(judged.items()))
    for path, other in judged.items():
        if other.used != one.used:
            raise InputError(
                f"{first} is {_origin(one)} shifted by {one.used}, {path} {_origin(other)} by {other.used}:"
                " replicates of one sample must carry the same shift",
                where="tn5_shift",
                remedy="declare what is right, make the files alike, or give them as two samples",
            )
    return SampleShift(tuple(judged.values()))


def judge_shift(
    declared: Tn5Shift | None,
    ends: Iterable[tuple[str, StrandEnds]] | None,
    genome: Genome,
    lengths: Mapping[str, int],
    where: Path | str,
) -> ShiftJudgement:
    """Compare the declared shift with that of the data, say so, and settle which one is used.

    The declared one always wins; without one (``auto``) it is the one found.

    Parameters
    ----------
    declared : Tn5Shift or None
        None: ``auto``.
    ends : iterable of (str, StrandEnds) or None
        As in `gatescope.atac.detect.detect_shift`; None where the file does not tell the strands apart.
    genome : Genome
    lengths : mapping of str to int
        Contigs in use, bp.
    where : Path or str
        The file.

    Raises
    ------
    InputError
        If ``auto`` is declared and the data do not tell, or tell a shift that no known program writes.
    """
    finding = None if ends is None else detect_shift(ends, genome, lengths)
    used = declared if declared is not None else _found(finding, where)
    judgement = ShiftJudgement(Path(where).name, declared, used, finding)
    if finding is not None:
        level = logging.WARNING if judgement.is_contradicted else logging.INFO
        log.log(level, "%s: Tn5 shift: %s", where, judgement.sentence)
    return judgement


def write_shift_evidence(shifts: SampleShift, folder: Path | str) -> None:
    """Write ``tn5_shift.json`` and ``tn5_shift.svg``; see docs/formats.md."""
    table, figure = (Path(folder) / name for name in EVIDENCE_NAMES)
    write_json(table, {"stage_version": STAGE_VERSIONS["cuts"], **shifts.record()})
    blocks = [Block(each.source, each.declared, each.finding, each.sentence) for each in shifts.files]
    draw_shifts(blocks, figure)


def _origin(judgement: ShiftJudgement) -> str:
    return "found to be" if judgement.declared is None else "declared as"


def _found(finding: ShiftFinding | None, where: Path | str) -> Tn5Shift:
    """Return the shift that was found, or raise if it is not one to build on unseen."""
    remedy = "declare it: +0/-0 for raw read ends, +4/-5 for 10x and most files that were shifted, +4/-4"
    if finding is None:
        raise InputError(
            "tn5_shift auto needs the ends of + and - reads, and this track holds both together",
            where=where,
            remedy="give reads or fragments, or declare +4/-4 if each count lies at the centre of the duplication",
        )
    if finding.shift is None:
        raise InputError(
            f"tn5_shift auto cannot tell the shift of the read ends: {finding.reason}",
            where=where,
            remedy=remedy,
        )
    if not finding.is_conventional:
        raise InputError(
            f"tn5_shift auto finds {finding.shift} ({_evidence(finding)}), which no program we know writes",
            where=where,
            cause="raw and shifted reads in one file, or an end that is off by 1 bp on one strand",
            remedy=f"make the file from raw read ends, or declare {finding.shift} if you know that it is right",
        )
    return finding.shift


def _evidence(finding: ShiftFinding) -> str:
    """Say what a finding rests on."""
    return (
        f"{finding.ends[0]:,} + and {finding.ends[1]:,} - ends, score {finding.score:.2f},"
        f" next {finding.second} with {finding.second_score:.2f}"
    )


def _difference(used: Tn5Shift, found: Tn5Shift) -> str:
    """Say for each strand how far cuts would lie beside their place."""
    strands = (("+", abs(used.plus - found.plus)), ("-", abs(used.minus - found.minus)))
    off = " and ".join(f"those of {strand} ends by {bp} bp" for strand, bp in strands if bp)
    return f"cuts miss the centre of the duplication, {off}"


def _details(finding: ShiftFinding) -> dict[str, Any]:
    """Return the scores of every shift, and the base frequencies around the ends."""
    plus, minus = (_rounded(each) for each in finding.own_scores)
    bits = information(finding.frequencies)
    return {
        "duplication_bp": finding.duplication_bp,
        "own_scores": {"inward_bp": AXES.tolist(), "+": plus, "-": minus},
        "lag_scores": {"apart_bp": LAGS.tolist(), "score": _rounded(finding.lag_scores)},
        "pair_scores": {
            "plus_bp": CANDIDATES.tolist(),
            "minus_bp": (-CANDIDATES).tolist(),
            "score": _rounded(finding.pair_scores),
        },
        "preference": {
            "offset_bp": OFFSETS.tolist(),
            **{
                strand: {
                    **{base: _rounded(finding.frequencies[k, :, n]) for n, base in enumerate(ALPHABET)},
                    "information_bits": _rounded(bits[k]),
                }
                for k, strand in enumerate(STRANDS)
            },
        },
    }


def _rounded(values: np.ndarray) -> list:
    """Return numbers for JSON."""
    return (values.round(_DIGITS) + 0.0).tolist()  # + 0.0: no -0.0
