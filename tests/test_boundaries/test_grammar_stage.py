"""The stage from folders to folder: planted words, their files, tables, figures, bytes, refusals."""

import json

import numpy as np
import pandas as pd
import pytest
from Bio import motifs as bio
from motif_worlds import ENTRY, EXIT, make_grammar_world, matrix, other_strand

from gatescope.boundaries.events import Events
from gatescope.boundaries.grammar import grammar
from gatescope.boundaries.motif_files import read_motif_file, write_jaspar, write_meme
from gatescope.boundaries.motif_match import column_correlation
from gatescope.boundaries.spacing import boundary_offsets, next_distances, spacing_table
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.genome.sequence import ALPHABET

PLANTED = {"fwd.0.forget.1": (ENTRY, 1), "fwd.0.write.1": (EXIT, 0), "rev.1.forget.1": (EXIT, 2)}


def run(paths, **changes):
    grammar(**{**paths, "settings": {}, "seed": 1, **changes})
    folder = paths["output"]
    tables = {path.stem: pd.read_csv(path, sep="\t") for path in folder.glob("*.tsv")}
    return tables, json.loads((folder / "grammar.json").read_text())


@pytest.fixture
def no_figures(monkeypatch):
    """Most of a small run's time goes into its figures."""
    for name in ("draw_logos", "draw_spacings"):
        monkeypatch.setattr(f"gatescope.boundaries.grammar.{name}", lambda *_: None)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A planted run, and what the stage wrote of it; known motifs are the planted ones and others."""
    folder = tmp_path_factory.mktemp("grammar")
    paths = make_grammar_world(folder)
    rng = np.random.default_rng(1)
    known = {"entry": 100 * matrix(ENTRY), "exit_flipped": 100 * other_strand(matrix(EXIT))}
    known |= {f"other{n}": 100 * rng.dirichlet([0.3] * 4, 10) for n in range(10)}
    write_meme(folder / "known.meme", known, np.full(4, 0.25))
    tables, content = run(paths, motifs=folder / "known.meme")
    return paths, tables, content


def test_planted_words_are_named_with_their_lags(world):
    _, tables, content = world
    found = tables["motifs"].set_index("motif")
    assert set(found.index) == set(PLANTED)
    assert found["lag_bp"].to_dict() == {name: lag for name, (_, lag) in PLANTED.items()}
    assert (found["width_bp"] == 8).all()
    assert (found["lag_share"] > 0.95).all()
    assert (found["bits"] > found["chance_bits"]).all()  # planted: more often than composition gives
    assert found.loc["rev.1.forget.1", "as_read"] == found.loc["rev.1.forget.1", "forward"][::-1]
    assert content["twin"] == {"n_motifs": 0, "largest_bits": 0.0}
    assert content["sentence"] == (
        "sequence.f1.1: 2 motifs where units forget, 1 motif where they write, in 4 searches; "
        "no motifs in the same of its untrained twin"
    )


def test_motif_files_hold_the_forward_strand_and_the_counts(world):
    paths, tables, _ = world
    counts = tables["columns"][tables["columns"]["in_core"]].groupby("motif")
    for name, kind in (("motifs.meme", "minimal"), ("motifs.jaspar", "jaspar")):
        with (paths["output"] / name).open() as file:
            read = {
                getattr(each, "matrix_id", None) or each.name: each.counts for each in bio.parse(file, kind)
            }
        assert set(read) == set(PLANTED)
        for motif, (word, _) in PLANTED.items():
            written = np.array([read[motif][letter] for letter in ALPHABET]).T
            as_read = counts.get_group(motif)[list(ALPHABET)].to_numpy()
            np.testing.assert_array_equal(written, as_read if motif.startswith("fwd") else as_read[::-1])
            aligned = column_correlation(written, matrix(word))
            assert aligned.r >= 0.95 and (aligned.strand, aligned.offset, aligned.overlap) == ("+", 0, 8)


def test_events_name_the_places_of_their_words(world):
    paths, tables, content = world
    events, store = tables["events"], EncodedStore(paths["store"])
    assert content["contigs"] == ["test1", "test2"] and set(events["chrom"]) == {"test1", "test2"}
    held = events[events["motif"] != "none"]
    assert len(held) == tables["motifs"]["n_sites"].sum()
    for name, (word, lag) in PLANTED.items():
        rows = held[(held["motif"] == name) & (held["lag_bp"] == lag)]
        assert ((rows["motif_end"] - rows["motif_start"]) == 8).all()
        edge = rows["motif_end"] - 1 + lag if name.startswith("fwd") else rows["motif_start"] - lag
        assert (rows["position"] == edge).all()
        letters = np.stack(
            [store.codes(row.chrom)[row.motif_start : row.motif_end] for row in rows.itertuples()]
        )
        shares = np.stack([(letters == code).mean(0) for code in range(4)], axis=1)
        assert abs(shares - matrix(word)).max() < 0.15
    assert (events[events["motif"] == "none"][["motif_start", "motif_end"]] == -1).all(axis=None)
    assert sum(each["n_events"] for each in content["searches"]) == len(events)


def test_the_same_word_of_two_searches_is_a_pair(world):
    _, tables, _ = world
    (pair,) = tables["pairs"].to_dict("records")
    assert {pair["motif"], pair["other"]} == {"fwd.0.write.1", "rev.1.forget.1"}
    assert (pair["strands"], pair["offset"], pair["overlap_bp"]) == ("same", 0, 8)


def test_named_motifs_are_matched(world):
    _, tables, content = world
    best = tables["matches"].groupby("motif").first()
    assert best["target"].to_dict() == {
        "fwd.0.forget.1": "entry", "fwd.0.write.1": "exit_flipped", "rev.1.forget.1": "exit_flipped",
    }  # fmt: skip
    assert best["strand"].to_dict() == {"fwd.0.forget.1": "+", "fwd.0.write.1": "-", "rev.1.forget.1": "-"}
    assert (best["p_fwer"] <= 0.01).all()
    assert content["motif_file"]["n_motifs"] == 12


def test_spacing_shows_where_events_lie(world):
    """Every second word is an entry: 600 bp apart, at offset 8 of a region that starts with the word."""
    _, tables, _ = world
    spacing = tables["spacing"]
    fwd = spacing[(spacing["direction"] == "fwd") & (spacing["kind"] == "forget")]
    entry = fwd[fwd["measure"] == "entry"]
    assert entry.loc[entry["bp_low"] == 0, "n_events"].item() > 100
    assert entry.loc[entry["bp_low"] == 0, "n_background"].item() < 10
    assert set(spacing["measure"]) == {"next", "entry", "exit"}
    assert np.isinf(spacing["bp_high"]).any()
    totals = fwd[fwd["measure"] == "next"]["n_events"].sum()
    assert totals == len(tables["events"].query("direction == 'fwd' and kind == 'forget'")) - 2


@pytest.mark.parametrize(("direction", "crossing", "offsets"), [
    (0, "entry", [-2, 0]), (0, "exit", [-1, -10]), (1, "entry", [0, 9]), (1, "exit", [1, -1]),
])  # fmt: skip
def test_offsets_from_boundaries_are_those_of_the_glossary(direction, crossing, offsets):
    """Of positions 98 and 100 beside [100, 110): see the table in docs/glossary.md."""
    regions = pd.DataFrame({"chrom": ["a"], "start": [100], "end": [110]})
    at = [98, 100] if (direction, crossing) != (0, "exit") else [109, 100]
    at = [109, 100] if (direction, crossing) == (1, "entry") else at
    events = Events(("a",), np.zeros(2, int), np.array(at), np.ones(2))
    found = boundary_offsets(events, regions, {"a": 500}, direction, crossing)
    assert sorted(found) == sorted(offsets)


def test_distances_and_bins():
    regions = pd.DataFrame({"chrom": ["a", "a"], "start": [100, 300], "end": [200, 400]})
    events = Events(("a", "b"), np.array([0, 0, 1, 0]), np.array([310, 95, 40, 1000]), np.ones(4))
    assert sorted(next_distances(events)) == [215, 690]
    table = spacing_table(events, events, regions, {"a": 2000, "b": 100}, 0)
    first = table[(table["n_events"] > 0)]
    assert first[["measure", "bp_low", "bp_high"]].to_numpy().tolist() == [
        ["next", 210, 220], ["next", 500, np.inf],
        ["entry", -10, 0], ["entry", 10, 20], ["entry", 500, np.inf],
        ["exit", -110, -100], ["exit", -90, -80], ["exit", 500, np.inf],
    ]  # fmt: skip
    assert (table["n_events"] == table["n_background"]).all()


def test_same_bytes_again(world, tmp_path):
    paths, _, _ = world
    again = {**paths, "output": tmp_path / "again"}
    known = paths["store"].parent / "known.meme"
    run(again, motifs=known)
    names = sorted(path.name for path in paths["output"].iterdir())
    assert names == sorted(path.name for path in again["output"].iterdir())
    for name in names:
        assert (again["output"] / name).read_bytes() == (paths["output"] / name).read_bytes(), name


def test_a_seed_changes_the_background_only(world, tmp_path, no_figures):
    paths, tables, _ = world
    other, _ = run({**paths, "output": tmp_path / "other"}, seed=2)
    columns = ["chrom", "position", "strength"]
    pd.testing.assert_frame_equal(other["events"][columns], tables["events"][columns])
    assert (other["spacing"]["n_background"] != tables["spacing"]["n_background"]).any()
    assert len(other["matches"]) == 0  # no file of motifs was named


def test_all_units_may_be_searched_and_gates_without_words_give_none(world, tmp_path, no_figures):
    paths, _, _ = world
    swapped = {**paths, "output": tmp_path / "out"}
    tables, content = run(swapped, settings={"units": "all"})
    assert len(content["searches"]) == 8
    assert set(tables["motifs"]["motif"]) == set(PLANTED)
    model = json.loads((paths["model"] / "model.json").read_text()) | {"sha256": "cd" * 32}
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").write_text(json.dumps(model))
    tables, content = run(
        {**swapped, "trace": paths["twin"], "twin": paths["trace"], "model": tmp_path / "model"}
    )
    assert len(tables["motifs"]) == len(tables["columns"]) == len(tables["pairs"]) == 0
    assert content["twin"]["n_motifs"] == 3 and content["twin"]["largest_bits"] > 10
    assert read_is_empty(swapped["output"] / "motifs.meme")


def read_is_empty(path):
    with path.open() as file:
        return list(bio.parse(file, "minimal")) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"units": "some"}, "config: grammar: units: 'some'; wanted chosen or all"),
        ({"top_fraction": 0.0}, "config: grammar: top_fraction: 0.0; wanted more than 0"),
        ({"max_events": 0}, "config: grammar: max_events: 0; wanted at least 1"),
        ({"jitter_bp": 20}, "config: grammar: jitter_bp 20, half_width_bp 20; wanted jitter_bp < half"),
        ({"half_width": 3}, "config: grammar: unknown half_width"),
    ],
)
def test_settings_out_of_range_are_refused(world, settings, words, tmp_path):
    with pytest.raises(InputError, match=words):
        run({**world[0], "output": tmp_path / "out"}, settings=settings)
    assert not (tmp_path / "out").exists()


def test_a_trace_of_another_network_is_refused(world, tmp_path):
    paths = {**world[0], "output": tmp_path / "out"}
    with pytest.raises(InputError, match=r"summary\.json: trace of weights cdcd"):
        run({**paths, "trace": paths["twin"]})
    with pytest.raises(InputError, match="the twin has the weights of the run itself"):
        run({**paths, "twin": paths["trace"]})


@pytest.mark.parametrize(
    "text",
    ["", "MEME version 4\n", ">MA1 x\nA [ 1 ]\n", "chr1\t1\t2\n", ">a\nA [ 0 ]\nC [ 0 ]\nG [ 0 ]\nT [ 0 ]\n"],
)
def test_what_is_no_motif_file_is_refused(tmp_path, text):
    (tmp_path / "motifs.txt").write_text(text)
    with pytest.raises(InputError, match=r"motifs\.txt: "):
        read_motif_file(tmp_path / "motifs.txt")
    with pytest.raises(InputError, match="file does not exist"):
        read_motif_file(tmp_path / "none.meme")


def test_both_formats_hold_the_same(tmp_path):
    counts = {"one": np.array([[5, 1, 0, 1], [0, 7, 0, 0]]), "two.2": np.array([[1, 1, 1, 997]] * 7)}
    write_meme(tmp_path / "a.meme", counts, np.full(4, 0.25))
    write_jaspar(tmp_path / "a.jaspar", counts, {"one": "AC", "two.2": "TTTTTTT"})
    for name, each in counts.items():
        np.testing.assert_array_equal(read_motif_file(tmp_path / "a.meme")[name], each)
    jaspar = read_motif_file(tmp_path / "a.jaspar")
    np.testing.assert_array_equal(jaspar["one AC"], counts["one"])
    np.testing.assert_array_equal(jaspar["two.2 TTTTTTT"], counts["two.2"])
