"""Which assembly is this? Told from the lengths of a few contigs, to say what two files disagree about.

Public names: `assembly_of`, `assembly_clash`, `assembly_with_room`.

Contigs are compared by what stays of their names without ``chr``, version and Roman numerals, so that UCSC,
Ensembl and (where known) RefSeq names all do.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gatescope.genome.naming import bare_names


class _Assembly(NamedTuple):
    """Hold the lengths in bp of some contigs."""

    name: str
    species: str
    lengths: dict[str, int]


def _numbered(*lengths: int, **others: int) -> dict[str, int]:
    """Name lengths 1, 2, 3, ...; `others` by their own names."""
    return {str(number): length for number, length in enumerate(lengths, start=1)} | others


#: Each length stands in at least two public sources that are independent of each other.
_ASSEMBLIES = (
    _Assembly(
        "hg38 (GRCh38)",
        "human",
        _numbered(
            *(248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636),
            *(138394717, 133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345),
            *(83257441, 80373285, 58617616, 64444167, 46709983, 50818468),
            x=156040895,
            y=57227415,
        ),
    ),
    _Assembly(
        "hg19 (GRCh37)",
        "human",
        _numbered(
            *(249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022),
            *(141213431, 135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753),
            *(81195210, 78077248, 59128983, 63025520, 48129895, 51304566),
            x=155270560,
            y=59373566,
        ),
    ),
    _Assembly(
        "hs1 (T2T-CHM13v2.0)",
        "human",
        _numbered(
            *(248387328, 242696752, 201105948, 193574945, 182045439, 172126628, 160567428, 146259331),
            *(150617247, 134758134, 135127769, 133324548, 113566686, 101161492, 99753195, 96330374),
            *(84276897, 80542538, 61707364, 66210255, 45090682, 51324926),
            x=154259566,
            y=62460029,
        ),
    ),
    _Assembly("hg18 (NCBI36)", "human", _numbered(247249719, x=154913754)),
    _Assembly(
        "mm39 (GRCm39)",
        "mouse",
        _numbered(
            *(195154279, 181755017, 159745316, 156860686, 151758149, 149588044, 144995196, 130127694),
            *(124359700, 130530862, 121973369, 120092757, 120883175, 125139656, 104073951, 98008968),
            *(95294699, 90720763, 61420004),
            x=169476592,
            y=91455967,
        ),
    ),
    _Assembly(
        "mm10 (GRCm38)",
        "mouse",
        _numbered(
            *(195471971, 182113224, 160039680, 156508116, 151834684, 149736546, 145441459, 129401213),
            *(124595110, 130694993, 122082543, 120129022, 120421639, 124902244, 104043685, 98207768),
            *(94987271, 90702639, 61431566),
            x=171031299,
            y=91744698,
        ),
    ),
    _Assembly(
        "mm9 (NCBI37)",
        "mouse",
        _numbered(197195432, 181748087, 159599783, 155630120, 152537259, 149517037, 152524553, 131738871),
    ),
    _Assembly("rn7 (mRatBN7.2)", "rat", _numbered(260522016, 249053267)),
    _Assembly("rn6 (Rnor_6.0)", "rat", _numbered(282763074, 266435125, 177699992, 184226339, 173707219)),
    _Assembly("danRer11 (GRCz11)", "zebrafish", _numbered(59578282, 59640629, 62628489, 78093715)),
    _Assembly("danRer10 (GRCz10)", "zebrafish", _numbered(58871917, 59543403, 62385949, 76625712)),
    _Assembly(
        "dm6 (BDGP6)",
        "fly",
        {"2l": 23513712, "2r": 25286936, "3l": 28110227, "3r": 32079331, "4": 1348131, "x": 23542271},
    ),
    _Assembly(
        "dm3 (BDGP5)",
        "fly",
        {"2l": 23011544, "2r": 21146708, "3l": 24543557, "3r": 27905053, "x": 22422827},
    ),
    _Assembly("ce11 (WBcel235)", "worm", _numbered(15072434, 15279421, 13783801, 17493829, 20924180)),
    _Assembly("ce10 (WS220)", "worm", _numbered(15072423, 15279345, 13783700, 17493793, 20924149)),
    _Assembly(
        "sacCer3 (R64-1-1)",
        "budding yeast",
        _numbered(
            *(230218, 813184, 316620, 1531933, 576874, 270161, 1090940, 562643, 439888, 745751, 666816),
            *(1078177, 924431, 784333, 1091291, 948066),
        ),
    ),
    _Assembly("TAIR10", "Arabidopsis", _numbered(30427671, 19698289, 23459830, 18585056, 26975502)),
    _Assembly("IRGSP-1.0", "rice", _numbered(43270923, 35937250, 36413819, 35502694, 29958434)),
    _Assembly("galGal6 (GRCg6a)", "chicken", {"1": 197608386, "2": 149682049}),
)


def assembly_of(lengths: Mapping[str, int]) -> str:
    """Name the assembly whose contigs have these lengths.

    Parameters
    ----------
    lengths : mapping of str to int
        Lengths in bp by contig name.

    Returns
    -------
    str
        Such as ``hg38 (GRCh38)``; empty unless two contigs at least, and half of those compared, are as long as in
        one of the assemblies known here.
    """
    found = _recognise(lengths)
    return found.name if found else ""


def assembly_clash(found: Mapping[str, int], lengths: Mapping[str, int]) -> str:
    """Name the assemblies of a file and of the genome, as the likely cause of their different lengths.

    Parameters
    ----------
    found, lengths : mapping of str to int
        Lengths in bp by contig name, of the file and of the genome.

    Returns
    -------
    str
        ``another assembly``, with what is known about it.
    """
    mine, theirs = _recognise(lengths), _recognise(found)
    if mine and theirs and mine != theirs:
        return f"another assembly: the genome is {mine.name}, this file was made on {theirs.name}"
    if theirs and not mine:
        return f"another assembly: this file was made on {theirs.name}, the genome is none that is known here"
    if mine and not theirs:
        return f"another assembly: the genome is {mine.name}, this file was made on another"
    return "another assembly"


def assembly_with_room(chrom: str, end: int, lengths: Mapping[str, int]) -> str:
    """Name an assembly of the same species on which a region fits that ends beyond the genome's contig.

    Parameters
    ----------
    chrom : str
        Contig.
    end : int
        End of the region, beyond the contig's.
    lengths : mapping of str to int
        The genome's contigs, bp.

    Returns
    -------
    str
        A likely cause; empty if the genome is not recognised, or the region fits on none of its sisters.
    """
    mine, key = _recognise(lengths), bare_names([chrom, *lengths])[chrom]
    if mine is None:
        return ""
    sisters = [each for each in _ASSEMBLIES if each.species == mine.species and each != mine]
    fits = [f"{each.name}: {each.lengths[key]:,} bp" for each in sisters if each.lengths.get(key, 0) >= end]
    if not fits:
        return ""
    return f"another assembly: the genome is {mine.name}; {chrom} is long enough in {', '.join(fits)}"


def _recognise(lengths: Mapping[str, int]) -> _Assembly | None:
    """Return the assembly with most contigs of the same length."""
    keys = bare_names(lengths)
    by_key = {keys[name]: length for name, length in lengths.items()}

    def matches(assembly: _Assembly) -> int:
        return sum(by_key.get(key) == length for key, length in assembly.lengths.items())

    best = max(_ASSEMBLIES, key=matches)
    compared = sum(key in by_key for key in best.lengths)
    return best if matches(best) >= 2 and 2 * matches(best) >= compared else None
