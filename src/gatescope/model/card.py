"""What should somebody know who gets only the folder of a model? A page of plain text beside the weights.

Public names: `write_card`.

References
----------
Mitchell et al. 2019, Model cards for model reporting.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatescope import __version__
from gatescope.data.store import EncodedStore
from gatescope.files import replacing_file
from gatescope.genome.contigs import name_list

_TWINS = {
    "none": "",
    "random": "**It was never trained**: it is the untrained twin, to compare a trained network with.\n\n",
    "ablated": "**Its recurrence was taken out**: it is the twin that shows what memory is worth.\n\n",
    "shuffled": "**It learned from targets that are rotated within each contig**: it is the twin that shows what "
    "training alone does, where sequence says nothing.\n\n",
}
_PREDICTS = {
    "cuts": "expected Tn5 cuts at every base (`log_cuts`, natural logarithm)",
    "state": "whether a base lies in an accessible region (`state_logit`)",
}
_SCORES = {
    "valid_loss": "loss",
    "valid_auroc": "AUROC of the state, per base",
    "valid_pearson": "Pearson r of log1p cuts in 200-bp bins",
}


def write_card(
    path: Path,
    meta: Mapping[str, Any],
    store: EncodedStore,
    parameters: int,
    best: Mapping[str, float] | None,
) -> None:
    """Write the model card (Markdown).

    Parameters
    ----------
    path : Path
    meta : mapping
        Content of ``model.json``.
    store : EncodedStore
        What the network was trained on.
    parameters : int
        Number of weights that training decides.
    best : mapping or None
        Row of ``training.csv`` whose weights were kept; None for an untrained network.
    """
    parts = [
        f"# {meta['run']}\n\n{_what(meta)}",
        f"{_TWINS[meta['twin']]}## Network\n\n{_network(meta, parameters)}",
        f"## Data\n\n{_data(meta, store)}",
        f"## Training\n\n{_training(meta, best)}",
        f"## Use\n\n{_use(meta)}",
        f"gatescope {__version__}; SHA-256 of `model.safetensors`: {meta['sha256']}",
    ]
    with replacing_file(path) as partial:
        partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _what(meta: Mapping[str, Any]) -> str:
    targets = " and ".join(_PREDICTS[target] for target in meta["network"]["targets"])
    kind = "recurrent" if meta["network"]["trunk"] == "recurrent" else "convolutional"
    return f"A {kind} network that predicts, from {' and '.join(meta['network']['inputs'])}, {targets}."


def _network(meta: Mapping[str, Any], parameters: int) -> str:
    network = meta["network"]
    if network["trunk"] == "dilated":
        return _list(
            {
                "stem": f"{network['stem']}, {network['stem_channels']} channels",
                "dilated convolutions": f"{network['trunk_layers']} in place of a recurrence; a base is predicted from "
                f"{meta['lookahead_bp']} bp on either side",
                "weights": f"{parameters:,}",
            }
        )
    shortest, longest = network["half_life_bp"]
    rows = {
        "stem": f"{network['stem']}, sees {meta['lookahead_bp']} bp ahead of the recurrence",
        "recurrence": f"{network['layers']} bidirectional layer(s) of {network['hidden_units']} units per direction, "
        f"cell: {network['cell']}, strands: {network['strands']}"
        if network["recurrence"]
        else "none",
        "memory planned": f"half-lives of {shortest:g} to {longest:g} bp, {network['half_life_spectrum']}",
        "weights": f"{parameters:,}",
    }
    return _list(rows)


def _data(meta: Mapping[str, Any], store: EncodedStore) -> str:
    fold = store.fold(meta["fold"]["name"])
    trained = [contig for contig in store.lengths if fold.split(contig) == "train"]
    rows = {
        **{
            role: f"`{source['path']}`, SHA-256 {source['sha256']}"
            for role, source in store.meta["inputs"].items()
        },
        "encoded store": meta["store"],
        f"fold {fold.name}": f"trained on {name_list(trained)}; chosen on {name_list(fold.valid)}; to be judged on "
        f"{name_list(fold.test)}, which it has never seen",
    }
    return _list(rows)


def _training(meta: Mapping[str, Any], best: Mapping[str, float] | None) -> str:
    if best is None:
        return f"None. Weights were drawn with seed {meta['seed']}."
    training = meta["training"]
    scores = [f"{what} {best[name]:.4f}" for name, what in _SCORES.items() if name in best]
    return (
        f"AdamW, {training['epochs']} epochs at most, {training['windows_per_epoch']:,} windows of an epoch in batches "
        f"of {training['batch_size']}, seed {meta['seed']}. Kept: epoch {best['epoch']:.0f}. On validation windows: "
        f"{', '.join(scores)}. How good it is on contigs that had no part in any choice stands in `evaluation.tsv`."
    )


def _use(meta: Mapping[str, Any]) -> str:
    if len(meta["network"]["inputs"]) > 1:
        how = "It reads tracks beside the sequence: `gatescope trace` and `gatescope evaluate` run it."
    else:
        target = meta["network"]["targets"][0]
        how = (
            "As a module that tangermeme, Ledidi and Captum accept, one-hot (N, 4, L) in:\n\n"
            "```python\n"
            "from gatescope.model.interchange import SequenceModel\n\n"
            f'model = SequenceModel.load("folder of this file", "{target}")\n'
            "```"
        )
    return (
        f"{how}\n\nIt describes the cells, the protocol and the depth of the data above. Its gates say how this "
        "network works, not how chromatin does; another seed may solve the same task in another way."
    )


def _list(rows: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in rows.items())
