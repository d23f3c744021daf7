import math
from typing import Any

import numpy as np
import pytest

from backprop_cli.data.dataset import load_digits
from backprop_cli.data.splits import Splits, group_folds, split, stratified_folds
from backprop_cli.errors import DataError

DIGITS = load_digits()


def digits_split(kind: Any, validation_size: float = 0.1, test_size: float = 0.2, seed: int = 0) -> Splits:
    return split(kind, DIGITS.labels, DIGITS.groups, validation_size=validation_size, test_size=test_size, seed=seed)


def test_writers_leaves_the_last_three_writers_for_the_test_and_the_one_before_for_validation() -> None:
    parts = digits_split("writers")
    np.testing.assert_array_equal(parts.train, np.arange(0, 1287))
    np.testing.assert_array_equal(parts.val, np.arange(1287, 1415))
    np.testing.assert_array_equal(parts.test, np.arange(1415, 1797))


def test_writers_takes_as_many_as_come_nearest_to_the_wanted_rows() -> None:
    groups, labels = np.repeat([5, 3, 9, 1], [10, 10, 10, 10]), np.arange(40) % 2
    for size, n_rows in ((0.01, 10), (0.3, 10), (0.4, 20), (0.6, 20), (0.7, 30)):
        assert len(split("writers", labels, groups, validation_size=0.0, test_size=size).test) == n_rows


def test_the_last_writer_is_the_one_who_first_appears_last() -> None:
    groups = np.array([2, 2, 1, 0, 1, 0])
    parts = split("writers", np.zeros(6, int), groups, validation_size=0.1, test_size=0.1)
    assert [part.tolist() for part in (parts.train, parts.val, parts.test)] == [[0, 1], [2, 4], [3, 5]]


def test_writers_without_groups_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"^data.split: writers needs to know who wrote what; use stratified or ordered"
    ):
        split("writers", DIGITS.labels, None, validation_size=0.1, test_size=0.2)


@pytest.mark.parametrize("groups", [[0, 0, 0, 0], [0, 0, 1, 1]])
def test_too_few_writers_are_refused(groups: list[int]) -> None:
    with pytest.raises(DataError, match="no rows are left to train on"):
        split("writers", np.array([0, 1, 0, 1]), np.array(groups), validation_size=0.25, test_size=0.25)


def test_stratified_draws_360_test_rows_with_each_class_in_proportion() -> None:
    parts = digits_split("stratified")
    assert (len(parts.train), len(parts.val), len(parts.test)) == (1257, 180, 360)
    for rows in (parts.train, parts.val, parts.test):
        expected = np.bincount(DIGITS.labels) * (len(rows) / 1797)
        assert np.abs(np.bincount(DIGITS.labels[rows]) - expected).max() <= 1.5


def test_stratified_follows_its_seed() -> None:
    np.testing.assert_array_equal(digits_split("stratified", seed=3).test, digits_split("stratified", seed=3).test)
    assert len(np.intersect1d(digits_split("stratified", seed=3).test, digits_split("stratified", seed=4).test)) < 120


def test_stratified_has_the_same_test_part_whatever_the_validation_size() -> None:
    np.testing.assert_array_equal(
        digits_split("stratified", validation_size=0.1).test, digits_split("stratified", validation_size=0.3).test
    )


def test_a_class_of_one_row_is_no_trouble_for_stratified() -> None:
    labels = np.array([0] * 20 + [1])
    parts = split("stratified", labels, None, validation_size=0.1, test_size=0.2)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (13, 3, 5)


def test_ordered_takes_the_ceiling_of_the_share_from_the_end() -> None:
    parts = digits_split("ordered")
    assert math.ceil(0.2 * 1797) == 360
    np.testing.assert_array_equal(parts.test, np.arange(1437, 1797))
    np.testing.assert_array_equal(parts.val, np.arange(1257, 1437))
    np.testing.assert_array_equal(parts.train, np.arange(0, 1257))


def test_a_share_that_is_a_whole_number_of_rows_is_not_rounded_up() -> None:
    parts = split("ordered", np.zeros(100, int), None, validation_size=0.14, test_size=0.07)  # 0.07 * 100 > 7 in floats
    assert (len(parts.val), len(parts.test)) == (14, 7)


@pytest.mark.parametrize("kind", ["writers", "stratified", "ordered"])
def test_a_size_of_0_is_an_empty_part(kind: Any) -> None:
    parts = digits_split(kind, validation_size=0.0, test_size=0.0)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (1797, 0, 0)


@pytest.mark.parametrize("kind", ["stratified", "ordered"])
def test_nothing_left_to_train_on_is_refused_with_the_counts(kind: Any) -> None:
    with pytest.raises(DataError, match=r"^data: no rows are left to train on \(1 validation, 1 test\)$"):
        split(kind, np.array([0, 1]), None, validation_size=0.4, test_size=0.4)


def test_stratified_folds_of_the_digits_are_of_one_size_and_follow_their_seed() -> None:
    folds = stratified_folds(DIGITS.labels, 10, 0)
    assert {len(fold) for fold in folds} == {179, 180}
    np.testing.assert_array_equal(folds[3], stratified_folds(DIGITS.labels, 10, 0)[3])
    assert not np.array_equal(folds[3], stratified_folds(DIGITS.labels, 10, 1)[3])


def test_group_folds_leave_one_writer_out_each() -> None:
    assert DIGITS.groups is not None
    folds = group_folds(DIGITS.groups)
    assert len(folds) == 14
    np.testing.assert_array_equal(folds[9], np.arange(1157, 1287))
