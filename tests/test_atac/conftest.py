"""Counting cuts draws a figure of the shift each time; only the tests of that figure need it."""

from pathlib import Path

import pytest

from gatescope.atac import shift_evidence


@pytest.fixture(autouse=True)
def no_figure(request, monkeypatch):
    """Write an empty drawing, but in the tests of the evidence."""
    if request.module.__name__.rpartition(".")[2] != "test_shift_evidence":
        empty = '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
        monkeypatch.setattr(shift_evidence, "draw_shifts", lambda blocks, path: Path(path).write_text(empty))
