"""hub.txt and the files it links to, checked without gatescope."""

import json
import shutil

import bbi
import pandas as pd
import pytest

from fake_results import LENGTHS, REGION_BP, REGION_STARTS, write_fake_results
from gatescope.browser.hub import hub
from gatescope.browser.report import report
from gatescope.errors import InputError
from gatescope.figures import GATE_COLOURS
from oracles.hub_checker import check_hub, read_stanzas
from oracles.twobit_reader import read_twobit


@pytest.fixture(scope="module")
def made(fake):
    hub("demo sample", fake.results, fake.genome, fake.runs)
    return fake


def rgb(colour):
    return ",".join(str(int(colour[k : k + 2], 16)) for k in (1, 3, 5))


def test_hub_is_whole(made):
    tracks = check_hub(made.results / "browser" / "hub.txt")
    linked = [track["bigDataUrl"] for track in tracks.values() if "bigDataUrl" in track]
    assert len(linked) == 12 + 2 + 2 + 2  # gates, predictions, regions and truth, cuts and oracle
    assert len(set(linked)) == len(linked)


def test_gates_have_a_fixed_scale_their_colour_and_show_dips(made):
    tracks = check_hub(made.results / "browser" / "hub.txt")
    windowing = {"forget": "minimum", "input": "maximum", "output": "mean"}
    containers = [track for track in tracks.values() if "container" in track]
    assert len(containers) == 6
    for track in containers:
        gate = track["shortLabel"].split(",")[0]
        assert track["color"] == rgb(GATE_COLOURS[f"{gate}_gate"])
        assert (track["viewLimits"], track["autoScale"]) == ("0:1", "off")
        assert track["windowingFunction"] == windowing[gate]


def test_labels_name_unit_and_direction_in_words(made):
    tracks = check_hub(made.results / "browser" / "hub.txt")
    child = tracks["run_sequence_f1_1_forget_gate_boundary_unit_rev"]
    assert child["shortLabel"] == "forget rev unit 11"
    assert "read right to left, unit 11" in child["longLabel"]
    assert child["bigDataUrl"] == "../trace/sequence.f1.1/forget_gate.rev.boundary_unit.bw"


def test_assembly_is_the_genome(made):
    assert read_twobit(made.results / "browser" / "genome.2bit") == made.sequence


def test_regions_in_both_formats(made):
    expected = [(name, start, start + REGION_BP) for name in LENGTHS for start in REGION_STARTS]
    for stem in ("regions", "planted_regions"):
        bed = pd.read_csv(made.results / "browser" / f"{stem}.bed", sep="\t", header=None)
        assert list(bed.iloc[:, :3].itertuples(index=False, name=None)) == expected
        with bbi.open(str(made.results / "browser" / f"{stem}.bb")) as reader:
            found = [
                (name, row.start, row.end)
                for name, length in LENGTHS.items()
                for row in reader.fetch_intervals(name, 0, length).itertuples()
            ]
        assert found == expected


def test_assembly_of_ucsc_needs_no_sequence(tmp_path):
    fake = write_fake_results(tmp_path, is_planted=False)
    hub("demo", fake.results, fake.genome, fake.runs, ucsc_genome="sacCer3")
    tracks = check_hub(fake.results / "browser" / "hub.txt")
    assert read_stanzas(fake.results / "browser" / "hub.txt")[1] == {"genome": "sacCer3"}
    assert not (fake.results / "browser" / "genome.2bit").exists()
    assert not any("planted" in name or "best" in name for name in tracks)


def test_several_runs_and_a_difficult_name(tmp_path):
    fake = write_fake_results(tmp_path, runs=("sequence.f1.1", "a_very_long_model_name_indeed.f1.1"))
    hub(
        "Löss & <b>Lehm</b>\nwith a very long name that never seems to come to any end",
        fake.results,
        fake.genome,
        fake.runs,
    )
    tracks = check_hub(fake.results / "browser" / "hub.txt")
    supers = [track for track in tracks.values() if "superTrack" in track]
    assert [track["superTrack"] for track in supers] == ["on show", "on"]


def test_runs_that_become_one_name(tmp_path):
    fake = write_fake_results(tmp_path, runs=("a.f1.1", "a_f1.1"))
    with pytest.raises(InputError, match="two runs become"):
        hub("demo", fake.results, fake.genome, fake.runs)
    assert not (fake.results / "browser").exists()


def region_beyond_the_contig(fake):
    path = fake.results / "data" / "encoded" / "regions.tsv"
    path.write_text(path.read_text().replace("ctgB\t14000\t14600", "ctgB\t14000\t24600"))
    return "region ctgB:14000-24600 is not within the genome"


def planted_region_beyond_the_contig(fake):
    path = fake.results / "data" / "simulated" / "truth" / "regions.bed"
    path.write_text(path.read_text().replace("ctgB\t14000\t14600", "ctgB\t14000\t24600"))
    return r"regions\.bed line 8"


