"""What does a trace cost beside the forward pass of the same network? Ratios, measured in one run.

    python tests/benchmarks/bench_trace.py --hidden 64 --threads 1

Bidirectional, input width 64, batch 64 x 1000, inference. Medians of alternating rounds, so that whatever else the
machine does falls on all alike. A is one call of `nn.LSTM` as a user makes it, under glibc's default malloc (in a
process of its own); B the fastest plain forward pass we know: allocator tuned, 50 steps per call, state carried. A
trace reads as many steps per call as `ContigStream` does.
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch

from gatescope.model.cells import LSTMCell, cells_of
from gatescope.model.runtime import exact_arithmetic, prepare_torch
from gatescope.trace.kernel import Tracer

_WIDTH, _BATCH, _LENGTH, _STEPS = 64, 64, 1000, 50


def steps_of_a_trace(batch):
    return max(25, 1600 // batch)


def median_ms(actions, rounds):
    """Run all actions in turn, forwards and backwards, and return the median of each in ms."""
    times = {name: [] for name in actions}
    for k in range(rounds):
        order = list(actions)[:: 1 if k % 2 == 0 else -1]
        for name in order:
            begun = time.perf_counter()
            actions[name]()
            times[name].append(1e3 * (time.perf_counter() - begun))
    return {name: statistics.median(values) for name, values in times.items()}


def whole_call(hidden, batch=_BATCH):
    lstm, inputs = (
        torch.nn.LSTM(_WIDTH, hidden, bidirectional=True).eval(),
        torch.randn(_LENGTH, batch, _WIDTH),
    )
    return lstm, inputs, lambda: lstm(inputs)


def chunked(readers, inputs, zero, steps, read):
    """Read each direction in calls of some steps with the state carried."""

    def run():
        for direction, reader in enumerate(readers):
            state, turned = zero, inputs.flip(0) if direction else inputs
            for part in turned.split(steps):
                state = read(reader, part, state)

    return run


def forget_only(tracer, part, state):
    hidden, after = tracer.cell.run(part, state)
    torch.sigmoid(tracer.forget_logits(part, state, hidden))
    return after


def step_loop(cell, inputs, zero):
    """Collect all gates and the cell state base by base, with the input's product taken out of the loop."""

    def run():
        h, c = zero
        drive, gates = inputs @ cell.weight_ih.T + cell.bias, []
        for at in drive:
            i, f, g, o = (at + h @ cell.weight_hh.T).chunk(4, 1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            c = f * c + i * g
            h = o * c.tanh()
            gates.append((i, f, g, o, c, h))
        return [torch.stack(each) for each in zip(*gates, strict=True)]

    return run


def measure(hidden, threads, rounds, batch):
    settings = {"--hidden": hidden, "--threads": threads, "--rounds": rounds, "--batch": batch}
    command = [sys.executable, __file__, "--as-a-user", *(str(x) for pair in settings.items() for x in pair)]
    default = subprocess.run(command, capture_output=True, text=True, check=True)
    a = float(default.stdout)
    prepare_torch(threads, "cpu")
    lstm, inputs, whole = whole_call(hidden, batch)
    cells = [LSTMCell(*(tensor.detach() for tensor in cell.weights)) for cell in cells_of(lstm)]
    zero = (torch.zeros(batch, hidden), torch.zeros(batch, hidden))
    fast, slow = [Tracer(cell) for cell in cells], [Tracer(cell, use_workspace=False) for cell in cells]
    loops, steps = [step_loop(cell, inputs, zero) for cell in cells], steps_of_a_trace(batch)
    plain = max(_STEPS, steps)
    actions = {
        "one call, tuned malloc": whole,
        "B": chunked(cells, inputs, zero, plain, lambda cell, part, state: cell.run(part, state)[1]),
        "forget gate, replay": chunked(slow, inputs, zero, plain, forget_only),
        "all gates + cell, replay": chunked(slow, inputs, zero, plain, lambda t, *what: t.trace(*what)[1]),
        "all gates + cell, workspace": chunked(fast, inputs, zero, steps, lambda t, *what: t.trace(*what)[1]),
        "all gates + cell, step loop": lambda: [loop() for loop in loops],
    }
    with exact_arithmetic(), torch.inference_mode():
        for action in actions.values():
            action()
        found = median_ms(actions, rounds)
    b = found["B"]
    print(f"hidden {hidden}, batch {batch}, {threads} thread(s): A {a:.1f} ms, B {b:.1f} ms ({b / a:.2f} A)")
    for name, ms in found.items():
        if name != "B":
            print(f"  {name:30s} {ms:8.1f} ms  {ms / a:5.2f} A  {ms / b:5.2f} B")
    loop, workspace = found["all gates + cell, step loop"], found["all gates + cell, workspace"]
    print(f"  step loop / workspace {loop / workspace:.2f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=_BATCH)
    parser.add_argument("--as-a-user", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.as_a_user:
        torch.set_num_threads(options.threads)
        with torch.inference_mode():
            run = whole_call(options.hidden, options.batch)[2]
            run()
            print(median_ms({"A": run}, options.rounds)["A"])
    else:
        measure(options.hidden, options.threads, options.rounds, options.batch)


if __name__ == "__main__":
    main()
