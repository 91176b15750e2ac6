"""One place through the gates: the tape is what the network did, what was written adds up, files and figure hold."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from gatescope.data.store import ContigArrays, EncodedStore, write_store
from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import load_model, save_model
from gatescope.trace import locus as locus_module
from gatescope.trace.certificate import ReplayError
from gatescope.trace.locus import locus
from gatescope.trace.locus_figure import build_figure, spread
from gatescope.trace.provenance import SOURCE_COLUMNS
from gatescope.trace.reading import UnknownBases
from gatescope.trace.stream import ContigStream, Segments
from gatescope.trace.stretch import Stretch, peaks_on, read_genes, tallest_peak
from gatescope.trace.tape import Mark, Tape, UnitTrace, recall
from oracles.lstm import run_lstm, sigmoid
from tiny_store import LENGTHS, REGION_COLUMNS, make_store

UNITS = {"fwd": 2, "rev": 0}
UNKNOWN = (300, 320)  # N in every contig of the tiny store
POLICIES = ("learned", "freeze", "decay(30)")
FILES = {"locus.svg", "locus.sources.tsv", "locus.bedpe", "locus.interact", "locus.json"}
BEDPE = ["chrom1", "start1", "end1", "chrom2", "start2", "end2", "name", "score", "strand1", "strand2"]


def make_network(dtype=torch.float64, targets=("cuts", "state"), **options):
    config = NetworkConfig(targets=targets, stem_channels=5, stem_width_bp=7, hidden_units=3, **options)
    return AccessibilityNetwork(config, torch.Generator().manual_seed(2)).to(dtype).eval()


def save(folder, network, store):
    meta = {
        "run": "small.f1.1",
        "store": store.content_hash,
        "fold": {"name": "f1", "test": ["four"], "valid": ["three"]},
        "training": {"device": "cpu", "sampling": {"reverse_complement": True}},
    }
    weights = network.float().state_dict()
    save_model(folder, network.config, weights, weights, meta)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A store, a model, the table of units and genes, made once."""
    folder = tmp_path_factory.mktemp("locus")
    save(folder / "model", make_network(), make_store(folder / "store"))
    rows = [(d, "entry", unit, True) for d, unit in UNITS.items()]
    table = pd.DataFrame(rows, columns=["direction", "crossing", "unit", "selected"])
    table.to_csv(folder / "units.tsv", sep="\t", index=False)
    genes = ("four\t10\t150\tLEFT\t0\t-", "four\t140\t280\tMIDDLE\t0\t+", "one\t5\t9\tELSEWHERE\t0\t+")
    (folder / "genes.bed").write_text("\n".join(genes) + "\n")
    return folder


def call(built, output, **options):
    settings = {"region": "four:1-400", "units": built / "units.tsv", **options}
    locus(built / "model", built / "store", output, **settings)


@pytest.fixture(scope="module")
def made(built, tmp_path_factory):
    """All files of one place, in float64."""
    folder = tmp_path_factory.mktemp("made")
    call(built, folder, genes=built / "genes.bed", dtype="float64")
    return folder


# --- the place


@pytest.mark.parametrize("place", [Stretch("one", 0, 50), Stretch("HLA-A*01:01", 1234, 4000)])
def test_a_place_is_read_as_it_is_printed(place):
    assert Stretch.parse(str(place), {"one": 6000, "HLA-A*01:01": 4000}) == place


def test_a_place_is_typed_from_1_to_the_last_base_with_or_without_commas():
    expected = Stretch("chrIX", 52_000, 53_200)
    for text in ("chrIX:52,001-53,200", " chrIX:52001-53200"):
        assert Stretch.parse(text, {"chrIX": 439_888}) == expected
    assert str(expected) == "chrIX:52,001-53,200"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IX:1-100", "the genome calls it 'chrIX'"),
        ("chrIX:1-6,001", "has 6,000 bp"),
        ("chrIX:0-99", "wanted first >= 1"),
        ("chrIX:200-101", "first and last exchanged"),
        ("chrIX:1-3001", "3,001 bp; the figure shows 50 to 3,000"),
        ("chrIX:1-49", "49 bp"),
        *(
            (text, "wanted contig:first-last")
            for text in ("chrIX", "chrIX:5", ":1-9", "chrIX:,-,", "chrIX:1..9")
        ),
    ],
)
def test_a_place_that_cannot_be_shown_is_named(text, message):
    with pytest.raises(InputError, match=message):
        Stretch.parse(text, {"chrIX": 6000})


