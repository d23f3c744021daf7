import json
import math
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backprop_cli.data.dataset import ChunkLoader, Scaling, load_digits
from backprop_cli.engine import training
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import CrossEntropy, Loss, MeanSquaredError, loss_and_gradient
from backprop_cli.engine.network import Network, append_ones
from backprop_cli.engine.optimizers import SGD, Adam, AdamW, Optimizer
from backprop_cli.engine.schedules import Constant, Schedule, WarmupCosine
from backprop_cli.engine.training import Chunks, EarlyStopping, EpochResult, Progress, TrainingSettings, train
from backprop_cli.engine.training_state import TrainingState

Array = NDArray[Any]

DIGITS = load_digits()
SCALING = Scaling.fit("centered", DIGITS.pictures, DIGITS.max_value)


class Run:
    """One training run, as `experiment.py` would put it together."""

    def __init__(
        self,
        settings: TrainingSettings,
        *,
        n_rows: int = 32,
        specs: tuple[LayerSpec, ...] = (LayerSpec(32),),
        seed: int = 0,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        validation: Chunks | None = None,
    ) -> None:
        init, shuffle, dropout = np.random.default_rng(seed).spawn(3)
        self.network = Network(specs, 64, 10, rng=init)
        self.settings, self.loss, self.schedule = settings, loss or CrossEntropy(), schedule or Constant()
        self.optimizer = optimizer or Adam(learning_rate=3e-3)
        rows = np.arange(n_rows)
        self.batches: Chunks = ChunkLoader(
            DIGITS.pictures, DIGITS.labels, rows, SCALING, settings.batch_size, shuffle=shuffle
        )
        self.validation = validation
        rngs = {"shuffle": shuffle, "dropout": dropout}
        self.state = TrainingState.start(self.network, self.optimizer, rngs)

    def events(self) -> Any:
        return train(
            self.network,
            self.loss,
            self.optimizer,
            self.schedule,
            self.batches,
            self.validation,
            self.settings,
            state=self.state,
        )

    def finish(self) -> list[EpochResult]:
        return [event for event in self.events() if isinstance(event, EpochResult)]


def held_out(first: int = 1500, n_rows: int = 64, batch_size: int = 32) -> ChunkLoader:
    return ChunkLoader(DIGITS.pictures, DIGITS.labels, np.arange(first, first + n_rows), SCALING, batch_size)


class Scripted:
    """A validation part whose labels change from pass to pass, so that its figures follow a script."""

    n_rows = 10

    def __init__(self, network: Network, n_right: list[int]) -> None:
        self.network, self.n_right = network, iter(n_right)

    def __iter__(self) -> Iterator[tuple[Array, NDArray[np.int64]]]:
        inputs = held_out().scaled
        assert inputs is not None
        guesses = self.network.logits(inputs[:10, :-1])
        labels, worst = guesses.argmax(axis=1), guesses.argmin(axis=1)
        n_right = next(self.n_right)
        labels[n_right:] = worst[n_right:]
        yield inputs[:10], labels


def scripted_run(n_right: list[int], stopping: EarlyStopping | None, learning_rate: float = 1e-9) -> Run:
    """Return a run whose validation accuracy is `n_right` tenths after each epoch, and its loss accordingly."""
    run = Run(
        TrainingSettings(epochs=len(n_right), batch_size=32, early_stopping=stopping),
        optimizer=SGD(learning_rate=learning_rate),
    )
    run.validation = Scripted(run.network, n_right)
    return run


# ---- learning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", [CrossEntropy(), MeanSquaredError(output="softmax"), MeanSquaredError(output="sigmoid")]
)
def test_it_memorizes_32_digits(loss: Loss) -> None:
    run = Run(TrainingSettings(epochs=150, batch_size=8), loss=loss, optimizer=Adam(learning_rate=1e-2))
    epochs = run.finish()
    guesses = run.network.logits(SCALING.apply(DIGITS.pictures[:32])).argmax(axis=1)
    np.testing.assert_array_equal(guesses, DIGITS.labels[:32])
    assert epochs[-1].train_loss < 0.05 * epochs[0].train_loss


