"""Would a wrong tracer be noticed? Each way to be wrong breaks a check against known answers.

The replay of whole sequences is tried here; workspace, stream and export have files of their own. The certificate does
not raise here: it compares the replay with the network, and where both are wrong in the same way (swapped rows, a
dropped bias, a mislabelled gate) it cannot tell. Only the gallery and the oracle can.
"""

import itertools
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.gallery import cells as gallery_cells
from gatescope.model.cells import LSTMCell
from gatescope.trace import replay as tracer
from gatescope.trace.certificate import Certificate
from hardware import needs_bfloat16
from mutants import failing, in_bfloat16, patch
from oracles.lstm import run_lstm

HIDDEN, LENGTH, ROWS = 4, 150, 3
LENGTHS = (150, 64, 97)
FIELDS = ("input_logit", "forget_logit", "candidate", "output_logit", "cell", "hidden")
GALLERY = [cell for cell in gallery_cells.CELLS if cell.name != "memory wire"]  # long, and nothing more


class World(NamedTuple):
    lstm: nn.LSTM  # two layers, two directions
    inputs: torch.Tensor  # (ROWS, LENGTH, 2 * HIDDEN)


@cache
def world(dtype=torch.float64):
    generator = torch.Generator().manual_seed(7)
    lstm = nn.LSTM(2 * HIDDEN, HIDDEN, 2, batch_first=True, bidirectional=True)
    for parameter in lstm.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    inputs = torch.randn(ROWS, LENGTH, 2 * HIDDEN, generator=generator)
    return World(lstm.to(dtype), inputs.to(dtype))


@cache
def oracles(lengths):
    weights = {name: p.detach().numpy() for name, p in world().lstm.named_parameters()}
    return [run_lstm(row[:n].numpy(), weights, 2) for row, n in zip(world().inputs, lengths, strict=True)]


def agrees(dtype, tolerance, lengths=None):
    """Say whether each field of each row and layer is the oracle's, and nothing stands beyond a row's end."""
    lstm, inputs = world(dtype)
    expected_rows = oracles(lengths or (LENGTH,) * ROWS)
    for layer in range(2):
        traced = tracer.trace_lstm(lstm, inputs, layer, lengths=lengths)
        for (row, oracle), field in itertools.product(enumerate(expected_rows), FIELDS):
            found, expected = getattr(traced, field)[row].double().numpy(), oracle[layer][field]
            inside, beyond = np.split(found, [expected.shape[2]], axis=2)
            if not (np.abs(inside - expected).max() <= tolerance and np.isnan(beyond).all()):
                return False
    return True


def agrees_inside_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return agrees(torch.float32, 1e-5)


def certificate_holds():
    """What the certificate itself would say: network and replay agree."""
    found = [tracer.trace_lstm(world().lstm, world().inputs, layer).certificate for layer in range(2)]
    return all(certificate.max_error <= certificate.tolerance for certificate in found)


CHECKS = {
    "certificate": certificate_holds,
    "gallery": lambda: bool(gallery_cells.check_cells(GALLERY).ok.all()),
    "oracle": lambda: agrees(torch.float64, 1e-10),
    "lengths": lambda: agrees(torch.float64, 1e-10, LENGTHS),
    "autocast": agrees_inside_autocast,
}


# weights as they are read: network and replay are wrong together


def in_cells(change):
    return patch(
        tracer, "cells_of", lambda right, lstm, layer: [change(cell, layer) for cell in right(lstm, layer)]
    )


def reordered(order):
    return lambda cell, layer: LSTMCell(*(t.unflatten(0, (4, -1))[order].flatten(0, 1) for t in cell.weights))


def without(bias):
    return lambda cell, layer: replace(cell, **{bias: torch.zeros_like(cell.bias)})


