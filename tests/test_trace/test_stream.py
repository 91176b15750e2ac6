"""Whole contigs with the state carried: one pass, whatever the chunks; events at their base, in their direction."""

import numpy as np
import pytest
import torch

from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot, reverse_complement
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.trace.reading import Reading, UnknownBases
from gatescope.trace.stream import ContigStream, Segments
from oracles.lstm import run_lstm
from tiny_store import make_store, replace_codes


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def make_network(layers=1, inputs=("sequence",), **options):
    config = NetworkConfig(
        inputs=inputs,
        targets=("state",),
        stem_channels=6,
        stem_width_bp=9,
        hidden_units=4,
        layers=layers,
        **options,
    )
    return AccessibilityNetwork(config, torch.Generator().manual_seed(1)).double().eval()


class Collector:
    """A sink that keeps everything, and counts how often each base came."""

    def begin(self, contig, length):
        self.length, self.values, self.times = length, {}, np.zeros((2, length), int)
        self.restarts = []

    def take(self, piece):
        assert piece.steps.error <= (1e-12 if piece.steps.cell.dtype == torch.float64 else 5e-6)
        arrays = {
            name: getattr(piece.steps, name) for name in ("forget", "input", "output", "cell", "hidden")
        }
        arrays["forget_logit"] = piece.forget_logit
        for name, array in arrays.items():
            array = array.detach().numpy()
            kept = self.values.setdefault(
                name, np.full((2, array.shape[2], self.length), np.nan, array.dtype)
            )
            for where, row in piece.rows(array):
                kept[piece.direction, :, where] = row.T
        for where, row in piece.rows(np.ones(array.shape[:2], int)):
            self.times[piece.direction, where] += row

    def restart(self, direction, segment):
        self.restarts.append((direction, segment))

    def skip(self, direction, start, end, retention):
        self.times[direction, start:end] += 1

    def end(self):
        assert (self.times >= 1).all()
        if not self.restarts:
            assert (self.times == 1).all()


def read(network, store, contig, **options):
    """Return what a sink sees, (D, H, L) each, and the seam reports."""
    sink = Collector()
    reports = ContigStream.of(network, store, **options).read(contig, [sink])
    return sink, reports


def collect(network, store, contig, **options):
    sink, _ = read(network, store, contig, **options)
    return sink.values["forget_logit"], sink.values["cell"]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("segments", [Segments(97), Segments(512, rows=2), Segments(rows=1), Segments()])
def test_carried_state_equals_one_pass_of_the_oracle(store, layer, segments):
    network = make_network(layers=2, inputs=("sequence", "cuts"))
    values, cell = collect(network, store, "three", layer=layer, segments=segments)
    x = torch.from_numpy(one_hot(np.asarray(store.codes("three"))))[None]
    tracks = torch.from_numpy(np.array(store.track("three", "cuts")))[None, None]
    features = network.features(x, tracks)[0].detach().numpy()
    weights = {
        name.replace("_l0", f"_l{k}"): p.detach().numpy()
        for k, lstm in enumerate(network.recurrent)
        for name, p in lstm.named_parameters()
    }
    oracle = run_lstm(features, weights, 2)[layer]
    assert np.abs(values - oracle["forget_logit"]).max() <= 1e-10
    assert np.abs(cell - oracle["cell"]).max() <= 1e-10


def test_an_event_is_found_at_its_base_in_its_direction(store):
    """A hand-weighted stem sees GGG: fwd forgets from its last base on, rev from its first."""
    config = NetworkConfig(targets=("state",), stem_channels=1, stem_width_bp=3, hidden_units=1, dropout=0.0)
    network = AccessibilityNetwork(config).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.stem.norms[0].weight.fill_(1.0)
        network.stem.convolutions[0].weight[0, 2, 0] = 1.0  # G one base to the left
        network.stem.convolutions[0].weight[0, 2, 1] = 1.0  # G here
        network.stem.convolutions[0].bias.fill_(-1.0)  # fires where both are G
        lstm = network.recurrent[0]
        for suffix in ("", "_reverse"):
            getattr(lstm, f"weight_ih_l0{suffix}")[1] = -10.0  # the forget row
            getattr(lstm, f"bias_ih_l0{suffix}")[1] = 5.0
    values, _ = collect(network, store, "three")
    codes = np.asarray(store.codes("three"))
    fires = np.flatnonzero((codes[1:] == 2) & (codes[:-1] == 2)) + 1
    for direction in (0, 1):
        assert np.array_equal(np.flatnonzero(values[direction, 0] < 0), fires)


