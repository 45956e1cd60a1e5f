"""Starts, watches and stops one TorchServe with a folder of its own."""