def directions_swapped(cell, layer):
    return replace(cell, weight_ih=cell.weight_ih.roll(cell.weight_ih.shape[1] // 2, 1)) if layer else cell


# sequences as a whole


def in_trace(change):
    return patch(tracer, "trace_cells", change)


def names_swapped(right, *args, **options):
    trace = right(*args, **options)
    return trace._replace(input_logit=trace.forget_logit, forget_logit=trace.input_logit)


def not_flipped_back(right, *args, **options):
    trace = right(*args, **options)
    turned = [torch.cat([field[:, :1], field[:, 1:].flip(3)], dim=1) for field in trace[: len(FIELDS)]]
    return trace._make([*turned, trace.certificate])


def raw_input(right, layers, inputs, **options):
    return right(
        layers[-1:] if layers[-1][0].weight_ih.shape[1] == inputs.shape[2] else layers, inputs, **options
    )


def backwards_of(change):
    """Make a mutant of the order in which rev reads the rows of a batch."""

    def order(right, inputs, lengths):
        found = right(inputs, lengths)
        return found._replace(backwards=change(found.backwards, right(inputs, None).backwards))

    return patch(tracer._Order, "of", order)


# one layer, one direction


def in_hidden_before(change):
    return patch(tracer, "hidden_before", change)


def candidate_not_squashed(right, logits):
    raw = logits[..., 2, :].clone()
    right(logits)[..., 2, :] = raw
    return logits


#: Which mutant, and which checks have to fail. The gallery has one sequence at a time and float64 only.
MUTANTS = {
    "rows of i and f swapped": (in_cells(reordered([1, 0, 2, 3])), {"gallery", "oracle"}),
    "rows in TensorFlow's order": (in_cells(reordered([0, 2, 1, 3])), {"gallery", "oracle"}),
    "bias_hh dropped": (in_cells(without("bias_hh")), {"gallery", "oracle"}),
    "bias_ih dropped": (in_cells(without("bias_ih")), {"gallery", "oracle"}),
    "layer reads the directions swapped": (in_cells(directions_swapped), {"gallery", "oracle"}),
    "layer reads the raw input": (in_trace(raw_input), {"oracle"}),
    "layer below traced": (
        in_trace(lambda right, layers, *args, **options: right(layers[:1], *args, **options)),
        {"gallery", "oracle"},
    ),
    "names of i and f swapped": (in_trace(names_swapped), {"gallery", "oracle"}),
    "reverse left in reading order": (in_trace(not_flipped_back), {"oracle", "lengths"}),
    "reverse read left to right": (
        patch(tracer._Order, "turned", lambda right, self, values: values),
        {"gallery", "oracle"},
    ),
    "reverse starts where the longest row ends": (backwards_of(lambda own, padded: padded), {"lengths"}),
    "reverse in the order of another row": (backwards_of(lambda own, _: own.roll(1, 1)), {"lengths"}),
    "values beyond the end of a row": (
        patch(tracer._Order, "blank", lambda right, self, values, beyond: values),
        {"lengths"},
    ),
    "h of the same base": (
        in_hidden_before(lambda right, hidden, first: hidden),
        {"certificate", "gallery", "oracle"},
    ),
    "h of two bases before": (
        in_hidden_before(lambda right, hidden, first: right(right(hidden, first), first)),
        {"certificate", "gallery", "oracle"},
    ),
    "h of another row": (
        in_hidden_before(lambda right, hidden, first: right(hidden.roll(1, 1), first)),
        {"certificate", "oracle"},
    ),
    "c from zero at each anchor": (
        patch(
            tracer, "_accumulate", lambda right, f, w, c: right(f, w, [torch.zeros_like(one) for one in c])
        ),
        {"certificate", "oracle"},
    ),
    "c from the anchor before": (
        patch(tracer, "_accumulate", lambda right, f, w, c: right(f, w, [c[0], *c[:-1]])),
        {"certificate", "oracle"},
    ),
    "i and f exchanged in c": (
        patch(tracer, "activate", lambda right, logits: right(logits[..., [1, 0, 2, 3], :])),
        {"certificate", "gallery", "oracle"},
    ),
    "candidate before its tanh": (
        patch(tracer, "activate", candidate_not_squashed),
        {"certificate", "oracle"},
    ),
    "network in autocast": (in_bfloat16(LSTMCell), {"autocast"}),
}


def test_the_right_tracer_passes_every_check():
    assert failing(CHECKS, CHECKS) == set()


@pytest.mark.parametrize(
    "mutant", [pytest.param(each, marks=needs_bfloat16) if "autocast" in each else each for each in MUTANTS]
)
def test_a_wrong_tracer_is_noticed(mutant, monkeypatch):
    install, must_fail = MUTANTS[mutant]
    monkeypatch.setattr(Certificate, "checked", lambda certificate: certificate)
    install(monkeypatch)
    assert failing(CHECKS, must_fail) == must_fail


@needs_bfloat16
def test_autocast_left_on_is_refused(monkeypatch):
    """Torch itself will not add bfloat16 to float32: where it would, the check says so."""
    monkeypatch.setattr(tracer, "exact_arithmetic", torch.no_grad)
    with pytest.raises(RuntimeError, match="same dtype"):
        CHECKS["autocast"]()
