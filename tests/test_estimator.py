"""`BackpropClassifier` keeps scikit-learn's contract, and learns as the engine does."""

from __future__ import annotations

import doctest
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from command_line import CHECKOUT, environment
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_wine, make_classification
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss, recall_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import CrossEntropy
from backprop_cli.engine.optimizers import SGD
from backprop_cli.engine.schedules import Step
from backprop_cli.engine.training import EarlyStopping
from backprop_cli.estimator import BackpropClassifier

Array = NDArray[Any]

X, Y = load_digits(return_X_y=True)
X_TRAIN, X_TEST, Y_TRAIN, Y_TEST = train_test_split(X, Y, test_size=0.5, stratify=Y, random_state=0)
WINE, WINES = load_wine(return_X_y=True)
QUICK: dict[str, Any] = {"hidden_layers": (16,), "epochs": 10, "random_state": 0}


def quick(**parameters: Any) -> BackpropClassifier:
    return BackpropClassifier(**{**QUICK, **parameters})


def params_of(model: BackpropClassifier) -> Array:
    return np.concatenate([network.params for network in model.networks_])


def same(one: BackpropClassifier, other: BackpropClassifier) -> None:
    """Check that two have the same bits, and give the same answers."""
    np.testing.assert_array_equal(params_of(one), params_of(other))
    np.testing.assert_array_equal(one.predict_proba(WINE), other.predict_proba(WINE))


# ---- the contract --------------------------------------------------------------------------------------------------

BY_ROW = (
    "a row that stands there twice is drawn twice: it is in two minibatches and has two masks of dropout, while a row "
    "of weight 2 is in one; without both they are equal but for the last digits of float32 (tested below)"
)
PARTLY = "partial_fit refuses in words what needs all rows at once: early stopping, calibration, balanced classes"
USE_PARTIAL_FIT = (
    "check_fit_score_takes_y",
    "check_n_features_in_after_fitting",
    "check_estimators_partial_fit_n_features",
)


def expected(estimator: BackpropClassifier) -> dict[str, str]:
    """Return the checks that fail, and why."""
    by_row = {"check_sample_weight_equivalence_on_dense_data": BY_ROW}
    return by_row | (dict.fromkeys(USE_PARTIAL_FIT, PARTLY) if estimator.early_stopping else {})


@parametrize_with_checks(
    [
        BackpropClassifier(),
        BackpropClassifier(
            epochs=30, ensemble=2, early_stopping=20, calibration="temperature", class_weight="balanced"
        ),
    ],
    expected_failed_checks=expected,
)
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        check(estimator)


def test_nothing_is_read_or_changed_before_fit() -> None:
    odd = BackpropClassifier(hidden_layers="many", optimizer=3, epochs=-1)
    assert odd.get_params()["hidden_layers"] == "many"
    assert clone(odd).get_params() == odd.get_params()
    with pytest.raises(NotFittedError):
        odd.predict(X)
    with pytest.raises(AttributeError):
        _ = odd.n_iter_
    assert "hidden_layers='many'" in repr(odd)


def test_the_package_does_not_load_it() -> None:
    code = "import sys, backprop_cli; sys.exit(bool({'sklearn', 'backprop_cli.estimator'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, env=environment(), check=True)


@pytest.mark.parametrize("names", [("low", "high"), (False, True), (-1, 7), (2.0, 3.0)])
def test_labels_of_any_kind_come_back(names: tuple[Any, Any]) -> None:
    labels = np.array(names)[(Y_TRAIN > 4).astype(int)]
    model = quick().fit(X_TRAIN, labels)
    assert model.classes_.tolist() == sorted(names)
    assert model.predict(X_TEST).dtype == labels.dtype
    assert model.score(X_TEST, np.array(names)[(Y_TEST > 4).astype(int)]) > 0.85
    if isinstance(names[0], str):
        assert quick().fit(X_TRAIN, labels.astype(object)).predict(X_TEST[:3]).dtype == object


