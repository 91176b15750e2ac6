"""What MACS3 is given and what becomes of its answer: a stand-in on PATH writes down the one and gives the other."""

import ast
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from gatescope.atac import macs3
from gatescope.atac.bigwig import BigWigWriter
from gatescope.atac.peaks import peaks
from gatescope.errors import InputError
from test_atac.atac_files import (
    bedpe_rows,
    count_cuts,
    draw,
    pair,
    tagalign_rows,
    tenx_rows,
    write_alignments,
    write_fasta,
    write_text,
)

ROOT = Path(__file__).parents[2]
LENGTHS = {"chr2": 3_000, "chr1.fa|x": 4_000, "s.3": 120}
PEAK = ("p", 50, ".", 4.5, 12.25, 10.0)
ANSWER = [("c1", 10, 400, *PEAK, 30), ("c0", 700, 900, *PEAK, 150), ("c0", 700, 900, *PEAK, 20)]
STAND_IN = """#!/bin/sh
[ "$1" = --version ] && { echo "macs3 9.8.7"; exit; }
echo "$@" > {0}/arguments; pwd > {0}/folder; cp input.bed {0}/input.bed
echo "INFO  @ 20 Nov 2026 15:46:42: [34 MB] #1 read fragment files... " >&2
cat {0}/says >&2
[ -f {0}/answer ] && cp {0}/answer macs3_peaks.narrowPeak
touch macs3_peaks.xls
exit $(cat {0}/status)
"""


