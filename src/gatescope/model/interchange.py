"""How do other tools use a trained network? As a plain module: one-hot sequences in, a number per sequence or base out.

tangermeme, Ledidi and Captum take any `torch.nn.Module` that maps (N, 4, L) to (N, outputs):

    from gatescope.model.interchange import SequenceModel
    model = SequenceModel.load("results/yeast/model/sequence.f1.1")
    tangermeme.predict.predict(model, one_hot)

Public names: `SequenceModel`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import TARGETS
from gatescope.model.persist import load_model


class SequenceModel(nn.Module):
    """Predict one target from sequence alone; differentiable, in evaluation mode, on either strand the same.

    Parameters
    ----------
    network : AccessibilityNetwork
        One that reads DNA alone.
    target : {"cuts", "state"}
        ``cuts``: ln of the expected Tn5 cuts; ``state``: logit of being accessible.
    per_base : bool
        False: one output per sequence, the ln of all cuts expected in it or the mean logit. True: one per base.
    both_strands : bool
        Average the outputs of a sequence and of its reverse complement, as predictions do.

    Raises
    ------
    InputError
        If the network reads tracks, or does not predict the target.
    """

    def __init__(
        self,
        network: AccessibilityNetwork,
        target: str = "cuts",
        *,
        per_base: bool = False,
        both_strands: bool = True,
    ) -> None:
        super().__init__()
        if network.config.tracks:
            raise InputError(
                f"the network reads {', '.join(network.config.tracks)} beside the sequence",
                where="SequenceModel",
                remedy="take a model with inputs: [sequence]",
            )
        if target not in network.config.targets:
            raise InputError(
                f"the network does not predict {target!r}; it predicts {', '.join(network.config.targets)}",
                where="SequenceModel",
                remedy=f"choose among {', '.join(TARGETS)} what it was trained on",
            )
        self.network, self.target, self.per_base = network, target, per_base
        self.both_strands = both_strands and network.config.strands == "free"
        self.eval()

    def train(self, mode: bool = True) -> "SequenceModel":
        """Stay in evaluation mode whatever is asked for: batch normalisation would mix the sequences of a batch."""
        return super().train(False)

    @classmethod
    def load(cls, folder: Path | str, target: str = "cuts", **options: bool) -> "SequenceModel":
        """Load the network in a run's folder; parameters and errors as above, and as `load_model`."""
        network, _ = load_model(folder)
        return cls(network, target, **options)

    def forward(self, one_hot: Tensor) -> Tensor:
        """Predict.

        Parameters
        ----------
        one_hot : Tensor, shape (N, 4, L)
            Channels ACGT of any dtype; an unknown base is a zero column.

        Returns
        -------
        Tensor, shape (N, 1), or (N, L) per base
        """
        # cuDNN has no gradient of an LSTM outside training mode
        with torch.backends.cudnn.flags(enabled=not torch.is_grad_enabled()):
            output = self._predict(one_hot)
            if self.both_strands:
                turned = self._predict(one_hot.flip(1, 2))  # ACGT backwards is its complement
                output = (output + (turned.flip(1) if self.per_base else turned)) / 2
        return output

    def _predict(self, one_hot: Tensor) -> Tensor:
        outputs = self.network(one_hot)
        values = outputs.log_cuts if self.target == "cuts" else outputs.state_logit
        assert values is not None
        if self.per_base:
            return values
        whole = values.logsumexp(1) if self.target == "cuts" else values.mean(1)
        return whole[:, None]
