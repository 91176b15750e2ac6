"""What becomes of the gates as they stream by? A census, arrays of forget logits, tracks; never all in memory.

Public names: `Sink`, `Census`, `UnitLogits`, `GateTracks`.
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import softplus

from gatescope.atac.bigwig import BigWigWriter, TrackInfo, write_sidecar
from gatescope.model.network import AccessibilityNetwork
from gatescope.trace.certificate import Certificate
from gatescope.trace.replay import cells_of
from gatescope.trace.stream import Chunk
from gatescope.trace.units import DIRECTIONS, unit_file

GATES = ("forget_gate", "input_gate", "output_gate")
_MEANING = {
    "forget_gate": "share of the cell state kept from one base to the next; near 0 erases, near 1 remembers",
    "input_gate": "share of the new candidate value that is written into the cell state",
    "output_gate": "share of the cell state that the network shows to its next step and to its output",
}
_READS = {"fwd": "reading left to right", "rev": "reading right to left"}


class Sink(Protocol):
    """Takes the chunks of one contig after the other."""

    def begin(self, contig: str, length: int) -> None:
        """Start a contig."""

    def take(self, chunk: Chunk) -> None:
        """Take the gates of one direction over part of the contig."""

    def end(self, certificate: Certificate) -> None:
        """Finish the contig; `certificate` covers everything so far."""


def _gate_logits(chunk: Chunk) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of forget, input and output gate, in the order of `GATES`, each (L, H)."""
    gates = chunk.gates
    return gates.forget_logit[0], gates.input_logit[0], gates.output_logit[0]


class Census:
    """Count, per direction and unit, how the forget gate is spread over all traced bases.

    References
    ----------
    Karpathy, Johnson & Fei-Fei 2015 (saturation: f < 0.1 and f > 0.9).
    """

    def __init__(self, network: AccessibilityNetwork) -> None:
        hidden = network.config.hidden_units
        self._bias = [
            (c.bias_ih + c.bias_hh)[hidden : 2 * hidden].detach().double()
            for c in cells_of(network.lstm_layers[0])
        ]
        self._bases = 0
        self._sum, self._low, self._high = (np.zeros((len(DIRECTIONS), hidden)) for _ in range(3))
        self._min, self._max = np.ones_like(self._sum), np.zeros_like(self._sum)

    def begin(self, contig: str, length: int) -> None:
        """Count the bases."""
        self._bases += length

    def take(self, chunk: Chunk) -> None:
        """Add a chunk to the counts of its direction."""
        forget = torch.sigmoid(chunk.gates.forget_logit[0].double()).cpu().numpy()  # (L, H)
        row = chunk.direction
        self._sum[row] += forget.sum(0)
        self._low[row] += (forget < 0.1).sum(0)
        self._high[row] += (forget > 0.9).sum(0)
        self._min[row] = np.minimum(self._min[row], forget.min(0))
        self._max[row] = np.maximum(self._max[row], forget.max(0))

    def end(self, certificate: Certificate) -> None:
        """Need nothing."""

    def table(self) -> pd.DataFrame:
        """Return one row per direction and unit.

        `bias_half_life_bp` is ln 2 / softplus(-b_f): the half-life if nothing but the bias spoke.
        """
        tables = []
        for row, direction in enumerate(DIRECTIONS[: len(self._bias)]):
            half_life = (math.log(2) / softplus(-self._bias[row])).cpu().numpy()
            columns = {
                "direction": direction,
                "unit": np.arange(len(half_life)),
                "bias_half_life_bp": half_life,
                "mean": self._sum[row] / self._bases,
                "min": self._min[row],
                "max": self._max[row],
                "share_below_0.1": self._low[row] / self._bases,
                "share_above_0.9": self._high[row] / self._bases,
            }
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)