def peaks_store(path, peaks, cuts_at):
    """A store of contigs a and b, 5 kb each: peaks (contig, start, end, summit), cuts {contig: {position: n}}."""
    contigs = []
    for name in "ab":
        cuts = np.zeros(5000, np.float32)
        for position, n in cuts_at.get(name, {}).items():
            cuts[position] = n
        codes = np.zeros(5000, np.uint8)
        contigs.append((name, ContigArrays(codes, codes, {"cuts": cuts})))
    rows = [(*peak, "peak", 0.5) for peak in peaks] + [("a", 0, 5000, 10, "background", 0.5)]
    meta = {"stage_version": 1, "window_bp": 9, "folds": {}, "inputs": {}, "filters": [], "seed": 1}
    write_store(path, contigs, pd.DataFrame(rows, columns=REGION_COLUMNS), meta)
    return EncodedStore(path)


def test_auto_is_the_peak_with_most_cuts_that_shows_both_edges(tmp_path):
    peaks = [
        ("a", 1000, 1400, 1300),  # 5 cuts
        ("a", 2000, 2300, 2010),  # 7 cuts: the one
        ("a", 3000, 4900, 3100),  # 9 cuts, too long to show both edges
        ("b", 1000, 1400, 1100),  # 20 cuts, not a test contig
    ]
    cuts = {"a": {1000: 5, 1400: 50, 2000: 3, 2299: 4, 3000: 9}, "b": {1100: 20}}
    store = peaks_store(tmp_path / "store", peaks, cuts)
    assert tallest_peak(store, ["a"]) == Stretch("a", 1650, 2650)
    assert tallest_peak(store, ["a", "b"], width_bp=600) == Stretch("b", 900, 1500)
    # nothing fits: the tallest of all, about its summit
    assert tallest_peak(store, ["a"], width_bp=200) == Stretch("a", 3000, 3200)
    assert peaks_on(Stretch("a", 1399, 2000), store) == [(1000, 1400)]


def test_auto_stays_on_the_contig_and_says_when_there_is_no_peak(tmp_path):
    store = peaks_store(tmp_path / "store", [("a", 4800, 4990, 4900)], {})
    assert tallest_peak(store, ["a"]) == Stretch("a", 4000, 5000)
    with pytest.raises(InputError, match="no called peak on the test contigs"):
        tallest_peak(store, ["b"])
    with pytest.raises(InputError, match="width_bp"):
        tallest_peak(store, ["a"], width_bp=3001)


def test_genes_of_the_place_are_read(built, tmp_path):
    path = tmp_path / "genes.bed"
    path.write_text(
        "# x\none\t100\t200\ttwo\t0\t-\none\t0\t50\tfirst\t0\t+\none\t199\t300\none\t60\t99\tno\n"
    )
    found = read_genes(path, Stretch("one", 49, 200), LENGTHS)
    assert found == [(0, 50, "first", "+"), (60, 99, "no", "."), (100, 200, "two", "-"), (199, 300, "", ".")]
    assert read_genes(path, Stretch("one", 50, 60), LENGTHS) == []
    path.write_text("chrone\t1\t2\n")
    with pytest.raises(InputError, match="the genome calls it 'one'"):
        read_genes(path, Stretch("one", 50, 60), LENGTHS)
    path.write_text("one\t1\tx\n")
    with pytest.raises(InputError, match="line 1: wanted contig, start and end"):
        read_genes(path, Stretch("one", 50, 60), LENGTHS)


# --- what is kept


def record(tmp_path, store, network, policy="learned", dtype="float64", units=UNITS, **options):
    tape = Tape(tmp_path / "tape.npy", units, dtype)
    ContigStream.of(network, store, unknown=UnknownBases.parse(policy), **options).read("four", [tape])
    return tape


def by_the_book(store, network):
    """Return what an independent LSTM does along a contig: a dict of (D, H, L)."""
    with torch.no_grad():
        x = torch.from_numpy(one_hot(np.asarray(store.codes("four"))))[None]
        features = network.features(x, None)[0].numpy()
    weights = {name: value.numpy() for name, value in network.lstm_layers[0].state_dict().items()}
    return run_lstm(features, weights, layers=1)[0]


