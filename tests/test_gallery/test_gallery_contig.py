"""Hand-weighted cells, streamed as contigs in segments of any size, in float32, over unknown bases."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.special import logit

from gatescope.gallery.cells import CELLS, TOLERANCE, check_cells, cut, run_cell
from gatescope.gallery.contig import CellContig, read_contig
from gatescope.gallery.hand import OPEN, base_channels, hand_weighted, opposite
from gatescope.gallery.one_unit import decayed_sum
from gatescope.trace import stream
from gatescope.trace.certificate import Certificate, ReplayError
from gatescope.trace.reading import UnknownBases
from gatescope.trace.stream import Segments

BY_NAME = {cell.name: cell for cell in CELLS}
WIRE = "memory wire"
SHORT = [name for name in BY_NAME if name != WIRE]
KEPT = {"cell": "cell", "hidden": "hidden", "forget_gate": "forget", "input_gate": "input"}
KEPT |= {"output_gate": "output"}


def errors_of(experiment, slices, scale=lambda answer: 1.0):
    """Return the largest error of each quantity."""
    found = {}
    for quantity, answer in experiment.answers.items():
        values = slices[KEPT[quantity]]
        answer = np.broadcast_to(answer, values.shape)
        found[quantity] = np.abs((values - answer) / scale(answer)).max()
    return found


@pytest.mark.parametrize("segments", [Segments(1), Segments(5, rows=3), Segments(25, burn_in_bp=10)], ids=str)
@pytest.mark.parametrize("name", SHORT)
def test_a_seam_at_any_place_changes_nothing(name, segments):
    experiment = BY_NAME[name].build()
    trace = read_contig(experiment, segments=segments)
    assert max(errors_of(experiment, trace.slices).values()) <= TOLERANCE
    for seam in trace.seams:
        assert seam.segments == -(-experiment.inputs.shape[1] // segments.segment_bp) > 1
        assert seam.largest_seam <= seam.tolerance == TOLERANCE
        assert seam.reruns > 0 or segments.burn_in_bp


def test_a_memory_that_outlives_the_burn_in_is_read_in_one_piece():
    """Two starts that never agree: the stream finds out, and does not cut."""
    sequence = "TA" * 1500  # no G and no C: the latch holds what it began with
    latch = dataclasses.replace(
        BY_NAME["latch"].build(), inputs=base_channels(sequence), sequence=sequence, answers={}
    )
    (seams,) = read_contig(latch).seams
    assert seams.segments == 1 and seams.contraction == pytest.approx(2.0)


@pytest.mark.parametrize(
    "name", ["hold", "leak", "latch", "integrator", "toggle", "motif-reset", "GC counter"]
)
def test_seams_that_are_not_compared_are_noticed(name, monkeypatch):
    monkeypatch.setitem(stream.SEAM_TOLERANCE, torch.float64, math.inf)
    table = check_cells([BY_NAME[name]])
    assert not table[table.quantity == "cell"].ok.any()


@pytest.mark.parametrize("name", list(BY_NAME))
def test_float32_holds_what_float32_can(name):
    """The arithmetic, and on a long contig the kernel's workspace, in which trained networks are traced."""
    experiment = BY_NAME[name].build()
    single = dataclasses.replace(experiment, lstm=experiment.lstm.float(), inputs=experiment.inputs.float())
    trace = read_contig(single, segments=cut(single))
    assert trace.slices["cell"].dtype == np.float32 and trace.certificate.dtype == "float32"
    # a gate of 0.9999 in float32 is off by 1.7e-8 or so, and counts up to 3,700 times
    allowed = 2e-4 if name == WIRE else 3e-6
    errors = errors_of(experiment, trace.slices, lambda answer: np.maximum(1, np.abs(answer)))
    assert max(errors.values()) <= allowed


def test_a_replay_that_differs_from_the_kernel_is_refused(monkeypatch):
    monkeypatch.setattr(stream, "worst", lambda errors: 0.0)
    monkeypatch.setattr(Certificate, "of", classmethod(lambda cls, *_: cls(1.0, 1, 1.0, "float64", "cpu")))
    with pytest.raises(ReplayError):
        run_cell(BY_NAME["leak"])


def plain_mean(sequence):
    """A running GC content that knows nothing of gaps: whoever reads it has to."""
    forget = {"bias": logit(0.9)}
    unit = {"i": opposite(forget), "f": forget, "g": {"G": OPEN, "C": OPEN}}
    experiment = BY_NAME["gap-freeze"].build()
    lstm = hand_weighted("ACGT", [{"mean": unit}])
    return dataclasses.replace(experiment, lstm=lstm, inputs=base_channels(sequence), sequence=sequence)


@pytest.mark.parametrize("segments", [None, Segments(7), Segments(1)], ids=str)
def test_freezing_at_gaps_is_bit_exact(segments):
    """The policy does for any cell what gap-freeze does with its gates: as if the unknown bases were not there."""
    gapped = BY_NAME["gap-freeze"].build()
    known = np.array(list(gapped.sequence)) != "N"
    freeze = read_contig(
        plain_mean(gapped.sequence), segments=segments, unknown=UnknownBases("freeze")
    ).slices
    gapless = read_contig(plain_mean(gapped.sequence.replace("N", "")), segments=segments).slices
    for quantity in ("cell", "hidden", "forget_logit"):
        assert np.array_equal(freeze[quantity][..., known], gapless[quantity])
        assert np.isnan(freeze[quantity][..., ~known]).all()
    assert np.abs(freeze["cell"][0, 0, known] - gapped.answers["cell"][known]).max() <= TOLERANCE
    learned = read_contig(plain_mean(gapped.sequence), segments=segments).slices
    assert np.abs(learned["cell"] - gapped.answers["cell"]).max() > 0.3


@pytest.mark.parametrize("segments", [None, Segments(7), Segments(1)], ids=str)
def test_decay_at_gaps_is_a_power_of_one_half(segments):
    gapped = BY_NAME["gap-freeze"].build()
    known = np.array(list(gapped.sequence)) != "N"
    before = gapped.sequence.index("N")  # known bases before the gap of 12
    is_gc = np.array([base in "GC" for base in gapped.sequence])[known]
    held = 0.1 * is_gc * np.where(np.arange(len(is_gc)) < before, 2.0 ** (-12 / 5), 1.0)
    expected = decayed_sum(0.9, held)
    expected[:before] *= 2.0 ** (12 / 5)
    policy = UnknownBases("decay", 5.0)
    slices = read_contig(plain_mean(gapped.sequence), segments=segments, unknown=policy).slices
    assert np.abs(slices["cell"][0, 0, known] - expected).max() <= TOLERANCE


def test_a_contig_gives_what_the_cell_reads():
    contig = CellContig(BY_NAME["gap-freeze"].build(), "gaps")
    assert contig.lengths == {"gaps": 44}
    assert contig.codes("gaps")[:4].tolist() == [3, 0, 2, 1] and contig.codes("gaps")[16] == 4
    features = contig.features("gaps", [(0, 2), (16, 18)])
    assert features.tolist() == [[[0, 0, 0, 1], [1, 0, 0, 0]], [[0, 0, 0, 0]] * 2]
    assert not CellContig(BY_NAME["toggle"].build(), "steps").codes("steps").any()
