"""Splits of a finite set, and the digits."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snrvae.sources import digits, finite

WANTED = {"train": 24000, "validation": 6000, "test": 12000}


def test_a_large_set_gives_what_is_wanted() -> None:
    assert finite.counts(42_000, WANTED) == WANTED
    assert finite.counts(10**6, WANTED) == WANTED


def test_a_smaller_set_is_split_in_the_same_proportions() -> None:
    assert finite.counts(1797, WANTED) == {"train": 1027, "validation": 257, "test": 513}
    assert finite.counts(84, WANTED) == {"train": 48, "validation": 12, "test": 24}


@given(
    available=st.integers(0, 10**5), wanted=st.lists(st.integers(finite.LEAST, 10**5), min_size=3, max_size=3)
)
def test_counts_use_every_point_and_are_nearest_to_the_proportions(available: int, wanted: list[int]) -> None:
    by_name = dict(zip(WANTED, wanted, strict=True))
    try:
        used = finite.counts(available, by_name)
    except ValueError as error:
        assert available * min(wanted) < (finite.LEAST + 1) * sum(wanted)
        assert len(str(error).splitlines()) == 1
        return
    share = min(available / sum(wanted), 1)
    assert sum(used.values()) == min(available, sum(wanted))
    assert all(abs(used[name] - share * count) < 1 for name, count in by_name.items())


def test_too_few_points_are_refused_with_the_number_that_is_enough() -> None:
    with pytest.raises(ValueError, match=r"9 points leave 1 for validation; .* at least 70"):
        finite.counts(9, WANTED)
    assert min(finite.counts(70, WANTED).values()) == 10
    with pytest.raises(
        ValueError, match=r"9 points for test are too few; expected data\.test_points of at least 10"
    ):
        finite.counts(10**6, WANTED | {"test": 9})


labels = st.lists(st.integers(1, 60), min_size=1, max_size=6).map(
    lambda sizes: np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes)
)


@given(label=labels, seed=st.integers(0, 99))
def test_splits_are_disjoint_and_have_labels_in_proportion(
    label: finite.NDArray[np.uint8], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    label = rng.permutation(label)
    names = [f"name{number}" for number in range(6)]
    try:
        used = finite.counts(len(label), {"train": 40, "validation": 10, "test": 20})
        parts = finite.split(label, names, used, rng)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
        assume(False)
    assert {name: len(part) for name, part in parts.items()} == used
    together = np.concatenate(list(parts.values()))
    assert len(np.unique(together)) == len(together)
    for part in parts.values():
        expected = np.bincount(label) * len(part) / len(label)
        assert (np.abs(np.bincount(label[part], minlength=len(expected)) - expected) < 2).all()


def test_unused_points_are_a_sample_like_the_others() -> None:
    label = np.repeat(np.arange(3, dtype=np.uint8), [600, 300, 100])
    parts = finite.split(
        label, "abc", {"train": 200, "validation": 50, "test": 100}, np.random.default_rng(0)
    )
    for name, expected in (("train", [120, 60, 20]), ("validation", [30, 15, 5]), ("test", [60, 30, 10])):
        assert np.bincount(label[parts[name]]) == pytest.approx(expected, abs=1)


def test_splits_are_shuffled_by_the_generator() -> None:
    label = np.zeros(3000, np.uint8)
    used = {"train": 2000, "test": 1000}
    one, same, other = (finite.split(label, [""], used, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert all((one[name] == same[name]).all() for name in used)
    assert len(np.intersect1d(one["test"], other["test"])) == pytest.approx(
        333, abs=75
    )  # 5 standard deviations
    assert abs(np.corrcoef(one["train"], np.arange(2000))[0, 1]) < 0.12  # 5 standard deviations


def test_a_label_with_too_few_points_is_refused_by_its_name() -> None:
    label = np.repeat(np.arange(2, dtype=np.uint8), [100, 2])
    with pytest.raises(ValueError, match="label dog: 2 points are too few for one in each split"):
        finite.split(label, ("cat", "dog"), finite.counts(102, WANTED), np.random.default_rng(0))


def test_digits_are_labelled_images() -> None:
    found = digits.points()
    assert found.points.shape == (1797, 64)
    assert found.points.dtype == np.float64
    assert (found.points.min(), found.points.max()) == (0, 16)
    assert found.shape == (8, 8)
    assert found.names == tuple("0123456789")
    assert found.label is not None
    zero, one = (found.points[found.label == digit].mean(0).reshape(8, 8) for digit in (0, 1))
    assert zero[3:5, 3:5].mean() < 3  # a hole
    assert one[3:5, 3:5].mean() > 10  # a stroke


def test_digits_are_split_with_every_digit_in_each_split() -> None:
    found = digits.points()
    assert found.label is not None
    used = finite.counts(len(found.points), WANTED)
    parts = finite.split(found.label, found.names, used, np.random.default_rng(0))
    for name, part in parts.items():
        assert np.bincount(found.label[part]) == pytest.approx(np.full(10, used[name] / 10), abs=4)