def test_one_step_is_forward_loss_backward_correct() -> None:
    run = Run(TrainingSettings(epochs=1, batch_size=32), optimizer=SGD(learning_rate=0.5))
    twin = Run(TrainingSettings(epochs=1, batch_size=32)).network
    inputs = append_ones(SCALING.apply(DIGITS.pictures[:32]))
    workspace = twin.workspace(32)
    loss, grad_logits = loss_and_gradient(CrossEntropy(), twin.forward(inputs, workspace), DIGITS.labels[:32])
    twin.backward(grad_logits, workspace)
    (epoch,) = run.finish()
    np.testing.assert_allclose(run.network.params, twin.params - 0.5 * twin.grads, rtol=1e-5, atol=1e-7)
    assert epoch.train_loss == pytest.approx(loss, rel=1e-5)
    assert epoch.grad_norm == pytest.approx(float(np.linalg.norm(twin.grads)), rel=1e-5)
    assert (epoch.n_rows, epoch.learning_rate, epoch.stop_reason) == (32, 0.5, "completed")


def test_the_last_batch_of_an_epoch_may_be_smaller() -> None:
    run = Run(TrainingSettings(epochs=2, batch_size=10), n_rows=33)
    assert [epoch.n_rows for epoch in run.finish()] == [33, 33]
    assert run.state.optimizer.step == 8


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    run = Run(TrainingSettings(epochs=3, batch_size=1000))
    assert len(run.finish()) == 3
    assert run.state.optimizer.step == 3


def test_the_schedule_runs_over_all_steps_of_all_epochs() -> None:
    run = Run(TrainingSettings(epochs=4, batch_size=8), schedule=WarmupCosine(warmup=0.5), optimizer=SGD())
    n_steps = 16
    assert [epoch.learning_rate for epoch in run.finish()] == pytest.approx(
        [0.1 * WarmupCosine(warmup=0.5).factor_at(step, n_steps) for step in (3, 7, 11, 15)]
    )


def test_the_schedule_counts_the_smaller_last_batch_as_a_step() -> None:
    schedule = WarmupCosine(warmup=0.0)
    run = Run(TrainingSettings(epochs=2, batch_size=10), n_rows=33, schedule=schedule, optimizer=SGD())
    assert run.finish()[-1].learning_rate == pytest.approx(0.1 * schedule.factor_at(7, 8))


# ---- determinism ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    settings, specs = TrainingSettings(epochs=3, batch_size=7), (LayerSpec(16, "gelu", dropout=0.3),)
    one, same, other = (Run(settings, specs=specs, seed=seed, validation=held_out()) for seed in (1, 1, 2))
    results = [[(e.train_loss, e.val_loss) for e in run.finish()] for run in (one, same, other)]
    assert results[0] == results[1] != results[2]
    assert one.network.params.tobytes() == same.network.params.tobytes() != other.network.params.tobytes()


def test_switching_dropout_on_does_not_change_the_shuffle() -> None:
    orders = []
    for dropout in (0.0, 0.5):
        run = Run(TrainingSettings(epochs=1, batch_size=8), specs=(LayerSpec(16, dropout=dropout),))
        run.finish()
        orders.append([labels.tolist() for _, labels in run.batches])
    assert orders[0] == orders[1]


def test_dropout_is_on_in_training_and_off_in_validation() -> None:
    def figures(dropout: float) -> EpochResult:
        run = Run(
            TrainingSettings(epochs=1, batch_size=32),
            specs=(LayerSpec(64, dropout=dropout),),
            validation=held_out(0, 32),
            optimizer=SGD(learning_rate=1e-9),
        )
        return run.finish()[0]

    assert figures(0.8).train_loss > 1.2 * figures(0.0).train_loss
    assert figures(0.8).val_loss == pytest.approx(figures(0.0).val_loss)


# ---- the best epoch, and stopping ----------------------------------------------------------------------------------


