"""Preflight: the numbers it reports, counted again slowly from what the files were made of."""

import gzip
import json
import logging
from dataclasses import asdict

import pytest

from gatescope.atac.fragments import read_rows
from gatescope.data.preflight import RunSize, predict_cost, preflight
from gatescope.data.simulate import simulate
from gatescope.errors import InputError
from test_atac.atac_files import write_fasta
from tiny_data import LENGTHS, write_bigwig, write_rows


def run(inputs, **changes):
    output = inputs.folder.parent / "checked" / "preflight.json"
    settings = {"folds": inputs.folds, "exclusion_list": inputs.exclusion_list, "window_bp": 256}
    given = {"atac": inputs.fragments, **settings, **changes}
    preflight(inputs.genome, given.pop("atac"), inputs.peaks, output, **given)
    return json.loads(output.read_text())


def in_a_peak(inputs, contig, base):
    return any(row[0] == contig and row[1] <= base < row[2] for row in inputs.peak_rows)


def test_numbers_equal_slow_counts(tiny_inputs):
    found = run(tiny_inputs)
    cuts = [(c, base) for c, start, end in tiny_inputs.fragment_rows for base in (start + 4, end - 5)]
    inside = sum(in_a_peak(tiny_inputs, *cut) for cut in cuts)
    letters = "".join(tiny_inputs.sequence.values())
    peak_bases = {(c, base) for c, start, end, *_ in tiny_inputs.peak_rows for base in range(start, end)}
    assert found["genome"]["contigs"] == tiny_inputs.lengths
    assert found["genome"]["bp"] == len(letters)
    assert found["genome"]["scored_bp"] == len(letters) - 500
    assert found["genome"]["gc"] == pytest.approx(
        (letters.count("G") + letters.count("C")) / len(letters), abs=1e-6
    )
    assert found["atac"]["fragments"] == found["atac"]["distinct_fragments"] == len(tiny_inputs.fragment_rows)
    assert found["atac"]["cuts"] == len(cuts)
    assert found["atac"]["cuts_per_bp"] == pytest.approx(len(cuts) / len(letters), abs=1e-6)
    assert found["atac"]["frip"] == pytest.approx(inside / len(cuts), abs=1e-6)
    assert found["peaks"]["bp"] == len(peak_bases)
    assert found["peaks"]["share_of_genome"] == pytest.approx(len(peak_bases) / len(letters), abs=1e-6)
    assert found["peaks"]["merged"] == len({row[:2] for row in tiny_inputs.peak_rows})


def test_unknown_bases_are_counted(tiny_inputs):
    tiny_inputs.sequence["chr2"] = "N" * 1_000 + tiny_inputs.sequence["chr2"][1_000:]
    tiny_inputs.write()
    genome = run(tiny_inputs)["genome"]
    assert genome["unknown_share"] == pytest.approx(1_000 / genome["bp"], abs=1e-6)
    assert genome["scored_bp"] == genome["bp"] - 1_500


def test_a_ready_track_gives_the_same_numbers_as_its_fragments(tiny_inputs):
    fragments = run(tiny_inputs)
    track = run(tiny_inputs, atac=tiny_inputs.cuts, tn5_shift="+4/-4")
    for key in ("cuts", "cuts_per_bp", "frip"):
        assert track["atac"][key] == fragments["atac"][key]
    assert track["atac"]["fragments"] is None and track["atac"]["kind"] == "bigWig"
    assert track["peaks"] == fragments["peaks"]


def test_the_shift_moves_the_cuts(tiny_inputs):
    write_rows(tiny_inputs.fragments, [(c, s + 4, e - 5) for c, s, e in tiny_inputs.fragment_rows])
    shifted = run(tiny_inputs, tn5_shift="+4/-5")["atac"]
    write_rows(tiny_inputs.fragments, tiny_inputs.fragment_rows)
    raw = run(tiny_inputs)["atac"]
    # the end of a raw fragment is 5 bp right of the last cut, that of a shifted one 0 bp
    assert (shifted["cuts"], shifted["tn5_shift"]) == (raw["cuts"], "+4/-5")
    assert shifted["frip"] == pytest.approx(raw["frip"], abs=0.01)


