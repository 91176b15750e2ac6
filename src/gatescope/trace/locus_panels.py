"""How does one unit look along a stretch? Gates, memory, half-life, arcs from who wrote, and the words spelled.

Also the text that every row of the figure shares. Lengths on paper are in mm.

Public names: `Reader`, `Zoom`, `Frame`, `READER_ROWS`, `READS`, `write`, `name_row`, `explain`, `choose_zooms`,
`draw_reader`, `draw_zoom`, `BASE_COLOURS`, `PAPER`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from gatescope.figures import GATE_COLOURS, INK, MUTED
from gatescope.genome.sequence import UNKNOWN, decode_bases
from gatescope.trace.tape import Memory

#: One mm in points.
_MM = 72 / 25.4
#: Colours of A, C, G, T and unknown bases.
BASE_COLOURS = ("#2a9d4e", "#2166ac", "#e08214", "#c51b3f", "#c9cdd6")
_SIGN_COLOURS = {"+": "#2166ac", "-": "#e66101"}  # as in the arcs that browsers draw
READS = {"fwd": ("→", "left to right"), "rev": ("←", "right to left")}
#: Behind text that lies on lines.
PAPER: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
_THIN_PAPER = {**PAPER, "pad": 0.2}

#: Rows of one reader from the top, and their heights.
READER_ROWS = {
    "head": 8.5,
    **{"forget": 7.0, "gap f": 3.0, "input": 7.0, "gap i": 3.0, "output": 7.0, "gap o": 3.0},
    **{"cell": 9.0, "gap c": 3.0, "half-life": 10.0, "gap l": 2.0, "arcs": 21.0},
}
#: What a gate is called, and what 1 and 0 mean.
_GATES = {
    "forget": ("f  forget", "keeps", "erases"),
    "input": ("i  input", "writes", "ignores"),
    "output": ("o  output", "shows", "hides"),
}
#: Arcs per mark, the least share of the largest memory in sight that gets one, and the widest in points.
_ARCS, _LEAST_SHARE, _WIDEST_PT = 8, 0.005, 6.0
#: Share of what was written outside that "most of it" is.
_MOST = 0.9
#: A memory smaller than this, relative to the largest in sight, is called nothing.
_LEAST_SIZE = 0.02
#: Bases spelled to each side of a source, zooms per reader, and what a second one has to hold of the first.
_ZOOM_BP, _ZOOMS_PER_READER, _LEAST_SECOND = 12, 2, 0.1
#: Half-lives below this are drawn at the lower edge.
_SHORTEST_BP = 0.5


class Frame(NamedTuple):
    """What every row shares: a stretch of a contig, 0-based half-open, and how wide it is drawn."""

    start: int
    end: int
    width_mm: float
    left_mm: float

    @property
    def x(self) -> NDArray[np.int64]:
        """The bases shown."""
        return np.arange(self.start, self.end)

    @property
    def per_mm(self) -> float:
        """Bases per mm."""
        return (self.end - self.start) / self.width_mm


@dataclass(frozen=True)
class Reader:
    """One unit of one direction over the n bases shown, genomic order.

    Parameters
    ----------
    direction : {"fwd", "rev"}
    unit : int
    forget, input, output : float, shape (n,)
        Gates, 0-1; NaN where a gate was not computed.
    cell : float, shape (n,)
        The memory itself.
    half_life_bp : float, shape (n,)
    memories : tuple of Memory
        One for each mark.
    """

    direction: str
    unit: int
    forget: NDArray
    input: NDArray
    output: NDArray
    cell: NDArray
    half_life_bp: NDArray[np.float64]
    memories: tuple[Memory, ...]

    def size(self, memory: Memory) -> float:
        """Return how much was written of what is held at a mark, relative to the largest memory in sight, 0-1."""
        most = max(*(float(each.found.mass[0]) for each in self.memories), float(np.abs(self.cell).max()))
        return float(memory.found.mass[0]) / most if most > 0 else 0.0


class Zoom(NamedTuple):
    """A base that wrote much of what is held at a mark; `number` says which spelled word it is."""

    number: int
    reader: Reader
    memory: Memory
    position: int


def write(axis: Axes, right_mm: float, down_mm: float, text: str, **style: Any) -> None:
    """Write text at a distance from the upper left corner of a row."""
    place = (right_mm * _MM, -down_mm * _MM)
    style = {"color": INK, "va": "top", **style}
    axis.annotate(text, (0, 1), place, "axes fraction", "offset points", **style)


def name_row(axis: Axes, frame: Frame, text: str, colour: str = INK) -> None:
    """Write what a row shows at the left edge of the page, at the middle of the row."""
    style = {"fontsize": 7, "fontweight": "bold", "color": colour, "va": "center"}
    axis.annotate(text, (0, 0.5), (-frame.left_mm * _MM, 0), "axes fraction", "offset points", **style)


def explain(
    axis: Axes, height: float, text: str, colour: str = INK, right_mm: float = 1.0, **style: Any
) -> None:
    """Write what a height of a row (0-1) means, right of it."""
    style = {"fontsize": 6.5, "color": colour, "va": "center", **style}
    axis.annotate(text, (1, height), (right_mm * _MM, 0), "axes fraction", "offset points", **style)


def draw_reader(rows: Mapping[str, Axes], frame: Frame, reader: Reader, zooms: Sequence[Zoom]) -> None:
    """Draw the rows `READER_ROWS` of one direction."""
    arrow, words = READS[reader.direction]
    title = f"{arrow} reading {words}: hidden unit {reader.unit}"
    write(rows["head"], -frame.left_mm, 3.2, title, fontsize=8.5, fontweight="bold", bbox=PAPER)
    for gate, (name, one, zero) in _GATES.items():
        axis, colour = rows[gate], GATE_COLOURS[f"{gate}_gate"]
        axis.fill_between(frame.x, 0, getattr(reader, gate), color=colour, alpha=0.18, linewidth=0)
        axis.plot(frame.x, getattr(reader, gate), color=colour, linewidth=0.6)
        axis.set(ylim=(0, 1.02), yticks=(0, 1))
        name_row(axis, frame, name, colour)
        explain(axis, 0.86, f"1 {one}", colour)
        explain(axis, 0.12, f"0 {zero}", colour)
    _draw_cell(rows["cell"], frame, reader)
    _draw_half_life(rows["half-life"], frame, reader)
    _draw_arcs(rows["arcs"], frame, reader, [zoom for zoom in zooms if zoom.reader is reader])


def _draw_cell(axis: Axes, frame: Frame, reader: Reader) -> None:
    axis.plot(frame.x, reader.cell, color=INK, linewidth=0.9)
    axis.axhline(0, color=MUTED, linewidth=0.5)
    axis.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10], min_n_ticks=2))
    name_row(axis, frame, "c  memory")
    explain(axis, 0.5, "cell state")


def _draw_half_life(axis: Axes, frame: Frame, reader: Reader) -> None:
    """Draw the half-life on a logarithmic axis whose ticks can be read."""
    colour = GATE_COLOURS["forget_gate"]
    shown = np.maximum(reader.half_life_bp, _SHORTEST_BP)
    axis.plot(frame.x, shown, color=colour, linewidth=0.6)
    top = max(1000.0, 1.3 * float(shown.max()))
    axis.set(yscale="log", ylim=(_SHORTEST_BP * 0.9, top))
    decades = int(np.log10(top))
    step = 1 if decades <= 3 else 2 if decades <= 5 else 3
    axis.yaxis.set_major_locator(FixedLocator([10.0**k for k in range(0, decades + 1, step)]))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _in_bp(value)))
    name_row(axis, frame, "half-life", colour)
    explain(axis, 0.5, "log scale", colour)


def _in_bp(value: float) -> str:
    """Return a length as people write it: 10 bp, 1 kb, 16.8 Mb."""
    for size, unit in ((1e6, "Mb"), (1e3, "kb")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} bp"


def _draw_arcs(axis: Axes, frame: Frame, reader: Reader, zooms: Sequence[Zoom]) -> None:
    """Draw an arc from each source to the mark that holds it; from sources out of sight, a line from the edge."""
    axis.set(ylim=(-0.25, 1.0))
    axis.yaxis.set_visible(False)
    axis.spines["left"].set_visible(False)
    axis.axhline(0, color=INK, linewidth=0.5)
    lanes = 0
    for memory in reader.memories:
        table, weight = memory.sources.table.head(_ARCS), reader.size(memory)
        for start, end in zip(table["source_start"], table["source_end"], strict=True):
            _draw_source(axis, frame, memory, max(start, frame.start), min(end, frame.end), weight)
        lanes += _draw_out_of_sight(axis, frame, memory, weight, lanes)
    _name_empty(axis, frame, reader)
    for zoom in zooms:
        style = {"fontsize": 6.5, "fontweight": "bold", "color": INK, "ha": "center", "va": "top"}
        axis.text(zoom.position, -0.13, str(zoom.number), **style)
    name_row(axis, frame, "who wrote\nwhat is held")
    explain(axis, 0.6, "adds", _SIGN_COLOURS["+"])
    explain(axis, 0.4, "takes away", _SIGN_COLOURS["-"])


def _name_empty(axis: Axes, frame: Frame, reader: Reader) -> None:
    """Say at which marks there is nothing to draw, away from where lines come in from outside."""
    empty = [memory.mark.letter for memory in reader.memories if reader.size(memory) < _LEAST_SIZE]
    if empty:
        is_fwd = reader.direction == "fwd"
        place = frame.end - 2 * frame.per_mm if is_fwd else frame.start + 2 * frame.per_mm
        style = {"fontsize": 6.2, "color": INK, "va": "center", "ha": "right" if is_fwd else "left"}
        letters = " and ".join(filter(None, [", ".join(empty[:-1]), empty[-1]]))
        axis.text(place, 0.95, f"next to nothing is held at {letters}", bbox=_THIN_PAPER, **style)


def _draw_source(axis: Axes, frame: Frame, memory: Memory, start: int, end: int, weight: float) -> None:
    """Draw a source as a bar under the line, and its arc from its centre of mass."""
    found, held = memory.found, memory.mark.position
    inside = (found.source >= start) & (found.source < end)
    share = float(memory.shares[inside].sum())
    if abs(share) * weight < _LEAST_SHARE:
        return
    colour = _SIGN_COLOURS["+" if share > 0 else "-"]
    axis.fill_between([start - 0.5, end - 0.5], -0.11, -0.02, color=colour, linewidth=0, alpha=0.6)
    centre = float(np.average(found.source[inside], weights=np.abs(memory.shares[inside])))
    far = min(1.0, abs(centre - held) / (0.6 * (frame.end - frame.start)))
    height = max(0.12, 1.1 * far**0.5)
    _draw_curve(axis, [(centre, 0), (centre, height), (held, height), (held, 0)], abs(share) * weight, colour)


def _draw_out_of_sight(axis: Axes, frame: Frame, memory: Memory, weight: float, lane: int) -> bool:
    """Draw what was written outside as one line from the edge, with how far away it was; return whether it counts."""
    found, held = memory.found, memory.mark.position
    outside = (found.source < frame.start) | (found.source >= frame.end)
    sizes = np.abs(memory.shares[outside])  # the nearest first
    share = float(sizes.sum())
    if share * weight < _LEAST_SHARE:
        return False
    most = int(np.searchsorted(np.cumsum(sizes), _MOST * share))
    away = abs(int(found.source[outside][min(most, len(sizes) - 1)]) - held)
    is_fwd, colour = found.direction == "fwd", _SIGN_COLOURS["+" if memory.shares[outside].sum() > 0 else "-"]
    edge = frame.start - 0.5 if is_fwd else frame.end - 0.5
    height = 0.58 - 0.1 * lane
    points = [(edge, height), ((edge + held) / 2, height), (held, height), (held, 0)]
    _draw_curve(axis, points, share * weight, colour)
    text = f"{memory.mark.letter}: {share:.0%} from outside, most of it up to {away:,} bp away"
    style = {"fontsize": 6.2, "color": INK, "va": "center", "ha": "left" if is_fwd else "right"}
    axis.text(
        edge + (1 if is_fwd else -1) * 1.5 * frame.per_mm, 0.95 - 0.14 * lane, text, bbox=_THIN_PAPER, **style
    )
    return True


def _draw_curve(axis: Axes, points: list, share: float, colour: str) -> None:
    """Draw a curve as wide as its share."""
    curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
    width = 0.4 + _WIDEST_PT * share
    axis.add_patch(PathPatch(curve, facecolor="none", edgecolor=colour, linewidth=width, alpha=0.65))


def choose_zooms(readers: Sequence[Reader], frame: Frame) -> list[Zoom]:
    """Return the bases that wrote most of what is held anywhere, some of each direction, none near another."""
    chosen: list[Zoom] = []
    for reader in readers:
        offers = [
            (-size, int(place), memory)
            for memory in reader.memories
            if reader.size(memory) >= _LEAST_SIZE
            for size, place in zip(np.abs(memory.found.contribution[0]), memory.found.source, strict=True)
            if frame.start <= place < frame.end and size > 0
        ]
        taken: list[Zoom] = []
        for size, place, memory in sorted(offers, key=lambda offer: offer[:2]):
            is_far = all(abs(place - other.position) > 2 * _ZOOM_BP for other in taken)
            if len(taken) < _ZOOMS_PER_READER and is_far and size <= _LEAST_SECOND * min(offers)[0]:
                taken.append(Zoom(len(chosen) + len(taken) + 1, reader, memory, place))
        chosen += taken
    return chosen


def draw_zoom(axis: Axes, codes: NDArray[np.uint8], zoom: Zoom) -> None:
    """Spell the bases around a source, with what each of them wrote as a share of what is held."""
    low, high = zoom.position - _ZOOM_BP, zoom.position + _ZOOM_BP
    found = zoom.memory.found
    near = (found.source >= low) & (found.source <= high)
    x, share = found.source[near], 100 * zoom.memory.shares[near]
    axis.bar(x, share, width=0.8, color=[_SIGN_COLOURS["+" if value > 0 else "-"] for value in share])
    axis.axhline(0, color=INK, linewidth=0.5)
    axis.set(xlim=(low - 0.6, high + 0.6), xticks=())
    axis.set_ylim(min(0.0, 1.1 * share.min()), max(0.0, 1.1 * share.max()))
    axis.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    below = {
        "xycoords": ("data", "axes fraction"),
        "textcoords": "offset points",
        "ha": "center",
        "va": "center",
    }
    for base in range(max(0, low), min(len(codes), high + 1)):
        code = int(codes[base])
        style = {"fontsize": 7.5, "color": BASE_COLOURS[code] if code != UNKNOWN else MUTED}
        weight = "bold" if base in x[np.abs(share) >= 0.3 * np.abs(share).max()] else "normal"
        axis.annotate(
            decode_bases(codes[base : base + 1]), (base, 0), (0, -7), **below, **style, fontweight=weight
        )
    for base in (low, zoom.position, high):
        if 0 <= base < len(codes):
            axis.annotate(f"{base + 1:,}", (base, 0), (0, -15), fontsize=6, color=INK, **below)
    _title_zoom(axis, zoom)


def _title_zoom(axis: Axes, zoom: Zoom) -> None:
    """Say which bases these are, and where what they wrote is held."""
    away, letter = abs(zoom.memory.mark.position - zoom.position), zoom.memory.mark.letter
    on = f", {away:,} bp on" if away else ""
    arrow = READS[zoom.reader.direction][0]
    style = {"fontsize": 7, "color": INK, "va": "bottom"}
    axis.annotate(
        str(zoom.number), (0, 1), (-18, 4), "axes fraction", "offset points", fontweight="bold", **style
    )
    text = f"{arrow} what these bases wrote of the memory at {letter}{on}"
    axis.annotate(text, (0, 1), (-10, 4), "axes fraction", "offset points", **style)
