"""How does a file name its contigs? The rule it follows, and the command that makes them the genome's.

Public names: `bare_names`, `naming_of`, `rename_remedy`, `Remedy`, `Kind`.

Names are only ever compared whole; what is found out here is for messages and changes nothing.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

#: What a file is, as far as changing its contig names is concerned.
Kind = Literal["text", "BEDPE", "alignments", "bigWig"]

_ROMAN = {
    roman: str(number)
    for number, roman in enumerate("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI".split(), start=1)
}
_MITOCHONDRIA = ("M", "MT", "Mito", "MtDNA")
_MITOCHONDRION = "mt"  # as a bare name
#: First RefSeq accession of the chromosomes of an organism, and which these are in their order.
_REFSEQ: dict[int, tuple[str, ...]] = {
    1: (*map(str, range(1, 23)), "X", "Y"),  # human, NC_000001 to NC_000024
    67: (*map(str, range(1, 20)), "X", "Y"),  # mouse, NC_000067 to NC_000087
    1133: tuple(map(str, range(1, 17))),  # budding yeast, NC_001133 to NC_001148
    12920: (_MITOCHONDRION,),  # human
    5089: (_MITOCHONDRION,),  # mouse
    1224: (_MITOCHONDRION,),  # budding yeast
}
_RULES = {
    "UCSC": r"chr\w+",
    "RefSeq": r"N[CTWZ]_\d+\.\d+",
    "GenBank": r"[A-Z]{1,2}\d{5,8}\.\d+",
    "Ensembl": r"\d{1,2}|[XYWZ]|[IVX]+|[234][LR]|MT|Mito|MtDNA",
}
_EXAMPLES = {"UCSC": "chr1", "RefSeq": "NC_000001.11", "GenBank": "CM000663.2", "Ensembl": "1"}


class Remedy(NamedTuple):
    """Say what to do, and the command that does it."""

    words: str
    command: str


def bare_names(names: Iterable[str]) -> dict[str, str]:
    """Return what stays of each contig name without prefix, version and case, and of known accessions.

    Roman numerals become numbers where one of the names can be nothing else: X may be a sex chromosome.
    """
    bare = {name: _bare(name) for name in names}
    is_roman = any(part in _ROMAN and part != "X" for part in bare.values())
    return {name: (_ROMAN.get(part, part) if is_roman else part).lower() for name, part in bare.items()}


def _bare(name: str) -> str:
    """Return a name without prefix and version."""
    accession = re.fullmatch(r"NC_(\d{6})\.\d+", name.strip())
    if accession:
        number = int(accession[1])
        return next((keys[number - n] for n, keys in _REFSEQ.items() if 0 <= number - n < len(keys)), name)
    bare = name.strip().split(".")[0]
    for prefix in ("chromosome", "chr"):
        if bare.lower().startswith(prefix):
            bare = bare[len(prefix) :].lstrip("_- ")
            break
    if bare.lower() in (each.lower() for each in _MITOCHONDRIA):
        return _MITOCHONDRION
    return bare.upper() if bare.islower() else bare


def naming_of(names: Iterable[str]) -> str:
    """Name the rule that most of the names follow, with an example; empty if there is none.

    Returns
    -------
    str
        Such as ``UCSC names (chr1)``.
    """
    names = list(names)
    for rule, pattern in _RULES.items():
        if names and 2 * sum(re.fullmatch(pattern, name) is not None for name in names) > len(names):
            return f"{rule} names ({next((n for n in names if re.fullmatch(pattern, n)), _EXAMPLES[rule])})"
    return ""


def rename_remedy(names: Iterable[str], known: Iterable[str], path: Path | str, kind: Kind) -> Remedy:
    """Give the command that turns a file's contig names into the genome's.

    Parameters
    ----------
    names : iterable of str
        Names in the file that the genome does not have.
    known : iterable of str
        The genome's names.
    path : Path or str
        The file.
    kind : {"text", "BEDPE", "alignments", "bigWig"}
        Tab-separated text whose first column (of BEDPE the fourth too) is the contig, BAM or CRAM, or a bigWig.

    Returns
    -------
    Remedy
        Empty where the names do not say how they go together.
    """
    names, known = list(names), list(known)
    keys = bare_names(names)
    by_key = {key: name for name, key in reversed(bare_names(known).items())}
    pairs = {name: by_key[keys[name]] for name in names if keys[name] in by_key}
    if not pairs:
        return Remedy("", "")
    name, match = next(iter(pairs.items()))
    mitochondrion = by_key.get(_MITOCHONDRION)
    if name == match:
        return Remedy("", "")
    is_mitochondrion = keys[name] == _MITOCHONDRION
    if match == f"chr{name}" or (is_mitochondrion and match.startswith("chr")):
        return Remedy("add 'chr' to its names", _command(_Rule("add", mitochondrion or "chrM"), path, kind))
    if name == f"chr{match}" or (is_mitochondrion and name.startswith("chr")):
        return Remedy(
            "take 'chr' off its names", _command(_Rule("remove", mitochondrion or "MT"), path, kind)
        )
    return _by_table(pairs, path, kind)


class _Rule:
    """Say in awk and in sed how a name is changed."""

    def __init__(self, change: Literal["add", "remove"], mitochondrion: str) -> None:
        ends = "|".join(_MITOCHONDRIA)
        if change == "add":
            self.awk = f'$i=($i~/^({ends})$/)?"{mitochondrion}":"chr"$i'
            self.sed = ("s/SN:/SN:chr/", f"s/SN:chr({ends})([[:space:]]|$)/SN:{mitochondrion}\\2/")
        else:
            self.awk = f'if($i~/^chr({ends})$/)$i="{mitochondrion}";else sub(/^chr/,"",$i)'
            self.sed = ("s/SN:chr/SN:/", f"s/SN:({ends})([[:space:]]|$)/SN:{mitochondrion}\\2/")


def _command(rule: _Rule, path: Path | str, kind: Kind) -> str:
    """Write the command for one kind of file."""
    old, new = shlex.quote(str(path)), shlex.quote(str(_renamed(Path(path))))
    if kind == "alignments":
        edits = " ".join(f"-e '/^@SQ/{edit}'" for edit in rule.sed)
        return f"samtools view -H {old} | sed -E {edits} | samtools reheader - {old} > {new}"
    if kind == "bigWig":
        edit = _awk(rule.awk, "i=1")
        plain = shlex.quote(str(Path(path).with_suffix(".bedGraph")))
        return (
            f"bigWigToBedGraph {old} /dev/stdout | {edit} | LC_ALL=C sort -k1,1 -k2,2n > {plain}; "
            f"bedGraphToBigWig {plain} chrom.sizes {new}"
        )
    edit = _awk(rule.awk, "i=1" if kind == "text" else "i=1;i<=4;i+=3")
    if Path(path).suffix in (".gz", ".bgz"):
        return f"gzip -dc {old} | {edit} | gzip > {new}"
    return f"{edit} {old} > {new}"


def _awk(change: str, columns: str) -> str:
    """Write the awk program that changes some columns of each line that is no header."""
    if columns == "i=1":
        body = f"{{{change.replace('$i', '$1')}}}"
    else:
        body = f'{{for({columns})if($i!="."){{{change}}}}}'
    return f"""awk 'BEGIN{{FS=OFS="\\t"}} !/^(#|track|browser)/{body} 1'"""


def _by_table(pairs: Mapping[str, str], path: Path | str, kind: Kind) -> Remedy:
    """Say how names without a common rule are replaced: by a table of old and new ones."""
    shown = ", ".join(f"{old} is {new}" for old, new in list(pairs.items())[:2])
    if kind != "text":
        return Remedy(f"rename its contigs ({shown}, ...)", "")
    old, new = shlex.quote(str(path)), shlex.quote(str(_renamed(Path(path))))
    program = "awk 'BEGIN{FS=OFS=\"\\t\"} NR==FNR{new[$1]=$2;next} $1 in new{$1=new[$1]} 1' names.tsv"
    if Path(path).suffix in (".gz", ".bgz"):
        command = f"gzip -dc {old} | {program} - | gzip > {new}"
    else:
        command = f"{program} {old} > {new}"
    return Remedy(f"write old and new names into the two columns of names.tsv ({shown}, ...), then", command)


def _renamed(path: Path) -> Path:
    """Return a name for the changed file, beside it in the working directory's terms."""
    stem, dot, endings = path.name.partition(".")
    return path.with_name(f"{stem}.renamed{dot}{endings}")
