"""Which short word, repeated, makes a hidden unit hold its memory longest? Periodic carriers.

Over a repeated word the gates settle into a cycle. The cycle predicts what is left of a memory after L bases,
the product of the forget gates; an intervention on the network measures it, and includes what the changed
memory does to the gates through the recurrence. Where the two differ, the forget gate misleads.

A carrier is a property of one set of weights; no biological memory is claimed, and nothing is checked here
that a vendor of synthetic DNA would check.

Public names: `design`, `DesignSettings`, `list_words`, `Carriers`, `settle`, `predict_retention`,
`measure_retention`.
"""

import itertools
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gatescope.errors import InputError
from gatescope.files import read_record, replacing_folder, write_table
from gatescope.genome.sequence import ALPHABET, encode_bases, one_hot
from gatescope.model.cells import LSTMCell, State, cells_of
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.persist import load_model
from gatescope.model.runtime import exact_arithmetic, prepare_torch
from gatescope.settings import read_section
from gatescope.trace.certificate import Certificate
from gatescope.trace.replay import hidden_before, replay
from gatescope.trace.units import DIRECTIONS

log = logging.getLogger(__name__)

#: What is added to the cell state to measure retention: the most that one base can write (i g < 1).
WRITE = 1.0
#: A cycle has settled when running as long again changes no forget logit by more than this.
SETTLED_LOGIT = 1e-7
_FIRST_BURN_IN_BP, _MAX_BURN_IN_BP = 600, 19_200
#: Words times bases per call of the kernel: bounds memory.
_CHUNK_POSITIONS = 40_000
_LINE_BP = 60
_WRITTEN = ("designs.tsv", "constructs.fa")


@dataclass(frozen=True)
class DesignSettings:
    """Hold the settings of the stage.

    Attributes
    ----------
    max_word_bp : int
        Words up to this long are tried.
    length_bp : int
        Length of a construct, over which it has to hold the memory.
    """

    max_word_bp: int = 3
    length_bp: int = 200

    def __post_init__(self) -> None:
        if not (1 <= self.max_word_bp <= 6 and self.length_bp >= 1):
            raise InputError(
                f"max_word_bp {self.max_word_bp}, length_bp {self.length_bp}; wanted 1 to 6, and at least 1",
                where="config: design",
            )


class Carriers(NamedTuple):
    """Settled cycles of W words in one direction; everything in reading order.

    One period is the least common multiple of all word lengths, the same P for every word.
    """

    cell: LSTMCell
    period: Tensor  # (W, P, C) what the recurrence reads, beginning where it enters the construct
    state: State  # each (W, H), as it enters the construct
    forget_logit: Tensor  # (W, P, H)
    is_settled: Tensor  # (W,) bool
    burn_in_bp: int
    certificate: Certificate


def design(model: Path | str, trace: Path | str, output: Path | str, *, settings: Mapping[str, Any]) -> None:
    """Find, per direction, the unit and the repeated word that hold a memory longest.

    Writes ``constructs.fa``, the best construct of each direction, and ``designs.tsv``, every word for these
    two units, best first. Tracks that the network reads beside the sequence are held at zero, as the table's
    `tracks` column says: a construct has no ATAC signal.

    Parameters
    ----------
    model : Path or str
        ``model/{run}``.
    trace : Path or str
        ``trace/{run}``: its replay certificate has to be about the same weights.
    output : Path or str
        ``design/{run}``; replaced as a whole, if it holds nothing else.
    settings : mapping
        The `design` section of the config: fields of `DesignSettings`.

    Raises
    ------
    InputError
        If a setting is wrong, the network has no recurrence, or the trace is of other weights.
    """
    options = read_section(DesignSettings, settings, "config: design")
    prepare_torch(threads=1, device="cpu")
    network, meta = load_model(model)
    _check(network, meta, Path(model), Path(trace))
    words = list_words(options.max_word_bp)
    network = network.double()
    with replacing_folder(output, _WRITTEN) as partial:
        tables = [
            _design_direction(network, words, index, options.length_bp) for index in range(len(DIRECTIONS))
        ]
        table = pd.concat(tables, ignore_index=True).assign(
            tracks=",".join(f"{name}=0" for name in network.config.tracks) or "none",
            model_sha256=meta["sha256"],
        )
        best = table.query("rank == 1").to_dict("records")
        for row in best:
            log.info("%s", _sentence(row))
        write_table(partial / "designs.tsv", table, digits=9)
        (partial / "constructs.fa").write_text("".join(_fasta(row, meta["run"]) for row in best))