@pytest.mark.parametrize("directions", [("fwd", "rev"), ("rev",)])
@pytest.mark.parametrize("segments", [None, Segments(segment_bp=97, rows=4, burn_in_bp=5)])
def test_the_tape_is_what_the_network_did(tmp_path, directions, segments):
    """Also where segments that started from a wrong guess are read again."""
    store, network = make_store(tmp_path / "store"), make_network()
    tape = record(tmp_path, store, network, units={d: UNITS[d] for d in directions}, segments=segments)
    book = by_the_book(store, network)
    for direction in directions:
        row, unit = ("fwd", "rev").index(direction), UNITS[direction]
        logits = {name: book[name][row, unit] for name in book}
        expected = UnitTrace(
            sigmoid(logits["input_logit"]),
            logits["forget_logit"],
            sigmoid(logits["input_logit"]) * logits["candidate"],
            sigmoid(logits["output_logit"]),
            logits["cell"],
        )
        for kept, wanted in zip(tape.of(direction), expected, strict=True):
            assert kept.dtype == np.float64
            np.testing.assert_allclose(kept, wanted, rtol=0, atol=1e-12)


def by_hand(trace, direction, position):
    """Return every write that is still held at a position, base by base, as {base: contribution}."""
    step = -1 if direction == "fwd" else 1
    forget, held, kept = sigmoid(np.asarray(trace.forget_logit)), {}, 1.0
    base = position
    while 0 <= base < len(forget):
        held[base] = kept * trace.write[base]
        kept, base = kept * forget[base], base + step
    return held


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("direction", ["fwd", "rev"])
def test_what_was_written_adds_up_to_the_cell_state(tmp_path, policy, direction):
    """Before, in, behind and far from unknown bases; the cell state is the network's own."""
    trace = record(tmp_path, make_store(tmp_path / "store"), make_network(), policy).of(direction)
    for position in (0, 250, 299, 300, 310, 319, 320, 335, 699):
        memory = recall(trace, UNITS[direction], direction, "four", Mark("A", position, ""))
        assert memory.error <= 1e-12 == memory.allowed
        held = by_hand(trace, direction, position)
        assert sum(held.values()) == pytest.approx(memory.traced, abs=1e-12)
        expected = [held[base] for base in memory.found.source.tolist()]
        np.testing.assert_allclose(memory.found.contribution[0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("policy", "left"), [("freeze", 1.0), ("decay(30)", 2 ** (-20 / 30))])
def test_the_tape_shows_what_the_policy_did(tmp_path, policy, left):
    tape, gap = record(tmp_path, make_store(tmp_path / "store"), make_network(), policy), slice(*UNKNOWN)
    for direction, before, last in (("fwd", UNKNOWN[0] - 1, UNKNOWN[1] - 1), ("rev", *UNKNOWN[::-1])):
        trace = tape.of(direction)
        assert trace.cell[last] == pytest.approx(left * trace.cell[before], rel=1e-12)
        assert not trace.write[gap].any() and not trace.input[gap].any()
        assert np.isnan(trace.output[gap]).all() and np.isfinite(np.delete(trace.output, np.r_[gap])).all()


def test_a_run_of_unknown_bases_at_the_start_holds_nothing(tmp_path):
    tape = Tape(tmp_path / "tape.npy", UNITS, "float64")
    tape.begin("x", 10)
    for direction, span in ((0, (0, 3)), (1, (7, 10))):
        tape.skip(direction, *span, 0.0)
    tape.end()
    assert not tape.of("fwd").cell[:3].any() and not tape.of("rev").cell[7:].any()


def test_float32_adds_up_to_what_it_can(tmp_path):
    network = make_network(torch.float32)
    tape = record(tmp_path, make_store(tmp_path / "store"), network, dtype="float32")
    for direction, unit in UNITS.items():
        memory = recall(tape.of(direction), unit, direction, "four", Mark("A", 400, ""))
        assert memory.error < 1e-6 and 1e-5 <= memory.allowed < 1e-4


@pytest.mark.parametrize("field", ["write", "forget_logit", "cell"])
def test_a_sum_that_does_not_hold_is_refused(tmp_path, field):
    tape = record(tmp_path, make_store(tmp_path / "store"), make_network())
    trace = UnitTrace(*map(np.array, tape.of("fwd")))
    getattr(trace, field)[395] += 1e-6
    position = 395 if field == "cell" else 396
    with pytest.raises(ReplayError, match="nothing is written"):
        recall(trace, 2, "fwd", "four", Mark("A", position, ""))


def test_half_of_a_memory_is_as_old_as_it_is():
    """Equal writes: f = 0.6 leaves 0.4 of all to the last base and 0.64 to the last two, f = 1 as much to each."""
    n = 65
    for forget, expected in ((0.6, 2), (1.0, 33)):
        write, kept = np.full(n, 0.1), forget ** np.arange(n)
        with np.errstate(divide="ignore"):
            logits = np.full(n, np.log(forget) - np.log1p(-forget))
        trace = UnitTrace(write, logits, write, write, 0.1 * np.cumsum(kept))
        assert recall(trace, 0, "fwd", "x", Mark("A", n - 1, "")).half_within_bp == expected


# --- the files


def test_all_files_are_written_and_say_the_same(made, built):
    assert {path.name for path in made.iterdir()} == FILES
    summary = json.loads((made / "locus.json").read_text())
    assert (summary["place"], summary["start"], summary["end"]) == ("four:1-400", 0, 400)
    assert summary["units"] == UNITS and summary["run"] == "small.f1.1"
    assert summary["certificate"]["max_error"] <= 1e-12
    marks = {(each["letter"], each["position"]) for each in summary["memories"]}
    edges = {100, 299}
    assert len(marks) == 3 and edges < {position for _, position in marks}
    cuts = np.asarray(EncodedStore(built / "store").track("four", "cuts"))[:400]
    (summit,) = {position for _, position in marks} - edges
    sums = [cuts[max(0, k - 12) : k + 13].sum() for k in range(400)]
    assert sums[summit] == max(sums)
    for each in summary["memories"]:
        assert each["difference"] <= each["difference_allowed"] == 1e-12
        assert each["sum_of_contributions"] == pytest.approx(each["cell"], abs=1e-12)
        assert each["not_listed_at_most"] <= 1e-15 and 0 < each["share_in_arcs"] <= 1


def test_sources_are_the_largest_writes(made, built):
    table = pd.read_csv(made / "locus.sources.tsv", sep="\t")
    assert tuple(table.columns) == SOURCE_COLUMNS
    store, network = EncodedStore(built / "store"), load_model(built / "model")[0].double()
    book = by_the_book(store, network)
    for (direction, position), rows in table.groupby(["direction", "position"]):
        row, unit = ("fwd", "rev").index(direction), UNITS[direction]
        trace = UnitTrace(
            *(book[name][row, unit] for name in ("input_logit", "forget_logit")),
            sigmoid(book["input_logit"][row, unit]) * book["candidate"][row, unit],
            *(book[name][row, unit] for name in ("output_logit", "cell")),
        )
        held = by_hand(trace, direction, position)
        mass = sum(map(abs, held.values()))
        for source in rows.itertuples():
            total = sum(held[base] for base in range(source.source_start, source.source_end))
            assert source.contribution == pytest.approx(total, rel=1e-6, abs=1e-12)
            assert source.share == pytest.approx(abs(total) / mass, rel=1e-6)
        assert rows.share.sum() >= 0.9 or len(rows) == 20


def test_browsers_find_the_ends_where_they_should_be(made):
    table = pd.read_csv(made / "locus.sources.tsv", sep="\t")
    expected = sorted(zip(table.source_start, table.source_end, table.position, strict=True))
    header, *lines = (made / "locus.bedpe").read_text().splitlines()
    assert header.lstrip("#").split("\t")[:10] == BEDPE
    arcs = [line.split("\t") for line in lines]
    assert sorted((int(a[1]), int(a[2]), int(a[4])) for a in arcs) == expected
    assert all(a[0] == a[3] == "four" and int(a[5]) == int(a[4]) + 1 for a in arcs)
    assert all((a[8] == "+") == (int(a[1]) <= int(a[4]) and "fwd" in a[6]) for a in arcs)
    track, header, *lines = (made / "locus.interact").read_text().splitlines()
    assert track.startswith("track type=interact ") and len(header.split("\t")) == 18
    fields = [line.split("\t") for line in lines]
    assert sorted((int(f[9]), int(f[10]), int(f[14])) for f in fields) == expected
    assert all(0 <= int(f[1]) < int(f[2]) <= LENGTHS["four"] for f in fields)


def test_the_same_call_gives_the_same_bytes(built, made, tmp_path):
    call(built, tmp_path, genes=built / "genes.bed", dtype="float64")
    for file in sorted(FILES):
        assert (tmp_path / file).read_bytes() == (made / file).read_bytes(), file


def test_auto_and_named_units(built, tmp_path):
    call(built, tmp_path, region="auto", units=None, unit=["rev:1"], name="x", width_bp=300)
    summary = json.loads((tmp_path / "x.json").read_text())
    assert summary["contig"] == "four" and summary["end"] - summary["start"] == 300
    assert summary["units"] == {"rev": 1}
    assert "→" not in (tmp_path / "x.svg").read_text()


@pytest.mark.parametrize("policy", POLICIES)
def test_unknown_bases_can_be_shown(built, tmp_path, policy):
    call(built, tmp_path, region="four:281-340", unknown_bases=policy)
    summary = json.loads((tmp_path / "locus.json").read_text())
    assert summary["unknown_bases"] == policy


def test_a_place_without_cuts_or_peaks_has_one_mark(tmp_path):
    store = peaks_store(tmp_path / "store", [("b", 1, 100, 50)], {})
    save(tmp_path / "model", make_network(targets=("state",)), store)
    locus(tmp_path / "model", tmp_path / "store", tmp_path / "out", region="a:101-200", unit=["fwd:0"])
    (memory,) = json.loads((tmp_path / "out/locus.json").read_text())["memories"]
    assert (memory["letter"], memory["position"]) == ("A", 150) and "no cuts" in memory["meaning"]


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": None}, "one of them"),
        ({"unit": ["fwd:0"]}, "one of them"),
        ({"units": None, "unit": ["fwd:3"]}, "the network has 0 to 2"),
        ({"units": None, "unit": ["left:0"]}, "wanted DIRECTION:UNIT"),
        ({"units": None, "unit": ["fwd:-1"]}, "wanted DIRECTION:UNIT"),
        ({"units": None, "unit": ["fwd:0", "fwd:1"]}, "two units of direction fwd"),
        ({"units": "nowhere.tsv"}, "run gatescope boundaries first"),
        ({"region": "five:1-100"}, "no contig 'five'"),
        ({"region": "four:601-701"}, "has 700 bp"),
        ({"genes": "nowhere.bed"}, "does not exist"),
        ({"unknown_bases": "hold"}, "wanted learned, freeze or decay"),
    ],
)
def test_what_cannot_be_shown_is_refused(built, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        call(built, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_network_without_recurrence_or_of_another_store_is_refused(built, tmp_path):
    save(tmp_path / "model", make_network(recurrence=False), EncodedStore(built / "store"))
    with pytest.raises(InputError, match="no recurrence"):
        locus(tmp_path / "model", built / "store", tmp_path / "out", unit=["fwd:0"])
    shutil.copytree(built / "store", tmp_path / "store")
    meta = json.loads((tmp_path / "store/meta.json").read_text())
    (tmp_path / "store/meta.json").write_text(json.dumps({**meta, "seed": 99}))
    with pytest.raises(InputError, match="train again"):
        locus(built / "model", tmp_path / "store", tmp_path / "out", unit=["fwd:0"])


# --- the figure


def test_marks_are_spread_as_far_as_they_must():
    assert spread([1.0, 50.0, 90.0], 10) == [1, 50, 90]
    apart = spread([10.0, 11.0, 14.0, 60.0], 6)
    assert np.diff(apart).min() >= 6 - 1e-9 and apart[3] == 60
    assert np.mean(apart[:3]) == pytest.approx(35 / 3)


def drawn_texts(figure, monkeypatch):
    """Draw a figure; return each text that appears on it with the box around it."""
    drawn = []
    right = Text.draw

    def draw(self, renderer):
        if self.get_visible() and self.get_text().strip():
            drawn.append(self)
        return right(self, renderer)

    monkeypatch.setattr(Text, "draw", draw)
    figure.canvas.draw()
    return [(text.get_text(), text.get_window_extent(figure.canvas.get_renderer())) for text in drawn]


@pytest.mark.parametrize("region", ["four:1-600", "four:81-140"])
def test_no_text_lies_on_another_or_off_the_page(built, tmp_path, monkeypatch, region):
    pictures = []
    monkeypatch.setattr(locus_module, "draw_locus", lambda picture, path: pictures.append(picture))
    call(built, tmp_path, region=region, genes=built / "genes.bed")
    figure = build_figure(pictures[0])
    texts = drawn_texts(figure, monkeypatch)
    wide, high = figure.canvas.get_width_height()
    said = " ".join(text.replace("\n", " ") for text, _ in texts)
    for words in (
        "What the network remembers at four",
        "half-life",
        "Tn5 cuts",
        "MIDDLE" if "600" in region else "LEFT",
    ):
        assert words in said
    for k, (text, box) in enumerate(texts):
        assert box.x0 >= -1 and box.x1 <= wide + 1 and box.y0 >= -1 and box.y1 <= high + 1, text
        for other, its in texts[k + 1 :]:
            across = min(box.x1, its.x1) - max(box.x0, its.x0)
            up = min(box.y1, its.y1) - max(box.y0, its.y0)
            assert across < 1 or up < 0.25 * min(box.height, its.height), (text, other)


def test_the_figure_is_180_mm_wide(made):
    width = (made / "locus.svg").read_text().split('width="', 1)[1].split("pt", 1)[0]
    assert float(width) == pytest.approx(180 / 25.4 * 72, rel=1e-4)
