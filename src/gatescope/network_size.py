"""How many weights does a network have? A closed form, so that two networks can be made equal in size before training.

Public names: `count_weights`, `channels_of_size`, `MOST_DIFFERENCE`.

`workflow/rules/common.smk` reads this at parse time: standard library only.
"""

from collections.abc import Mapping
from typing import Any

from gatescope.errors import InputError

#: Two networks are called equal in size up to this share of their weights.
MOST_DIFFERENCE = 0.02
_TAPS = 3
_LAYERS = range(1, 13)


def count_weights(network: Mapping[str, Any]) -> int:
    """Return the number of weights that training decides.

    Parameters
    ----------
    network : mapping
        The fields of `gatescope.model.network_config.NetworkConfig`, all of them.
    """
    reads = 3 + len(network["inputs"])  # four bases stand for `sequence`
    weights, width = 0, reads
    if network["stem"] != "none":
        width = network["stem_channels"]
        weights = _layer(reads, width, network["stem_width_bp"])
    dilated = network["stem_layers"] if network["stem"] == "dilated" else 0
    dilated += network["trunk_layers"] if network["trunk"] == "dilated" else 0
    weights += dilated * _layer(width, width, _TAPS)
    if network["trunk"] == "recurrent":
        weights += _recurrence(width, network)
        width = 2 * network["hidden_units"]
        width = (
            width // 2 if network["strands"] == "tied" else width
        )  # both strands count the same for a head
    return weights + len(network["targets"]) * (width + 1)


def _layer(reads: int, channels: int, width_bp: int) -> int:
    """Return the weights of a convolution, its bias, and the scale and level of its normalisation."""
    return (reads * width_bp + 3) * channels


def _recurrence(width: int, network: Mapping[str, Any]) -> int:
    """Return the free weights of the LSTM layers: a gate has two matrices and two biases, in each direction."""
    hidden, is_tied, weights = network["hidden_units"], network["strands"] == "tied", 0
    gates = 3 if network["cell"] == "coupled" else 4
    for layer in range(network["layers"]):
        reads = 2 * hidden if layer else width * (2 if is_tied else 1)
        weights += gates * hidden * (reads + hidden + 2)
    return weights if is_tied else 2 * weights


def channels_of_size(network: Mapping[str, Any], weights: int, where: str) -> int:
    """Return the channels that bring a network of dilated convolutions closest to a number of weights.

    Parameters
    ----------
    network : mapping
        As for `count_weights`; its channels do not matter.
    weights : int
    where : str
        What asks for it, in the message.

    Raises
    ------
    InputError
        If that misses the number by more than `MOST_DIFFERENCE`: whole channels come in steps.
    """
    channels = _closest(network, weights)
    missed = _miss(network, weights)
    if missed > MOST_DIFFERENCE:
        layers = min(_LAYERS, key=lambda layers: _miss({**network, "trunk_layers": layers}, weights))
        instead = _miss({**network, "trunk_layers": layers}, weights)
        raise InputError(
            f"{channels} channels come closest to {weights:,} weights, and miss them by {missed:.1%}",
            where=where,
            remedy=f"set trunk_layers to {layers}, which misses them by {instead:.1%}; or give stem_channels instead",
        )
    return channels


def _closest(network: Mapping[str, Any], weights: int) -> int:
    def count(channels: int) -> int:
        return count_weights({**network, "stem_channels": channels})

    channels = 1
    while count(channels + 1) <= weights:
        channels += 1
    return min((channels, channels + 1), key=lambda each: abs(count(each) - weights))


def _miss(network: Mapping[str, Any], weights: int) -> float:
    """Return the share by which the closest network misses a number of weights."""
    found = count_weights({**network, "stem_channels": _closest(network, weights)})
    return abs(found / weights - 1)
