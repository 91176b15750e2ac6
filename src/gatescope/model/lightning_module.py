"""What does Lightning need to know? One module and one callback around the network.

Public names: `TrainingModule`, `TrainingRecord`, `best_of`.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import lightning
import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from gatescope.data.sampler import Batch
from gatescope.data.store import NOT_SCORED
from gatescope.errors import InputError
from gatescope.model.loss import LossWeights, prediction_loss
from gatescope.model.network import AccessibilityNetwork, Outputs, log_bias
from gatescope.model.team import ALONE, Masks, Team

log = logging.getLogger(__name__)

_SCORE_BIN_BP = 200
_FIRST_ESTIMATE_STEP = 10
_MOST_SHOWN = 3


class TrainingModule(lightning.LightningModule):
    """Train an `AccessibilityNetwork` with AdamW, a warm-up and a cosine decay over all planned steps."""

    def __init__(
        self,
        network: AccessibilityNetwork,
        *,
        run: str,
        learning_rate: float,
        weight_decay: float,
        write_cost: float,
        planned_steps: int,
        loss_weights: LossWeights,
        seed: int,
        windows_of: Callable[[int], Sequence[str]],
        team: Team = ALONE,
    ) -> None:
        super().__init__()
        self.network, self.run, self.seed = network, run, seed
        self.learning_rate, self.weight_decay, self.write_cost = learning_rate, weight_decay, write_cost
        self.planned_steps, self.loss_weights, self.windows_of = planned_steps, loss_weights, windows_of
        self.team = team
        self._valid: list[tuple[Tensor, Tensor, Tensor, Outputs]] = []
        self.scores: dict[str, float] = {}

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, stepped once per batch."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.learning_rate, betas=(0.9, 0.99), weight_decay=self.weight_decay
        )
        warmup = min(100, max(1, self.planned_steps // 10))
        schedule = torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=warmup),
                torch.optim.lr_scheduler.CosineAnnealingLR(
                    optimizer, max(1, self.planned_steps - warmup), eta_min=0.02 * self.learning_rate
                ),
            ],
            milestones=[warmup],
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Take a step, then shrink the weights that write, at the pace of the learning rate (decoupled decay)."""
        super().optimizer_step(*arguments, **options)
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.network.shrink_writes(rate * self.write_cost)
        self.network.tie()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss; the dropout masks depend on (seed, step) alone.

        Raises
        ------
        InputError
            If the loss is no number: the message names the batch and its windows.
        """
        mine, shares = self.team.training_share(batch)
        dropout = self.team.masks(self.seed * 1_000_003 + self.global_step, len(batch.state))
        loss = prediction_loss(self._expect(mine, dropout), mine, self.loss_weights, shares)
        of_all = self.team.mean(loss)  # so that all processes stop together
        if not torch.isfinite(of_all):
            windows = self.windows_of(self.global_step)  # batches are numbered through, one a step
            _refuse_divergence(
                self.run,
                self.trainer.current_epoch,
                f"training loss at batch {batch_idx + 1}",
                float(of_all),
                windows,
            )
        return loss

    def _expect(self, batch: Batch, dropout: torch.Generator | Masks | None = None) -> Outputs:
        """Return what is expected, the bias included: its track, if there is one, stands behind the inputs."""
        inputs = len(self.network.config.tracks)
        outputs = self.network(batch.one_hot, batch.tracks[:, :inputs], dropout)
        if not self.network.config.bias_tracks or outputs.log_cuts is None:
            return outputs
        return outputs._replace(log_cuts=outputs.log_cuts + log_bias(batch.tracks[:, inputs]))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the predictions: the scores are over all windows, not means of batches."""
        mine = self._expect(self.team.share(batch))
        outputs = Outputs(*(self.team.gather(values, len(batch.state)) for values in mine))
        loss = prediction_loss(outputs, batch, self.loss_weights)
        self._valid.append((loss * len(batch.state), batch.cuts, batch.state, outputs))

    def on_validation_epoch_end(self) -> None:
        """Score the validation contigs and log `valid_loss`, which early stopping watches.

        Raises
        ------
        InputError
            If the loss is no number: nothing can be scored then.
        """
        losses, cuts, state, outputs = zip(*self._valid, strict=True)
        self._valid.clear()
        labels = torch.cat(state)
        scores = {"valid_loss": float(sum(losses) / len(labels))}
        if not math.isfinite(scores["valid_loss"]):
            _refuse_divergence(self.run, self.trainer.current_epoch, "validation loss", scores["valid_loss"])
        if outputs[0].state_logit is not None:
            logits = torch.cat([o.state_logit for o in outputs])
            scored = labels != NOT_SCORED
            accessible = (labels[scored] == 1).cpu().numpy()
            if 0 < accessible.sum() < accessible.size:
                scores["valid_auroc"] = float(roc_auc_score(accessible, logits[scored].cpu().numpy()))
        if outputs[0].log_cuts is not None:
            expected = torch.cat([o.log_cuts for o in outputs]).exp()
            pair = np.stack([_log_bins(expected), _log_bins(torch.cat(cuts))])
            scores["valid_pearson"] = float(np.corrcoef(pair)[0, 1])
        self.scores = scores
        self.log("valid_loss", scores["valid_loss"])


