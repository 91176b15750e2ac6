"""How is accessibility predicted? Network, training, prediction, evaluation, baselines."""