def test_the_shift_of_the_data_is_reported(tiny_inputs, tmp_path, caplog):
    assert run(tiny_inputs)["atac"]["tn5_shift_evidence"]["detected"] is None  # random genome, uniform cuts
    with pytest.raises(InputError, match=r"fragments\.bed: tn5_shift auto cannot tell"):
        run(tiny_inputs, tn5_shift="auto")
    simulate(tmp_path / "planted", contigs=3, contig_bp=30_000)
    genome, atac, peaks = (
        tmp_path / "planted" / name for name in ("genome.fa", "fragments.tsv.gz", "peaks.narrowPeak")
    )
    folds = {"f1": {"test": ["planted1"], "valid": ["planted2"]}}
    for declared in ("auto", "+4/-5"):
        preflight(genome, atac, peaks, tmp_path / "p.json", folds=folds, window_bp=256, tn5_shift=declared)
        found = json.loads((tmp_path / "p.json").read_text())["atac"]
        assert found["tn5_shift"] == ("+0/-0" if declared == "auto" else "+4/-5")
        assert [found["tn5_shift_evidence"][key] for key in ("declared", "detected")] == [declared, "+0/-0"]
    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert (
        "+4/-5 is declared and used, but +0/-0 is found" in warning and "declare tn5_shift +0/-0" in warning
    )


def test_replicates_are_judged_one_by_one(tmp_path):
    simulate(tmp_path / "planted", contigs=3, contig_bp=30_000)
    genome, atac, peaks = (
        tmp_path / "planted" / name for name in ("genome.fa", "fragments.tsv.gz", "peaks.narrowPeak")
    )
    with gzip.open(atac, "rt") as file:
        rows = [line.split("\t")[:3] for line in file if line[0] != "#"]
    write_rows(tmp_path / "two.bed", rows)
    options = {"folds": {"f1": {"test": ["planted1"], "valid": ["planted2"]}}, "window_bp": 256}
    both, output = [atac, tmp_path / "two.bed"], tmp_path / "p.json"
    preflight(genome, both, peaks, output, tn5_shift=["auto", "+0/-0"], **options)
    found = json.loads(output.read_text())["atac"]
    assert (found["kind"], found["tn5_shift"]) == ("10x, BED3", "+0/-0")
    shifts = found["tn5_shift_evidence"]
    assert (shifts["declared"], shifts["used"], shifts["detected"]) == (["auto", "+0/-0"], "+0/-0", "+0/-0")
    assert [each["source"] for each in shifts["files"]] == ["fragments.tsv.gz", "two.bed"]
    assert shifts["files"][0]["evidence"] == shifts["files"][1]["evidence"]
    assert "fragments.tsv.gz: " in shifts["sentence"] and ". two.bed: " in shifts["sentence"]
    narrow = [(name, int(start) + 4, int(end) - 5) for name, start, end in rows if int(end) - int(start) > 20]
    write_rows(tmp_path / "two.bed", narrow)
    output.unlink()
    with pytest.raises(InputError, match=r"fragments\.tsv\.gz, but by \+4/-5 in .*two\.bed"):
        preflight(genome, both, peaks, output, tn5_shift="auto", **options)
    assert not output.exists()


def test_parts_of_a_fold_add_up(tiny_inputs):
    folds = {"a": {"test": ["chr3"], "valid": ["chr4"]}, "b": {"test": ["chr1"], "valid": ["chr2"]}}
    found = run(tiny_inputs, folds=folds)
    for name, parts in found["folds"].items():
        assert sum(part["bp"] for part in parts.values()) == found["genome"]["bp"]
        assert sum(part["peaks"] for part in parts.values()) == found["peaks"]["usable"]
        assert parts["test"]["contigs"] == folds[name]["test"]
    assert found["folds"]["b"]["train"]["contigs"] == ["chr3", "chr4"]
    folds = {"c": {"test": ["chr3"], "valid": ["chr4"], "train": ["chr1"]}}
    parts = run(tiny_inputs, folds=folds)["folds"]["c"]
    assert parts["unused"]["contigs"] == ["chr2"]
    assert sum(part["bp"] for part in parts.values()) == found["genome"]["bp"]


def test_excluded_contigs_count_nowhere(tiny_inputs):
    """Not even where the genome lacks a contig that the other files have."""
    with tiny_inputs.fragments.open("a") as file:
        file.write("chrM\t5\t90\n")
    with tiny_inputs.peaks.open("a") as file:
        file.write("\t".join(map(str, ("chrM", 0, 500, "m", 1, ".", 1, 1, 1, 20))) + "\n")
    found = run(tiny_inputs, exclude_contigs=["chrM", "chr1"])
    assert list(found["genome"]["contigs"]) == ["chr2", "chr3", "chr4"]
    assert found["atac"]["fragments"] == sum(row[0] != "chr1" for row in tiny_inputs.fragment_rows)
    assert found["filters"][0]["dropped"] == 1 + sum(row[0] == "chr1" for row in tiny_inputs.peak_rows)


