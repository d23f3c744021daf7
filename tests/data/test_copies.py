"""Warped copies through the normalizer, and pictures brought to the size that `data.picture` says."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backprop_cli.config.config import load_config
from backprop_cli.data.copies import Copies, warped_copies
from backprop_cli.data.dataset import load_digits
from backprop_cli.data.normalize import bitmap, normalize
from backprop_cli.data.sources import DataSettings, load_data, load_source, load_test_data
from backprop_cli.errors import BackpropError
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.predictor import Predictor

FEW = load_digits().pictures[:60]
STILL = Copies()
WARPS = Copies(rotation=12, log_scale=0.15, shear=0.3, elastic=3.5, thickness=0.4)


def at_16(pictures: np.ndarray) -> np.ndarray:
    return normalize(bitmap(pictures).astype(np.float32), picture=(16, 16), slant="moments")


def test_copies_without_a_warp_are_nearly_the_digits() -> None:
    digits = at_16(FEW)
    still = warped_copies(digits.astype(np.uint8), STILL, np.random.default_rng(0))
    warped = warped_copies(digits.astype(np.uint8), WARPS, np.random.default_rng(0))
    difference = [float(np.abs(copy.astype(float) - digits).mean()) for copy in (still, warped)]
    assert difference[0] < 1.3  # of 16
    assert difference[1] > 2 * difference[0]


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (28, 28)])
def test_copies_are_counts_in_the_form_of_the_data_set(size: tuple[int, int]) -> None:
    digits = normalize(bitmap(FEW).astype(np.float32), picture=size, slant="moments").astype(np.uint8)
    copies = warped_copies(digits, WARPS, np.random.default_rng(0))
    assert copies.shape == (60, *size)
    assert copies.dtype == np.uint8
    assert copies.max() <= 16
    reaches = [copies[:, row].any(axis=1).mean() for row in (0, -1)]
    assert min(reaches) > 0.9  # top and bottom, but where a tip was so faint that the threshold took it
    share = copies.reshape(60, -1).mean(axis=1) / 16
    assert (np.abs(share - 313 / 1024) < 0.04).all()


def test_the_generator_decides_the_copies() -> None:
    digits = at_16(FEW).astype(np.uint8)
    one, again, other = (warped_copies(digits, WARPS, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_thick_and_thin_copies_differ_in_nothing_but_their_strokes() -> None:
    blob = np.zeros((1, 16, 16), np.uint8)
    blob[0, :, 6:10] = 16
    masses = {int(warped_copies(blob, replace(STILL, thickness=1.0), np.random.default_rng(k)).sum()) for k in range(8)}
    assert len(masses) > 1


def test_counts_of_the_size_asked_for_are_taken_as_they_are() -> None:
    assert np.array_equal(load_data(DataSettings(picture="8x8")).pictures, load_digits().pictures)
    assert load_data(DataSettings(picture="8x8")).slant == "edges"
    assert np.array_equal(load_data(DataSettings(picture="raw")).pictures, load_digits().pictures)


def test_digits_reach_other_sizes_by_deconvolution() -> None:
    found = load_data(DataSettings(picture="16x16"))
    assert np.array_equal(found.pictures[:60], at_16(FEW))
    assert (found.slant, found.max_value) == ("moments", 16.0)


def test_training_through_the_normalizer_renormalizes_the_digits_too() -> None:
    found = load_data(DataSettings(picture="8x8", augment=WARPS))
    assert found.slant == "moments"
    assert not np.array_equal(found.pictures, load_digits().pictures)


def test_arrays_of_pictures_are_normalized_and_a_test_source_takes_the_same_form(tmp_path: Path) -> None:
    ink = np.kron(bitmap(FEW), np.ones((2, 2))).astype(np.uint8) * 255
    np.savez(tmp_path / "large.npz", images=ink, labels=load_digits().labels[:60])
    settings = DataSettings(source=str(tmp_path / "large.npz"), test_source="digits", picture="8x8")
    dataset = load_data(settings)
    test = load_test_data(settings, dataset)
    assert dataset.slant == test.slant == "moments"
    assert np.abs(test.pictures[:60].astype(float) - dataset.pictures).mean() < 0.5  # the same digits, drawn larger


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("picture=8by8", "not HxW from 4x4 to 64x64, or raw"),
        ("picture=3x8", "not HxW"),
        ("picture=8x65", "not HxW"),
        ("augment={kind: copies}", "data.augment.kind: copies need data.picture"),
        ("augment={kind: copies, thickness: 2}", "data.augment.thickness: 2.0 is not between 0 and 1"),
        ("augment={thickness: 0.5}", "data.augment.thickness: unknown key; it belongs to kind: copies"),
        ("augment={kind: copies, copies: 0}", "copies: 0 is not between 1 and 1,000"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: str, words: str) -> None:
    with pytest.raises(BackpropError, match=words):
        load_config("digits", [f"data.{settings}"])


@pytest.mark.slow
def test_training_on_copies_counts_them_and_the_model_knows_how_to_set_pictures_upright() -> None:
    config = load_config("pictures", ["data.augment.copies=1", "training.epochs=2", "ensemble=2", "data.extra=[]"])
    experiment = Experiment(config)
    with closing(experiment.train()) as events:
        last = [event for event in events if hasattr(event, "n_rows")][-1]
    assert last.n_rows == 2 * len(experiment.split_data.splits.train)
    predictor = Predictor(experiment.model())
    assert (predictor.picture_size, predictor.form.slant) == ((16, 16), "moments")
    rows = experiment.split_data.splits.val
    answers = predictor.probabilities(experiment.split_data.dataset.pictures[rows]).argmax(axis=1)
    assert (answers == experiment.split_data.dataset.labels[rows]).mean() > 0.8


def test_a_source_without_a_size_stays_as_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", images=FEW.astype(np.float32) / 16, labels=load_digits().labels[:60])
    assert load_source(str(tmp_path / "some.npz")).pictures.dtype == np.float32
