"""The page: every cell on it, nothing over anything else, the same bytes each time; and the verb that writes it."""

import dataclasses
import itertools
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from gatescope.gallery import gallery as stage
from gatescope.gallery import page
from gatescope.gallery.cells import CELLS, TOLERANCE, run_cell

SHORT = [cell for cell in CELLS if cell.name != "memory wire"]


@pytest.fixture(scope="module")
def written(outcomes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "run_cell", lambda cell: outcomes[cell.name])
        return folder, stage.gallery(folder)


def test_the_verb_writes_table_and_page(written):
    folder, table = written
    assert sorted(path.name for path in folder.iterdir()) == ["gallery.svg", "gallery.tsv"]
    assert list(dict.fromkeys(table.cell)) == [cell.name for cell in CELLS]
    assert table.ok.all() and (table.max_error <= table.tolerance).all()
    assert (table[table.checked == "traced"].max_error <= TOLERANCE).all()
    assert len(table[table.checked == "traced"]) == 5 * len(CELLS) < len(table[table.checked == "exported"])
    read = pd.read_csv(folder / "gallery.tsv", sep="\t")
    assert list(read.columns) == [
        *("cell", "checked", "quantity", "positions", "max_error", "tolerance", "ok")
    ]
    assert len(read) == len(table) and read.ok.all()


def test_every_cell_is_on_the_page(written):
    texts = ["".join(node.itertext()) for node in ElementTree.parse(written[0] / "gallery.svg").iter()]
    for cell in CELLS:
        assert cell.name in texts


def test_the_manual_lists_every_cell_as_it_is():
    manual = (Path(__file__).parents[2] / "docs/gallery.md").read_text().split("## The cells")[1]
    rows = [tuple(line.strip("| ").split(" | ")) for line in manual.splitlines() if line.startswith("| ")]
    assert rows[1:] == [(cell.name, cell.formula, cell.source) for cell in CELLS]


def test_same_cells_same_bytes(tmp_path):
    for name in ("one.svg", "two.svg"):
        page.draw_page([run_cell(cell) for cell in SHORT[:5]], tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def _words_of(axis):
    """Return what is written in and beside an axis, but for single letters: bases may touch."""
    words = list(axis.texts)
    if axis.axison:
        words.append(axis.xaxis.label)
        for numbers, limits in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
            ticks = zip(numbers.get_majorticklocs(), numbers.get_ticklabels(), strict=True)
            words += [label for at, label in ticks if limits[0] <= at <= limits[1]]
    return [text for text in words if len(text.get_text()) > 1]


def test_no_words_lie_over_others_or_leave_the_page(outcomes, monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(page, "save_figure", lambda figure, path: figures.append(figure))
    page.draw_page(list(outcomes.values()), tmp_path / "page.svg")
    (figure,) = figures
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for axis in figure.axes for text in _words_of(axis)]
    plt.close(figure)
    assert len(boxes) > 100
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a.x1 < b.x0 or b.x1 < a.x0 or a.y1 < b.y0 or b.y1 < a.y0
        assert apart, (one, other)
    for one, box in boxes:
        assert 0 <= box.x0 and box.x1 <= figure.bbox.width and 0 <= box.y0 and box.y1 <= figure.bbox.height, (
            one
        )


def _wrong(cell):
    experiment = cell.build()
    answers = {quantity: answer + 1e-9 for quantity, answer in experiment.answers.items()}
    return dataclasses.replace(cell, build=lambda: dataclasses.replace(experiment, answers=answers))


def test_one_wrong_cell_is_exit_2_and_nothing_is_written(monkeypatch, run_cli, tmp_path):
    monkeypatch.setattr(stage, "CELLS", [SHORT[0], _wrong(SHORT[1])])
    outcome = run_cli("gallery", "--output", tmp_path / "out")
    assert outcome.status == 2
    (message,) = outcome.messages
    assert "leak: cell, as traced, is off by 1.0e-09, wanted at most 1.0e-12" in message
    assert not (tmp_path / "out").exists()


def test_the_command_prints_its_table(monkeypatch, run_cli, tmp_path):
    monkeypatch.setattr(stage, "CELLS", SHORT[:2])
    outcome = run_cli("gallery", "--output", tmp_path)
    assert outcome.status == 0
    lines = [line.split(": ", 1)[1].split() for line in outcome.stderr.splitlines()]
    header = "cell positions segments read_again traced exported exported_bp ok".split()
    rows = lines[lines.index(header) + 1 :][:2]
    assert [row[:3] for row in rows] == [["hold", "36", "6"], ["leak", "48", "7"]]
    assert all(row[-1] == "True" and float(row[4]) <= TOLERANCE < float(rows[1][5]) < 6e-7 for row in rows)