def _refuse_divergence(run: str, epoch: int, what: str, loss: float, windows: Sequence[str] = ()) -> NoReturn:
    """Say that a loss in an epoch, counted from 0, is no finite number, and where its windows lie."""
    shown = f" (windows {', '.join(windows[:_MOST_SHOWN])}{', ...' if len(windows) > _MOST_SHOWN else ''})"
    raise InputError(
        f"training diverged in epoch {epoch + 1}: its {what} is {loss}{shown if windows else ''}",
        where=run,
        remedy="lower training: learning_rate; if it is always the same window, look at its tracks",
    )


def _log_bins(values: Tensor) -> np.ndarray:
    bins = values.shape[1] // _SCORE_BIN_BP
    return torch.log1p(values[:, : bins * _SCORE_BIN_BP].reshape(-1, _SCORE_BIN_BP).sum(1)).cpu().numpy()


def best_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the row of the epoch with the lowest validation loss."""
    return min(rows, key=lambda row: row["valid_loss"])


class TrainingRecord(lightning.Callback):
    """Keep one row per epoch through kills and resumes, and tell the user how it goes.

    `rows` travels in the checkpoint. A run that was killed after its last epoch does not train another one.
    """

    def __init__(self, run: str, patience: int) -> None:
        self.run, self.patience = run, patience
        self.rows: list[dict[str, float]] = []
        self._losses: list[Tensor] = []
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint keeps."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of an earlier attempt."""
        self.rows = list(state_dict["rows"])

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop at once where an earlier attempt had already stopped early."""
        if self.rows:
            waited = len(self.rows) - 1 - self.rows.index(best_of(self.rows))
            trainer.should_stop = waited >= self.patience

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the epoch's clock."""
        self._losses, self._started = [], time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect the loss; after a few steps of the first epoch say how long an epoch will take."""
        self._losses.append(outputs["loss"].detach())
        batches = int(trainer.num_training_batches)
        steps = min(_FIRST_ESTIMATE_STEP, batches)
        if not self.rows and batch_idx + 1 == steps:
            epoch = (time.monotonic() - self._started) / steps * batches
            log.info("%s: about %.0f s per epoch, at most %d epochs", self.run, epoch, trainer.max_epochs)

    def _train_loss(self, team: Team) -> float:
        return float(team.mean(torch.stack(self._losses).mean()))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add the epoch's row; runs before the checkpoints are written, so they hold it."""
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, TrainingModule)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"epoch": len(self.rows) + 1, "step": trainer.global_step, "learning_rate": rate}
        self.rows.append({**row, "train_loss": self._train_loss(pl_module.team), **pl_module.scores})
        told = "  ".join(
            f"{key} {value:.4f}" for key, value in self.rows[-1].items() if key[:5] in ("train", "valid")
        )
        seconds = time.monotonic() - self._started
        log.info(
            "%s: epoch %d of at most %s  %s  (%.0f s)",
            self.run,
            len(self.rows),
            trainer.max_epochs,
            told,
            seconds,
        )