def test_the_other_strand_gives_the_mirrored_trace(store, tmp_path):
    """Read the reverse complement with the stem turned and the directions swapped: the same gates, mirrored."""
    network, turned = make_network(), make_network()
    with torch.no_grad():
        turned.stem.convolutions[0].weight.copy_(
            network.stem.convolutions[0].weight.flip(1, 2)
        )  # ACGT backwards is its complement
        for name, parameter in turned.recurrent[0].named_parameters():
            other = name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"
            parameter.copy_(getattr(network.recurrent[0], other))
    codes = np.asarray(store.codes("three"))
    reverse = replace_codes(make_store(tmp_path / "reverse"), "three", reverse_complement(codes))
    straight, _ = collect(network, store, "three")
    mirrored, _ = collect(turned, reverse, "three")
    assert np.abs(straight - mirrored[::-1, :, ::-1]).max() <= 1e-12


# many segments side by side


class RandomGenome:
    """One contig of random bases, with runs of N where asked."""

    def __init__(self, length, gaps=(), seed=0):
        self.lengths = {"c": length}
        self._codes = np.random.default_rng(seed).integers(0, 4, length).astype(np.uint8)
        for start, end in gaps:
            self._codes[start:end] = 4

    def codes(self, contig):
        return self._codes


def forgetful(dtype=torch.float64, half_life_bp=(2.0, 30.0), layers=1):
    config = NetworkConfig(
        targets=("state",),
        stem_channels=8,
        stem_width_bp=9,
        hidden_units=6,
        layers=layers,
        half_life_bp=half_life_bp,
    )
    return AccessibilityNetwork(config, torch.Generator().manual_seed(4)).to(dtype).eval()


