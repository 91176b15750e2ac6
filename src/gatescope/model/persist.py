"""How does a network rest on disk? Weights as safetensors, everything else as JSON; no pickle.

Public names: `save_model`, `save_weights`, `load_model`, `require_store`.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import read_record, replacing_file, write_json
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.settings import read_section
from gatescope.stages import STAGE_VERSIONS

FORMAT_VERSION = 1
#: What is read from model.json, here and elsewhere.
_ENTRIES: dict[str, type] = {"format_version": int, "run": str, "sha256": str, "network": dict}


def save_weights(path: Path, weights: dict[str, torch.Tensor]) -> str:
    """Write weights as safetensors and return their SHA-256."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    with replacing_file(path) as partial:
        partial.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def save_model(
    folder: Path | str,
    config: NetworkConfig,
    best: dict[str, torch.Tensor],
    last: dict[str, torch.Tensor],
    meta: dict[str, Any],
) -> dict[str, Any]:
    """Write `model.safetensors` (best epoch), `last.safetensors` and, when both are whole, `model.json`; return it."""
    folder = Path(folder)
    sha256 = save_weights(folder / "model.safetensors", best)
    save_weights(folder / "last.safetensors", last)
    content = {
        "format_version": FORMAT_VERSION,
        "stage_version": STAGE_VERSIONS["train"],
        **meta,
        "network": asdict(config),
        "lookahead_bp": config.lookahead_bp,
        "sha256": sha256,
    }
    write_json(folder / "model.json", content)
    return content


def load_model(folder: Path | str) -> tuple[AccessibilityNetwork, dict[str, Any]]:
    """Load a network (evaluation mode, CPU, best weights) and its `model.json`.

    Raises
    ------
    InputError
        If a file is missing, of another format version, or the weights are not those that `model.json` names.
    """
    folder = Path(folder)
    meta = read_record(folder / "model.json", _ENTRIES, "train again")
    if meta.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"model format version {meta.get('format_version')}; this gatescope reads {FORMAT_VERSION}",
            where=folder / "model.json",
            remedy="train again with this version",
        )
    path = folder / "model.safetensors"
    if not path.exists():
        raise InputError("file does not exist", where=path, remedy="train again")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != meta["sha256"]:
        raise InputError(
            f"weights have SHA-256 {sha256[:12]}..., model.json names {meta['sha256'][:12]}...",
            where=path,
            cause="files of two trainings in one folder",
            remedy="train again",
        )
    config = read_section(NetworkConfig, meta["network"], f"{folder / 'model.json'}: network")
    network = AccessibilityNetwork(config)
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        what = f"weights do not fit the network that model.json describes ({reason:.200})"
        raise InputError(what, where=path, remedy="train again") from error
    return network.eval(), meta


def require_store(store: EncodedStore, meta: dict[str, Any], folder: Path | str) -> None:
    """Refuse a store that the model was not trained on: its held-out contigs may be others.

    Raises
    ------
    InputError
        If the content hash of `store` is not the one in `meta`, the `model.json` of `folder`.
    """
    store.require(str(meta.get("store", "?")), Path(folder) / "model.json")