def test_a_sparse_table_is_refused_in_words() -> None:
    for call in (quick().fit, quick().fit(X, Y).score):
        with pytest.raises(TypeError, match=r"[Ss]parse.*dense"):
            call(csr_array(X), Y)


def test_probabilities_sum_to_1_and_their_logarithms_are_those() -> None:
    model = quick().fit(X_TRAIN, Y_TRAIN)
    probabilities = model.predict_proba(X_TEST)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(np.exp(model.predict_log_proba(X_TEST)).argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_array_equal(model.predict(X_TEST), model.classes_[probabilities.argmax(axis=1)])


@pytest.mark.slow
def test_it_goes_into_a_pipeline_a_search_in_two_processes_and_calibration() -> None:
    pipeline = make_pipeline(StandardScaler(), quick())
    grid = {"backpropclassifier__hidden_layers": [(8,), (16, 8)], "backpropclassifier__dropout": [0.0, 0.2]}
    searches = [GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs).fit(X_TRAIN, Y_TRAIN) for n_jobs in (1, 2)]
    scores = [search.cv_results_["mean_test_score"].tolist() for search in searches]
    assert scores[0] == scores[1]
    assert searches[1].best_score_ > 0.6
    calibrated = CalibratedClassifierCV(quick(), cv=2).fit(X_TRAIN, Y_TRAIN, sample_weight=np.ones(len(Y_TRAIN)))
    assert calibrated.score(X_TEST, Y_TEST) > 0.85
    assert cross_val_score(quick(), X_TRAIN, Y_TRAIN, cv=2).mean() > 0.85


def test_names_of_columns_are_kept_and_asked_for() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(WINE, columns=load_wine().feature_names)
    model = quick().fit(frame, WINES)
    assert model.feature_names_in_.tolist() == load_wine().feature_names
    with pytest.warns(UserWarning, match="feature names"):
        model.predict(WINE)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])
    pipeline = make_pipeline(StandardScaler(), quick()).set_output(transform="pandas").fit(frame, WINES)
    assert pipeline[-1].feature_names_in_.tolist() == load_wine().feature_names


# ---- tables --------------------------------------------------------------------------------------------------------


def test_a_table_is_no_picture_negative_and_constant_columns_of_any_scale() -> None:
    rng = np.random.default_rng(0)
    constant, scales = np.full((len(WINE), 2), [-3.0, 1e9]), 10.0 ** rng.integers(-6, 7, WINE.shape[1])
    odd = np.hstack([WINE * scales - 5.0 * scales, constant])
    model, plain = quick(epochs=40).fit(odd, WINES), quick(epochs=40).fit(np.hstack([WINE, constant]), WINES)
    np.testing.assert_allclose(model.predict_proba(odd), plain.predict_proba(np.hstack([WINE, constant])), atol=1e-3)
    assert model.score(odd, WINES) > 0.97
    assert quick(standardize=False).fit(X / 16.0, Y).score(X / 16.0, Y) > 0.8


def test_held_out_rows_have_no_part_in_the_standardization() -> None:
    model = quick(early_stopping=5).fit(WINE, WINES)
    assert model.scaler_.n_samples_seen_ == len(WINE) - 18
    assert quick().fit(WINE, WINES).scaler_.n_samples_seen_ == len(WINE)


# ---- learning ------------------------------------------------------------------------------------------------------


def test_layers_may_each_have_an_activation_and_dropout() -> None:
    by_lists = quick(hidden_layers=(12, 8), activation=("relu", "tanh"), dropout=(0.2, 0.0)).fit(WINE, WINES)
    specs = (LayerSpec(12, "relu", 0.2), LayerSpec(8, "tanh", 0.0))
    same(by_lists, quick(hidden_layers=specs, activation="gelu", dropout=0.5).fit(WINE, WINES))
    assert by_lists.networks_[0].specs == specs
    same(quick(hidden_layers=12).fit(WINE, WINES), quick(hidden_layers=[np.int64(12)]).fit(WINE, WINES))
    assert quick(hidden_layers=()).fit(WINE, WINES).networks_[0].n_params == 14 * 3


