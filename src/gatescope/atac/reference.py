"""Which genome were these reads aligned to? What the header says of it, and a stand-in where htslib asks for bases.

Public names: `blank_reference`, `differing_contigs`.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gatescope.genome.contigs import name_list
from gatescope.genome.fasta import Genome

log = logging.getLogger(__name__)


@contextmanager
def blank_reference(lengths: Mapping[str, int]) -> Iterator[Path]:
    """Yield a FASTA that has every contig of a CRAM, without its bases, in a temporary folder.

    htslib looks the bases of a slice up even where nobody asks for them: in the file it is given, then at the
    addresses in ``REF_PATH`` and in the header, which may lie on the network. Where reads begin does not depend
    on them; with this reference nothing else is looked for, and contigs that the genome lacks do no harm.

    Parameters
    ----------
    lengths : mapping of str to int
        Contigs of the header.

    References
    ----------
    faidx(5): the entries of all contigs point to the same bytes, of a file that takes no space on disk.
    """
    with tempfile.TemporaryDirectory(prefix="gatescope-") as folder:
        fasta = Path(folder) / "blank.fa"
        with fasta.open("wb") as file:
            file.truncate(max(lengths.values(), default=0))
        entries = (f"{name}\t{length}\t0\t{length}\t{length}\n" for name, length in lengths.items())
        fasta.with_name("blank.fa.fai").write_text("".join(entries), encoding="utf-8")
        yield fasta


def differing_contigs(
    stated: Mapping[str, str], genome: Genome, contigs: Iterable[str], path: Path
) -> tuple[str, ...] | None:
    """Compare the MD5 sums of a header (``@SQ``, ``M5``) with the genome, and warn of contigs that differ.

    It is no error: with the lengths being the same, positions are too, as where repeats are masked by N in one of
    the two, or where IUPAC letters became N in a .2bit file.

    Parameters
    ----------
    stated : mapping of str to str
        M5 of the contigs that have one.
    genome : Genome
    contigs : iterable of str
        Contigs in use.
    path : Path
        The file of reads, for messages.

    Returns
    -------
    tuple of str, or None
        Contigs in use whose bases are not those that the reads were aligned to; None if the header states none.

    References
    ----------
    SAM/BAM Format Specification, section 1.3.2.
    """
    known = [name for name in contigs if name in stated]
    if not known:
        return None
    differing = tuple(name for name in known if genome.md5(name) != stated[name].lower())
    if differing:
        log.warning(
            "%s: the reads were aligned to other bases than those of %s on %d of %d contigs (%s): the lengths agree, "
            "the MD5 sums (M5) do not. Right if one of the two is masked with N or lacks IUPAC letters; else align the "
            "reads to this genome, or give the one that they were aligned to",
            path, genome.path, len(differing), len(known), name_list(differing),
        )  # fmt: skip
    else:
        log.info("%s: aligned to the bases of %s (MD5 of %d contigs)", path, genome.path.name, len(known))
    return differing