def no_place_to_open_at(fake):
    path = fake.results / "boundaries" / fake.runs[0] / "verdict.json"
    path.write_text(path.read_text().replace('"profile_bp": 500', '"profile_bp": 10001'))
    return "no region boundary"


def name_that_does_not_fit(fake):
    fake.genome.write_text(fake.genome.read_text() + f">{'c' * 300}\nACGT\n")
    (fake.genome.parent / "genome.fa.fai").unlink()
    fake.adopt(fake.genome)
    return r"contig name of 300 bytes; \.2bit allows 255"


@pytest.mark.parametrize(
    "spoil",
    [
        region_beyond_the_contig,
        planted_region_beyond_the_contig,
        no_place_to_open_at,
        name_that_does_not_fit,
    ],
)
def test_everything_is_checked_before_anything_is_written(own_fake, spoil):
    message = spoil(own_fake)
    with pytest.raises(InputError, match=message):
        hub("demo", own_fake.results, own_fake.genome, own_fake.runs)
    assert not (own_fake.results / "browser").exists()


def test_profiles_shorter_than_by_default(own_fake):
    """Regions that a profile of 500 bp leaves out are found with the lengths of the configuration."""
    shape = {"profile_bp": 60, "flank_bp": 50, "dip_bp": 25}
    path = own_fake.results / "boundaries" / own_fake.runs[0] / "verdict.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "shape": shape}))
    store = own_fake.results / "data" / "encoded" / "regions.tsv"
    rows = [line for line in store.read_text().splitlines() if not line.startswith("ctgA")]
    store.write_text("\n".join([*rows, "ctgA\t19900\t19940\t19920\tpeak\t0.5"]) + "\n")
    hub("demo", own_fake.results, own_fake.genome, own_fake.runs)
    assert "defaultPos ctgA:18001-20000" in (own_fake.results / "browser" / "hub.txt").read_text()


def test_same_bytes(made, tmp_path):
    files = sorted(path for path in (made.results / "browser").iterdir() if path.name != "report.html")
    before = {path.name: path.read_bytes() for path in files}
    shutil.rmtree(made.results / "browser")
    hub("demo sample", made.results, made.genome, made.runs)
    assert {path.name: path.read_bytes() for path in sorted((made.results / "browser").iterdir())} == before


def test_track_is_missing(own_fake):
    (own_fake.results / "trace" / own_fake.runs[0] / "input_gate.rev.mean.bw").unlink()
    with pytest.raises(InputError, match=r"input_gate\.rev\.mean\.bw: track is missing"):
        hub("demo", own_fake.results, own_fake.genome, own_fake.runs)
    assert not (own_fake.results / "browser" / "hub.txt").exists()


def test_track_of_another_genome(own_fake):
    own_fake.genome.write_text(own_fake.genome.read_text().replace("ctgB", "chrB"))
    (own_fake.genome.parent / "genome.fa.fai").unlink()
    with pytest.raises(InputError, match=r"ctgB has 20011 bp here and no entry in genome\.fa"):
        hub("demo", own_fake.results, own_fake.genome, own_fake.runs)


def test_what_else_was_made_of_the_reads_is_shown(own_fake):
    """Tn5's preference and replicates, in the order of the files; one replicate is the cuts themselves."""
    atac = own_fake.results / "atac"
    (atac / "replicates").mkdir()
    for path in (atac / "tn5_bias.bw", atac / "replicates" / "10.bw"):
        shutil.copy(atac / "cuts.bw", path)

    def shown():
        hub("x", own_fake.results, own_fake.genome, own_fake.runs)
        tracks = check_hub(own_fake.results / "browser" / "hub.txt").values()
        session = (own_fake.results / "browser" / "igv_session.xml").read_text()
        links = [track.get("bigDataUrl", "") for track in tracks]
        assert all(f'"{link}"' in session for link in links if "/atac/" in link)
        return [
            (track["shortLabel"], link) for track, link in zip(tracks, links, strict=True) if "/atac/" in link
        ]

    bias = ("Tn5 preference", "../atac/tn5_bias.bw")
    assert shown() == [("ATAC cuts", "../atac/cuts.bw"), bias]
    shutil.copy(atac / "cuts.bw", atac / "replicates" / "2.bw")
    replicates = [(f"replicate {n} cuts", f"../atac/replicates/{n}.bw") for n in (2, 10)]
    assert shown() == [("ATAC cuts", "../atac/cuts.bw"), *replicates, bias]


@pytest.mark.parametrize("write", [hub, report])
def test_a_genome_that_was_not_encoded_is_refused(own_fake, write):
    """The same contigs and lengths, another base."""
    text = own_fake.genome.read_text()
    own_fake.genome.write_text(text[:-2] + ("A" if text[-2] != "A" else "C") + "\n")
    with pytest.raises(InputError, match="encoded: was encoded from other inputs: genome has changed"):
        write("x", own_fake.results, own_fake.genome, own_fake.runs)
    assert not (own_fake.results / "browser").exists()