def test_a_name_stands_for_a_record_and_rates_win_over_it() -> None:
    named = quick(optimizer="sgd", learning_rate=0.05, schedule="step", loss="cross_entropy").fit(WINE, WINES)
    record = quick(optimizer=SGD(learning_rate=0.05), schedule=Step(), loss=CrossEntropy(), learning_rate=None)
    same(named, record.fit(WINE, WINES))
    assert quick(loss="mse").fit(WINE, WINES).score(WINE, WINES) > 0.9


def test_one_seed_gives_one_model_and_none_another_each_time() -> None:
    same(quick().fit(WINE, WINES), quick().fit(WINE, WINES))
    rng = np.random.RandomState(0)
    two = [quick(random_state=rng).fit(WINE, WINES) for _ in range(2)] + [quick(random_state=None).fit(WINE, WINES)]
    assert len({params_of(model).tobytes() for model in two}) == 3


def test_the_best_epoch_of_the_held_out_rows_is_kept() -> None:
    model = quick(early_stopping=3, epochs=200, learning_rate=0.02).fit(X_TRAIN, Y_TRAIN)
    (history,) = model.history_
    losses = [event.val_loss for event in history]
    assert model.best_epochs_ == [int(np.argmin(losses)) + 1]
    assert model.n_iter_ == len(model.loss_curve_) == model.best_epochs_[0] + 3 < 200
    assert history[-1].stop_reason == "early_stopping"
    assert model.validation_scores_ == [event.val_accuracy for event in history]
    shorter = quick(early_stopping=99, epochs=model.best_epochs_[0], learning_rate=0.02, schedule="constant")
    longer = quick(early_stopping=3, epochs=200, learning_rate=0.02, schedule="constant").fit(X_TRAIN, Y_TRAIN)
    same_epochs = shorter.set_params(epochs=longer.best_epochs_[0]).fit(X_TRAIN, Y_TRAIN)
    np.testing.assert_array_equal(params_of(same_epochs), params_of(longer))


def test_without_held_out_rows_the_last_epoch_is_kept() -> None:
    model = quick(early_stopping=False).fit(WINE, WINES)
    assert (model.n_iter_, model.best_epochs_, model.validation_scores_) == (10, [10], None)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_an_ensemble_answers_with_its_mean_and_temperature_makes_it_surer_or_less_sure() -> None:
    model = quick(ensemble=3, calibration="temperature", hidden_layers=(4,), epochs=30).fit(X_TRAIN, Y_TRAIN)
    assert len(model.networks_) == len(model.history_) == 3
    assert model.temperature_ != 1.0
    members = [CrossEntropy().probabilities(logits / model.temperature_) for logits in model._logits(X_TEST)]
    np.testing.assert_allclose(model.predict_proba(X_TEST), np.mean(members, axis=0), rtol=1e-12)
    assert len(model.loss_curve_) == 30
    temperature, model.temperature_ = model.temperature_, 1.0
    plain = log_loss(Y_TEST, model.predict_proba(X_TEST))
    model.temperature_ = temperature
    assert log_loss(Y_TEST, model.predict_proba(X_TEST)) < plain


def test_it_prints_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    quick().fit(WINE, WINES)
    assert capsys.readouterr().out == ""
    quick(verbose=4, early_stopping=99).fit(WINE, WINES)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 4/10", "epoch 8/10", "epoch 10/10"]
    assert "validation loss" in lines[0]


# ---- going on ------------------------------------------------------------------------------------------------------

RICH: dict[str, Any] = {"ensemble": 2, "dropout": 0.2, "schedule": "constant"}
WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, len(WINE))


