"""A bidirectional stack of LSTM layers with some gates held, one base and one unit at a time, float64 NumPy.

Slow and obvious on purpose; it shares no code with gatescope.
"""

import numpy as np

from oracles.lstm import sigmoid


def run_clamped(x, weights, layers, held):
    """Read x (L, C); return per layer a dict of cell, hidden and the four gates, each (D, H, L), genomic order.

    `held` maps (layer, direction, gate letter, unit, genomic position) to the value of that gate.
    """
    found = []
    for layer in range(layers):
        both = [_run_direction(x, weights, layer, direction, held) for direction in (0, 1)]
        found.append({name: np.stack([one[name].T for one in both]) for name in both[0]})
        x = np.concatenate([one["hidden"] for one in both], axis=1)
    return found


def _run_direction(x, weights, layer, direction, held):
    suffix = f"_l{layer}" + ("_reverse" if direction else "")
    w, u = weights[f"weight_ih{suffix}"], weights[f"weight_hh{suffix}"]
    b = weights[f"bias_ih{suffix}"] + weights[f"bias_hh{suffix}"]
    hidden = u.shape[1]
    out = {name: np.zeros((len(x), hidden)) for name in ("cell", "hidden", "i", "f", "g", "o")}
    h, c = np.zeros(hidden), np.zeros(hidden)
    for t in reversed(range(len(x))) if direction else range(len(x)):
        z = w @ x[t] + u @ h + b
        new_h, new_c = np.zeros(hidden), np.zeros(hidden)
        for k in range(hidden):
            gate = {
                "i": sigmoid(z[k]),
                "f": sigmoid(z[hidden + k]),
                "g": np.tanh(z[2 * hidden + k]),
                "o": sigmoid(z[3 * hidden + k]),
            }
            for letter in gate:
                gate[letter] = held.get((layer, direction, letter, k, t), gate[letter])
                out[letter][t, k] = gate[letter]
            new_c[k] = gate["f"] * c[k] + gate["i"] * gate["g"]
            new_h[k] = gate["o"] * np.tanh(new_c[k])
        h, c = new_h, new_c
        out["hidden"][t], out["cell"][t] = h, c
    return out
