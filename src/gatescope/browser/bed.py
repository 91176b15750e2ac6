"""How do regions reach a browser? As plain BED for IGV and as bigBed for UCSC.

Public names: `ACCESSIBLE`, `PLANTED`, `RegionFile`, `accessible_regions`, `planted_regions`,
`region_files`, `write_region_file`.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pybigtools

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.figures import REGION, rgb
from gatescope.files import replacing_file
from gatescope.genome.regions import read_regions

#: Label, meaning and colour, wherever they are shown.
ACCESSIBLE = ("open regions", "accessible regions: peaks of the ATAC-seq data, overlaps merged", REGION)
PLANTED = ("planted truth", "accessible regions as they were planted", "#7f5539")
_AUTOSQL = """table region
"Accessible region"
(
string chrom;      "Contig"
uint   chromStart; "First base, 0-based"
uint   chromEnd;   "One past the last base"
string name;       "Number of the region, in genome order"
uint   score;      "Always 1000"
char[1] strand;    "Always ."
uint   thickStart; "Same as chromStart"
uint   thickEnd;   "Same as chromEnd"
uint   itemRgb;    "Colour"
)
"""


#: Contig, start, end, and the other columns of BED9 joined.
_Row = tuple[str, int, int, str]


@dataclass(frozen=True)
class RegionFile:
    """Name the same regions in both formats, `bed` and `bigbed`, say what they are, and hold their rows."""

    bed: Path
    bigbed: Path
    label: str
    meaning: str
    colour: str
    rows: tuple[_Row, ...]


def accessible_regions(results: Path) -> pd.DataFrame:
    """Return the merged peaks that the run used: `chrom, start, end`, 0-based half-open, genome order."""
    return EncodedStore(results / "data" / "encoded").peaks.loc[:, ["chrom", "start", "end"]]


def planted_regions(results: Path, lengths: Mapping[str, int]) -> pd.DataFrame | None:
    """Return the true regions of the planted genome, or None for real data."""
    path = results / "data" / "simulated" / "truth" / "regions.bed"
    if not path.is_file():
        return None
    return read_regions(path, lengths).loc[:, ["chrom", "start", "end"]]


def region_files(results: Path, lengths: Mapping[str, int]) -> list[RegionFile]:
    """Describe ``browser/regions.{bed,bb}`` and, for planted data, ``browser/planted_regions.{bed,bb}``.

    Everything is checked and nothing is written.

    Parameters
    ----------
    results : Path
        Results folder of the sample.
    lengths : mapping of str to int
        Contig lengths of the genome, in bp.

    Raises
    ------
    InputError
        If a region does not lie within the genome: pybigtools would accept that.
    """
    folder = results / "browser"
    files = [_region_file(folder / "regions", *ACCESSIBLE, accessible_regions(results))]
    planted = planted_regions(results, lengths)
    if planted is not None:
        files.append(_region_file(folder / "planted_regions", *PLANTED, planted))
    for file in files:
        _check_rows(file.bigbed, file.rows, lengths)
    return files


def write_region_file(file: RegionFile, lengths: Mapping[str, int]) -> None:
    """Write what `region_files` describes, in both formats."""
    with replacing_file(file.bed) as partial:
        # no track line: bedtools and bigBed converters choke on one
        partial.write_text("".join("\t".join(map(str, row)) + "\n" for row in file.rows), encoding="utf-8")
    _write_bigbed(file.bigbed, file.rows, lengths)


def _region_file(stem: Path, label: str, meaning: str, colour: str, regions: pd.DataFrame) -> RegionFile:
    """Describe one set of regions; pybigtools wants plain ints."""
    coordinates = zip(regions["chrom"], regions["start"], regions["end"], strict=True)
    rows = tuple(
        (str(chrom), int(start), int(end), f"region_{number}\t1000\t.\t{start}\t{end}\t{rgb(colour)}")
        for number, (chrom, start, end) in enumerate(coordinates, 1)
    )
    return RegionFile(Path(f"{stem}.bed"), Path(f"{stem}.bb"), label, meaning, colour, rows)


def _check_rows(path: Path, rows: Sequence[_Row], lengths: Mapping[str, int]) -> None:
    """Refuse what the writer would not."""
    for chrom, start, end, _ in rows:
        if not 0 <= start < end <= lengths.get(chrom, 0):
            raise InputError(
                f"region {chrom}:{start}-{end} is not within the genome",
                where=path,
                cause="the genome was exchanged after encode",
                remedy="run the workflow again with this genome",
            )


def _write_bigbed(path: Path, rows: Sequence[_Row], lengths: Mapping[str, int]) -> None:
    """Write a bigBed under a name that ends in .bb, as pybigtools demands, and read it back."""
    with replacing_file(path) as partial, tempfile.TemporaryDirectory(dir=path.parent) as folder:
        named = Path(folder) / path.name
        pybigtools.open(str(named), "w").write(dict(lengths), iter(rows), autosql=_AUTOSQL)
        reader = pybigtools.open(str(named))  # it prints its errors instead of raising them
        found = [(chrom, *record[:2]) for chrom in reader.chroms() for record in reader.records(chrom)]
        if sorted(found) != sorted(row[:3] for row in rows):
            raise RuntimeError(f"{path.name}: {len(found)} regions read back, {len(rows)} written")
        named.replace(partial)
