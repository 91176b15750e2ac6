"""Ways to be wrong on purpose: change one function, and see which checks against known answers fail.

A mutant is a function of a monkeypatch; a check returns whether all is well. Anything that is raised meanwhile breaks
the test: a mutant has to be noticed for what it answers, not for a name that no longer exists.
"""

import torch


def patch(owner, name, change):
    """Make a mutant: whoever calls `owner.name` gets ``change(right, *args)``, where `right` is what it was."""

    def install(monkeypatch):
        right = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **options: change(right, *args, **options))

    return install


def value(owner, name, wrong):
    """Make a mutant of a constant."""
    return lambda monkeypatch: monkeypatch.setattr(owner, name, wrong)


def together(*mutants):
    """Make a mutant of several; of two that patch the same, the later calls the earlier."""

    def install(monkeypatch):
        for mutant in mutants:
            mutant(monkeypatch)

    return install


def in_bfloat16(cell_class):
    """Make a mutant of a kind of cell: the network runs in autocast, and nobody can tell by the dtype."""

    def run(right, self, inputs, state):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden, (h, c) = right(self, inputs, state)
        return hidden.to(inputs), (h.to(inputs), c.to(inputs))

    return patch(cell_class, "run", run)


def failing(checks, names):
    """Return those of the named checks that fail."""
    return {name for name in names if not checks[name]()}
