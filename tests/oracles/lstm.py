"""An LSTM as the papers write it: one base, one gate, one direction at a time, float64 NumPy.

Slow and obvious on purpose; it shares no code with gatescope.
"""

import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def run_direction(x, weight_ih, weight_hh, bias_ih, bias_hh):
    """Read x (L, C) in the order given; return a dict of (L, H) arrays."""
    hidden = weight_hh.shape[1]
    names = ("input_logit", "forget_logit", "candidate", "output_logit", "cell", "hidden")
    out = {name: np.zeros((len(x), hidden)) for name in names}
    h, c = np.zeros(hidden), np.zeros(hidden)
    for t in range(len(x)):
        rows = {}
        for k, gate in enumerate("ifgo"):  # the order in which torch stacks its rows
            block = slice(k * hidden, (k + 1) * hidden)
            rows[gate] = weight_ih[block] @ x[t] + bias_ih[block] + weight_hh[block] @ h + bias_hh[block]
        c = sigmoid(rows["f"]) * c + sigmoid(rows["i"]) * np.tanh(rows["g"])
        h = sigmoid(rows["o"]) * np.tanh(c)
        values = (rows["i"], rows["f"], np.tanh(rows["g"]), rows["o"], c, h)
        for name, value in zip(names, values, strict=True):
            out[name][t] = value
    return out


def run_lstm(x, weights, layers, directions=2):
    """Read x (L, C) with the state dict of an nn.LSTM; return per layer a dict of (D, H, L), genomic order."""
    traced = []
    for layer in range(layers):
        both = []
        for direction in range(directions):
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            cell = [weights[f"{name}{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            read = x[::-1] if direction else x
            out = run_direction(read, *cell)
            both.append({name: (v[::-1] if direction else v) for name, v in out.items()})
        traced.append({name: np.stack([b[name].T for b in both]) for name in both[0]})
        x = np.concatenate([b["hidden"] for b in both], axis=1)
    return traced
