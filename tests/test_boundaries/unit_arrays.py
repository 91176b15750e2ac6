"""Hand-made gates and writes in memory, where a `UnitStore` reads them from disk."""

from gate_worlds import ArrayUnits


class UnitArrays(ArrayUnits):
    """Stand in for `UnitStore`: {contig: (D, H, L)} of logits and of writes, {contig: (D, L)} of changes."""

    def __init__(self, logits, writes=None, change=None):
        super().__init__(logits)
        self.written, self.change = writes, change

    def writes(self, contig, direction, unit):
        return self.written[contig][direction, unit]

    def hidden_change(self, contig, direction):
        return self.change[contig][direction]
