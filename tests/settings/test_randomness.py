"""Random streams: by value, the same everywhere, and apart from each other."""

from hypothesis import given
from hypothesis import strategies as st

from snrvae.settings import randomness

seeds = st.integers(0, 2**32 - 1)
names = st.lists(st.one_of(st.text(max_size=6), st.integers(0, 99)), max_size=3)


def test_a_streams_seed_is_the_same_on_every_machine() -> None:
    assert randomness.stream_seed(0, "noise", 2, 1) == 2083080107455195868


@given(seeds, names, seeds, names)
def test_streams_share_a_seed_exactly_where_seed_and_name_agree(
    seed: int, name: list[object], other_seed: int, other_name: list[object]
) -> None:
    same = (seed, name) == (other_seed, other_name)
    assert (randomness.stream_seed(seed, *name) == randomness.stream_seed(other_seed, *other_name)) is same


def test_parts_of_a_name_do_not_run_together() -> None:
    ways = [("a", "b"), ("ab",), ("a, b",), ("a", "b", ""), (1, 2), (12,), ("1", "2"), ("1", 2)]
    assert len({randomness.stream_seed(0, *way) for way in ways}) == len(ways)


@given(seeds, names)
def test_a_seed_fits_the_generators_of_numpy_and_torch(seed: int, name: list[object]) -> None:
    assert 0 <= randomness.stream_seed(seed, *name) < 2**63


def test_a_numpy_stream_repeats_itself() -> None:
    one, two, other = (randomness.numpy_stream(3, name).random(5).tolist() for name in ("a", "a", "b"))
    assert one == two != other
