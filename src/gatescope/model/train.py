"""How is a network trained? Lightning, with a resume that ends in the same bytes.

Public names: `train`.
"""

import copy
import logging
import time
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy

from gatescope.data.rotation import draw_rotations
from gatescope.data.sampler import EpochSampler, Loader, TiledWindows, TrainingBatches
from gatescope.data.store import EncodedStore
from gatescope.data.unlearned import read_copies
from gatescope.errors import InputError
from gatescope.files import write_table
from gatescope.genome.folds import Fold
from gatescope.model.card import write_card
from gatescope.model.checkpoints import (
    BEST,
    LAST,
    Start,
    WholeFiles,
    find_start,
    network_weights,
    recorded_rows,
)
from gatescope.model.gradient_reach import write_gradient_reach
from gatescope.model.launch import run_team
from gatescope.model.lightning_module import TrainingModule, TrainingRecord, best_of
from gatescope.model.loss import LossWeights
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model
from gatescope.model.plan import PRECISIONS, Training
from gatescope.model.resume import discard, resuming
from gatescope.model.runtime import has_bfloat16, prepare_torch
from gatescope.model.team import ALONE, Team, share_statistics
from gatescope.settings import read_section
from gatescope.stages import STAGE_VERSIONS

log = logging.getLogger(__name__)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips are not about this run

CARD, REACH = "model_card.md", "gradient_reach.tsv"
#: Validation windows over which the reach of the gradient is averaged.
_REACH_WINDOWS = 32
TWINS = ("none", "random", "ablated", "shuffled")
_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


