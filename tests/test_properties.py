import copy
import pickle
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from backprop_cli.data.augment import Warps, augment, sampling_points
from backprop_cli.data.splits import group_folds, split, stratified_folds
from backprop_cli.engine.activations import ACTIVATIONS
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import LOSSES, CrossEntropy, Loss, MeanSquaredError, loss_and_gradient, softmax
from backprop_cli.engine.network import Network, append_ones
from backprop_cli.engine.schedules import Constant, OneCycle, Schedule, Step, WarmupCosine
from backprop_cli.errors import DataError

Array = NDArray[Any]

batch_sizes = st.integers(1, 8)
class_counts = st.integers(2, 10)
seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0.0, 1.0)
specs = st.lists(
    st.builds(LayerSpec, st.integers(1, 9), st.sampled_from(list(ACTIVATIONS)), st.sampled_from([0.0, 0.5])), max_size=4
)
losses: st.SearchStrategy[Loss] = st.one_of(
    st.builds(CrossEntropy, label_smoothing=st.floats(0.0, 0.99)),
    st.builds(MeanSquaredError, output=st.sampled_from(["softmax", "sigmoid"])),
    st.sampled_from([kind() for kind in LOSSES.values()]),
)
schedules: st.SearchStrategy[Schedule] = st.one_of(
    st.just(Constant()),
    st.builds(WarmupCosine, warmup=shares),
    st.builds(OneCycle, warmup=shares),
    st.builds(Step, every=st.floats(0.0, 1.0, exclude_min=True), gamma=st.floats(0.0, 1.0, exclude_min=True)),
)


@st.composite
def logits_of(draw: st.DrawFn, limit: float, dtype: str = "float64") -> Array:
    shape = draw(batch_sizes), draw(class_counts)
    bits: Literal[32, 64] = 64 if dtype == "float64" else 32
    return draw(hnp.arrays(dtype, shape, elements=st.floats(-limit, limit, width=bits)))


@given(logits_of(1e4, "float32") | logits_of(1e300))
def test_softmax_rows_are_probabilities_that_sum_to_1(logits: Array) -> None:
    probabilities = softmax(logits)
    assert probabilities.dtype == logits.dtype
    assert (probabilities >= 0.0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)


@given(logits_of(50.0), st.floats(-1e4, 1e4))
def test_softmax_ignores_a_constant_shift(logits: Array, shift: float) -> None:
    np.testing.assert_allclose(softmax(logits + shift), softmax(logits), rtol=1e-9, atol=1e-12)


@given(logits_of(30.0))
def test_softmax_keeps_the_order_of_the_logits(logits: Array) -> None:
    probabilities = softmax(logits)
    order = logits.argsort(axis=1)
    assert (np.diff(np.take_along_axis(probabilities, order, axis=1)) >= 0.0).all()


@given(losses, logits_of(1e4, "float32"), seeds)
def test_loss_and_gradient_stay_finite_and_the_loss_at_least_0_for_any_logits(
    loss: Loss, logits: Array, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(logits.shape[1], size=len(logits))
    value, gradient = loss_and_gradient(loss, logits, labels)
    assert np.isfinite(value)
    assert value >= -1e-6
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient) <= 1.0).all()


@given(losses, logits_of(1e4, "float32"))
def test_probabilities_sum_to_1_whatever_the_output_units(loss: Loss, logits: Array) -> None:
    probabilities = loss.probabilities(logits)
    assert (probabilities >= 0.0).all()
    sums = probabilities.sum(axis=1)
    assert (np.isclose(sums, 1.0, rtol=1e-5) | (loss.outputs(logits).sum(axis=1) == 0.0)).all()


COPIERS: list[Callable[[Network], Network]] = [copy.deepcopy, copy.copy, lambda n: pickle.loads(pickle.dumps(n))]


@pytest.mark.parametrize("copier", COPIERS, ids=["deepcopy", "copy", "pickle"])
@given(specs=specs, seed=seeds)
def test_views_of_a_copied_network_share_the_vectors_memory(
    copier: Callable[[Network], Network], specs: list[LayerSpec], seed: int
) -> None:
    network = Network(specs, 6, 3, rng=np.random.default_rng(seed))
    copied = copier(network)
    np.testing.assert_array_equal(copied.params, network.params)
    assert not np.shares_memory(copied.params, network.params)
    assert not np.shares_memory(copied.grads, network.grads)
    for layer in copied.layers:
        assert np.shares_memory(layer.weight, copied.params)
        assert np.shares_memory(layer.bias, copied.params)
        assert np.shares_memory(layer.grad_weight, copied.grads)
        assert np.shares_memory(layer.grad_bias, copied.grads)


