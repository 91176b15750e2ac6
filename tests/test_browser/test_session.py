"""The IGV session: paths that exist, scales that hold, a genome that IGV can open."""

import gzip
import xml.etree.ElementTree as ElementTree

import pytest

from fake_results import write_fake_results
from gatescope.browser.hub import hub
from gatescope.browser.twobit import write_twobit
from gatescope.genome.fasta import Genome


def read_session(fake):
    return ElementTree.parse(fake.results / "browser" / "igv_session.xml").getroot()


@pytest.fixture(scope="module")
def session(fake):
    hub("demo", fake.results, fake.genome, fake.runs)
    return read_session(fake)


def test_every_path_is_relative_and_exists(fake, session):
    paths = [resource.get("path") for resource in session.iter("Resource")]
    assert len(set(paths)) == len(paths) == 14
    for path in [*paths, session.get("genome")]:
        assert not path.startswith("/")
        assert (fake.results / "browser" / path).is_file()


def test_every_resource_has_one_named_track(session):
    paths = [resource.get("path") for resource in session.iter("Resource")]
    tracks = list(session.iter("Track"))
    assert [track.get("id") for track in tracks] == paths
    assert len({track.get("name") for track in tracks}) == len(tracks)
    assert all(int(track.get("height")) >= 12 for track in tracks)


def test_gates_are_drawn_from_0_to_1(session):
    gates = [track for track in session.iter("Track") if "gate" in track.get("name")]
    assert len(gates) == 8
    for track in gates:
        scale = track.find("DataRange")
        assert track.get("autoScale") == "false" and track.get("autoscaleGroup") is None
        assert [float(scale.get(key)) for key in ("minimum", "baseline", "maximum")] == [0, 0, 1]


def test_opens_at_the_strongest_boundary(session):
    assert session.get("locus") == "ctgA:13001-15000"  # the fourth region of ctgA begins at 14,000


def test_later_runs_show_only_what_differs(tmp_path):
    fake = write_fake_results(tmp_path, runs=("sequence.f1.1", "sequence.f1.2"))
    hub("demo", fake.results, fake.genome, fake.runs)
    names = [track.get("name") for track in read_session(fake).iter("Track")]
    assert "forget gate fwd, mean (sequence.f1.1)" in names
    second = [name for name in names if "sequence.f1.2" in name]
    assert len(second) == 4 and not any("mean" in name for name in second)


def test_genome_elsewhere_is_named_by_its_absolute_path(tmp_path):
    fake = write_fake_results(tmp_path, is_planted=False)
    hub("demo", fake.results, fake.genome, fake.runs)
    assert read_session(fake).get("genome") == str(fake.genome.resolve())


def test_gzip_cannot_be_opened_by_igv(own_fake):
    packed = own_fake.genome.with_name("genome.fa.gz")
    packed.write_bytes(gzip.compress(own_fake.genome.read_bytes(), mtime=0))
    own_fake.adopt(packed)
    hub("demo", own_fake.results, packed, own_fake.runs)
    assert read_session(own_fake).get("genome") == "genome.2bit"


def test_a_genome_that_is_2bit_is_opened_as_it_is(own_fake):
    packed = own_fake.genome.with_name("packed.2bit")
    write_twobit(packed, Genome(own_fake.genome))
    own_fake.adopt(packed)
    hub("demo", own_fake.results, packed, own_fake.runs, ucsc_genome="planted1")
    session = read_session(own_fake).get("genome")
    assert (own_fake.results / "browser" / session).resolve() == packed.resolve()
    hub("demo", own_fake.results, packed, own_fake.runs)
    written = Genome(own_fake.results / "browser" / "genome.2bit")
    for chrom in written.lengths:
        assert (written.codes(chrom) == Genome(own_fake.genome).codes(chrom)).all()


def test_names_are_escaped(tmp_path):
    fake = write_fake_results(tmp_path, runs=("a<b&c.f1.1", "sequence.f1.1"))
    hub("demo", fake.results, fake.genome, fake.runs)
    assert any("a<b&c.f1.1" in track.get("name") for track in read_session(fake).iter("Track"))