def test_it_says_what_it_found_and_warns_of_peaks_from_elsewhere(tiny_inputs, caplog):
    with caplog.at_level(logging.INFO, "gatescope"):
        run(tiny_inputs)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        for subject in ("genome", "ATAC-seq", "peaks", "FRiP", "fold f1", "cost"):
            assert any(record.getMessage().startswith(subject) for record in caplog.records), subject
        elsewhere = [
            (c, s + 2_000, e + 2_000, *rest) for c, s, e, *rest in tiny_inputs.peak_rows if s < 10_000
        ]
        write_rows(tiny_inputs.peaks, elsewhere)
        run(tiny_inputs, exclusion_list=None)
    assert "this sample" in caplog.records[-1].getMessage()


def test_fragments_are_read_once(tiny_inputs, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "gatescope.atac.cuts.read_rows",
        lambda *given: calls.append(given) or read_rows(*given),
    )
    run(tiny_inputs)
    assert len(calls) == 1


def test_duplicates_are_counted_as_cuts_counts_them(tiny_inputs):
    write_rows(tiny_inputs.fragments, [*tiny_inputs.fragment_rows, *tiny_inputs.fragment_rows[:100]])
    once = len(tiny_inputs.fragment_rows)
    assert run(tiny_inputs)["atac"]["fragments"] == once
    assert run(tiny_inputs, duplicates="keep")["atac"]["fragments"] == once + 100


def test_the_unknown_share_of_windows_is_the_users(tiny_inputs):
    letters = tiny_inputs.sequence["chr1"]
    tiny_inputs.sequence["chr1"] = letters[:6_100] + "N" * 60 + letters[6_160:]
    tiny_inputs.write()
    few, many = (run(tiny_inputs, max_unknown_fraction=share)["peaks"]["usable"] for share in (0.1, 0.9))
    assert many == few + 1
    with pytest.raises(InputError, match="max_unknown_fraction: 2 is no share"):
        run(tiny_inputs, max_unknown_fraction=2)


def test_few_peaks_on_a_large_genome(tiny_inputs, caplog):
    """Their share of the genome rounds to nothing; the enrichment does not."""
    tiny_inputs.sequence["chr1"] += "ACGT" * 2_200_000
    tiny_inputs.write()
    starts = {
        chrom: next(s for c, s, _ in tiny_inputs.fragment_rows if c == chrom and s > 500) for chrom in LENGTHS
    }
    write_rows(tiny_inputs.peaks, [(c, s + 4, s + 5, "p", 0, ".", 1, 1, 1, 0) for c, s in starts.items()])
    found = run(tiny_inputs, exclusion_list=None)
    assert found["peaks"]["share_of_genome"] == 0
    assert "this sample" not in caplog.text


def test_no_cut_on_any_contig_is_the_users_message(tiny_inputs):
    """Whole contigs as fragments, and a shift that moves both ends off them."""
    write_rows(tiny_inputs.fragments, [(name, 0, length) for name, length in tiny_inputs.lengths.items()])
    with pytest.raises(InputError, match=r"fragments\.bed: no cut in it"):
        run(tiny_inputs, tn5_shift="+9/-9")


ONE = {"bp": 4_000_000, "held_out_bp": {"a": 1_000_000, "b": 400_000}, "window_bp": 2_000, "n_tracks": 1}


def test_cost_follows_the_formulas():
    cost = predict_cost(**ONE, runs=[RunSize(fold="a")])
    layer = 1 + 32 * 80 / 1250
    assert cost.train_minutes == pytest.approx(8 * 4800 * 2_000 * (3 + layer) * 1e-6 / 60, abs=0.05)
    assert cost.trace_minutes == pytest.approx((2 * 4e6 + 1e6) * 6.56e-6 / 60, abs=0.05)
    assert cost.evaluate_minutes == pytest.approx((10 + 1e6 * (10 + layer) * 1e-6) / 60, abs=0.05)
    assert cost.boundaries_minutes == pytest.approx((10 + 1e6 * 8e-6) / 60, abs=0.05)
    assert (cost.store_mb, cost.tracks_mb, cost.temporary_mb) == (24.0, 168.0, 1040.0)
    assert predict_cost(**ONE, runs=[RunSize()]) == cost, "without a name, the fold that holds out most"