@pytest.mark.parametrize("copier", COPIERS, ids=["deepcopy", "copy", "pickle"])
def test_training_a_copied_network_changes_its_outputs_and_not_the_originals(
    copier: Callable[[Network], Network],
) -> None:
    network = Network([LayerSpec(5, "tanh")], 4, 3, rng=np.random.default_rng(0))
    inputs, labels = np.random.default_rng(1).standard_normal((7, 4)).astype(np.float32), np.arange(7) % 3
    before, copied = network.logits(inputs), copier(network)
    workspace = copied.workspace(7)
    logits = copied.forward(append_ones(inputs), workspace)
    copied.backward(loss_and_gradient(CrossEntropy(), logits, labels)[1], workspace)
    copied.params[...] -= copied.grads
    assert np.abs(copied.logits(inputs) - before).max() > 1e-3
    np.testing.assert_array_equal(network.logits(inputs), before)


@given(specs, batch_sizes, seeds)
def test_a_batch_equals_its_rows(specs: list[LayerSpec], batch_size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = Network(specs, 6, 3, rng=rng)
    inputs = rng.standard_normal((batch_size, 6)).astype(np.float32)
    one_by_one = np.concatenate([network.logits(row[None]) for row in inputs])
    np.testing.assert_allclose(network.logits(inputs), one_by_one, rtol=1e-5, atol=1e-5)


@given(schedules, st.integers(1, 10**7), st.data())
def test_every_schedule_stays_between_0_and_1_and_is_a_python_float(
    schedule: Schedule, n_steps: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, n_steps - 1) | st.just(n_steps - 1))
    factor = schedule.factor_at(step, n_steps)
    assert type(factor) is float
    assert 0.0 <= factor <= 1.0


interpolations = st.sampled_from(["bilinear", "bitmap"])


@given(seeds, st.integers(1, 12), st.integers(1, 12), shares, interpolations)
def test_augmentation_with_zero_settings_is_the_identity(
    seed: int, height: int, width: int, probability: float, interpolation: Literal["bilinear", "bitmap"]
) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 17, (3, height, width))
    settings = Warps(probability=probability, interpolation=interpolation)
    np.testing.assert_array_equal(augment(sampling_points(counts, settings), settings, rng, 16.0), counts / 16.0)


augmentations = st.builds(
    Warps,
    rotation=st.floats(0, 180),
    log_scale=st.floats(0, 2),
    shear=st.floats(0, 2),
    shift=st.floats(0, 100),
    elastic=st.floats(0, 100),
    gamma=st.floats(0, 3),
    noise=shares,
    probability=shares,
    interpolation=interpolations,
)


@given(augmentations, seeds)
def test_augmented_pixels_stay_between_0_and_1(settings: Warps, seed: int) -> None:
    rng = np.random.default_rng(seed)
    warped = augment(sampling_points(rng.integers(0, 17, (4, 8, 8)), settings), settings, rng, 16.0)
    assert warped.dtype == np.float32
    assert ((warped >= 0.0) & (warped <= 1.0)).all()


@given(
    kind=st.sampled_from(["writers", "stratified", "ordered"]),
    labels=hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 4)),
    n_groups=st.integers(1, 6),
    validation_size=st.floats(0.0, 0.5),
    test_size=st.floats(0.0, 0.5, exclude_max=True),
    seed=seeds,
)
def test_the_parts_of_a_split_never_overlap_and_cover_all_rows(
    kind: Literal["writers", "stratified", "ordered"],
    labels: NDArray[np.int64],
    n_groups: int,
    validation_size: float,
    test_size: float,
    seed: int,
) -> None:
    groups = np.random.default_rng(seed).integers(n_groups, size=len(labels))
    try:
        parts = split(kind, labels, groups, validation_size=validation_size, test_size=test_size, seed=seed)
    except DataError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert "no rows are left to train on" in refusal
        return
    assert len(parts.train) > 0
    assert bool(len(parts.test)) == (test_size > 0.0) or kind != "writers"
    np.testing.assert_array_equal(np.sort(np.concatenate([parts.train, parts.val, parts.test])), np.arange(len(labels)))
    if kind == "writers":
        writers = [set(groups[rows].tolist()) for rows in (parts.train, parts.val, parts.test)]
        assert sum(map(len, writers)) == len(set(groups.tolist()))


@given(hnp.arrays(np.int64, st.integers(2, 60), elements=st.integers(0, 4)), st.integers(2, 6), seeds)
def test_stratified_folds_cover_every_row_once_with_each_class_in_proportion(
    labels: NDArray[np.int64], n_folds: int, seed: int
) -> None:
    folds = stratified_folds(labels, n_folds, seed)
    assert len(folds) == n_folds
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(len(labels)))
    for label in np.unique(labels):
        counts = [int((labels[fold] == label).sum()) for fold in folds]
        assert max(counts) - min(counts) <= 1


@given(hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 4)))
def test_group_folds_hold_one_whole_group_each(groups: NDArray[np.int64]) -> None:
    folds = group_folds(groups)
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(len(groups)))
    assert [set(groups[fold].tolist()) for fold in folds] == [{group} for group in np.unique(groups).tolist()]
