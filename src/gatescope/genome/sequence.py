"""Which bases stand here? DNA as text, as codes 0-4 and as one-hot columns.

Public names: `ALPHABET`, `UNKNOWN`, `encode_bases`, `decode_bases`, `one_hot`, `reverse_complement`,
`gc_fraction`.
"""

import numpy as np

ALPHABET = "ACGT"
UNKNOWN = 4
"""Code of every letter that is not one of A, C, G, T: N, IUPAC ambiguity codes, gaps."""

_LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, UNKNOWN], dtype=np.uint8)
_ONE_HOT = np.eye(5, 4, dtype=np.uint8)


def _letter_codes() -> np.ndarray:
    """Return the code of each of the 256 byte values."""
    codes = np.full(256, UNKNOWN, dtype=np.uint8)
    for code, letter in enumerate(ALPHABET):
        codes[[ord(letter), ord(letter.lower())]] = code
    return codes


_CODE_OF_BYTE = _letter_codes()


def encode_bases(sequence: bytes | str) -> np.ndarray:
    """Encode DNA text, either case, as one code per base.

    Parameters
    ----------
    sequence : bytes or str
        L ASCII characters.

    Returns
    -------
    numpy.ndarray
        (L,) uint8: A, C, G, T are 0, 1, 2, 3; anything else is `UNKNOWN`. Letters are not validated here:
        `gatescope.genome.fasta.Genome` refuses what is not a nucleotide code.
    """
    raw = sequence.encode("ascii", errors="replace") if isinstance(sequence, str) else sequence
    return _CODE_OF_BYTE.take(np.frombuffer(raw, dtype=np.uint8))


def decode_bases(codes: np.ndarray) -> str:
    """Return codes (L,) as upper-case text; `UNKNOWN` becomes ``N``."""
    return _LETTERS[codes].tobytes().decode("ascii")


def one_hot(codes: np.ndarray) -> np.ndarray:
    """One-hot encode codes, channels before positions.

    Parameters
    ----------
    codes : numpy.ndarray
        (..., L) uint8 codes 0-4.

    Returns
    -------
    numpy.ndarray
        (..., 4, L) uint8, channels in the order A, C, G, T; an unknown base is a zero column.
    """
    return np.ascontiguousarray(np.moveaxis(_ONE_HOT[codes], -1, -2))


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """Return the other strand of codes (..., L), read 5' to 3'; an unknown base stays unknown."""
    return _COMPLEMENT[codes][..., ::-1]


def gc_fraction(codes: np.ndarray) -> float:
    """Return the fraction of G and C among the known bases of `codes`; NaN if none is known."""
    known = np.count_nonzero(codes != UNKNOWN)
    if known == 0:
        return float("nan")
    return np.count_nonzero((codes == 1) | (codes == 2)) / known