def train(
    store: Path | str,
    output: Path | str,
    *,
    run: str,
    network: dict[str, Any],
    training: dict[str, Any],
    fold: str,
    seed: int = 1,
    twin: str = "none",
    threads: int = 1,
    workers: int = 0,
) -> None:
    """Train one network and write its folder (`model.safetensors`, `model.json`, `model_card.md`, tables).

    A private checkpoint in `output/.resume` lets a killed training go on after its last whole epoch; the end
    result has the same bytes as an undisturbed one. It is removed on success; one of other settings stays.

    Parameters
    ----------
    store : path
        Encoded store.
    output : path
        Folder of the run.
    run : str
        Name of the run, `{model}.{fold}.{seed}` with the twin as a suffix.
    network, training : dict
        Fields of `NetworkConfig` and `Training` (with `sampling` as a dict of `Sampling`).
    fold : str
        Fold of the store: its test and validation contigs are not trained on.
    seed : int
        Decides weights, windows, strands and dropout.
    twin : {"none", "random", "ablated", "shuffled"}
        "random" writes the untrained network; "ablated" trains one without recurrence; "shuffled" trains on targets
        that are rotated within each contig (`gatescope.data.rotation`).
    threads : int
        CPU threads: with two, the directions of the network run side by side. The bytes are the same, but for a network
        of dilated convolutions, whose folder records them. Several `devices` share them.
    workers : int
        Processes that draw training batches ahead; the result does not depend on them.

    Raises
    ------
    InputError
        If a setting is unknown or out of range; if the fold, a track or a setting does not fit the store; if
        the training diverges; if a worker is killed, or another training is at work in `output`.
    """
    begun = time.process_time()
    if twin not in TWINS:
        raise InputError(f"{twin!r}; wanted one of {', '.join(TWINS)}", where="--twin")
    if twin == "ablated" and network.get("trunk") == "dilated":
        raise InputError("'ablated', of a network that has no recurrence", where="--twin")
    if workers < 0:
        raise InputError(f"{workers}; wanted 0 or more", where="training: workers")
    config = read_section(NetworkConfig, {**network, "recurrence": twin != "ablated"}, "models")
    plan = read_section(Training, training, "training")
    data, folder = EncodedStore(store), Path(output)
    data.verify()  # a damaged copy would train without complaint
    device = prepare_torch(threads, plan.device, directions=config.trunk == "recurrent")
    if device.type == "cuda" and plan.devices > torch.cuda.device_count():
        raise InputError(
            f"{plan.devices}; torch sees {torch.cuda.device_count()} GPU(s)", where="training: devices"
        )
    net = _untrained(config, data, data.fold(fold), seed)
    precision = _precision(plan, device)
    read = [*_training_contigs(data, data.fold(fold)), *data.fold(fold).valid]
    rotations = draw_rotations(data, read, seed) if twin == "shuffled" else {}
    log.info("%s: %s parameters, reads %s, predicts %s, device %s, %s", run,
             f"{net.free_parameters:,}", " + ".join(config.inputs), " and ".join(config.targets),
             device, precision)  # fmt: skip
    if precision != plan.precision:
        log.warning("%s: this hardware has no %s; it is trained in %s", run, plan.precision, precision)
    meta = {
        "run": run,
        "twin": twin,
        "seed": seed,
        "precision": precision,
        # they split the sums of a convolution, and so are part of what fixes the bytes
        **({"threads": threads} if config.trunk == "dilated" else {}),
        "fold": {"name": fold, **data.fold(fold).parts()},
        "training": asdict(plan),
        "store": data.content_hash,
        **({"rotated_by_bp": rotations} if rotations else {}),
    }
    windows = TiledWindows(data, list(data.fold(fold).valid), config.tracks, 1).spread(_REACH_WINDOWS)
    if twin == "random":
        weights = net.state_dict()
        _write_tables(folder, [])
        write_gradient_reach(folder / REACH, run, {"untrained": net}, windows)
        meta = save_model(folder, config, weights, weights, {**meta, "best_epoch": None})
        write_card(folder / CARD, meta, data, net.free_parameters, None)
        return
    made_from = {**meta, "network": asdict(config), "stage_version": STAGE_VERSIONS["train"]}
    with resuming(folder, made_from) as resume:
        # here, because a damaged checkpoint must be put aside once
        start = find_start(resume, TrainingRecord.__qualname__)
        if start.epochs:
            log.info("%s: resuming after epoch %d", run, start.epochs)
        settings = copy.deepcopy(net), store, plan, fold, run, seed, resume, start, workers, rotations
        if plan.devices == 1:
            _fit(ALONE, device, *settings)
        else:
            run_team(plan.devices, _join_in, max(1, threads // plan.devices), *settings)
        rows = recorded_rows(resume / LAST, TrainingRecord.__qualname__)
        row, best, last = best_of(rows), network_weights(resume / BEST), network_weights(resume / LAST)
        _write_tables(folder, rows)
        trained = AccessibilityNetwork(config)
        trained.load_state_dict(best)
        write_gradient_reach(folder / REACH, run, {"untrained": net, "trained": trained}, windows)
        meta = save_model(folder, config, best, last, {**meta, "best_epoch": row["epoch"]})
        write_card(folder / CARD, meta, data, net.free_parameters, row)
        discard(resume)
    log.info(
        "%s: best epoch %d of %d; %.0f s of computing",
        run,
        row["epoch"],
        len(rows),
        time.process_time() - begun,
    )


def _untrained(config: NetworkConfig, data: EncodedStore, fold: Fold, seed: int) -> AccessibilityNetwork:
    """Return the network that training begins with."""
    net = AccessibilityNetwork(config, torch.Generator().manual_seed(seed))
    net.set_base_rates(*_base_rates(data, _training_contigs(data, fold)))
    return net


def _join_in(
    team: Team, threads: int, net: AccessibilityNetwork, store: Path | str, plan: Training, *rest: Any
) -> None:
    """Train as one of a team, in a process of its own."""
    device = prepare_torch(threads, plan.device, directions=net.config.trunk == "recurrent")
    net = copy.deepcopy(
        net
    )  # torch hands tensors to a process in shared memory: all would write to the same weights
    share_statistics(net)
    _fit(team, device, net, store, plan, *rest)


def _fit(
    team: Team,
    device: torch.device,
    net: AccessibilityNetwork,
    store: Path | str,
    plan: Training,
    fold: str,
    run: str,
    seed: int,
    resume: Path,
    start: Start,
    workers: int,
    rotations: Mapping[str, int],
) -> None:
    """Train until early stopping or the last epoch, alone or as one of a team; what comes of it rests in `resume`."""
    data = EncodedStore(store)
    train_batches, valid_batches = _datasets(net.config, data, data.fold(fold), plan, seed, rotations)
    log.info("%s: %s", run, train_batches.draws.summary)
    sampler = EpochSampler(plan.batches_per_epoch)
    # Lightning fetches the first batch of a resumed epoch before it says which
    sampler.set_epoch(start.epochs)
    module = TrainingModule(
        net,
        run=run,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        write_cost=plan.write_cost,
        planned_steps=plan.planned_batches,
        loss_weights=LossWeights(plan.count_weight, plan.log_count_weight),
        seed=seed,
        windows_of=train_batches.windows_of,
        team=team,
    )
    record = TrainingRecord(run, plan.patience)
    on_gpu = device.type == "cuda"
    trainer = _trainer(plan, record, resume, device, team)
    with warnings.catch_warnings():
        # One process loads faster than it trains, and the checkpoint folder is there when a run resumes.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        # Workers are mostly idle, however few cores there are.
        warnings.filterwarnings("ignore", message="This DataLoader will create.*")
        # Python 3.12 on; workers run no thread of their parent's
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork.*")
        with closing(Loader(train_batches, sampler, workers=workers, pin_memory=on_gpu)) as training:
            trainer.fit(
                module,
                training,
                Loader(valid_batches, pin_memory=on_gpu),
                ckpt_path=start.checkpoint,
                weights_only=True,
            )


def _trainer(
    plan: Training, record: TrainingRecord, resume: Path, device: torch.device, team: Team
) -> lightning.Trainer:
    # The order matters: `last` must be written after `best` has seen the epoch, or a kill in between loses it.
    best = ModelCheckpoint(
        dirpath=resume, filename=Path(BEST).stem, monitor="valid_loss", enable_version_counter=False
    )
    last = ModelCheckpoint(
        dirpath=resume, filename=Path(LAST).stem, every_n_epochs=1, enable_version_counter=False
    )
    # an average that begins with the first step: what lies far back counts for nothing by the end
    average = [EMAWeightAveraging(decay=1 - 1 / plan.averaged_steps)] if plan.averaged_steps else []
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=team.size,
        strategy="auto" if team.size == 1 else DDPStrategy(process_group_backend=_BACKENDS[device.type]),
        use_distributed_sampler=False,  # every process reads the whole batch and takes its rows
        precision=PRECISIONS[_precision(plan, device)],
        max_epochs=plan.epochs,
        gradient_clip_val=plan.gradient_clip,
        callbacks=[*average, record, EarlyStopping("valid_loss", patience=plan.patience), best, last],
        # whatever a cluster's variables say: processes are this module's to start
        plugins=[WholeFiles(), LightningEnvironment()],
        deterministic="warn",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=resume,
    )


def _precision(plan: Training, device: torch.device) -> str:
    """Return what to compute in: bfloat16 only where it is asked for and the hardware has it."""
    return plan.precision if plan.precision == "float32" or has_bfloat16(device) else "float32"


def _datasets(
    config: NetworkConfig,
    data: EncodedStore,
    fold: Fold,
    plan: Training,
    seed: int,
    rotations: Mapping[str, int],
) -> tuple[TrainingBatches, TiledWindows]:
    """Return what is trained on and what is validated on."""
    contigs, size, tracks = _training_contigs(data, fold), plan.batch_size, config.tracks + config.bias_tracks
    copies = read_copies(data.meta, fold.name)
    training = TrainingBatches(
        data, contigs, tracks, plan.sampling, size, seed, plan.planned_batches, copies, rotations
    )
    valid = TiledWindows(data, list(fold.valid), tracks, size, rotations)
    if not len(valid):
        raise InputError(
            f"validation contigs {', '.join(fold.valid)} are shorter than a window ({data.window_bp} bp)",
            where=f"folds: {fold.name}",
        )
    return training, valid


def _training_contigs(data: EncodedStore, fold: Fold) -> list[str]:
    contigs = [contig for contig in data.lengths if fold.split(contig) == "train"]
    if not contigs:
        raise InputError(
            "no contig left to train on",
            where=f"folds: {fold.name}",
            remedy="name fewer test and validation contigs, and run gatescope encode again",
        )
    return contigs


def _base_rates(data: EncodedStore, contigs: list[str]) -> tuple[float, float]:
    """Return mean cuts per bp and the accessible share of scored bases."""
    cuts = sum(float(data.track(contig, "cuts").sum(dtype=np.float64)) for contig in contigs)
    states = [np.bincount(data.state(contig), minlength=2)[:2] for contig in contigs]
    closed, accessible = np.sum(states, axis=0)
    return cuts / sum(data.lengths[contig] for contig in contigs), accessible / max(1, closed + accessible)


def _write_tables(folder: Path, rows: list[dict[str, float]]) -> None:
    """Write `training.csv` (a row per epoch) and `metrics.tsv` (the best epoch); an untrained net has none."""
    table = pd.DataFrame(
        rows, columns=None if rows else ["epoch", "step", "learning_rate", "train_loss", "valid_loss"]
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "training.csv", table, separator=",")
    best = table.loc[[table.valid_loss.idxmin()]] if rows else table
    write_table(folder / "metrics.tsv", best)