@pytest.mark.parametrize("more", [{}, RICH, {**RICH, "early_stopping": 99, "calibration": "temperature"}])
def test_ten_epochs_and_ten_more_are_twenty_to_the_last_bit(more: dict[str, Any]) -> None:
    parameters = {"schedule": "constant", **more}
    model = quick(warm_start=True, **parameters).fit(WINE, WINES, WEIGHTS)
    model.fit(WINE, WINES, WEIGHTS)
    whole = quick(epochs=20, **parameters).fit(WINE, WINES, WEIGHTS)
    same(model, whole)
    assert model.n_iter_ == 20
    assert model.loss_curve_ == whole.loss_curve_


def test_a_pickled_model_answers_and_goes_on_to_the_same_bits() -> None:
    model = quick(warm_start=True, **RICH).fit(WINE, WINES)
    copy = pickle.loads(pickle.dumps(model))
    same(copy, model)
    for one in (model, copy):
        one.fit(WINE, WINES)
    same(copy, model)
    same(copy, quick(epochs=20, **RICH).fit(WINE, WINES))


def test_after_early_stopping_it_waits_anew() -> None:
    model = quick(warm_start=True, early_stopping=2, epochs=100, learning_rate=0.05).fit(X_TRAIN, Y_TRAIN)
    before = model.n_iter_
    assert before < 100
    assert model.fit(X_TRAIN, Y_TRAIN).n_iter_ >= before + 2


def test_what_cannot_go_on_is_refused_in_words() -> None:
    model = quick(warm_start=True).fit(WINE, WINES)
    with pytest.raises(ValueError, match=r"hidden_layers.* must stay"):
        clone_of(model).set_params(hidden_layers=(8,)).fit(WINE, WINES)
    with pytest.raises(ValueError, match="optimizer: must stay"):
        clone_of(model).set_params(optimizer="sgd").fit(WINE, WINES)
    with pytest.raises(ValueError, match=r"y: \[7\] are not among the earlier classes"):
        model.fit(WINE, np.where(WINES == 2, 7, WINES))
    with pytest.raises(ValueError, match="features"):
        model.fit(WINE[:, :3], WINES)


def clone_of(model: BackpropClassifier) -> BackpropClassifier:
    copy: BackpropClassifier = pickle.loads(pickle.dumps(model))
    return copy


def parts(n: int) -> Iterator[tuple[Array, Array]]:
    order = np.random.default_rng(0).permutation(len(X_TRAIN))
    for rows in np.array_split(order, n):
        yield X_TRAIN[rows], Y_TRAIN[rows]


def test_partial_fit_learns_from_rows_that_come_in_parts() -> None:
    model = quick()
    for _ in range(15):
        for rows, labels in parts(6):
            model.partial_fit(rows, labels, classes=range(10))
    assert model.score(X_TEST, Y_TEST) > 0.93
    assert model.n_iter_ == 90
    np.testing.assert_allclose(model.scaler_.mean_, X_TRAIN.mean(axis=0), rtol=1e-9, atol=1e-9)
    only_threes = X_TRAIN[Y_TRAIN == 3]
    model.partial_fit(only_threes, np.full(len(only_threes), 3), sample_weight=np.full(len(only_threes), 2.0))
    assert model.classes_.tolist() == list(range(10))
    before = np.sum(model.scaler_.n_samples_seen_)
    model.partial_fit(X_TEST[:2], Y_TEST[:2], sample_weight=[1.0, 3.0])  # the standardization takes them for four rows
    np.testing.assert_allclose(model.scaler_.n_samples_seen_, before + 4.0)


def test_partial_fit_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="classes: must be given in the first call"):
        quick().partial_fit(X, Y)
    for parameters in ({"early_stopping": 5}, {"calibration": "temperature"}, {"class_weight": "balanced"}):
        with pytest.raises(ValueError, match="need all rows; use fit"):
            quick(**parameters).partial_fit(X, Y, classes=range(10))
    model = quick().partial_fit(WINE, WINES, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"classes: \[0 1\] are not the earlier ones"):
        model.partial_fit(WINE, WINES, classes=[0, 1])
    with pytest.raises(ValueError, match=r"y: \[3\] are not among"):
        model.partial_fit(WINE, WINES + 1)