def _check(network: AccessibilityNetwork, meta: Mapping[str, Any], model: Path, trace: Path) -> None:
    """Refuse a network without memory, and a trace of other weights."""
    if not network.lstm_layers:
        raise InputError("the network has no recurrence, so no unit can hold a memory", where=model)
    again = "run gatescope trace again"
    if read_record(trace / "summary.json", {"model_sha256": str}, again)["model_sha256"] != meta["sha256"]:
        raise InputError(
            "trace of other weights than the model's",
            where=trace / "summary.json",
            cause="the network was trained again after the trace",
            remedy=again,
        )


def list_words(max_word_bp: int) -> list[str]:
    """List the words whose endless repeats are all different: 4, 6, 20, 60, ... of 1, 2, 3, 4, ... bp.

    Of words that are rotations of each other the first in the alphabet stands for all (`AAC` for `ACA` and
    `CAA`), and repeats of a shorter word (`AA`, `ACAC`) are left out: Lyndon words. Reverse complements are
    kept, since the network reads one strand only.
    """
    words = []
    for length in range(1, max_word_bp + 1):
        for letters in itertools.product(ALPHABET, repeat=length):
            word = "".join(letters)
            if all(word < word[cut:] + word[:cut] for cut in range(1, length)):
                words.append(word)
    return words


@exact_arithmetic()
def settle(network: AccessibilityNetwork, words: list[str], direction: int, length_bp: int) -> Carriers:
    """Run one direction of the first LSTM layer over repeated words until its gates settle into a cycle.

    The burn-in starts from zero states and doubles until no forget logit of any unit changes by more than
    `SETTLED_LOGIT` across it, or 19.2 kb are done; words that have not settled by then are marked.

    Parameters
    ----------
    network : AccessibilityNetwork
        In the dtype to compute in; tracks are held at zero.
    words : list of str
    direction : int
        Index into `DIRECTIONS`.
    length_bp : int
        Length of the construct; `rev` enters it at its right end, which fixes where the cycle starts.

    Raises
    ------
    ReplayError
        If the gates cannot be replayed from the kernel's hidden states.
    """
    lstm = network.recurrent[0]
    assert isinstance(lstm, nn.LSTM)
    cell = cells_of(lstm)[direction]
    period = _period(network, words, direction, length_bp)
    n_words, period_bp, _ = period.shape
    zero = period.new_zeros(n_words, cell.weight_hh.shape[1])
    state = (zero, zero)
    done_bp, burn_bp = 0, math.ceil(_FIRST_BURN_IN_BP / period_bp) * period_bp
    before, certificate, change = None, None, torch.full((n_words,), math.inf)
    while done_bp < _MAX_BURN_IN_BP and not (change <= SETTLED_LOGIT).all():
        state = _run(cell, period, burn_bp, state)
        done_bp += burn_bp
        burn_bp = done_bp
        read = period.transpose(0, 1)
        steps, _ = replay(cell, read, state)
        certificate = Certificate.of(period, steps.error, n_words * period_bp).checked()
        logits = cell.logits(read, hidden_before(steps.hidden, state[0]), "f")[:, :, 0].transpose(0, 1)
        if before is not None:
            change = (logits - before).abs().amax((1, 2))
        before = logits
    assert before is not None
    assert certificate is not None
    return Carriers(cell, period, state, before, change <= SETTLED_LOGIT, done_bp, certificate)


def _period(network: AccessibilityNetwork, words: list[str], direction: int, length_bp: int) -> Tensor:
    """Return what the recurrence reads over one period of each repeat, (W, P, C), in reading order."""
    period_bp = math.lcm(*(len(word) for word in words))
    # whole periods on either side: the stem sees no end, and what is cut out begins where the word begins
    halo = math.ceil(network.config.lookahead_bp / period_bp) * period_bp
    repeats = np.stack([_repeat(word, period_bp + 2 * halo) for word in words])
    bases = torch.from_numpy(one_hot(repeats))
    tracks = bases.new_zeros(len(words), len(network.config.tracks), bases.shape[2])
    period = network.features(bases, tracks)[:, halo : halo + period_bp]
    if DIRECTIONS[direction] == "fwd":
        return period
    # reading starts at base length_bp - 1 of the construct and goes down
    return period[:, (length_bp - 1 - torch.arange(period_bp)) % period_bp]


def _repeat(word: str, length_bp: int) -> np.ndarray:
    """Return the codes of a word repeated to `length_bp`."""
    return np.resize(encode_bases(word), length_bp)


