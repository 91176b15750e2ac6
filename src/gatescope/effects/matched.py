"""Where else could the same be done? Control positions that are like boundaries but for the boundary.

A control lies on the contig of its boundary, farther than flank and dip from every boundary, and has a gate in its
flank that is on average nearly that of the boundary's flank.

Public names: `match_controls`, `flank_means`.
"""

import numpy as np
from numpy.typing import NDArray

from gatescope.effects.subject import Shape, Sites, Subject, sites_at
from gatescope.errors import InputError
from gatescope.genome.crossings import count_near, edges_on
from gatescope.genome.sequence import UNKNOWN

#: Candidates lie two dips apart; of more than so many for each boundary, so many are drawn.
_CANDIDATES = 20


def match_controls(
    subject: Subject,
    found: Sites,
    gate: dict[str, NDArray[np.float32]],
    shape: Shape,
    rng: np.random.Generator,
) -> tuple[Sites, Sites]:
    """Return boundaries and their controls, in pairs; a control is the candidate not yet taken that is most alike.

    Parameters
    ----------
    subject : Subject
    found : Sites
        Boundaries; those for which a contig has no candidate left are not among the pairs.
    gate : dict of str to float32 array, shape (L,)
        The forget gate along each contig.
    shape : Shape
    rng : numpy.random.Generator
        Boundaries choose in random order.

    Raises
    ------
    InputError
        If no contig has a candidate.
    """
    names, kept, taken = list(subject.store.lengths), [], []
    level = flank_means(subject, found, gate, shape)
    for rank in np.unique(found.ranks):
        rows = np.flatnonzero(found.ranks == rank)
        candidates = _candidates(subject, names[rank], shape)
        if candidates.size > _CANDIDATES * rows.size:
            candidates = np.sort(rng.choice(candidates, _CANDIDATES * rows.size, replace=False))
        near = _even_flank_means(gate[names[rank]], candidates, shape)
        for row in rng.permutation(rows)[: candidates.size]:
            best = int(np.argmin(np.abs(near - level[row])))
            kept.append(row)
            taken.append(candidates[best])
            near[best] = np.inf
    if not kept:
        raise InputError(
            f"no position of the test contigs {', '.join(subject.contigs)} lies more than "
            f"{shape.flank_bp + shape.dip_bp} bp from every boundary: there is nothing to compare with",
            where="clamp",
            remedy="a smaller boundaries: flank_bp, or test contigs with fewer peaks",
        )
    order = np.argsort(kept)
    boundaries = found.at(np.array(kept)[order])
    return boundaries, sites_at(subject, boundaries.ranks, np.array(taken)[order], shape)


def _candidates(subject: Subject, contig: str, shape: Shape) -> NDArray[np.int64]:
    """Return places of a contig whose flanks hold nothing of a boundary and no unknown base."""
    length, reach = subject.store.lengths[contig], shape.flank_bp
    at = np.arange(shape.context_bp, length - shape.context_bp + 1, 2 * shape.dip_bp)
    is_far = count_near(at, edges_on(subject.store.peaks, contig), reach + shape.dip_bp) == 0
    unknown = np.append(0, np.cumsum(subject.store.codes(contig) == UNKNOWN))
    return at[is_far & (unknown[at + reach] == unknown[at - reach])]


def _even_flank_means(
    forget: NDArray[np.float32], at: NDArray[np.int64], shape: Shape
) -> NDArray[np.float64]:
    """Return the mean gate over whole flanks."""
    total = np.append(0.0, np.cumsum(forget, dtype=np.float64))
    near, far = shape.dip_bp, shape.flank_bp
    sums = total[at - near] - total[at - far] + total[at + far] - total[at + near]
    return sums / (2 * (far - near))


def flank_means(
    subject: Subject, sites: Sites, gate: dict[str, NDArray[np.float32]], shape: Shape
) -> NDArray[np.float64]:
    """Return the mean of a gate (by contig, as `match_controls`) over the flank of each place, shape (N,)."""
    names, around = list(subject.store.lengths), np.arange(-shape.context_bp, shape.context_bp)
    means = [
        gate[names[rank]][position + around[flank]].mean(dtype=np.float64)
        for rank, position, flank in zip(*sites[:3], strict=True)
    ]
    return np.array(means)