class StandIn:
    """A program called macs3; set what it answers, read what it was given."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.program = folder / "macs3"
        self.program.write_text(STAND_IN.replace("{0}", str(folder)))
        self.program.chmod(0o755)
        self.answers(ANSWER)
        self.ends()

    def answers(self, rows) -> None:
        write_text(self.folder / "answer", rows)

    def ends(self, status: int = 0, says: str = "") -> None:
        (self.folder / "status").write_text(str(status))
        (self.folder / "says").write_text(says)

    @property
    def was_called(self) -> bool:
        return (self.folder / "arguments").exists()

    @property
    def arguments(self) -> list[str]:
        return (self.folder / "arguments").read_text().split()

    @property
    def given(self) -> Counter:
        lines = (self.folder / "input.bed").read_text().splitlines()
        return Counter(tuple(line.split("\t")) for line in lines)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    made = StandIn(tmp_path / "program")
    monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.fixture
def genome(tmp_path):
    return write_fasta(tmp_path / "genome.fa", LENGTHS)


@pytest.fixture
def fragments():
    return list(dict.fromkeys(draw(LENGTHS, 150, seed=3, margin=10)))


def coded(rows) -> Counter:
    """Return (contig, start, end) rows as MACS3 is to see them."""
    codes = {name: f"c{number}" for number, name in enumerate(LENGTHS)}
    return Counter((codes[name], str(start), str(end)) for name, start, end in rows)


def cut_rows(counts) -> Counter:
    """Return cuts per base as rows for MACS3."""
    codes = {name: f"c{number}" for number, name in enumerate(LENGTHS)}
    return Counter(
        {
            (codes[name], str(at), str(at + 1), ".", "0", "+"): int(n)
            for name, values in counts.items()
            for at, n in enumerate(values)
            if n
        }
    )


def call(atac, genome, output, **options):
    return peaks(atac, genome, output, **{"tn5_shift": "+0/-0", **options})


def test_what_macs3_is_told_and_what_is_kept(tmp_path, genome, fragments, stand_in, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    atac = write_text(tmp_path / "a.bed", [*fragments, fragments[0]])
    output = tmp_path / "out/atac/peaks.narrowPeak"
    told = call(atac, genome, output, q_value=0.05)
    assert stand_in.given == coded(fragments)
    said = " ".join(stand_in.arguments)
    assert said == (
        "callpeak --treatment input.bed --format BEDPE --gsize 7120 --qvalue 0.05 --keep-dup all --call-summits "
        "--name macs3 --outdir . --tempdir ."
    )
    assert output.read_text() == (  # sorted by the genome's order and by summit, numbers as MACS3 wrote them
        "chr2\t700\t900\tp\t50\t.\t4.5\t12.25\t10.0\t20\n"
        "chr2\t700\t900\tp\t50\t.\t4.5\t12.25\t10.0\t150\n"
        "chr1.fa|x\t10\t400\tp\t50\t.\t4.5\t12.25\t10.0\t30\n"
    )
    sidecar = json.loads((output.parent / "peaks.narrowPeak.json").read_text())
    assert sidecar["macs3_version"] == "9.8.7"
    assert sidecar["macs3_arguments"] == stand_in.arguments[:-6]
    assert (sidecar["given"], sidecar["rows"], sidecar["regions"], sidecar["bp"]) == (
        len(fragments),
        3,
        2,
        590,
    )
    assert (sidecar["mode"], sidecar["q_value"], told.rows) == ("fragments", 0.05, 3)
    assert sidecar["files"][0]["left_out"]["duplicates_by_position"] == 1
    assert {path.name for path in output.parent.iterdir()} == {output.name, f"{output.name}.json"}
    assert not list((tmp_path / "scratch").iterdir())


def as_fragments(path, rows):
    return write_text(path.with_suffix(".bed.gz"), [*rows, *rows[:9]])


def as_10x(path, rows):
    return write_text(path.with_suffix(".tsv"), tenx_rows(rows))


def as_pairs(path, rows):
    return write_text(path.with_suffix(".bedpe"), bedpe_rows(rows))


def as_bam(path, rows):
    return write_alignments(path.with_suffix(".bam"), LENGTHS, [*rows, *rows[:9]])


def as_bam_without_lengths(path, rows):
    """Some aligners leave the template length out."""

    def reads(header):
        for number, row in enumerate(rows):
            for read in pair(header, number, row):
                read.template_length = 0
                yield read

    return write_alignments(path.with_suffix(".bam"), LENGTHS, [], extra=lambda header: list(reads(header)))


def as_replicates(path, rows):
    return [as_bam(path.with_name("one"), rows[::2]), as_10x(path.with_name("two"), rows[1::2])]


@pytest.mark.parametrize("shift", ["+0/-0", "+4/-5"])
@pytest.mark.parametrize(
    "write", [as_fragments, as_10x, as_pairs, as_bam, as_bam_without_lengths, as_replicates]
)
def test_every_file_of_fragments_gives_the_same_ones(tmp_path, genome, fragments, stand_in, write, shift):
    """Shifted in advance and declared so, the same again."""
    plus, minus = (4, -5) if shift == "+4/-5" else (0, 0)
    rows = [(name, start + plus, end + minus) for name, start, end in fragments]
    told = call(write(tmp_path / "a", rows), genome, tmp_path / "peaks.narrowPeak", tn5_shift=shift)
    assert stand_in.given == coded(fragments)
    assert told.mode == "fragments" and told.left_out == {"exclusion_list": 0, "no_length": 0}


def as_tagalign(path, rows):
    return write_text(path.with_suffix(".tagAlign"), tagalign_rows(rows))


def as_single_reads(path, rows):
    def reads(header):
        for number, row in enumerate(rows):
            for read in pair(header, number, row):
                read.flag &= 0x10
                yield read

    return write_alignments(path.with_suffix(".bam"), LENGTHS, [], extra=lambda header: list(reads(header)))


def as_fragments_and_reads(path, rows):
    return [as_10x(path.with_name("one"), rows[::2]), as_tagalign(path.with_name("two"), rows[1::2])]


@pytest.mark.parametrize("write", [as_tagalign, as_single_reads, as_fragments_and_reads])
def test_reads_without_a_known_other_end_are_given_as_cuts(
    tmp_path, genome, fragments, stand_in, caplog, write
):
    told = call(write(tmp_path / "a", fragments), genome, tmp_path / "peaks.narrowPeak")
    assert stand_in.given == cut_rows(count_cuts(fragments, LENGTHS))
    assert told.mode == "cuts" and told.given == 2 * len(fragments)
    assert "--format BED --nomodel --shift -25 --extsize 50" in " ".join(stand_in.arguments)
    assert "peaks are called from single cuts" in caplog.text


def test_a_bigwig_of_cuts(tmp_path, genome, fragments, stand_in):
    counts = count_cuts(fragments, LENGTHS)
    with BigWigWriter(tmp_path / "cuts.bw", LENGTHS, sparse=True) as writer:
        for name, values in counts.items():
            writer.add(name, 0, values)
    told = call(tmp_path / "cuts.bw", genome, tmp_path / "peaks.narrowPeak", tn5_shift="+4/-4")
    assert stand_in.given == cut_rows(counts) and told.mode == "cuts"


def test_the_exclusion_list_and_unknown_bases_do_not_count(tmp_path, fragments, stand_in):
    genome = write_fasta(tmp_path / "genome.fa", LENGTHS)
    text = genome.read_text().splitlines()
    text[1] = "N" * 500 + text[1][500:]
    genome.write_text("\n".join(text) + "\n")
    excluded = [("chr2", 400, 900), ("chr2", 850, 1000), ("chr1.fa|x", 3999, 4000)]
    rows = [*fragments, ("chr2", 350, 400), ("chr2", 1000, 1040), ("chr2", 999, 1040)]
    listed = write_text(tmp_path / "out.bed", [*excluded, ("chrM", 5, 9)])
    touching = [
        row for row in rows if any(row[0] == chrom and row[1] < e and s < row[2] for chrom, s, e in excluded)
    ]
    told = call(
        write_text(tmp_path / "a.bed", [*rows, ("chrM", 1, 99)]),
        genome,
        tmp_path / "peaks.narrowPeak",
        exclusion_list=listed,
        exclude_contigs=["chrM"],
    )
    assert stand_in.given == coded(rows) - coded(touching)
    assert told.left_out == {"exclusion_list": len(touching), "no_length": 0} and len(touching) > 5
    assert told.genome_size == 7120 - 500 - 500 - 1


def test_fragments_end_where_their_contig_does(tmp_path, genome, stand_in):
    """A wrongly declared shift moves raw ends off the contig, or past each other."""
    rows = [("chr2", 0, 60), ("chr2", 100, 108), ("s.3", 60, 120), *draw(LENGTHS, 50)]
    told = call(
        write_text(tmp_path / "a.bed", rows), genome, tmp_path / "peaks.narrowPeak", tn5_shift="-4/+4"
    )
    assert told.left_out["no_length"] == 1
    assert {("c0", "4", "56"), ("c2", "64", "116")} <= set(stand_in.given)
    call(write_text(tmp_path / "a.bed", rows), genome, tmp_path / "peaks.narrowPeak", tn5_shift="+4/-5")
    assert {("c0", "0", "65"), ("c2", "56", "120")} <= set(stand_in.given)


def test_peaks_end_where_their_contig_does(tmp_path, genome, fragments, stand_in):
    """Single cuts are widened, and MACS3 does not know where contigs end."""
    stand_in.answers([("c2", 50, 140, *PEAK, 80)])
    call(write_text(tmp_path / "a.bed", fragments), genome, tmp_path / "peaks.narrowPeak")
    fields = (tmp_path / "peaks.narrowPeak").read_text().split()
    assert (fields[0], *map(int, fields[1:3]), int(fields[-1])) == ("s.3", 50, 120, 69)


def refused(tmp_path, genome, fragments, **options) -> str:
    """Return the message; what was there before stays."""
    output = tmp_path / "out/peaks.narrowPeak"
    output.parent.mkdir()
    output.write_text("old")
    with pytest.raises(InputError) as caught:
        call(write_text(tmp_path / "a.bed", fragments), genome, output, **options)
    assert [path.name for path in output.parent.iterdir()] == [output.name] and output.read_text() == "old"
    return str(caught.value)


SAID = "Traceback (most recent call last):\n" + "".join(f"  line {n}\n" for n in range(9))


@pytest.mark.parametrize(
    ("status", "says", "words"),
    [
        (
            1,
            SAID + "MemoryError\n",
            "failed (exit status 1): line 6 | line 7 | line 8 | MemoryError; the log",
        ),
        (0, "", "failed (exit status 0): #1 read fragment files...; the log"),
        (137, "", "failed (exit status 137): #1 read fragment files...; likely cause: too little memory"),
    ],
    ids=["failure", "no file", "killed"],
)
def test_macs3_fails(tmp_path, genome, fragments, stand_in, caplog, status, says, words):
    stand_in.ends(status, says)
    (stand_in.folder / "answer").unlink()
    caplog.set_level("INFO")
    assert words in refused(tmp_path, genome, fragments)
    assert all(line.strip() in caplog.text for line in says.splitlines())
    assert not Path((stand_in.folder / "folder").read_text().strip()).exists()


def test_macs3_finds_nothing(tmp_path, genome, fragments, stand_in):
    stand_in.answers([])
    message = refused(tmp_path, genome, fragments)
    assert "MACS3 finds no peak among" in message and "raise peaks: q_value" in message


def test_macs3_is_stopped_with_us(tmp_path, monkeypatch):
    program = tmp_path / "macs3"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho working\nexec sleep 60\n")
    program.chmod(0o755)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(macs3.log, "info", interrupt)
    with pytest.raises(KeyboardInterrupt):
        macs3.Macs3(program, "0").call_peaks([], tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_no_macs3(tmp_path, genome, fragments, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(macs3, "_PLACES", (tmp_path / "nowhere",))
    message = refused(tmp_path, genome, fragments)
    assert message.startswith("macs3: MACS3, which calls the peaks") and "run `make peaks-env`" in message


def test_macs3_beside_the_checkout(tmp_path, stand_in, monkeypatch):
    assert ROOT == macs3._PLACES[0]
    monkeypatch.setattr(macs3, "_PLACES", (tmp_path / "nowhere", tmp_path))
    own = tmp_path / ".venv-peaks/bin/macs3"
    own.parent.mkdir(parents=True)
    own.symlink_to(stand_in.program)
    assert macs3.find_macs3() == macs3.Macs3(stand_in.program, "9.8.7")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert macs3.find_macs3() == macs3.Macs3(own, "9.8.7")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/no/such/python\n", "does not start (No such file or directory)"),
        ("#!/bin/sh\necho 'No module named MACS3'; exit 1\n", "does not start (No module named MACS3)"),
        ("#!/bin/sh\nexit 1\n", "does not start (it says nothing)"),
    ],
)
def test_macs3_does_not_start(tmp_path, genome, fragments, stand_in, text, words):
    stand_in.program.write_text(text)
    assert words in refused(tmp_path, genome, fragments)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda tmp: {"q_value": 1.0}, "q_value: 1, wanted a number between 0 and 1"),
        (lambda tmp: {"folds": {"f1": {"test": ["chr9"], "valid": ["chr2"]}}}, "chr9 not among the contigs"),
        (lambda tmp: {"tracks": {"h3": f"{tmp}/none.bw:zero"}}, "none.bw: "),
        (
            lambda tmp: {"exclusion_list": write_text(tmp / "x.bed", [("2", 1, 9)])},
            "x.bed line 1: contig 2 not in genome.fa; likely cause: the genome calls it 'chr2'",
        ),
        (
            lambda tmp: {
                "exclusion_list": write_text(tmp / "x.bed", [(name, 0, bp) for name, bp in LENGTHS.items()])
            },
            "exclusion_list: no fragments left to call peaks from",
        ),
        (lambda tmp: {"tn5_shift": "+40/-5"}, "tn5_shift: +40/-5 is beyond the 9 bp"),
    ],
    ids=["q_value", "folds", "tracks", "exclusion list", "nothing left", "shift"],
)
def test_mistakes_are_found_before_macs3_runs(tmp_path, genome, fragments, stand_in, spoil, words):
    assert words in refused(tmp_path, genome, fragments, **spoil(tmp_path))
    assert not stand_in.was_called


def test_on_the_command_line(tmp_path, genome, fragments, stand_in, run_cli):
    atac = write_text(tmp_path / "a.bed", [*fragments, ("chr2", 2_990, 3_001)])
    arguments = ("peaks", "--atac", atac, "--genome", genome, "--tn5-shift", "+0/-0")
    output = tmp_path / "out/peaks.narrowPeak"
    failed = run_cli(*arguments, "--output", output)
    assert failed.status == 2 and len(failed.messages) == 1 and not output.parent.exists()
    assert "end 3001 exceeds chr2 length 3000 (genome.fa)" in failed.messages[0]
    write_text(tmp_path / "a.bed", fragments)
    done = run_cli(*arguments, "--folds", "{}", "--output", output)
    assert done.status == 2 and "no fold" in done.messages[0]
    done = run_cli(*arguments, "--exclusion-list", "--tracks", "--output", output, "--log", tmp_path / "log")
    assert done.status == 0 and output.exists()
    assert "MACS3: #1 read fragment files...\n" in (tmp_path / "log").read_text()


def imported_by(*names: str) -> set[str]:
    """Return every module that these import at their top, and those that they import, within gatescope."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        path = ROOT / "src" / Path(*name.split(".")).with_suffix(".py")
        if name in found or not path.is_file():
            found.add(name)
            continue
        found.add(name)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting.append(node.module)
                waiting.extend(f"{node.module}.{each.name}" for each in node.names)
            elif isinstance(node, ast.Import):
                waiting.extend(each.name for each in node.names)
    return found


def test_the_peaks_environment_holds_what_the_verb_imports():
    """envs/peaks.post-deploy.sh installs gatescope without its dependencies, then only those that are needed."""
    modules = {name.partition(".")[0] for name in imported_by("gatescope.cli", "gatescope.atac.peaks")}
    imported = {name.lower() for name in modules - {"gatescope", *sys.stdlib_module_names}}
    script = (ROOT / "envs/peaks.post-deploy.sh").read_text()
    (listed,) = re.findall(r"-c constraints.txt \\\n\s+(.*)", script)
    assert imported == {"bio" if name == "biopython" else name for name in listed.lower().split()}
