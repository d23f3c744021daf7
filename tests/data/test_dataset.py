from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits as sklearn_digits

from backprop_cli.data import dataset
from backprop_cli.data.augment import Warps
from backprop_cli.data.dataset import ChunkLoader, Dataset, Scaling, are_counts, load_digits

Array = NDArray[Any]


def test_the_digits_are_scikit_learns() -> None:
    ours, theirs = load_digits(), sklearn_digits()
    np.testing.assert_array_equal(ours.pictures, theirs.images)
    np.testing.assert_array_equal(ours.labels, theirs.target)
    assert ours.classes == tuple(str(name) for name in theirs.target_names)
    assert ours.pictures.max() == ours.max_value == 16.0
    assert (len(ours), ours.picture_size, ours.name) == (1797, (8, 8), "digits")


def test_the_digits_are_the_same_where_their_file_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from_file = load_digits()
    monkeypatch.setattr(dataset, "_digits_path", lambda: None)
    fallback = load_digits()
    for name in ("pictures", "labels", "groups"):
        one, other = getattr(from_file, name), getattr(fallback, name)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_the_file_is_looked_for_and_not_taken_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dataset._digits_path() is not None
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert dataset._digits_path() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert dataset._digits_path() is None


def test_fourteen_writers_wrote_about_130_digits_each() -> None:
    groups = load_digits().groups
    assert groups is not None
    assert groups.shape == (1797,)
    np.testing.assert_array_equal(np.unique(groups), np.arange(14))
    assert (np.diff(groups) >= 0).all()
    counts = [130, 126, 130, 130, 130, 130, 139, 114, 128, 130, 128, 130, 122, 130]
    np.testing.assert_array_equal(np.bincount(groups), counts)


def some_pictures(n: int = 50, height: int = 3, width: int = 4) -> Array:
    return np.random.default_rng(0).integers(0, 17, (n, height, width)).astype(np.uint8)


def test_centered_gives_the_training_part_mean_0_per_pixel_and_variance_1_over_all() -> None:
    digits = load_digits()
    train, test = digits.pictures[:1287], digits.pictures[1415:]
    scaling = Scaling.fit("centered", train, 16.0)
    inputs = scaling.apply(train).astype(np.float64)
    np.testing.assert_allclose(inputs.mean(axis=0), 0.0, atol=1e-5)
    assert inputs.std() == pytest.approx(1.0, abs=1e-5)
    assert abs(scaling.apply(test).mean()) > 1e-3  # fitted on the training part only
    assert inputs.shape == (1287, 64)


def test_centered_is_the_formula() -> None:
    pictures = some_pictures()
    scaling, shares = Scaling.fit("centered", pictures, 16.0), pictures.reshape(50, 12) / 16.0
    np.testing.assert_allclose(scaling.mean, shares.mean(axis=0), rtol=1e-6)
    assert scaling.scale == pytest.approx((shares - shares.mean(axis=0)).std(), rel=1e-6)
    np.testing.assert_allclose(scaling.apply(pictures), (shares - scaling.mean) / scaling.scale, atol=1e-5)


def test_the_fit_does_not_depend_on_how_many_rows_are_summed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Scaling.fit("centered", some_pictures(), 16.0)
    monkeypatch.setattr(dataset, "CHUNK_FLOATS", 7 * 12)
    parts = Scaling.fit("centered", some_pictures(), 16.0)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-6)
    assert parts.scale == pytest.approx(whole.scale, rel=1e-6)


def test_unit_is_the_share_of_full_ink() -> None:
    scaling = Scaling.fit("unit", some_pictures(), 16.0)
    np.testing.assert_array_equal(scaling.apply(some_pictures()), some_pictures().reshape(50, 12) / np.float32(16.0))


def test_pictures_that_are_all_alike_are_not_divided_by_0() -> None:
    alike = np.full((5, 2, 2), 7, np.uint8)
    np.testing.assert_allclose(Scaling.fit("centered", alike, 16.0).apply(alike), 0.0, atol=1e-6)


def test_pictures_already_divided_by_full_ink_are_taken_as_they_are() -> None:
    scaling, pictures = Scaling.fit("centered", some_pictures(), 16.0), some_pictures()
    shares = (pictures / 16.0).astype(np.float32)
    np.testing.assert_allclose(scaling.apply(shares, unit=True), scaling.apply(pictures), atol=1e-6)


def test_scaling_writes_where_it_is_told_and_leaves_the_pictures() -> None:
    scaling, pictures, table = Scaling.fit("centered", some_pictures(), 16.0), some_pictures(), np.ones((50, 13), "f4")
    scaling.apply(pictures, table[:, :-1])
    np.testing.assert_array_equal(table[:, :-1], scaling.apply(some_pictures()))
    np.testing.assert_array_equal(table[:, -1], 1.0)
    np.testing.assert_array_equal(pictures, some_pictures())


# ---- batches -------------------------------------------------------------------------------------------------------


def numbered(n: int) -> Dataset:
    """Return 1x2 pictures that hold their own row number, twice."""
    rows = np.arange(n)
    pictures = np.repeat(rows, 2).reshape(n, 1, 2).astype(np.float64)
    return Dataset("numbered", pictures, rows, tuple(map(str, rows)), 1.0)


