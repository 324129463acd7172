"""The scans of handwritten digits that ship with scikit-learn: real data, no download."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxmia.data.pool import fifth_aside
from jaxmia.types import Data
from jaxmia.values import factory


@factory
def digits(image: bool = False) -> Callable[[], Data]:
    """1797 scans of 8 x 8 pixels from 0 to 16 (Alpaydin & Kaynak 1998), a fixed fifth set aside.

    `image` keeps them `[8, 8, 1]`, for a network that convolves; else `[64]`.
    """

    def load() -> Data:
        from sklearn.datasets import load_digits

        scans: Any = load_digits()
        x = scans.images.astype(np.uint8).reshape(-1, *((8, 8, 1) if image else (64,)))
        y = scans.target.astype(np.int32)
        pool, test = fifth_aside(len(y))
        return Data(
            name="digits",
            x=x[pool],
            y=y[pool],
            x_test=x[test],
            y_test=y[test],
            classes=10,
            shift=np.float32(8),
            scale=np.float32(8),
            label_names=tuple("0123456789"),
            public=True,
            shape=(8, 8),
        )

    return load
