"""From released weights to archives that TorchServe runs."""