@pytest.mark.parametrize(
    ("change", "grows"),
    [
        ({"epochs": 80}, {"train_minutes"}),
        ({"windows_per_epoch": 48_000}, {"train_minutes"}),
        ({"layers": 3}, {"train_minutes", "evaluate_minutes"}),
        (
            {"hidden_units": 128},
            {"train_minutes", "trace_minutes", "evaluate_minutes", "boundaries_minutes", "temporary_mb"},
        ),
    ],
)
def test_cost_grows_with_the_configuration(change, grows):
    before, after = (asdict(predict_cost(**ONE, runs=[RunSize(**each)])) for each in ({}, change))
    assert {key for key in before if after[key] > before[key]} == grows


def test_a_network_without_gates_costs_its_training_and_its_scores():
    """Once, as it has no twin; eight layers of 43 channels, 7.4 us per base."""
    cost = predict_cost(**ONE, runs=[RunSize(dilated_layers=8, channels=43)])
    layers = 8 * 43 * 75 / 3500
    assert cost.train_minutes == pytest.approx(8 * 4800 * 2_000 * (1.5 + layers) * 1e-6 / 60, abs=0.05)
    assert cost.evaluate_minutes == pytest.approx((10 + 1e6 * (10 + layers) * 1e-6) / 60, abs=0.05)
    assert (cost.runs, cost.trace_minutes, cost.boundaries_minutes) == (1, 0, 0)
    assert (cost.tracks_mb, cost.temporary_mb, cost.store_mb) == (0, 0, 24.0)


def test_cost_of_several_runs_is_their_sum():
    sizes = [RunSize(fold="a", epochs=3, runs=4), RunSize(fold="b", hidden_units=64, contigs="held-out")]
    each = [asdict(predict_cost(**ONE, runs=[size])) for size in sizes]
    both = asdict(predict_cost(**ONE, runs=sizes))
    assert (each[0]["runs"], each[1]["runs"], both["runs"]) == (4, 1, 5)
    for key in both.keys() - {"store_mb"}:
        assert both[key] == pytest.approx(each[0][key] + each[1][key], abs=0.11), key
    held_out = {"fold": "a", "contigs": "held-out"}
    assert predict_cost(**ONE, runs=[RunSize(**held_out)]).tracks_mb == 168.0 / 4


@pytest.mark.parametrize(
    ("size", "message"), [({"fold": "f9"}, "no fold 'f9'"), ({"epoch": 3}, "unknown epoch")]
)
def test_a_mistake_about_the_runs_is_the_users_message(tiny_inputs, size, message):
    with pytest.raises(InputError, match=message):
        run(tiny_inputs, runs=[size])


def test_replicates_are_described_one_by_one(tiny_inputs):
    half = len(tiny_inputs.fragment_rows) // 2
    paths = [tiny_inputs.folder / "one.bed", tiny_inputs.folder / "two.bed"]
    for path, rows in zip(
        paths, (tiny_inputs.fragment_rows[::2], tiny_inputs.fragment_rows[1::2]), strict=True
    ):
        write_rows(path, rows)
    whole, found = run(tiny_inputs), run(tiny_inputs, atac=paths, tn5_shift=["+0/-0", "+0/-0"])
    assert found["atac"]["cuts"] == whole["atac"]["cuts"]
    assert found["atac"]["frip"] == whole["atac"]["frip"]
    assert [file["file"] for file in found["atac"]["files"]] == ["one.bed", "two.bed"]
    assert abs(found["atac"]["files"][0]["used"] - half) <= 1
    assert (found["inputs"]["atac 1"], found["inputs"]["atac 2"]) == tuple(map(str, paths))
    assert (found["atac"]["reads"], found["atac"]["fragments"]) == (None, len(tiny_inputs.fragment_rows))


