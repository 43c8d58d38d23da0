"""Splits of a finite set: disjoint, shuffled, with labels in proportion."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

LEAST = 2  # points of a split: one alone has no variance


def counts(available: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """The points of each split: as wanted, or all that are available in the same proportions.

    Raises ValueError if a split would have fewer than two.
    """
    total = sum(wanted.values())
    if available >= total:
        return dict(wanted)
    used = {name: available * count // total for name, count in wanted.items()}
    rest = sorted(wanted, key=lambda name: available * wanted[name] % total, reverse=True)
    for name in rest[: available - sum(used.values())]:  # largest remainders first
        used[name] += 1
    smallest = min(used, key=lambda name: used[name])
    if used[smallest] < LEAST:
        needed = -(-LEAST * total // wanted[smallest])
        raise ValueError(
            f"{available} points leave {used[smallest]} for {smallest}; "
            f"a source split as data.* asks needs at least {needed}"
        )
    return used


def split(
    label: NDArray[np.uint8], names: Sequence[str], used: Mapping[str, int], rng: np.random.Generator
) -> dict[str, NDArray[np.intp]]:
    """The places of the points of each split, in random order, from the labels [n] of all points.

    Points without labels all have the same one. Raises ValueError if a split would have no point of a label.
    """
    left = len(label) - sum(used.values())
    sizes = [*used.values(), left]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    turn = np.concatenate([(np.arange(size) + 0.5) / max(size, 1) for size in sizes])
    owner = owner[np.argsort(turn, kind="stable")]  # every stretch has all splits in proportion
    by_label = rng.permutation(len(label))
    by_label = by_label[np.argsort(label[by_label], kind="stable")]
    parts = {name: rng.permutation(by_label[owner == place]) for place, name in enumerate(used)}
    for name, part in parts.items():
        missing = np.setdiff1d(label, label[part])
        if len(missing):
            count = int((label == missing[0]).sum())
            raise ValueError(
                f"label {names[missing[0]]}: {count} points are too few for one in each split "
                f"({name} has none); add points with this label, or leave them out"
            )
    return parts