class UnitLogits:
    """Keep the forget logits of every unit on chosen contigs, float32 (D, H, L), memory-mapped while written."""

    def __init__(self, folder: Path, contigs: set[str]) -> None:
        self._folder, self._contigs = folder, contigs
        self._contig, self._length = "", 0
        self._array: np.memmap | None = None

    def begin(self, contig: str, length: int) -> None:
        """Remember the contig; its array is made when the number of units is known."""
        self._contig, self._length, self._array = contig, length, None

    def take(self, chunk: Chunk) -> None:
        """Write one direction's part."""
        if self._contig not in self._contigs:
            return
        logits = chunk.gates.forget_logit[0].T.float().cpu().numpy()  # (H, L)
        if self._array is None:
            shape = (len(DIRECTIONS), len(logits), self._length)
            path = self._folder / unit_file(self._contig)
            self._array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        self._array[chunk.direction, :, chunk.start : chunk.end] = logits

    def end(self, certificate: Certificate) -> None:
        """Flush the contig."""
        if self._array is not None:
            self._array.flush()
            self._array = None


class GateTracks:
    """Write forget, input and output gate of each direction as bigWigs: the mean over units, or named units.

    A context manager: tracks and sidecars appear when it is left without an error.

    Parameters
    ----------
    folder : Path
    lengths : mapping of str to int
        Contigs of the genome in order.
    decimals : int
        Decimals kept.
    meta : dict
        `model.json` of the run.
    units : dict of str to int, optional
        Unit per direction; None takes the mean over units.
    """

    def __init__(
        self,
        folder: Path,
        lengths: Mapping[str, int],
        decimals: int,
        meta: Mapping[str, Any],
        units: Mapping[str, int] | None = None,
    ) -> None:
        self._folder, self._lengths, self._decimals = folder, lengths, decimals
        self._meta, self._units = meta, units
        self._certificate: Certificate | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "GateTracks":
        self._writers = {
            (gate, direction): self._stack.enter_context(
                BigWigWriter(self._path(gate, direction), self._lengths, self._decimals)
            )
            for direction in DIRECTIONS
            for gate in GATES
        }
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            for gate, direction in self._writers:
                write_sidecar(self._path(gate, direction), self._info(gate, direction))

    def begin(self, contig: str, length: int) -> None:
        """Make room for the contig: both directions, three gates."""
        self._contig = contig
        self._values = np.full((len(DIRECTIONS), len(GATES), length), np.nan, np.float32)

    def take(self, chunk: Chunk) -> None:
        """Reduce a chunk to one value per base and gate."""
        for row, logits in enumerate(_gate_logits(chunk)):
            if self._units is None:
                values = torch.sigmoid(logits).mean(1)
            else:
                values = torch.sigmoid(logits[:, self._units[DIRECTIONS[chunk.direction]]])
            self._values[chunk.direction, row, chunk.start : chunk.end] = values.cpu().numpy()

    def end(self, certificate: Certificate) -> None:
        """Write the contig."""
        self._certificate = certificate
        for (gate, direction), writer in self._writers.items():
            writer.add(self._contig, 0, self._values[DIRECTIONS.index(direction), GATES.index(gate)])

    def _path(self, gate: str, direction: str) -> Path:
        kind = "mean" if self._units is None else "boundary_unit"
        return self._folder / f"{gate}.{direction}.{kind}.bw"

    def _info(self, gate: str, direction: str) -> TrackInfo:
        assert self._certificate is not None
        unit = None if self._units is None else self._units[direction]
        whose = "mean over all hidden units" if unit is None else f"hidden unit {unit}, the boundary unit"
        return TrackInfo(
            track=gate,
            unit="gate value 0-1",
            range=(0.0, 1.0),
            gaps="missing",
            description=f"{gate.replace('_', ' ')} of {whose}, {_READS[direction]}: {_MEANING[gate]}",
            direction="fwd" if direction == "fwd" else "rev",
            hidden_unit=unit,
            aggregation="mean over units" if unit is None else "none",
            decimals=self._decimals,
            model_sha256=self._meta["sha256"],
            certificate=self._certificate.as_json(),
            details={"run": self._meta["run"], "lookahead_bp": self._meta["lookahead_bp"], "layer": 1},
        )