def test_the_best_epoch_is_put_back_after_a_break() -> None:
    run = scripted_run([3, 7, 5, 6, 9], None, learning_rate=0.01)
    after = []
    with closing(run.events()) as events:
        for event in events:
            after.append(run.network.params.copy())
            if event.epoch == 4:
                break
    np.testing.assert_array_equal(run.network.params, after[1])
    assert not np.array_equal(after[1], after[3])
    assert run.state.best_epoch == 2
    assert run.state.best_val_accuracy == 0.7
    np.testing.assert_array_equal(run.state.params, after[3])


def test_the_best_epoch_is_put_back_at_the_end_and_after_an_exception() -> None:
    run = scripted_run([3, 7, 5], None, learning_rate=0.01)
    assert [epoch.is_best for epoch in run.finish()] == [True, True, False]
    np.testing.assert_array_equal(run.network.params, run.state.best_params)

    broken = scripted_run([3, 7], None, learning_rate=0.01)  # its script is over in epoch 3
    broken.settings = TrainingSettings(epochs=3, batch_size=32)
    with pytest.raises(RuntimeError):
        broken.finish()
    np.testing.assert_array_equal(broken.network.params, broken.state.best_params)


def test_the_earliest_of_equally_good_epochs_is_the_best() -> None:
    run = scripted_run([5, 5, 5], None, learning_rate=1e-30)
    assert [epoch.is_best for epoch in run.finish()] == [True, False, False]


def test_without_validation_the_last_epoch_is_kept() -> None:
    run = Run(TrainingSettings(epochs=4, batch_size=8))
    epochs = run.finish()
    assert [(e.is_best, e.val_loss, e.val_accuracy) for e in epochs] == [(True, None, None)] * 4
    assert (run.state.best_epoch, run.state.best_val_loss) == (4, math.inf)
    assert run.state.best_train_loss == epochs[-1].train_loss
    np.testing.assert_array_equal(run.network.params, run.state.params)


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize(
    ("n_right", "patience", "n_epochs"),
    [
        ([5, 5, 5, 5, 5, 5], 1, 2),
        ([5, 5, 5, 5, 5, 5], 3, 4),
        ([5, 4, 6, 5, 6, 6, 9], 3, 6),  # epoch 3 starts the count again, 6 is its third without an improvement
        ([5, 4, 6, 5, 6, 9, 9], 3, 7),  # 6 comes just in time
        ([1, 2, 3, 4, 5, 6], 1, 6),
        ([6, 5, 5, 7, 5, 5, 5, 9], 3, 7),
    ],
)
def test_patience_stops_exactly_when_it_says(monitor: Any, n_right: list[int], patience: int, n_epochs: int) -> None:
    run = scripted_run(n_right, EarlyStopping(monitor=monitor, patience=patience), learning_rate=1e-30)
    epochs = run.finish()
    assert len(epochs) == n_epochs
    assert [e.stop_reason for e in epochs[:-1]] == [None] * (n_epochs - 1)
    monitored = [e.val_loss if monitor == "val_loss" else -(e.val_accuracy or 0.0) for e in epochs]
    assert run.state.best_monitored == min(monitored)


def test_early_stopping_says_so_and_never_starts_again() -> None:
    run = scripted_run([5] * 9, EarlyStopping(monitor="val_accuracy", patience=2))
    assert run.finish()[-1].stop_reason == run.state.stop_reason == "early_stopping"
    assert run.state.epoch == 3
    assert run.finish() == []
    again = scripted_run([5] * 9, EarlyStopping(monitor="val_accuracy", patience=2))
    again.state.restore(*carried_over(run.state))
    assert again.finish() == []


def test_an_improvement_within_min_delta_is_none() -> None:
    stopping = EarlyStopping(monitor="val_accuracy", patience=2, min_delta=0.15)
    assert len(scripted_run([5, 6, 6, 9, 9], stopping).finish()) == 3
    assert len(scripted_run([5, 6, 7, 7, 7], stopping).finish()) == 5  # 0.7 is 0.2 better than the 0.5 of epoch 1


