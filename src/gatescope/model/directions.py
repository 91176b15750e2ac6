"""How is a bidirectional LSTM layer run on two cores? Its directions side by side, each on a thread of its own.

Split over threads, a matrix product of one time step is too small to be worth it: threads meet thousands of times in
a training step, and where one of them has to wait for its core, all do. The directions know nothing of each other, so
they meet once, forward and backward; the numbers are those of torch's own layer.

Public names: `run_layer`, `read_out`, `use_cores`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gatescope.model.tied import TiedLSTM

_Result = TypeVar("_Result")


def run_layer(
    lstm: nn.LSTM, inputs: Tensor, shown: Tensor | None = None, readout: Tensor | None = None
) -> Tensor:
    """Run a bidirectional layer of its own.

    On a CPU its directions have a core each if `use_cores` gave it two, and take turns if not: the numbers are the
    same. Gradients reach inputs, readout and weights; not `shown`, and no gradients of gradients.

    Parameters
    ----------
    lstm : nn.LSTM
    inputs : Tensor, shape (N, L, C)
    shown : Tensor, shape (N, 2H), optional
        What each window's hidden states are multiplied with (dropout).
    readout : Tensor, shape (K, 2H), optional
        What they are read out with. The hidden states themselves are not handed on then, which saves moving them about.
        In full precision, whatever autocast says.

    Returns
    -------
    Tensor, shape (N, L, 2H)
        Hidden states; with `readout` its products with them, (N, L, K).
    """
    if inputs.device.type != "cpu":
        return read_out(lstm(inputs)[0], shown, readout)
    weights = lstm.tied_weights() if isinstance(lstm, TiedLSTM) else list(lstm._flat_weights)
    halves = [(None, None) if each is None else each.chunk(2, dim=1) for each in (shown, readout)]
    fwd, rev = _Directions.apply(inputs.transpose(0, 1), *halves[0], *halves[1], *weights)
    return torch.cat([fwd, rev], dim=2) if readout is None else fwd + rev


def read_out(hidden: Tensor, shown: Tensor | None, readout: Tensor | None) -> Tensor:
    """Multiply hidden states (N, L, H) with what is shown of them, (N, H), and with a readout (K, H)."""
    if readout is None:
        return hidden if shown is None else hidden * shown[:, None].to(hidden)
    with torch.autocast(hidden.device.type, enabled=False):  # the 8 bits of a bfloat16 are few for counts
        values = hidden.transpose(0, 1).to(readout.dtype)  # time first, as it lies in memory
        rows = (values if shown is None else values * shown.to(readout.dtype)).flatten(0, 1)
        said = torch.stack([torch.mv(rows, weights) for weights in readout])  # faster than one slim product
    return said.view(len(readout), *values.shape[:2]).permute(2, 1, 0)


def use_cores(count: int) -> None:
    """Say how many cores the directions of a layer may use: one, or two."""
    _second_core.is_mine = count > 1


class _SecondCore:
    """A thread that runs `rev` beside the one that runs `fwd`."""

    is_mine = False

    @cached_property
    def thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "gatescope-rev", initializer=torch.set_num_threads, initargs=(1,))


_second_core = _SecondCore()


class _Directions(torch.autograd.Function):
    """Run `fwd` and `rev` on inputs (L, N, C): two each of `shown` and `readout` or None, 2 x 4 weights."""

    @staticmethod
    def forward(ctx: Any, *arguments: Tensor | None) -> tuple[Tensor, Tensor]:
        is_low, is_needed = torch.is_autocast_enabled("cpu"), ctx.needs_input_grad
        mine = [(0, 1 + d, 3 + d, *range(5 + 4 * d, 9 + 4 * d)) for d in (0, 1)]  # places among the arguments

        def run(direction: int) -> tuple[list[Any], Tensor]:
            leaves: list[Any] = [
                None if (each := arguments[at]) is None else each.detach() for at in mine[direction]
            ]
            for leaf, at in zip(leaves, mine[direction], strict=True):
                if leaf is not None:
                    leaf.requires_grad_(is_needed[at])
            # both are settings of a thread
            with torch.set_grad_enabled(any(is_needed)), torch.autocast("cpu", enabled=is_low):
                return leaves, _run_direction(*leaves, is_reverse=bool(direction))

        ctx.parts = _side_by_side(run)
        one, other = (output.detach() for _, output in ctx.parts)
        return one, other

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        def run(direction: int) -> list[Tensor | None]:
            leaves, output = ctx.parts[direction]
            wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
            found = iter(torch.autograd.grad(output, wanted, gradients[direction]) if wanted else ())
            return [next(found) if leaf is not None and leaf.requires_grad else None for leaf in leaves]

        (of_inputs, _, of_fwd, *fwd), (also_of_inputs, _, of_rev, *rev) = _side_by_side(run)
        del ctx.parts
        both = None if of_inputs is None or also_of_inputs is None else of_inputs + also_of_inputs
        return both, None, None, of_fwd, of_rev, *fwd, *rev


def _run_direction(
    inputs: Tensor, shown: Tensor | None, readout: Tensor | None, *weights: Tensor, is_reverse: bool
) -> Tensor:
    """Return what one direction says in the order of the inputs, (N, L, H), or (N, L, K) with a readout."""
    zero = inputs.new_zeros(1, inputs.shape[1], weights[1].shape[1])
    read = inputs.flip(0) if is_reverse else inputs
    hidden = torch.lstm(read, (zero, zero), weights, True, 1, 0.0, True, False, False)[0].transpose(0, 1)
    output = read_out(hidden, shown, readout)
    return output.flip(1) if is_reverse else output


def _side_by_side(run: Callable[[int], _Result]) -> tuple[_Result, _Result]:
    """Call `run` for both directions, `rev` on a core of its own if there is one."""
    if not _second_core.is_mine:
        return run(0), run(1)
    rev = _second_core.thread.submit(run, 1)
    try:
        fwd = run(0)
    finally:
        rev.exception()  # waits: nothing may run on when this returns
    return fwd, rev.result()
