"""Heads fitted to what a network sees: logistic regression on standardised features."""

import numpy as np
from sklearn.linear_model import LogisticRegression

# The inverse of the penalty, as scikit-learn counts it; from 1e-5 to 0.1 the best for validation pictures of the first
# round of training/folds.py, known and unseen, and nearly as good from 1e-3 to 1e-2.
C = 1e-3
LEAST_SPREAD = 0.1  # of the features' median: what hardly varies must not get a large weight


def mean_and_spread(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(channels,) each, of features (N, channels): what standardises them."""
    spread = features.std(axis=0)
    return features.mean(axis=0), np.maximum(spread, LEAST_SPREAD * np.median(spread))


def fit_head(features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weight (classes, channels) and bias (classes,) of a head for raw features.

    features (N, channels); labels (N,) class indices, each class among them; weights (N,): how much each counts.
    """
    mean, spread = mean_and_spread(features)
    fitted = LogisticRegression(C=C, max_iter=1000).fit(
        (features - mean) / spread, labels, sample_weight=weights / weights.mean()
    )
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:  # of two classes scikit-learn keeps the difference alone
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / spread
    return weight, bias - weight @ mean