def test_a_small_gain_is_no_improvement_and_yet_the_best_epoch() -> None:
    run = scripted_run([5, 6, 6, 6], EarlyStopping(patience=2, min_delta=100.0), learning_rate=1e-30)
    assert [epoch.is_best for epoch in run.finish()] == [True, True, False]


# ---- divergence and clipping ---------------------------------------------------------------------------------------


class GoodUntil:
    """A schedule that goes wild at a given step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def factor_at(self, step: int, n_steps: int) -> float:
        return 1e-32 if step < self.step else 1.0


@pytest.mark.parametrize("validation", [None, held_out()])
def test_divergence_is_reported_and_the_state_left_at_the_last_good_epoch(validation: ChunkLoader | None) -> None:
    wild: Any = GoodUntil(8)
    run = Run(
        TrainingSettings(epochs=9, batch_size=8),
        optimizer=SGD(learning_rate=1e30, momentum=0.9),
        schedule=wild,
        validation=validation,
    )
    good = []
    with closing(run.events()) as events:
        results = []
        for event in events:
            results.append(event)
            good.append(run.state.params.copy())
    last = results[-1]
    assert last.epoch == 3
    assert last.stop_reason == run.state.stop_reason == "diverged"
    assert not last.is_best
    assert run.state.epoch == 2
    assert run.state.optimizer.step == 8
    np.testing.assert_array_equal(run.state.params, good[1])
    np.testing.assert_array_equal(run.network.params, run.state.best_params)
    for vector in run.state.arrays().values():
        assert np.isfinite(vector).all()
    assert run.state.numbers()["stop_reason"] is None  # a checkpoint of the good epoch can be gone on from


def test_divergence_in_the_first_epoch_leaves_the_network_as_it_began() -> None:
    run = Run(TrainingSettings(epochs=9, batch_size=8), optimizer=SGD(learning_rate=1e30))
    before = run.network.params.copy()
    (epoch,) = run.finish()
    assert (epoch.stop_reason, run.state.epoch, run.state.best_epoch) == ("diverged", 0, 0)
    np.testing.assert_array_equal(run.network.params, before)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_weights_of_any_size_that_is_a_number_have_figures(clip: float | None) -> None:
    run = Run(
        TrainingSettings(epochs=2, batch_size=8, gradient_clip=clip),
        specs=(LayerSpec(8, "tanh"),),  # which keeps the loss a number
        optimizer=SGD(learning_rate=1e30),
        validation=held_out(),
    )
    epochs = run.finish()
    assert epochs[-1].stop_reason == "completed"
    assert np.abs(run.state.params).max() > 1e25
    figures = [epoch.grad_norm for epoch in epochs] + [
        figure for epoch in epochs for layer in epoch.layers for figure in (layer.grad_norm, layer.update_ratio)
    ]
    assert all(map(math.isfinite, figures))


def test_a_clipped_step_is_as_long_as_the_clip_and_keeps_its_direction() -> None:
    free, clipped = (
        Run(TrainingSettings(epochs=1, batch_size=32, gradient_clip=clip), optimizer=SGD(learning_rate=1.0))
        for clip in (None, 0.01)
    )
    before = free.network.params.copy()
    (free_epoch,), (clipped_epoch,) = free.finish(), clipped.finish()
    long, short = free.network.params - before, clipped.network.params - before
    assert np.linalg.norm(short) == pytest.approx(0.01, rel=1e-3)
    np.testing.assert_allclose(short, long * (0.01 / np.linalg.norm(long)), atol=1e-6)
    assert clipped_epoch.grad_norm == free_epoch.grad_norm > 0.01  # what is reported is the gradient before


def test_a_gradient_shorter_than_the_clip_is_let_through() -> None:
    free, clipped = (Run(TrainingSettings(epochs=2, batch_size=8, gradient_clip=clip)) for clip in (None, 1e6))
    free.finish()
    clipped.finish()
    assert free.network.params.tobytes() == clipped.network.params.tobytes()


# ---- going on ------------------------------------------------------------------------------------------------------


def long_run(seed: int = 0) -> Run:
    return Run(
        TrainingSettings(epochs=6, batch_size=8, early_stopping=EarlyStopping(patience=5), gradient_clip=1.0),
        specs=(LayerSpec(16, "gelu", dropout=0.4),),
        seed=seed,
        optimizer=AdamW(learning_rate=1e-2),
        schedule=WarmupCosine(),
        validation=held_out(),
    )


def carried_over(state: TrainingState) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return what a checkpoint would hold, as it comes back from a file."""
    arrays = {name: vector.copy() for name, vector in state.arrays().items()}
    return arrays, json.loads(json.dumps(state.numbers(), allow_nan=False))


