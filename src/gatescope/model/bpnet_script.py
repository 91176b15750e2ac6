"""How is BPNet trained and asked? A script for the Python that has bpnet-lite, which need not have gatescope.

    python bpnet_script.py JOB.json

`gatescope.model.bpnet` writes the job (`Job` there) and reads the answer: beside it ``predicted.npy``, float32, the
expected cuts of the stretches to predict one after the other, and ``training.json``.

Public names: none.

References
----------
Avsec et al. 2021 (BPNet). Pampari et al. 2023, ChromBPNet (weight of the counts).
"""

import json
import math
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from bpnetlite import BPNet  # pyright: ignore[reportMissingImports]
from bpnetlite.losses import _mixture_loss  # pyright: ignore[reportMissingImports]

TILE_BP, JITTER_BP, BATCH = 1000, 128, 16
LEARNING_RATE, WEIGHT_DECAY, WARM_UP_STEPS, LEAST_RATE = 2e-3, 1e-3, 50, 0.02
COUNT_SAMPLE, COUNT_SHARE, MOST_DRAWS = 1000, 10, 100_000
NOT_SCORED = 255
ONE_HOT = torch.cat([torch.eye(4), torch.zeros(1, 4)])


class Windows:
    """Draw training windows, half of them around peaks, half from anywhere, and read what lies there."""

    def __init__(self, job, trimming):
        self.codes, self.cuts, self.state = (
            np.load(job[name], mmap_mode="r") for name in ("codes", "cuts", "state")
        )
        self.spans, self.trimming = np.array(job["train"]), trimming
        self.summits = np.array(job["summits"])
        self.random = np.random.default_rng(job["seed"])

    def draw(self, n):
        """Return (start, contig start, contig end) of n windows."""
        return [self._draw(around_peak=k % 2 == 0) for k in range(n)]

    def _draw(self, around_peak):
        room = self.spans[:, 1] - self.spans[:, 0] - TILE_BP
        for _ in range(MOST_DRAWS):
            if around_peak:
                shift = self.random.integers(-JITTER_BP, JITTER_BP + 1)
                start = self.random.choice(self.summits) + shift - TILE_BP // 2
                span = self.spans[np.searchsorted(self.spans[:, 1], start, side="right")]
            else:
                span = self.spans[self.random.choice(len(room), p=room / room.sum())]
                start = self.random.integers(span[0], span[1] - TILE_BP + 1)
            is_inside = span[0] <= start and start + TILE_BP <= span[1]
            if is_inside and not (self.state[start : start + TILE_BP] == NOT_SCORED).any():
                return int(start), int(span[0]), int(span[1])
        raise SystemExit("no training window of 1,000 scored bases found")

    def sequence(self, places):
        """Return the bases of windows, one-hot (n, 4, TILE_BP + 2 trimming); off the contig there are none."""
        width = TILE_BP + 2 * self.trimming
        codes = np.full((len(places), width), 4, np.uint8)
        for row, (start, first, last) in zip(codes, places, strict=True):
            low, high = max(first, start - self.trimming), min(last, start + TILE_BP + self.trimming)
            offset = start - self.trimming
            row[low - offset : high - offset] = self.codes[low:high]
        return ONE_HOT[torch.from_numpy(codes).long()].transpose(1, 2).contiguous()

    def counts(self, places):
        """Return the cuts of windows, (n, 1, TILE_BP)."""
        values = [self.cuts[start : start + TILE_BP] for start, _, _ in places]
        return torch.from_numpy(np.stack(values)).unsqueeze(1)


def main(path):
    """Do the job."""
    job = json.loads(path.read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    model = BPNet(
        n_filters=job["filters"], n_layers=job["layers"], n_outputs=1, n_control_tracks=0, verbose=False
    )
    windows = Windows(job, model.trimming)
    told = train(model, windows, 60 * job["minutes"] * job["threads"])
    np.save(path.with_name("predicted.npy"), predict(model.eval(), windows, job["predict"]))
    told |= {
        "bpnet_lite": version("bpnet-lite"),
        "torch": torch.__version__,
        "weights": sum(each.numel() for each in model.parameters()),
    }
    path.with_name("training.json").write_text(json.dumps(told))


def train(model, windows, seconds):
    """Train for so many seconds of computing; the learning rate falls with the time that is left."""
    sample = windows.counts(windows.draw(COUNT_SAMPLE)).sum((1, 2))
    weight = float(sample.median()) / COUNT_SHARE
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    started, losses = (
        time.process_time(),
        [],
    )  # of all threads: what else runs on the cores takes nothing away
    while (share := (time.process_time() - started) / seconds) < 1:
        warm = min(1.0, (len(losses) + 1) / WARM_UP_STEPS)
        cosine = LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * share)) / 2
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * warm * cosine
        places = windows.draw(BATCH)
        bases, counts = windows.sequence(places), windows.counts(places)
        if (
            windows.random.random() < 0.5
        ):  # the reverse complement: A, C, G, T backwards are their complements
            bases, counts = bases.flip(1, 2), counts.flip(2)
        profile, log_count = model(bases)
        loss = _mixture_loss(counts, profile, log_count, weight)[-1]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if len(losses) % 100 == 0:
            said = f"step {len(losses)}, loss {np.mean(losses[-100:]):.3f}, {share:.0%} of the time"
            sys.stderr.write(f"{said}\n")
    if not np.isfinite(losses[-1]):
        raise SystemExit(f"training diverged: its loss is {losses[-1]}")
    tail = losses[-max(1, len(losses) // 10) :]
    return {
        "steps": len(losses),
        "cpu_seconds": round(time.process_time() - started, 1),
        "windows": len(losses) * BATCH,
        "count_weight": weight,
        "last_loss": float(np.mean(tail)),
    }


@torch.no_grad()
def predict(model, windows, spans):
    """Return the expected cuts of stretches, exp(count) x softmax(profile) per tile, the mean of both strands."""
    predicted = []
    for first, last in spans:
        starts = range(first, last, TILE_BP)
        found = np.empty(len(starts) * TILE_BP, np.float32)
        for k in range(0, len(starts), BATCH):
            bases = windows.sequence([(start, first, last) for start in starts[k : k + BATCH]])
            both = _expect(model, bases) + _expect(model, bases.flip(1, 2)).flip(1)
            found[k * TILE_BP :][: both.numel()] = (both / 2).flatten().numpy()
        predicted.append(found[: last - first])
    return np.concatenate(predicted)


def _expect(model, bases):
    profile, log_count = model(bases)
    return log_count.exp() * torch.softmax(profile[:, 0], dim=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