# ---- weights -------------------------------------------------------------------------------------------------------

FULL_BATCH: dict[str, Any] = {"batch_size": 1000, "dropout": 0.0, "epochs": 40}


def test_in_full_batches_a_weight_of_2_is_a_row_twice() -> None:
    times = np.random.default_rng(1).integers(1, 4, len(WINE))
    weighted = quick(**FULL_BATCH).fit(WINE, WINES, times)
    repeated = quick(**FULL_BATCH).fit(np.repeat(WINE, times, axis=0), np.repeat(WINES, times))
    plain = quick(**FULL_BATCH).fit(WINE, WINES)
    np.testing.assert_allclose(weighted.predict_proba(WINE), repeated.predict_proba(WINE), atol=1e-4)
    assert np.abs(weighted.predict_proba(WINE) - plain.predict_proba(WINE)).max() > 1e-3


def test_a_weight_of_0_is_no_row_and_equal_weights_are_none_to_the_last_bit() -> None:
    here = np.random.default_rng(1).random(len(WINE)) < 0.7
    for more in ({}, {"early_stopping": 99}, {"class_weight": "balanced"}):
        same(quick(**more).fit(WINE, WINES, here.astype(float)), quick(**more).fit(WINE[here], WINES[here]))
        same(quick(**more).fit(WINE, WINES, np.full(len(WINE), 4.0)), quick(**more).fit(WINE, WINES))


def test_class_weights_are_weights_of_the_rows() -> None:
    by_class = {0: 1.0, 1: 5.0, 2: 0.5}
    weights = np.array([by_class[label] for label in WINES])
    same(quick(class_weight=by_class).fit(WINE, WINES), quick().fit(WINE, WINES, weights))
    balanced = (len(WINES) / (3 * np.bincount(WINES)))[WINES]
    same(quick(class_weight="balanced").fit(WINE, WINES), quick().fit(WINE, WINES, balanced))
    same(
        quick(class_weight=by_class).fit(WINE, WINES, WEIGHTS),
        quick().fit(WINE, WINES, weights * WEIGHTS),
    )


def test_balanced_classes_find_more_of_the_rare_one() -> None:
    table, labels = make_classification(3000, weights=[0.95], class_sep=0.5, n_informative=4, random_state=0)
    rows, others = slice(0, 1500), slice(1500, 3000)
    recall = {
        setting: recall_score(
            labels[others], quick(class_weight=setting).fit(table[rows], labels[rows]).predict(table[others])
        )
        for setting in (None, "balanced")
    }
    assert recall["balanced"] > recall[None] + 0.2