@pytest.mark.parametrize("stop_at", [1, 3, 5, 6])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(stop_at: int) -> None:
    straight = long_run()
    history = straight.finish()
    first = long_run()
    with closing(first.events()) as events:
        for event in events:
            if event.epoch == stop_at:
                break
    second = long_run(seed=99)  # nothing of its own may be left
    second.state.restore(*carried_over(first.state))
    for name in ("best_epoch", "best_val_loss", "best_val_accuracy", "best_train_loss", "best_monitored"):
        assert getattr(second.state, name) == getattr(first.state, name)
    resumed = second.finish()
    assert [(e.epoch, e.train_loss, e.val_loss) for e in resumed] == [
        (e.epoch, e.train_loss, e.val_loss) for e in history[stop_at:]
    ]
    for name, vector in straight.state.arrays().items():
        assert vector.tobytes() == second.state.arrays()[name].tobytes()
    assert straight.state.numbers() == second.state.numbers()
    assert straight.network.params.tobytes() == second.network.params.tobytes()


def test_a_state_before_the_first_epoch_can_be_carried_over_as_well() -> None:
    straight, second = long_run(), long_run(seed=99)
    second.state.restore(*carried_over(long_run().state))
    straight.finish()
    second.finish()
    assert straight.network.params.tobytes() == second.network.params.tobytes()


def test_a_run_left_in_the_middle_of_an_epoch_goes_on_from_the_last_finished_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("backprop_cli.data.dataset.CHUNK_FLOATS", 8 * 65)
    straight, first, second = long_run(), long_run(), long_run(seed=99)
    straight.finish()
    with closing(first.events()) as events:
        for event in events:
            if isinstance(event, Progress) and event.epoch == 3 and event.share > 0.4:
                break
    assert first.state.epoch == 2
    second.state.restore(*carried_over(first.state))
    second.finish()
    assert straight.network.params.tobytes() == second.network.params.tobytes()


def test_numbers_are_json_without_nan_at_the_start_and_at_the_end() -> None:
    for run in (long_run(), Run(TrainingSettings(epochs=1))):
        for _ in range(2):
            numbers = run.state.numbers()
            assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
            run.finish()


