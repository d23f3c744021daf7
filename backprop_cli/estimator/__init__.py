"""`BackpropClassifier`: the same engine in scikit-learn's dress, for any table of numbers."""

from backprop_cli.estimator.classifier import BackpropClassifier

__all__ = ["BackpropClassifier"]
