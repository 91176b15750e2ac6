"""How do motifs leave and enter? MEME's minimal format and JASPAR's, read by Biopython.

Files hold motifs along the forward strand, 5' to 3', whichever way the network read them.

Public names: `write_meme`, `write_jaspar`, `read_motif_file`.

References
----------
MEME Suite, Minimal MEME Motif Format: https://meme-suite.org/meme/doc/meme-format.html. Rauluseviciute et al. 2024,
Nucleic Acids Research 52:D174 (JASPAR).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from Bio import motifs as bio
from Bio.motifs import jaspar
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.files import replacing_file
from gatescope.genome.sequence import ALPHABET

#: What Biopython raises at a file that is no motif file; its readers check little.
_NOT_MOTIFS = (ValueError, IndexError, KeyError, AssertionError, AttributeError, TypeError)


def write_meme(path: Path | str, motifs: Mapping[str, NDArray], base_shares: NDArray[np.float64]) -> None:
    """Write motifs in MEME's minimal format; Biopython reads it but does not write it.

    Parameters
    ----------
    path : Path or str
    motifs : mapping of str to ndarray (width, 4)
        Counts ACGT by name; each column of a motif has the same sum.
    base_shares : ndarray, shape (4,)
        Letters of the background.
    """
    background = " ".join(
        f"{letter} {share:.6f}" for letter, share in zip(ALPHABET, base_shares, strict=True)
    )
    lines = [
        "MEME version 4\n",
        f"ALPHABET= {ALPHABET}\n",
        "strands: + -\n",
        f"Background letter frequencies\n{background}\n",
    ]
    for name, counts in motifs.items():
        n_sites = int(counts[0].sum())
        rows = (" ".join(f"{share:.6f}" for share in column / n_sites) for column in counts)
        head = f"letter-probability matrix: alength= 4 w= {len(counts)} nsites= {n_sites}"
        lines.append("\n".join([f"MOTIF {name}", head, *rows]) + "\n")
    with replacing_file(path) as partial:
        partial.write_text("\n".join(lines))


def write_jaspar(path: Path | str, motifs: Mapping[str, NDArray], words: Mapping[str, str]) -> None:
    """Write the counts of motifs in JASPAR's format.

    Parameters
    ----------
    path : Path or str
    motifs : mapping of str to ndarray (width, 4)
        Counts ACGT by name.
    words : mapping of str to str
        What JASPAR has as the name of a motif, beside its identifier.
    """
    written = [
        jaspar.Motif(name, words[name], counts=dict(zip(ALPHABET, counts.T.tolist(), strict=True)))
        for name, counts in motifs.items()
    ]
    with replacing_file(path) as partial:
        partial.write_text(bio.write(written, "jaspar"))


def read_motif_file(path: Path | str) -> dict[str, NDArray[np.float64]]:
    """Read the motifs of a file in MEME's or JASPAR's format, which is told from its first line.

    Returns
    -------
    dict of str to ndarray (width, 4)
        Counts ACGT by name (MEME), or by identifier and name (JASPAR), 5' to 3'.

    Raises
    ------
    InputError
        If the file is missing, is neither, or holds no motif.
    """
    path = Path(path)
    remedy = "give motifs in MEME's minimal format or in JASPAR's"
    if not path.is_file():
        raise InputError("file does not exist", where=path, remedy=remedy)
    try:
        text = path.read_text()
        kind = "jaspar" if text.lstrip().startswith(">") else "minimal"
        with path.open() as file:
            found = {_name_of(motif): _counts_of(motif) for motif in bio.parse(file, kind)}
    except _NOT_MOTIFS as error:
        raise InputError(f"not a file of motifs ({error})", where=path, remedy=remedy) from error
    if not found:
        raise InputError("holds no motif", where=path, remedy=remedy)
    return found


def _name_of(motif: bio.Motif) -> str:
    """Return what a motif is called in tables."""
    identifier = getattr(motif, "matrix_id", None)
    return f"{identifier} {motif.name}" if identifier else motif.name


def _counts_of(motif: bio.Motif) -> NDArray[np.float64]:
    """Return the counts of a motif, shape (width, 4); raise ValueError where it has none."""
    table: Any = motif.counts
    counts = np.array([table[letter] for letter in ALPHABET], float).T
    if not counts.size or not np.isfinite(counts).all() or not (counts.sum(1) > 0).all():
        raise ValueError(f"no letters in a column of {motif.name}")
    return counts
