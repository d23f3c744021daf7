"""What arrays are called in annotations; the shape stands in each docstring."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of floats
Float32Array = NDArray[np.float32]
Labels = NDArray[np.integer[Any]]  # indices of classes
Rows = NDArray[np.integer[Any]]  # numbers of rows
