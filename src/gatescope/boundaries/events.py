"""Where does a gate do something out of the ordinary? Events, and the letters that had been read there.

An *event* is a base at which a strength (of forgetting, of writing) is a local extremum and among the largest of all.
Its letters are taken in *reading direction*: offset 0 is the base of the event, -1 the base read before it, 1 the base
that is read next. For `fwd` offset o of an event at p is position p + o; for `rev` it is p - o. The letters themselves
are those of the forward strand in both directions: `rev` reads the same strand backwards, it does not read the other
strand. So where the forward strand holds ``TGACG``, `rev` reads ``GCAGT``.

Public names: `Events`, `is_usable`, `pick_extremes`, `top_events`, `read_windows`, `first_copies`, `draw_background`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatescope.genome.sequence import UNKNOWN
from gatescope.trace.units import DIRECTIONS

#: How far from its event a background position lies, in bp: as good as the same composition, another word.
_BACKGROUND_BP = (100, 2000)
#: Places that are tried for each background position.
_TRIES = 64
#: Windows that share this many of their letters are copies of each other: a repeat of the genome, not a motif.
_COPY = 0.9


class Events(NamedTuple):
    """Bases of several contigs, the strongest event first; one direction and unit."""

    contigs: tuple[str, ...]  # names that `contig` points to
    contig: NDArray[np.int64]  # (n,)
    position: NDArray[np.int64]  # (n,) 0-based
    strength: NDArray[np.float64]  # (n,) what was ranked

    @property
    def n(self) -> int:
        """Number of events."""
        return self.position.size

    def on(self, contig: str) -> NDArray[np.int64]:
        """Return the positions on one contig, from left to right."""
        return np.sort(self.position[self.contig == self.contigs.index(contig)])

    def take(self, rows: NDArray) -> "Events":
        """Return some of the events, by a mask or by index."""
        return Events(self.contigs, self.contig[rows], self.position[rows], self.strength[rows])


def is_usable(codes: NDArray[np.uint8], reach_bp: int) -> NDArray[np.bool_]:
    """Tell which bases have `reach_bp` known bases of their contig on both sides, and are known; (L,) bool."""
    usable = np.zeros(codes.size, bool)
    width = 2 * reach_bp + 1
    if codes.size >= width:
        before = np.concatenate([[0], np.cumsum(codes == UNKNOWN)])
        usable[reach_bp : codes.size - reach_bp] = before[width:] == before[:-width]
    return usable


def pick_extremes(
    strength: NDArray, usable: NDArray[np.bool_], n_events: int, min_distance_bp: int, direction: int
) -> NDArray[np.int64]:
    """Pick the strongest local extrema of one contig that keep a distance from each other.

    Going down from the strongest, an extremum is passed over where a stronger one lies closer than
    `min_distance_bp`. Of a plateau the base that is read first counts, and of equally strong ones the one that lies
    further left.

    Parameters
    ----------
    strength : ndarray, shape (L,)
        Genomic order; larger is stronger.
    usable : ndarray, shape (L,), bool
        Where an event may lie.
    n_events : int
        How many at most.
    min_distance_bp : int
        At least 1.
    direction : int
        Index into `DIRECTIONS`.

    Returns
    -------
    ndarray, shape (at most n_events,), int64
        Positions, the strongest first.
    """
    step = 1 if DIRECTIONS[direction] == "fwd" else -1
    read = strength[::step]
    is_peak = usable[::step].copy()
    is_peak[1:] &= read[1:] > read[:-1]
    is_peak[:-1] &= read[:-1] >= read[1:]
    candidates = np.flatnonzero(is_peak[::step])
    # one event hides fewer than min_distance_bp others, for no two extrema touch: weaker ones are never reached
    reached = n_events * min_distance_bp
    if candidates.size > reached:
        values = strength[candidates]
        candidates = candidates[values >= np.partition(values, -reached)[-reached]]
    order = candidates[np.lexsort((candidates, -strength[candidates].astype(np.float64)))]
    return _keep_apart(order, strength.size, n_events, min_distance_bp)


def _keep_apart(
    order: NDArray[np.int64], length: int, n_events: int, min_distance_bp: int
) -> NDArray[np.int64]:
    """Return the first positions of `order` that keep the distance from all before them."""
    hidden, kept = np.zeros(length, bool), []
    for at in order.tolist():
        if len(kept) == n_events:
            break
        if not hidden[at]:
            kept.append(at)
            hidden[max(at - min_distance_bp + 1, 0) : at + min_distance_bp] = True
    return np.array(kept, np.int64)


def top_events(
    strength_on: Callable[[str], NDArray],
    usable: Mapping[str, NDArray[np.bool_]],
    n_events: int,
    min_distance_bp: int,
    direction: int,
) -> Events:
    """Pick the strongest events of several contigs together, see `pick_extremes`.

    Parameters
    ----------
    strength_on : callable
        Contig -> ndarray (L,); called once per contig, so that one is in memory at a time.
    usable : mapping of str to ndarray (L,), bool
        The contigs to look at.
    n_events, min_distance_bp, direction : int
        As in `pick_extremes`.
    """
    found = []
    for index, (contig, may_lie) in enumerate(usable.items()):
        strength = strength_on(contig)
        at = pick_extremes(strength, may_lie, n_events, min_distance_bp, direction)
        found.append((np.full(at.size, index), at, strength[at].astype(np.float64)))
    contig, position, strength = (np.concatenate(parts) for parts in zip(*found, strict=True))
    first = np.lexsort((position, contig, -strength))[:n_events]
    return Events(tuple(usable), contig[first], position[first], strength[first])


def read_windows(
    codes: Mapping[str, NDArray[np.uint8]], events: Events, direction: int, reach_bp: int
) -> NDArray[np.uint8]:
    """Return the letters around events in reading direction, shape (n, 2 * reach_bp + 1), codes 0-3.

    Column k is offset ``k - reach_bp``. Letters are those of the forward strand, see the top of this module.

    Parameters
    ----------
    codes : mapping of str to ndarray (L,), uint8
    events : Events
        On bases that are usable (`is_usable`) with this reach.
    direction : int
    reach_bp : int
    """
    offsets = np.arange(-reach_bp, reach_bp + 1)
    if DIRECTIONS[direction] == "rev":
        offsets = -offsets
    windows = np.empty((events.n, offsets.size), np.uint8)
    for index, contig in enumerate(events.contigs):
        rows = events.contig == index
        windows[rows] = codes[contig][events.position[rows, None] + offsets]
    return windows


def first_copies(windows: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which windows share less than nine letters in ten with every one kept before; (n,) bool.

    Copies of a repeat of the genome (a transposon, a tandem array) are one observation, not many. Only copies in
    the same frame are seen.
    """
    is_kept = np.zeros(len(windows), bool)
    most = _COPY * windows.shape[1]
    for row, window in enumerate(windows):
        shared = (windows[:row][is_kept[:row]] == window).sum(1)
        is_kept[row] = not (shared >= most).any()
    return is_kept