def _run(cell: LSTMCell, period: Tensor, length_bp: int, state: State) -> State:
    """Run the recurrence over `length_bp` bases of a repeated period and return h and c, each (W, H)."""
    n_words, period_bp, _ = period.shape
    chunk_bp = max(1, _CHUNK_POSITIONS // (n_words * period_bp)) * period_bp
    for start in range(0, length_bp, chunk_bp):
        size = min(chunk_bp, length_bp - start)
        inputs = period.repeat(1, -(-size // period_bp), 1)[:, :size]
        _, state = cell.run(inputs.transpose(0, 1), state)
    return state


def predict_retention(carriers: Carriers, length_bp: int) -> Tensor:
    """Return the product of the forget gates over `length_bp` bases of the settled cycle, shape (W, H).

    ``exp(-sum softplus(-z))``: what is left of a memory if the gates do not notice it.
    """
    log_forget = -softplus(-carriers.forget_logit)  # (W, P, H)
    whole, rest = divmod(length_bp, log_forget.shape[1])
    return torch.exp(whole * log_forget.sum(1) + log_forget[:, :rest].sum(1))


@exact_arithmetic()
def measure_retention(carriers: Carriers, length_bp: int, unit: int) -> Tensor:
    """Return what is left of an added memory after `length_bp` bases of the network itself, shape (W,).

    The recurrence is run twice from the settled state, the second time with `WRITE` added to one unit's cell
    state and all else equal; retention is the difference between the two cell states at the end, divided by
    `WRITE`. It may exceed 1 or be negative: the memory changes h, and h changes every gate.
    """
    hidden, cell_state = carriers.state
    written = cell_state.clone()
    written[:, unit] += WRITE
    _, kept = _run(carriers.cell, carriers.period, length_bp, (hidden, cell_state))
    _, changed = _run(carriers.cell, carriers.period, length_bp, (hidden, written))
    return (changed[:, unit] - kept[:, unit]) / WRITE


def _design_direction(
    network: AccessibilityNetwork, words: list[str], direction: int, length_bp: int
) -> pd.DataFrame:
    """Return one row per word for the unit that holds longest in one direction, best first."""
    carriers = settle(network, words, direction, length_bp)
    settled = f"{int(carriers.is_settled.sum())} of {len(words)} words settled"
    log.info("%s: %s within %d bp", DIRECTIONS[direction], settled, carriers.burn_in_bp)
    half_life = math.log(2) / softplus(-carriers.forget_logit).mean(1)  # (W, H)
    unit = int(half_life.amax(0).argmax())
    predicted = predict_retention(carriers, length_bp)[:, unit].numpy()
    measured = measure_retention(carriers, length_bp, unit).numpy()
    table = pd.DataFrame(
        {
            "direction": DIRECTIONS[direction],
            "unit": unit,
            "word": words,
            "length_bp": length_bp,
            "half_life_bp": half_life[:, unit].numpy(),
            "predicted_retention": predicted,
            "measured_retention": measured,
            "abs_error": np.abs(predicted - measured),
            "settled": carriers.is_settled.numpy(),
            "burn_in_bp": carriers.burn_in_bp,
            "replay_error": carriers.certificate.max_error,
        }
    )
    ranked = table.sort_values("half_life_bp", ascending=False, kind="stable", ignore_index=True)
    ranked.insert(0, "rank", np.arange(1, len(ranked) + 1))
    return ranked


def _fasta(row: Mapping[str, Any], run_name: str) -> str:
    """Return one FASTA record."""
    sequence = (row["word"] * row["length_bp"])[: row["length_bp"]]
    lines = [sequence[at : at + _LINE_BP] for at in range(0, len(sequence), _LINE_BP)]
    facts = {
        "run": run_name,
        "unit": row["unit"],
        "direction": row["direction"],
        "word": row["word"],
        "predicted_retention": f"{row['predicted_retention']:.6g}",
        "measured_retention": f"{row['measured_retention']:.6g}",
        "model_sha256": row["model_sha256"],
    }
    header = " ".join(f"{key}={value}" for key, value in facts.items())
    return f">carrier.{row['direction']} {header}\n" + "\n".join(lines) + "\n"


def _sentence(row: Mapping[str, Any]) -> str:
    """Say what was found in one direction."""
    return (
        f"{row['direction']}: unit {row['unit']} holds longest over repeated {row['word']} (half-life "
        f"{row['half_life_bp']:.4g} bp); after {row['length_bp']} bp {row['predicted_retention']:.4g} of a "
        f"memory should be left, {row['measured_retention']:.4g} is"
    )