@pytest.mark.parametrize(
    "segments", [Segments(997), Segments(4096, rows=3), Segments(rows=8), Segments(997, burn_in_bp=0)]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_segments_equal_one_sequential_pass(segments, dtype, tolerance):
    network, genome = forgetful(dtype), RandomGenome(20_000)
    whole, _ = read(network, genome, "c", segments=Segments(rows=1))
    found, reports = read(network, genome, "c", segments=segments)
    for name, values in whole.values.items():
        assert np.abs(found.values[name] - values).max() <= tolerance, name
    for report in reports:
        assert report.largest_seam <= report.tolerance
        assert report.segments == -(-20_000 // report.segment_bp) > 1
        assert report.rows > 1
        if segments.burn_in_bp == 0:
            assert report.reruns > 0
    assert (found.restarts != []) == any(report.reruns for report in reports)


def test_the_trajectory_equals_an_independent_cell_over_20000_steps():
    """Not teacher-forced: the oracle runs freely from the stem's features."""
    network, genome = forgetful(), RandomGenome(20_000)
    found, _ = read(network, genome, "c")
    x = torch.from_numpy(one_hot(genome.codes("c")))[None]
    features = network.features(x)[0].detach().numpy()
    weights = {name: p.detach().numpy() for name, p in network.recurrent[0].named_parameters()}
    oracle = run_lstm(features, weights, 1)[0]
    for name in ("forget_logit", "cell", "hidden"):
        assert np.abs(found.values[name] - oracle[name]).max() <= 1e-10, name


def test_as_many_rows_are_read_as_the_burn_in_allows():
    genome = RandomGenome(30_000)
    _, short = read(forgetful(), genome, "c", segments=Segments(rows=16))
    _, long = read(forgetful(half_life_bp=(2.0, 300.0)), genome, "c", segments=Segments(rows=16))
    for one, other in zip(short, long, strict=True):
        assert one.burn_in_bp < other.burn_in_bp or other.rows == 1
        assert one.rows > other.rows
        assert one.burn_in_bp * one.rows <= 0.1 * 30_000


def test_a_memory_without_end_is_read_in_one_piece():
    """A latch never agrees from two starts: no burn-in is long enough."""
    network, genome = forgetful(), RandomGenome(20_000)
    with torch.no_grad():
        for suffix in ("", "_reverse"):
            getattr(network.recurrent[0], f"weight_ih_l0{suffix}")[6:12] = 0
            getattr(network.recurrent[0], f"weight_hh_l0{suffix}")[6:12] = 0
            getattr(network.recurrent[0], f"bias_ih_l0{suffix}")[6:12] = 40.0  # forget gates at 1
    found, reports = read(network, genome, "c")
    assert [(r.rows, r.segments) for r in reports] == [(1, 1), (1, 1)]
    assert all(r.contraction > r.tolerance for r in reports)
    assert not found.restarts


def test_a_memory_without_end_is_read_right_in_forced_segments_too():
    network, genome = forgetful(), RandomGenome(5000)
    with torch.no_grad():
        for suffix in ("", "_reverse"):
            getattr(network.recurrent[0], f"bias_ih_l0{suffix}")[6:12] += 15.0
    whole, _ = read(network, genome, "c", segments=Segments(rows=1))
    found, reports = read(network, genome, "c", segments=Segments(997, burn_in_bp=100))
    assert all(report.reruns > 0 for report in reports)
    assert (
        np.abs(found.values["cell"] - whole.values["cell"]).max()
        <= 1e-10 * np.abs(whole.values["cell"]).max()
    )


# unknown bases


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("segments", [Segments(rows=1), Segments(500, rows=4, burn_in_bp=200)])
@pytest.mark.parametrize("policy", ["freeze", "decay(50)"])
def test_unknown_bases_are_passed_over(policy, segments, direction):
    """Against the oracle, run stretch by stretch: what the stem saw is the same, what was held is multiplied."""
    gaps = [(0, 40), (700, 730), (731, 800), (1990, 2000)]
    network, genome = forgetful(), RandomGenome(2000, gaps)
    found, _ = read(network, genome, "c", segments=segments, unknown=UnknownBases.parse(policy))
    x = torch.from_numpy(one_hot(genome.codes("c")))[None]
    features = network.features(x)[0].detach().numpy()
    suffix = "_reverse" if direction else ""
    lstm = network.recurrent[0]
    weights = [
        getattr(lstm, f"{name}_l0{suffix}").detach().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    known = genome.codes("c") < 4
    order = range(2000)[:: -1 if direction else 1]
    h, c, expected = np.zeros(6), np.zeros(6), np.full((6, 2000), np.nan)
    for at in order:
        if not known[at]:
            left = 1.0 if policy == "freeze" else 2 ** (-1 / 50)
            h, c = h * left, c * left
            continue
        i, f, g, o = np.split(weights[0] @ features[at] + weights[2] + weights[1] @ h + weights[3], 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        expected[:, at] = c
    cell = found.values["cell"][direction]
    assert np.array_equal(np.isnan(cell), np.isnan(expected))
    assert np.nanmax(np.abs(cell - expected)) <= 1e-10


def test_a_frozen_state_is_the_same_bits_after_a_gap():
    """Cut the gap out of the contig: with a stem that sees one base nothing else changes."""
    config = NetworkConfig(targets=("state",), stem_channels=8, stem_width_bp=1, hidden_units=6)
    network = AccessibilityNetwork(config, torch.Generator().manual_seed(4)).eval()
    genome, cut = RandomGenome(1500, [(600, 1000)]), RandomGenome(1500)
    cut._codes = np.delete(genome._codes, slice(600, 1000))
    cut.lengths = {"c": 1100}
    frozen, _ = read(network, genome, "c", unknown=UnknownBases("freeze"), segments=Segments(rows=1))
    without, _ = read(network, cut, "c", segments=Segments(rows=1))
    kept = np.delete(frozen.values["cell"], slice(600, 1000), axis=2)
    assert np.array_equal(kept, without.values["cell"])


@pytest.mark.parametrize("text", ["hold", "decay", "decay(0)", "decay(-3)", "freeze(2)"])
def test_another_policy_is_refused(text):
    with pytest.raises(InputError, match="wanted learned, freeze or decay"):
        UnknownBases.parse(text)


@pytest.mark.parametrize("direction", [0, 1])
def test_reading_positions_come_back_to_their_bases(direction):
    """Against a list of the bases that are read, in the order in which they are read."""
    gaps = np.array([[0, 3], [10, 11], [17, 20]])
    reading = Reading(20, direction, gaps)
    bases = [base for base in range(20) if not any(a <= base < b for a, b in gaps)]
    bases = bases[::-1] if direction else bases
    assert reading.length == len(bases)
    for start in range(len(bases)):
        for end in range(start + 1, len(bases) + 1):
            assert [
                base
                for span in reading.spans(start, end)
                for base in list(range(span.start, span.end))[:: -1 if direction else 1]
            ] == bases[start:end]
            where = np.full(20, -1)
            for part, values in reading.place(start, np.arange(start, end)):
                where[part] = values
            assert [bases[value] for value in where[where >= 0]] == np.flatnonzero(where >= 0).tolist()
    expected = {0: 3, 6 if direction else 7: 1, 13: 3}
    assert reading.gaps == expected
