"""How does the memory at one place look? Sequence, cuts, gates, half-life, and arcs from who wrote to where it is held.

Public names: `Picture`, `draw_locus`, `build_figure`, `headline`.
"""

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gatescope.figures import INK, REGION, new_figure, save_figure
from gatescope.trace.locus_panels import (
    BASE_COLOURS,
    READER_ROWS,
    READS,
    Frame,
    Reader,
    choose_zooms,
    draw_reader,
    draw_zoom,
    explain,
    name_row,
    write,
)
from gatescope.trace.stretch import Gene, Stretch
from gatescope.trace.tape import Mark

_PAGE_MM, _LEFT_MM, _RIGHT_MM, _MARGIN_MM = 180.0, 27.5, 19.0, 4.0
_WIDTH_MM = _PAGE_MM - _LEFT_MM - _RIGHT_MM
_INCH_MM = 25.4
#: Letters of a line of the title, the subtitle and the caption.
_TITLE_LETTERS, _SUBTITLE_LETTERS, _CAPTION_LETTERS = 83, 126, 144
#: Of a row of two zooms: width of one, space between, where it stands in the row's height.
_ZOOM_MM, _ZOOM_GAP_MM, _ZOOM_BOTTOM, _ZOOM_HEIGHT = 74.0, 12.0, 0.34, 0.4
_WITHOUT_AXES = ("title", "marks", "genes", "gap", "head", "zooms", "caption", "scale")
#: Colour of observed cuts, and a line around each bar that keeps it in sight.
_OBSERVED, _LEAST_BAR_PT = "#5f6b80", 0.2


@dataclass(frozen=True)
class Picture:
    """Everything that the figure shows of n bases of a contig.

    Parameters
    ----------
    place : Stretch
    codes : uint8, shape (L,)
        Bases of the whole contig.
    cuts : float, shape (n,)
        Tn5 cuts observed.
    predicted_cuts, predicted_state : float, shape (n,), optional
        What the network predicts.
    peaks : list of (int, int)
        Called peaks.
    genes : list of Gene, optional
        None where nobody said where genes are.
    marks : tuple of Mark
        In the order of the genome.
    readers : tuple of Reader
        Each with a memory for each mark.
    lookahead_bp : int
    subtitle : str
    """

    place: Stretch
    codes: NDArray[np.uint8]
    cuts: NDArray
    predicted_cuts: NDArray | None
    predicted_state: NDArray | None
    peaks: Sequence[tuple[int, int]]
    genes: Sequence[Gene] | None
    marks: tuple[Mark, ...]
    readers: tuple[Reader, ...]
    lookahead_bp: int
    subtitle: str

    @property
    def frame(self) -> Frame:
        """What every row shares."""
        return Frame(self.place.start, self.place.end, _WIDTH_MM, _LEFT_MM - _MARGIN_MM)


def headline(picture: Picture) -> str:
    """Say in a sentence what the network remembers: how far back half of it was written."""
    said: list[str] = []
    for reader in picture.readers:
        spans = [
            f"{memory.half_within_bp:,}\u00a0bp at\u00a0{memory.mark.letter}" for memory in reader.memories
        ]
        listed = " and ".join(filter(None, [", ".join(spans[:-1]), spans[-1]]))
        what = "in the last" if said else "half of its memory was written in the last"
        said.append(f"reading {READS[reader.direction][1]}, {what} {listed}")
    return f"What the network remembers at {picture.place}: {'; '.join(said)}"


def draw_locus(picture: Picture, path: Path | str) -> None:
    """Draw the figure into an SVG or PNG file, 180 mm wide, with the same bytes each time."""
    save_figure(build_figure(picture), path)


def build_figure(picture: Picture) -> Figure:
    """Lay the rows out from top to bottom, every height known in mm, and fill them."""
    frame = picture.frame
    zooms = choose_zooms(picture.readers, frame)
    figure, rows = _lay_out(picture, _heights(picture, len(zooms)))
    _draw_background(figure, rows, picture)
    _draw_words(rows, picture)
    _draw_marks(rows["marks"], picture)
    if picture.genes is not None:
        _draw_genes(rows["genes"], picture)
    _draw_cuts(rows["cuts"], picture)
    if picture.predicted_state is not None:
        _draw_state(rows["state"], picture)
    for reader in picture.readers:
        draw_reader({row: rows[f"{row} {reader.direction}"] for row in READER_ROWS}, frame, reader, zooms)
    _draw_bases(rows["bases"], picture)
    for k, zoom in enumerate(zooms):
        draw_zoom(_zoom_axis(rows[f"zooms {k // 2}"], k % 2), picture.codes, zoom)
    return figure