def spoil_everything(inputs):
    """Break six inputs that have nothing to do with each other; return what preflight is called with."""
    write_rows(inputs.peaks, [(row[0].removeprefix("chr"), *row[1:]) for row in inputs.peak_rows])
    write_rows(inputs.exclusion_list, [("chr4", 20_990, 30_000)])
    write_rows(inputs.fragments, [("chr2", 90, 60)])
    (inputs.folder / "two.bed").write_text("chr1\t5\n")
    (inputs.folder / "cut.bw").write_bytes(inputs.track.read_bytes()[:3_000])
    return {
        "--atac": [inputs.fragments, inputs.folder / "two.bed"],
        "--tracks": [f"a={inputs.folder / 'cut.bw'}", f"b={inputs.track}", "c=none.bw"],
        "--folds": ['{"f1": {"test": ["chr9"], "valid": ["chr4"]}}'],
    }


def call(inputs, **changes):
    given = {
        "--genome": [inputs.genome],
        "--peaks": [inputs.peaks],
        "--exclusion-list": [inputs.exclusion_list],
        "--tn5-shift": ["+0/-0"],
        "--window-bp": [256],
        "--output": [inputs.folder / "p.json"],
        **changes,
    }
    return ["preflight", *(word for flag, values in given.items() for word in (flag, *values))]


def test_everything_that_is_wrong_is_said_at_once(tiny_inputs, run_cli, monkeypatch):
    changes = spoil_everything(tiny_inputs)
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        outcome = run_cli(*call(tiny_inputs, **changes))
        assert outcome.status == 2 and "Traceback" not in outcome.stderr
        (head,) = outcome.messages
        assert head.endswith("error: 7 problems; nothing was written")
        lines = outcome.stderr[outcome.stderr.index(head) :].splitlines()
        assert sum(-(-len(line) // columns) for line in lines) <= 24
        said = " ".join(" ".join(lines).split())
        for place in (
            "peaks.narrowPeak line 1",
            "exclusion.bed line 1",
            "folds.f1.test",
            "cut.bw",
            "none.bw",
        ):
            assert said.count(f"{place}: ") == 1, place
        assert said.count("fragments.bed line 1: ") == said.count("two.bed line 1: ") == 1
    assert not (tiny_inputs.folder / "p.json").exists()


def test_without_a_genome_the_rest_is_checked_by_itself(tiny_inputs, run_cli):
    changes = spoil_everything(tiny_inputs)
    tiny_inputs.genome.unlink()
    tiny_inputs.peaks.write_text("")
    shown = " ".join(run_cli(*call(tiny_inputs, **changes)).stderr.split())
    assert "5 problems" in shown
    for words in (
        "genome.fa: ",
        "no regions in it",
        "two.bed line 1",
        "cut.bw",
        "none.bw",
    ):
        assert words in shown
    assert "chr4" not in shown, "what needs the genome is left for later"


def test_values_of_tracks_and_of_replicates_are_told_off_once_each(tiny_inputs, run_cli):
    values = {name: array.copy() for name, array in tiny_inputs.track_values.items()}
    for array in values.values():
        array[5_000:5_010] = float("nan")
    write_bigwig(tiny_inputs.folder / "gaps.bw", tiny_inputs.lengths, values)
    for name in ("one.bw", "two.bw"):
        write_bigwig(tiny_inputs.folder / name, tiny_inputs.lengths, tiny_inputs.track_values)
    changes = {
        "--atac": [tiny_inputs.folder / "one.bw", tiny_inputs.folder / "two.bw"],
        "--tn5-shift": ["+4/-4"],
        "--tracks": [f"h3={tiny_inputs.folder / 'gaps.bw'}"],
        "--folds": [tiny_inputs.folds_json],
    }
    shown = " ".join(run_cli(*call(tiny_inputs, **changes)).stderr.split())
    assert "3 problems" in shown
    assert shown.count("no value on 10 of") == 1
    assert shown.count("one.bw: no 1-bp cut counts") == shown.count("two.bw: no 1-bp cut counts") == 1


def test_the_assembly_is_named(tmp_path):
    lengths = {"chrI": 230_218, "chrVI": 270_161, "chrIII": 316_620}  # of sacCer3
    genome = write_fasta(tmp_path / "g.fa", lengths)
    rows = [(name, start, start + 90) for name in lengths for start in range(500, 200_000, 700)]
    write_rows(tmp_path / "a.bed", rows)
    write_rows(tmp_path / "p.bed", rows[::40])
    folds = {"f1": {"test": ["chrI"], "valid": ["chrVI"]}}
    preflight(genome, tmp_path / "a.bed", tmp_path / "p.bed", tmp_path / "p.json", folds=folds, window_bp=200)
    assert json.loads((tmp_path / "p.json").read_text())["genome"]["assembly"] == "sacCer3 (R64-1-1)"