def batches_of(n: int, rows: NDArray[Any], batch_size: int, **options: Any) -> ChunkLoader:
    data = numbered(n)
    return ChunkLoader(
        data.pictures, data.labels, rows, Scaling(1.0, np.zeros(2, np.float32), 1.0), batch_size, **options
    )


@pytest.fixture(params=["scaled once", "scaled chunk by chunk"])
def small_chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "CHUNK_FLOATS", 10 * 3)
    if request.param == "scaled chunk by chunk":
        monkeypatch.setattr(dataset, "PRESCALED_FLOATS", 0)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(("n_rows", "batch_size"), [(40, 4), (41, 4), (3, 4), (40, 100), (39, 10), (1, 1)])
def test_each_pass_covers_every_row_once_in_multiples_of_the_batch_size(
    n_rows: int, batch_size: int, shuffled: bool
) -> None:
    rows = np.arange(100, 100 + n_rows)
    batches = batches_of(200, rows, batch_size, shuffle=np.random.default_rng(0) if shuffled else None)
    assert batches.n_rows == n_rows
    for _ in range(2):
        chunks = [(inputs.copy(), labels.copy()) for inputs, labels in batches]
        inputs, labels = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        np.testing.assert_array_equal(np.sort(labels), rows)
        np.testing.assert_array_equal(inputs, np.column_stack([labels, labels, np.ones(n_rows)]))
        assert all(len(labels) % batch_size == 0 for _, labels in chunks[:-1])
        assert inputs.dtype == np.float32


@pytest.mark.usefixtures("small_chunks")
def test_every_pass_has_an_order_of_its_own_that_the_generator_decides() -> None:
    def passes(seed: int) -> list[list[int]]:
        batches = batches_of(50, np.arange(50), 4, shuffle=np.random.default_rng(seed))
        return [[label for _, labels in batches for label in labels.tolist()] for _ in range(3)]

    first, second, third = passes(0)
    assert passes(0) == [first, second, third]
    assert first != second != third
    assert passes(1)[0] != first


def test_without_a_generator_the_rows_come_in_their_order() -> None:
    ((_, labels),) = batches_of(20, np.array([7, 3, 5]), 4)
    assert labels.tolist() == [7, 3, 5]


def test_augmentation_draws_anew_in_each_pass_and_the_same_for_the_same_seed() -> None:
    digits, rows = load_digits(), np.arange(70)
    scaling = Scaling.fit("centered", digits.pictures, 16.0)

    def passes(seed: int) -> list[Array]:
        settings = Warps(rotation=20.0, shift=1.0)
        batches = ChunkLoader(
            digits.pictures,
            digits.labels,
            rows,
            scaling,
            32,
            warps=settings,
            warps_rng=np.random.default_rng(seed),
        )
        return [np.concatenate([inputs.copy() for inputs, _ in batches]) for _ in range(2)]

    first, second = passes(0)
    np.testing.assert_array_equal(passes(0), [first, second])
    assert np.abs(first - second).max() > 0.1
    np.testing.assert_array_equal(first[:, -1], 1.0)


def test_an_augmentation_that_changes_nothing_gives_the_plain_inputs() -> None:
    digits, rows = load_digits(), np.arange(70)
    scaling = Scaling.fit("centered", digits.pictures, 16.0)
    plain = ChunkLoader(digits.pictures, digits.labels, rows, scaling, 32)
    augmented = ChunkLoader(
        digits.pictures,
        digits.labels,
        rows,
        scaling,
        32,
        warps=Warps(),
        warps_rng=np.random.default_rng(0),
    )
    for (one, _), (other, _) in zip(plain, augmented, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.usefixtures("small_chunks")
def test_rows_that_are_read_in_bitmaps_keep_their_labels() -> None:
    digits, rows = load_digits(), np.arange(50, 120)
    batches = ChunkLoader(
        digits.pictures,
        digits.labels,
        rows,
        Scaling.fit("unit", digits.pictures, 16.0),
        32,
        shuffle=np.random.default_rng(1),
        warps=Warps(interpolation="bitmap"),
        warps_rng=np.random.default_rng(0),
    )
    order = np.random.default_rng(1).permutation(70)
    chunks = [(inputs.copy(), labels) for inputs, labels in batches]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in chunks]), digits.labels[rows[order]])
    inputs = np.concatenate([inputs[:, :-1] for inputs, _ in chunks])
    np.testing.assert_array_equal(inputs, digits.pictures[rows[order]].reshape(70, 64) / np.float32(16.0))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("last", "expected"), [(16.0, True), (0.0, True), (16.5, False), (17.0, False), (-1.0, False), (np.nan, False)]
)
def test_counts_are_whole_numbers_from_0_to_16(last: float, expected: bool) -> None:
    pictures = np.arange(60.0).reshape(15, 2, 2) % 17
    pictures[-2, -1, -1] = last
    assert are_counts(pictures, np.arange(14)) is expected
    assert are_counts(pictures, np.arange(13))