def test_arrays_are_views_of_the_state() -> None:
    state = long_run().state
    assert set(state.arrays()) == {"params", "best_params", "optimizer.mean", "optimizer.mean_square"}
    state.arrays()["optimizer.mean"][...] = 7.0
    assert (state.optimizer.moments["mean"] == 7.0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": None}, r"^params: not 1,210 numbers of type float32$"),
        ({"best_params": np.zeros(3, np.float32)}, r"^best_params: not 1,210 numbers of type float32$"),
        ({"optimizer.mean": np.zeros(1210)}, r"^optimizer.mean: not 1,210 numbers of type float32$"),
        ({"epoch": -1}, r"^epoch: not a count$"),
        ({"epoch": True}, r"^epoch: not a count$"),
        ({"step": 1.5}, r"^step: not a count$"),
        ({"step": None}, r"^step: not a count$"),
        ({"best_val_loss": "low"}, r"^best_val_loss: not a number$"),
        ({"stop_reason": "tired"}, r"^stop_reason: not a known one$"),
        ({"rng_states": {}}, r"^rng_states.shuffle: not a generator's state$"),
        ({"rng_states": None}, r"^rng_states.shuffle: not a generator's state$"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_the_name_of_the_damage(change: dict[str, Any], message: str) -> None:
    arrays, numbers = carried_over(long_run().state)
    for name, value in change.items():
        (arrays if name in arrays else numbers)[name] = value
    with pytest.raises(ValueError, match=message):
        long_run().state.restore(arrays, numbers)


# ---- what is reported ----------------------------------------------------------------------------------------------


def test_progress_comes_within_long_epochs_and_counts_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("backprop_cli.data.dataset.CHUNK_FLOATS", 8 * 65)
    run = Run(TrainingSettings(epochs=2, batch_size=8))
    events = list(run.events())
    assert [(e.epoch, e.share) for e in events if isinstance(e, Progress)] == [
        (epoch, share) for epoch in (1, 2) for share in (0.25, 0.5, 0.75)
    ]
    assert all(isinstance(e.train_loss, float) and math.isfinite(e.train_loss) for e in events)
    assert [isinstance(e, EpochResult) for e in events] == [False, False, False, True] * 2


class Slow:
    """Chunks that take 13/512 of a second each, four of them just above a tenth, on a clock of their own."""

    def __init__(self, batches: Chunks, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches, self.n_rows, self.now = batches, batches.n_rows, 100.0
        monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def __iter__(self) -> Iterator[tuple[Array, NDArray[np.integer[Any]]]]:
        for chunk in self.batches:
            self.now += 13 / 512
            yield chunk


def slow_events(n_rows: int, paused_at: Any, monkeypatch: pytest.MonkeyPatch) -> list[Progress | EpochResult]:
    """Return the events of two epochs in chunks of eight rows, for a consumer that takes its time at some."""
    monkeypatch.setattr("backprop_cli.data.dataset.CHUNK_FLOATS", 8 * 65)
    run = Run(TrainingSettings(epochs=2, batch_size=8), n_rows=n_rows)
    run.batches = slow = Slow(run.batches, monkeypatch)
    events = []
    for event in run.events():
        events.append(event)
        slow.now += 1000.0 * isinstance(event, paused_at)
    return events


def test_the_seconds_of_an_epoch_are_those_from_its_beginning_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    events = slow_events(32, EpochResult, monkeypatch)
    assert [event.seconds for event in events if isinstance(event, EpochResult)] == [4 * 13 / 512] * 2


def test_progress_comes_a_tenth_of_a_second_after_the_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [
        event.share for event in slow_events(96, Progress | EpochResult, monkeypatch) if isinstance(event, Progress)
    ]
    assert shares == [4 / 12, 8 / 12] * 2


def test_layer_figures_tell_gradient_change_and_dead_units() -> None:
    run = Run(TrainingSettings(epochs=1, batch_size=32), optimizer=SGD(learning_rate=0.5))
    hidden = run.network.layers[0]
    hidden.weight[:, :8], hidden.bias[:8] = 0.0, -1.0  # a quarter of the units are off whatever comes in
    run.state = TrainingState.start(run.network, run.optimizer, run.state.rngs)
    before = run.network.params.copy()
    (epoch,) = run.finish()
    change = run.network.params - before
    assert [figures.dead_share for figures in epoch.layers] == [0.25, 0.0]
    assert math.hypot(*(figures.grad_norm for figures in epoch.layers)) == pytest.approx(epoch.grad_norm)
    stop = hidden.table.size
    for figures, part in zip(epoch.layers, (slice(0, stop), slice(stop, None)), strict=True):
        assert figures.grad_norm == pytest.approx(2.0 * float(np.linalg.norm(change[part])), rel=1e-4)
        ratio = np.linalg.norm(change[part]) / np.linalg.norm(run.network.params[part])
        assert figures.update_ratio == pytest.approx(float(ratio), rel=1e-4)


def test_layer_figures_are_those_of_the_last_step_alone() -> None:
    run = Run(TrainingSettings(epochs=2, batch_size=8), optimizer=SGD(learning_rate=0.5))
    *_, epoch = run.finish()
    for figures, layer in zip(epoch.layers, run.network.layers, strict=True):
        step = 0.5 * figures.grad_norm
        assert figures.update_ratio == pytest.approx(step / float(np.linalg.norm(layer.table)), rel=1e-4)


@pytest.mark.parametrize(("activation", "limit"), [("sigmoid", 4.36), ("tanh", 2.18), ("relu", math.inf)])
def test_layer_figures_tell_the_share_of_answers_from_flat_parts(activation: str, limit: float) -> None:
    run = Run(
        TrainingSettings(epochs=1, batch_size=32),
        validation=held_out(batch_size=64),
        specs=(LayerSpec(32, activation),),
    )
    hidden = run.network.layers[0]
    hidden.bias[:8], hidden.bias[8:16] = 30.0, -30.0
    run.state = TrainingState.start(run.network, run.optimizer, run.state.rngs)
    (epoch,) = run.finish()
    z = SCALING.apply(DIGITS.pictures[1500:1564]) @ hidden.weight + hidden.bias
    share = float((abs(z) > limit).mean())
    assert share >= 0.5 * (limit < math.inf)
    assert [figures.saturated_share for figures in epoch.layers] == pytest.approx([share, 0.0], abs=1e-3)


def test_validation_figures_are_those_of_the_epoch_s_end() -> None:
    run = Run(TrainingSettings(epochs=1, batch_size=8), validation=held_out(batch_size=24))
    (epoch,) = run.finish()
    rows = slice(1500, 1564)
    logits = run.network.logits(SCALING.apply(DIGITS.pictures[rows]))
    loss, _ = loss_and_gradient(CrossEntropy(), logits, DIGITS.labels[rows])
    assert epoch.val_loss == pytest.approx(loss, rel=1e-5)
    assert epoch.val_accuracy == (logits.argmax(axis=1) == DIGITS.labels[rows]).mean()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((TrainingSettings, {"epochs": value}) for value in (1, 1_000_000)),
        *((TrainingSettings, {"batch_size": value}) for value in (1, 1_000_000)),
        *((TrainingSettings, {"gradient_clip": value}) for value in (5e-324, 1e308, None)),
        *((TrainingSettings, {"threads": value}) for value in (1, 256)),
        (EarlyStopping, {"patience": 1}),
        *((EarlyStopping, {"min_delta": value}) for value in (0.0, 1e308)),
    ],
)
def test_settings_at_the_ends_of_their_ranges_are_allowed(kind: Any, settings: dict[str, Any]) -> None:
    assert vars(kind(**settings)).items() >= settings.items()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (TrainingSettings, {"epochs": 0}, "epochs: 0 is not between 1 and 1,000,000"),
        (TrainingSettings, {"epochs": 1_000_001}, "epochs: 1000001 is not between 1 and 1,000,000"),
        (TrainingSettings, {"batch_size": 0}, "batch_size: 0 is not between 1 and 1,000,000"),
        (TrainingSettings, {"threads": 0}, "threads: 0 is not between 1 and 256"),
        (TrainingSettings, {"batch_size": 1_000_001}, "batch_size: 1000001 is not between 1 and 1,000,000"),
        (TrainingSettings, {"threads": 257}, "threads: 257 is not between 1 and 256"),
        (TrainingSettings, {"gradient_clip": 0.0}, "gradient_clip: 0.0 is not above 0"),
        (TrainingSettings, {"gradient_clip": math.inf}, "gradient_clip: inf is not above 0"),
        (EarlyStopping, {"patience": 0}, "patience: 0 is not at least 1"),
        (EarlyStopping, {"min_delta": -1e-9}, r"min_delta: -1e-09 is not in \[0, inf\)"),
        (EarlyStopping, {"min_delta": math.inf}, r"min_delta: inf is not in \[0, inf\)"),
        (EarlyStopping, {"min_delta": math.nan}, r"min_delta: nan is not in \[0, inf\)"),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        kind(**settings)
