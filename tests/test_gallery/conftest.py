"""The cells, traced once for all tests of the folder: the memory wire takes seconds."""

import pytest

from gatescope.gallery.cells import CELLS, Outcome, run_cell


@pytest.fixture(scope="session")
def outcomes() -> dict[str, Outcome]:
    """What the tracer finds in each cell, by its name, in the order of the page."""
    return {cell.name: run_cell(cell) for cell in CELLS}
