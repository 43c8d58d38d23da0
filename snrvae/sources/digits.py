"""Handwritten digits of 8 × 8 pixels from 0 to 16, which scikit-learn ships, labelled 0 to 9.

E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

import numpy as np

from snrvae.sources.reading import PointSet


def points() -> PointSet:
    """The 1,797 images."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - other sources start without scikit-learn

    found = load_digits()
    names = tuple(str(name) for name in found.target_names)
    return PointSet(found.data.astype(np.float64), found.target.astype(np.uint8), names, (8, 8), (0.0, 16.0))
