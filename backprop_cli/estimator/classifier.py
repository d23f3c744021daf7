"""The estimator itself: scikit-learn's contract around the engine's networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from backprop_cli.arrays import Array
from backprop_cli.blas import blas_threads
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import Loss
from backprop_cli.engine.network import EVALUATION_ROWS, Network, as_float64
from backprop_cli.engine.optimizers import Optimizer
from backprop_cli.engine.schedules import Constant, Schedule
from backprop_cli.engine.training import EarlyStopping, EpochResult, train
from backprop_cli.engine.training_state import TrainingState
from backprop_cli.estimator.parameters import Parameters
from backprop_cli.estimator.table import Table, table_of
from backprop_cli.insight.metrics import fit_temperature

FLOATS = (np.float64, np.float32)


class BackpropClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A multilayer perceptron for tables of numbers.

    Columns are standardized by the training part's mean and standard deviation (constant ones become 0). Whatever has
    kinds takes a name, such as `optimizer="sgd"`, or a settings record, such as `optimizer=SGD(momentum=0.9)`.

    Args:
        hidden_layers: Units of each hidden layer, or a `LayerSpec` with an activation and dropout of its own; ().
        activation: Of the hidden layers, or a list with one for each: a name in `ACTIVATIONS`.
        dropout: Share of their outputs set to 0 in a training step, in [0, 1), or a list with one for each.
        loss: `cross_entropy`, `mse`, or a record of the two.
        optimizer: `adamw`, `adam`, `rmsprop`, `sgd`, or a record.
        learning_rate: > 0; None: the optimizer's own, and 0.005 for `adamw`.
        weight_decay: >= 0; None: the optimizer's own, and 0.1 for `adamw`.
        schedule: `constant`, `warmup_cosine`, `one_cycle`, `step`, or a record.
        epochs: Passes over the training part, 1 to 1,000,000; with `warm_start`, in each call of `fit`.
        batch_size: Rows of a step, 1 to 1,000,000.
        gradient_clip: Longest gradient let through, > 0; None: any.
        initializer: Of the hidden layers' weights: a name in `INITIALIZERS`.
        early_stopping: Epochs without a lower validation loss that are waited for, or an `EarlyStopping`; True: 10
            epochs. Then the best epoch is kept. None or False: all epochs are trained, and the last one is kept.
        validation_fraction: Share of the rows, in (0, 1), each class in proportion, that is held out where early
            stopping or calibration needs it.
        ensemble: How many networks, which differ in their seed; the answer is their mean probability. 1 to 100.
        calibration: `temperature`: how sure the answers are is fitted on the held-out rows; None: it is not.
        class_weight: `balanced`, or class -> weight; as in all of scikit-learn.
        standardize: Whether columns are standardized; without it, they should be about 1 in size.
        warm_start: Whether `fit` goes on from the call before, with the same standardization: 10 epochs and 10 more are
            20, to the last bit with a constant schedule and the same rows.
        random_state: Of the first weights, the order of rows, dropout and the held-out rows.
        verbose: Above 0, a line is printed each so many epochs.

    Attributes:
        classes_: The labels, sorted, (n_classes,).
        n_features_in_: Columns; `feature_names_in_`: their names, where they had some.
        history_: For each network, an `EpochResult` for each epoch; `loss_curve_` and others sum them up.
        networks_: The networks.
        scaler_: The standardization.
        temperature_: What logits are divided by: 1.0 without calibration.
    """

    classes_: Array
    n_features_in_: int
    networks_: list[Network]
    history_: list[list[EpochResult]]
    scaler_: StandardScaler
    temperature_: float
    _loss: Loss
    _states: list[TrainingState]
    _seed: int

    def __init__(
        self,
        hidden_layers: int | Sequence[int | LayerSpec] = (128, 64),
        activation: str | Sequence[str] = "gelu",
        dropout: float | Sequence[float] = 0.2,
        *,
        loss: str | Loss = "cross_entropy",
        optimizer: str | Optimizer = "adamw",
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        schedule: str | Schedule = "warmup_cosine",
        epochs: int = 60,
        batch_size: int = 32,
        gradient_clip: float | None = None,
        initializer: str = "he_normal",
        early_stopping: bool | int | EarlyStopping | None = None,
        validation_fraction: float = 0.1,
        ensemble: int = 1,
        calibration: str | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        standardize: bool = True,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layers, self.activation, self.dropout = hidden_layers, activation, dropout
        self.loss, self.optimizer, self.schedule = loss, optimizer, schedule
        self.learning_rate, self.weight_decay, self.gradient_clip = learning_rate, weight_decay, gradient_clip
        self.epochs, self.batch_size, self.initializer = epochs, batch_size, initializer
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.ensemble, self.calibration, self.class_weight = ensemble, calibration, class_weight
        self.standardize, self.warm_start = standardize, warm_start
        self.random_state, self.verbose = random_state, verbose

    # ---- learning --------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on a table and its labels.

        Args:
            X: (n_samples, n_features), finite numbers; sparse tables are refused.
            y: Labels of any kind, (n_samples,), of at least two classes.
            sample_weight: What each row counts for, (n_samples,), >= 0; rows of weight 0 are left out. With
                `class_weight` taken in, scaled to be 1 on average over the training part. None: all count the same.

        Raises:
            ValueError: A parameter, the table, the labels or the weights are invalid, or training
                diverged.
            TypeError: The table is sparse.
        """
        settings, goes_on = Parameters.of(self), bool(self.warm_start) and hasattr(self, "networks_")
        table = self._table(X, y, sample_weight, self.classes_ if goes_on else None, reset=not goes_on)
        if not goes_on:
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        table, held_out = table.parted(settings.held_out, self._seed)
        if not goes_on:
            self._begin(settings, table)
        self._train(settings, table, held_out, int(self.epochs))
        if self.calibration is not None and held_out is not None:
            logits, probabilities_of = self._logits(held_out.X), settings.loss.probabilities
            self.temperature_ = fit_temperature(logits, held_out.labels, probabilities_of, held_out.weights)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Go on with one pass over these rows, at a constant learning rate; the standardization takes them in.

        Args:
            X: (n_samples, n_features).
            y: (n_samples,), of `classes`.
            classes: All that there will ever be, (n_classes,); needed in the first call, where nothing was fitted yet.
            sample_weight: As in `fit`; scaled to be 1 on average over these rows.

        Raises:
            ValueError: As in `fit`; or what needs all rows at once is asked for.
        """
        settings, is_first = Parameters.of(self), not hasattr(self, "networks_")
        if settings.held_out or isinstance(self.class_weight, str):
            raise ValueError(
                "partial_fit: early_stopping, calibration and class_weight='balanced' need all rows; use fit"
            )
        if is_first and classes is None:
            raise ValueError("classes: must be given in the first call of partial_fit")
        known = np.unique(classes) if is_first else self.classes_
        if classes is not None and not np.array_equal(known, np.unique(classes)):
            raise ValueError(f"classes: {np.unique(classes)} are not the earlier ones, {known}")
        table = self._table(X, y, sample_weight, known, reset=is_first)
        if is_first:
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            self._begin(settings, table)
        else:
            self.scaler_.partial_fit(table.X, sample_weight=table.weights)
        self._train(settings._replace(schedule=Constant()), table, None, 1)
        return self

    def _table(self, X: Any, y: Any, sample_weight: Any, classes: Array | None, *, reset: bool) -> Table:
        """Return rows that have been checked, with numbers for labels; set `classes_`."""
        X, y = validate_data(self, X, y, dtype=FLOATS, reset=reset)
        check_classification_targets(y)
        known = np.unique(y) if classes is None else classes
        table = table_of(X, y, known, sample_weight, self.class_weight)
        self.classes_ = known
        return table

    def _begin(self, settings: Parameters, table: Table) -> None:
        """Set the standardization, and networks that have learned nothing yet."""
        scaler = StandardScaler(with_mean=bool(self.standardize), with_std=bool(self.standardize))
        self.scaler_ = scaler.fit(table.X, sample_weight=table.weights)
        self._loss = settings.loss
        self.networks_, self._states, self.history_, self.temperature_ = [], [], [], 1.0
        for member in range(self.ensemble):
            seeds = np.random.SeedSequence([self._seed, member]).spawn(3)
            init, shuffle, dropout = (np.random.Generator(np.random.PCG64(seed)) for seed in seeds)
            shape, initializer = (table.X.shape[1], len(self.classes_)), settings.network.initializer
            network = Network(settings.network.layers, *shape, rng=init, initializer=initializer)
            rngs = {"shuffle": shuffle, "dropout": dropout}
            self.networks_.append(network)
            self._states.append(TrainingState.start(network, settings.optimizer, rngs))
            self.history_.append([])

    def _train(self, settings: Parameters, table: Table, held_out: Table | None, epochs: int) -> None:
        """Train every network for some more epochs.

        Raises:
            ValueError: The parameters describe other networks than those that are to go on; or one diverged.
        """
        moments = settings.optimizer.init(0).moments.keys()
        for network, state in zip(self.networks_, self._states, strict=True):
            if len(self.networks_) != self.ensemble or network.specs != settings.network.layers:
                raise ValueError("hidden_layers, activation, dropout and ensemble must stay; use warm_start=False")
            if state.optimizer.moments.keys() != moments:
                raise ValueError("optimizer: must stay of its kind; use warm_start=False")
        validation = held_out and held_out.chunks(self.scaler_, min(EVALUATION_ROWS, len(held_out.X)))
        for network, state, history in zip(self.networks_, self._states, self.history_, strict=True):
            if state.stop_reason == "early_stopping":
                state.epochs_without_improvement = 0
            state.stop_reason = None
            training = replace(settings.training, epochs=state.epoch + epochs)
            batches = table.chunks(self.scaler_, training.batch_size, state.rngs["shuffle"])
            parts = network, settings.loss, settings.optimizer, settings.schedule, batches, validation, training
            with blas_threads(1), closing(train(*parts, state=state)) as events:
                for event in events:
                    if isinstance(event, EpochResult):
                        history.append(event)
                        if self.verbose and (event.epoch % self.verbose == 0 or event.stop_reason):
                            val = "" if event.val_loss is None else f", validation loss {event.val_loss:.4f}"
                            print(f"epoch {event.epoch}/{event.n_epochs}: loss {event.train_loss:.4f}{val}")
            if state.stop_reason == "diverged":
                raise ValueError(f"training diverged in epoch {state.epoch + 1}; lower learning_rate")

    # ---- answering -------------------------------------------------------------------------------------------------

    def _logits(self, X: Array) -> list[Array]:
        """Return the logits of each network, (n_samples, n_classes): in float64, so that no row hangs on others."""
        inputs = self.scaler_.transform(X)
        with np.errstate(all="ignore"):
            return [as_float64(network).logits(inputs) for network in self.networks_]

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n_samples, n_classes), in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        answers = [self._loss.probabilities(logits / self.temperature_) for logits in self._logits(X)]
        return np.asarray(np.mean(answers, axis=0))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`, (n_samples, n_classes)."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def predict(self, X: Any) -> Array:
        """Return the likeliest label of each row, (n_samples,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    # ---- what came of it -------------------------------------------------------------------------------------------

    @property
    def n_iter_(self) -> int:
        """Epochs trained, of the network with the most."""
        return max(map(len, self.history_))

    @property
    def best_epochs_(self) -> list[int]:
        """The epoch that each network stands at, from 1: the one of the lowest validation loss, else the last."""
        return [state.best_epoch for state in self._states]

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss of each epoch; of an ensemble, the mean of those that got there."""
        return [float(np.mean([event.train_loss for event in events])) for events in self._epochs()]

    @property
    def validation_scores_(self) -> list[float] | None:
        """The share of the held-out rows that is right after each epoch; None where none were held out."""
        scores = [[e.val_accuracy for e in events if e.val_accuracy is not None] for events in self._epochs()]
        return [float(np.mean(one)) for one in scores] if all(scores) else None

    def _epochs(self) -> Iterator[list[EpochResult]]:
        """Yield the results of all networks, epoch by epoch."""
        for events in zip_longest(*self.history_):
            yield [event for event in events if event is not None]