def draw_background(
    events: Events, usable: Mapping[str, NDArray[np.bool_]], reach_bp: int, rng: np.random.Generator
) -> Events:
    """Draw one position for each event, 100 to 2,000 bp from it to either side, and in no event's window.

    Contig and local composition are those of the events. An event around which no such place is found gets none.

    Parameters
    ----------
    events : Events
    usable : mapping of str to ndarray (L,), bool
    reach_bp : int
        Half-width of a window.
    rng : numpy.random.Generator

    Returns
    -------
    Events
        In the order of the events, with their strengths.
    """
    near, far = _BACKGROUND_BP
    shape = (events.n, _TRIES)
    tried = events.position[:, None] + rng.integers(near, far, shape) * rng.choice([-1, 1], shape)
    is_free = np.zeros(shape, bool)
    for index, contig in enumerate(events.contigs):
        rows = np.flatnonzero(events.contig == index)
        free = _away_from(events.position[rows], usable[contig], 2 * reach_bp)
        inside = (tried[rows] >= 0) & (tried[rows] < free.size)
        is_free[rows] = inside & free[np.clip(tried[rows], 0, free.size - 1)]
    first = is_free.argmax(1)
    at = tried[np.arange(events.n), first]
    found = np.flatnonzero(is_free.any(1))
    return events._replace(position=at).take(found)


def _away_from(
    positions: NDArray[np.int64], usable: NDArray[np.bool_], distance_bp: int
) -> NDArray[np.bool_]:
    """Return `usable` without the bases up to `distance_bp` from any position."""
    free = usable.copy()
    for at in positions:
        free[max(at - distance_bp, 0) : at + distance_bp + 1] = False
    return free
