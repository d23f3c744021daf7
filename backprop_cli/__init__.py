"""A command-line trainer for digit classification whose backpropagation is written by hand in NumPy."""

__version__ = "0.1.0"