# ---- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layers": (16, 0)}, "hidden_layers: 0 is not a number of units"),
        ({"hidden_layers": ("16",)}, "hidden_layers: '16' is not a number of units"),
        ({"hidden_layers": "16"}, "hidden_layers: '16' is not a list"),
        ({"hidden_layers": None}, "hidden_layers: None is not a list"),
        ({"activation": "rleu"}, 'activation: "rleu" is not one of '),
        ({"activation": 3}, "activation: 3 is not a list"),
        ({"activation": ("relu", "relu")}, "activation: 2 for 1 hidden layers"),
        ({"dropout": 1.0}, r"dropout: 1.0 is not in \[0, 1\)"),
        ({"dropout": "0.1"}, "dropout: '0.1' is not a list"),
        ({"dropout": (True,)}, "dropout: True is not a number"),
        ({"activation": (None,)}, "activation: None is not a name"),
        ({"loss": "hinge"}, 'loss: "hinge" is not one of cross_entropy, mse'),
        ({"optimizer": "lbfgs"}, 'optimizer: "lbfgs" is not one of sgd, '),
        ({"optimizer": CrossEntropy()}, "optimizer: "),
        ({"schedule": "cosine"}, 'schedule: "cosine" is not one of constant, '),
        ({"learning_rate": 0.0}, r"learning_rate: 0.0 is not in \(0, inf\)"),
        ({"learning_rate": "1e-3"}, "learning_rate: '1e-3' is neither a number nor None"),
        ({"weight_decay": -1.0}, r"weight_decay: -1.0 is not in \[0, inf\)"),
        ({"epochs": 0}, "epochs: 0 is not between 1 and 1,000,000"),
        ({"epochs": 2.5}, "epochs: 2.5 is not a whole number"),
        ({"batch_size": "auto"}, "batch_size: 'auto' is not a whole number"),
        ({"gradient_clip": -1.0}, "gradient_clip: -1.0 is not above 0"),
        ({"initializer": "he"}, 'initializer: "he" is not one of '),
        ({"early_stopping": 0}, "patience: 0 is not at least 1"),
        ({"early_stopping": "yes"}, "early_stopping: 'yes' is not a number of epochs"),
        ({"validation_fraction": 1.0}, "validation_fraction: 1.0 is not between 0 and 1"),
        ({"validation_fraction": 0.999, "early_stopping": 5}, "leaves none of 178 rows to train on"),
        ({"ensemble": 0}, "ensemble: 0 is not between 1 and 100"),
        ({"calibration": "isotonic"}, "calibration: 'isotonic' is not temperature or None"),
        ({"class_weight": "blanced"}, "class_weight"),
        ({"optimizer": "sgd", "learning_rate": 1e30}, "training diverged in epoch 1; lower learning_rate"),
    ],
)
def test_a_bad_parameter_is_a_value_error_in_words(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(**parameters).fit(WINE, WINES)


@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        (np.zeros(len(WINES)), None, "one class only"),
        (WINES, np.zeros(len(WINES)), "every weight is zero"),
        (WINES, -WEIGHTS, "Negative"),
        (WINES, WEIGHTS[:3], r"sample_weight.shape == \(3,\), expected \(178,\)"),
        (WINES + 0.5, None, "continuous"),
    ],
)
def test_bad_labels_and_weights_are_value_errors_in_words(labels: Array, weights: Array | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick().fit(WINE, labels, weights)


def test_a_refused_fit_leaves_what_was_fitted() -> None:
    model = quick().fit(WINE, WINES)
    with pytest.raises(ValueError, match="one class only"):
        model.fit(WINE, np.ones(len(WINES)))
    same(model, quick().fit(WINE, WINES))
    assert model.classes_.tolist() == [0, 1, 2]


def test_early_stopping_may_be_said_in_four_ways() -> None:
    for setting in (True, 10, np.int64(10), EarlyStopping()):
        same(quick(early_stopping=setting).fit(WINE, WINES), quick(early_stopping=10).fit(WINE, WINES))


# ---- what is written about it --------------------------------------------------------------------------------------


def test_the_example_in_the_documentation_is_true() -> None:
    section = (CHECKOUT / "docs/python.md").read_text("utf-8").partition("## scikit-learn")[2].partition("\n## ")[0]
    block = section.partition("```pycon\n")[2].partition("```")[0]
    test = doctest.DocTestParser().get_doctest(block, {}, "python.md", "python.md", 0)
    assert len(test.examples) >= 8
    told: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(test, out=told.append).failed == 0, "".join(told)


def test_the_parameters_named_in_the_documentation_are_parameters() -> None:
    section = (CHECKOUT / "docs/python.md").read_text("utf-8").partition("## scikit-learn")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    said = [name for row in rows for name in re.findall(r"\b([a-z_]+)=", row)]
    known = {*BackpropClassifier().get_params(), "sample_weight", "classes", "momentum"}
    assert said
    assert set(said) <= known
