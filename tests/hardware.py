"""What a test needs of the machine it runs on."""

import pytest
import torch

from gatescope.model.runtime import has_bfloat16

#: Where a processor has no bfloat16, oneDNN has no LSTM in it, or one that is slower than in float32.
needs_bfloat16 = pytest.mark.skipif(
    not has_bfloat16(torch.device("cpu")), reason="this processor has no bfloat16"
)