def _heights(picture: Picture, n_zooms: int) -> dict[str, float]:
    """Return the name and height in mm of each row, from the top."""
    rows = {"title": 5.5 + 4.2 * len(_title(picture)) + 3.0 * len(_subtitle(picture)), "marks": 5.5}
    if picture.genes is not None:
        rows["genes"] = 5.5 * max(1, len(_lanes(picture)))
    rows |= {"gap cuts": 3.0, "cuts": 14.0}
    if picture.predicted_state is not None:
        rows |= {"gap state": 3.0, "state": 8.0}
    for reader in picture.readers:
        rows |= {f"{row} {reader.direction}": height for row, height in READER_ROWS.items()}
    rows |= {"gap bases": 1.5, "bases": 4.0, "scale": 8.5}
    rows |= {f"zooms {k}": 22.0 for k in range(-(-n_zooms // 2))}
    return rows | {"caption": 3.5 + 3.2 * len(_caption(picture))}


def _lay_out(picture: Picture, heights: dict[str, float]) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with one row of axes below the other, by name."""
    sides = {"left": _LEFT_MM / _PAGE_MM, "right": 1 - _RIGHT_MM / _PAGE_MM, "top": 1, "bottom": 0}
    figure, axes = new_figure(
        len(heights),
        1,
        width_in=_PAGE_MM / _INCH_MM,
        height_in=sum(heights.values()) / _INCH_MM,
        gridspec_kw={"height_ratios": list(heights.values()), "hspace": 0, **sides},
    )
    figure.set_layout_engine("none")  # every place is known in mm
    rows = dict(zip(heights, axes[:, 0], strict=True))
    for name, axis in rows.items():
        axis.patch.set_visible(False)
        axis.set_xlim(picture.place.start - 0.5, picture.place.end - 0.5)
        axis.tick_params(labelsize=6.5, length=2, color=INK, labelcolor=INK)
        axis.xaxis.set_visible(False)
        axis.spines["bottom"].set_visible(False)
        if name.split()[0] in _WITHOUT_AXES:
            axis.set_axis_off()
    return figure, rows


def _draw_background(figure: Figure, rows: dict[str, Axes], picture: Picture) -> None:
    """Shade the called peaks and draw a line at each mark, behind all rows of the stretch."""
    above, below = rows["marks"].get_position(), rows["bases"].get_position()
    back = figure.add_axes((above.x0, below.y0, above.width, above.y1 - below.y0), zorder=-1)
    back.set_axis_off()
    back.set(xlim=(picture.place.start - 0.5, picture.place.end - 0.5), ylim=(0, 1))
    for start, end in _peaks_in_sight(picture):
        back.axvspan(start - 0.5, end - 0.5, color=REGION, alpha=0.16, linewidth=0)
    top = 1 - 0.8 * above.height / (above.y1 - below.y0)
    for mark in picture.marks:
        back.plot([mark.position] * 2, [0, top], color=INK, linewidth=0.5, linestyle=(0, (4, 2)))


def _peaks_in_sight(picture: Picture) -> list[tuple[int, int]]:
    return [(max(start, picture.place.start), min(end, picture.place.end)) for start, end in picture.peaks]


def _title(picture: Picture) -> list[str]:
    return textwrap.wrap(headline(picture), _TITLE_LETTERS)


def _subtitle(picture: Picture) -> list[str]:
    return textwrap.wrap(picture.subtitle, _SUBTITLE_LETTERS)


def _caption(picture: Picture) -> list[str]:
    """Say how to read the figure."""
    marks = "; ".join(f"{mark.letter}, {mark.meaning}" for mark in picture.marks)
    text = (
        "Half-life: bases until half of the memory is gone, were f to stay as it is. Arcs lead from the bases that "
        "wrote to the base that still holds it, as wide as what they wrote is large; the strongest are spelled below. "
        f"{marks}. At each base the network sees {picture.lookahead_bp} bp to either side. Gates explain the model, "
        "not chromatin."
    )
    return textwrap.wrap(text, _CAPTION_LETTERS)


def _draw_words(rows: dict[str, Axes], picture: Picture) -> None:
    """Write title, subtitle and caption."""
    left, title = _MARGIN_MM - _LEFT_MM, _title(picture)
    bold = {"fontsize": 9.5, "fontweight": "bold", "linespacing": 1.2}
    write(rows["title"], left, 2.5, "\n".join(title), **bold)
    write(rows["title"], left, 3.6 + 4.2 * len(title), "\n".join(_subtitle(picture)), fontsize=7)
    write(rows["caption"], left, 1.0, "\n".join(_caption(picture)), fontsize=6.3, linespacing=1.3)


def _draw_marks(axis: Axes, picture: Picture) -> None:
    """Write the letter of each mark over its line, and what the shading is."""
    axis.set_ylim(0, 1)
    per_mm = picture.frame.per_mm
    places = spread([mark.position for mark in picture.marks], 3.5 * per_mm)
    for mark, place in zip(picture.marks, places, strict=True):
        axis.text(place, 0.3, mark.letter, ha="center", va="bottom", fontsize=8, fontweight="bold", color=INK)
    for start, end in _peaks_in_sight(picture):
        stops = sorted([start, end, *(place for place in places if start < place < end)])
        room, low = max((right - left, left) for left, right in itertools.pairwise(stops))
        if room > 21 * per_mm:
            style = {"ha": "center", "va": "bottom", "fontsize": 6.5, "color": INK}
            axis.text(low + room / 2, 0.36, "called peak", **style)


def spread(positions: Sequence[float], least: float) -> list[float]:
    """Move sorted positions apart until neighbours are at least `least` from each other, groups about their middle."""
    groups: list[list[float]] = []
    for position in positions:
        groups.append([position])
        while len(groups) > 1 and _reach(groups[-1], least)[0] - _reach(groups[-2], least)[1] < least:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_reach(group, least)[0] + k * least for group in groups for k in range(len(group))]


def _reach(group: Sequence[float], least: float) -> tuple[float, float]:
    """Return where a group begins and ends once its members are apart."""
    middle, half = float(np.mean(group)), least * (len(group) - 1) / 2
    return middle - half, middle + half


def _lanes(picture: Picture) -> list[list[Gene]]:
    """Put genes that overlap below each other."""
    lanes: list[list[Gene]] = []
    for gene in sorted(picture.genes or ()):
        free = next((lane for lane in lanes if lane[-1].end < gene.start), None)
        lanes.append([gene]) if free is None else free.append(gene)
    return lanes


def _draw_genes(axis: Axes, picture: Picture) -> None:
    """Draw genes as arrows, with their names where there is room."""
    lanes, per_mm = _lanes(picture), picture.frame.per_mm
    axis.set_ylim(max(1, len(lanes)), 0)
    name_row(axis, picture.frame, "genes")
    if not lanes:
        explain(axis, 0.5, "none here")
    for row, lane in enumerate(lanes):
        for gene in lane:
            low, high = max(gene.start, picture.place.start) - 0.5, min(gene.end, picture.place.end) - 0.5
            corners = _arrow(gene, low, high, row, 2 * per_mm, picture)
            axis.add_patch(Polygon(corners, closed=True, facecolor="#dfe3ea", edgecolor=INK, linewidth=0.5))
            label = {"+": f"{gene.name} →", "-": f"← {gene.name}"}.get(gene.strand, gene.name)
            if high - low > (1.5 * len(label) + 3) * per_mm:
                style = {"ha": "center", "va": "center", "fontsize": 6.5, "color": INK}
                axis.text((low + high) / 2, row + 0.52, label, **style)


def _arrow(gene: Gene, low: float, high: float, row: int, tip: float, picture: Picture) -> list:
    """Return the corners of a gene: a point where it ends in sight."""
    upper, lower, tip = row + 0.18, row + 0.82, min(tip, high - low)
    right = [(high, upper), (high, lower)]
    left = [(low, lower), (low, upper)]
    if gene.strand == "+" and gene.end <= picture.place.end:
        right = [(high - tip, upper), (high, row + 0.5), (high - tip, lower)]
    if gene.strand == "-" and gene.start >= picture.place.start:
        left = [(low + tip, lower), (low, row + 0.5), (low + tip, upper)]
    return [*right, *left]


def _draw_cuts(axis: Axes, picture: Picture) -> None:
    """Draw observed cuts as bars, a single base far above all others cut short with its number; predicted as a line."""
    x, cuts = picture.frame.x, np.asarray(picture.cuts, np.float64)
    spoken = cuts > 0
    most = max(1.0, float(cuts.max()))
    top = max(1.0, float(np.quantile(cuts[spoken], 0.98))) if spoken.any() else most
    top = most if most <= 2 * top else top
    _draw_boxes(axis, x[spoken], np.minimum(cuts[spoken], 1.1 * top), _OBSERVED, _LEAST_BAR_PT)
    axis.set_ylim(0, 1.1 * top)
    if most > 1.1 * top:
        highest = int(np.argmax(cuts))
        style = {"fontsize": 6, "va": "bottom", "color": _OBSERVED, "textcoords": "offset points"}
        right, side = (2, "left") if highest < 0.8 * len(cuts) else (-2, "right")
        axis.annotate(f"↑ {cuts[highest]:g}", (x[highest], 1.1 * top), (right, 0), ha=side, **style)
    axis.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    name_row(axis, picture.frame, "Tn5 cuts\nper base")
    explain(axis, 0.7, "observed", _OBSERVED)
    if picture.predicted_cuts is not None:
        axis.plot(x, picture.predicted_cuts, color=INK, linewidth=0.8)
        explain(axis, 0.35, "predicted")


def _draw_state(axis: Axes, picture: Picture) -> None:
    assert picture.predicted_state is not None
    axis.plot(picture.frame.x, picture.predicted_state, color=INK, linewidth=0.8)
    axis.set(ylim=(0, 1.02), yticks=(0, 1))
    name_row(axis, picture.frame, "predicted\nto be open")
    explain(axis, 0.5, "probability")


def _draw_bases(axis: Axes, picture: Picture) -> None:
    """Draw a strip of coloured bases, with coordinates counted from 1 below it."""
    codes = np.asarray(picture.codes[picture.place.start : picture.place.end])
    for code, colour in enumerate(BASE_COLOURS):
        here = picture.frame.x[codes == code]
        _draw_boxes(axis, here, np.ones(len(here)), colour)
    axis.set(ylim=(0, 1), yticks=())
    axis.spines["left"].set_visible(False)
    name_row(axis, picture.frame, "sequence")
    for k, base in enumerate("ACGT"):
        explain(axis, 0.5, base, BASE_COLOURS[k], right_mm=1 + 3 * k, fontweight="bold")
    axis.xaxis.set_visible(True)
    places = MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(
        picture.place.start + 1, picture.place.end
    )
    shown = [int(place) - 1 for place in places if picture.place.start < place <= picture.place.end]
    axis.set_xticks(shown, [f"{place + 1:,}" for place in shown])
    axis.set_xlabel(
        f"position on {picture.place.contig} (bp, counted from 1)", fontsize=7, labelpad=1, color=INK
    )


def _draw_boxes(axis: Axes, x: NDArray, tops: NDArray, colour: str, line_pt: float = 0) -> None:
    """Draw a box one base wide at each position, from 0 up: one shape, so that the file stays small."""
    if len(x):
        left, right, bottom = x - 0.5, x + 0.5, np.zeros(len(x))
        corners = [(left, bottom), (left, tops), (right, tops), (right, bottom), (left, bottom)]
        steps = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
        vertices = np.stack([np.stack(corner, 1) for corner in corners], 1).reshape(-1, 2)
        outline = Outline(vertices, np.tile(np.array(steps, np.uint8), len(x)))
        axis.add_patch(PathPatch(outline, facecolor=colour, edgecolor=colour, linewidth=line_pt))


def _zoom_axis(row: Axes, column: int) -> Axes:
    """Return the axes of one zoom in its row of two."""
    left = _MARGIN_MM + 9 - _LEFT_MM + column * (_ZOOM_MM + _ZOOM_GAP_MM)
    axis = row.inset_axes((left / _WIDTH_MM, _ZOOM_BOTTOM, _ZOOM_MM / _WIDTH_MM, _ZOOM_HEIGHT))
    axis.patch.set_visible(False)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.spines["left"].set_color(INK)
    axis.tick_params(labelsize=6.5, length=2, color=INK, labelcolor=INK)
    return axis
