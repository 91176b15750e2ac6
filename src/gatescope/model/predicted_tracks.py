"""How does a person see what the network predicts? bigWigs of the held-out contigs.

Public names: `write_predicted_tracks`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.atac.bigwig import BigWigWriter, TrackInfo, write_sidecar
from gatescope.data.store import EncodedStore
from gatescope.genome.sequence import UNKNOWN
from gatescope.model.predict import ContigPrediction


def write_predicted_tracks(
    folder: Path,
    data: EncodedStore,
    predicted: Mapping[str, ContigPrediction],
    meta: Mapping[str, Any],
    *,
    both_strands: bool,
    networks: int = 1,
) -> None:
    """Write ``predicted_state.bw`` and ``predicted_cuts.bw``, each if the network has that head, with sidecars.

    A base without a known sequence is a gap, and so are contigs that were not predicted.

    Parameters
    ----------
    folder : Path
    data : EncodedStore
    predicted : mapping of str to ContigPrediction
    meta : mapping
        Content of the run's ``model.json``.
    both_strands : bool
        Whether predictions are the mean of both strands.
    networks : int
        Of how many networks they are the mean.
    """
    tracks = {
        "state": ("probability", (0.0, 1.0), 4, "Probability that the base is accessible"),
        "cuts": ("expected cuts per bp", (0.0, None), 5, "Expected Tn5 cuts at the base"),
    }
    for target, (unit, limits, decimals, what) in tracks.items():
        values = {contig: getattr(prediction, target) for contig, prediction in predicted.items()}
        if any(value is None for value in values.values()):
            continue
        path = folder / f"predicted_{target}.bw"
        with BigWigWriter(path, data.lengths, decimals=decimals) as writer:
            for contig, value in values.items():
                writer.add(contig, 0, np.where(data.codes(contig) == UNKNOWN, np.nan, value))
        info = TrackInfo(
            track=f"predicted_{target}",
            unit=unit,
            range=limits,
            gaps="missing",
            description=f"{what}, as {meta['run']} predicts it on contigs it was not trained on: "
            f"{', '.join(values)}.{_about_bias(target, meta)}",
            aggregation=_aggregation(both_strands, networks),
            decimals=decimals,
            model_sha256=meta["sha256"],
        )
        write_sidecar(path, info)


def _aggregation(both_strands: bool, networks: int) -> str:
    """Say what a value is the mean of."""
    parts = [f"{networks} networks"] * (networks > 1) + ["both strands"] * both_strands
    return f"mean of {' and '.join(parts)}" if parts else "none"


def _about_bias(target: str, meta: Mapping[str, Any]) -> str:
    """Say that expected cuts include Tn5's preference, where they do."""
    is_included = target == "cuts" and meta["network"].get("bias", "none") != "none"
    return " Tn5's sequence preference is part of it." if is_included else ""
