"""Data, training, evaluation and release of the models. Imports handlers; never imported by them."""
