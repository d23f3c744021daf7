"""The same training job, done by us and by others: same layers, batch, epochs, Adam, ReLU, float32, one thread.

Each peer is made once for a job, so that imports, compilation and first touches are not counted, and then runs the
job from fresh weights whenever it is called.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.data.dataset import ChunkLoader, Scaling, load_digits
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import CrossEntropy
from backprop_cli.engine.network import Network
from backprop_cli.engine.optimizers import Adam, AdamW
from backprop_cli.engine.schedules import Constant
from backprop_cli.engine.training import TrainingSettings, train
from backprop_cli.engine.training_state import TrainingState

Array = NDArray[Any]
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Job:
    """One training job.

    Attributes:
        name: As the tables call it.
        sizes: Units of every layer, inputs first, classes last.
        batch_size: Examples a step.
        n_rows: A multiple of `batch_size`.
        epochs: A run's.
        rounds: How often each peer runs, in turn.
        activation: Of the hidden layers.
        dropout: Behind each hidden layer.
        weight_decay: Above 0: AdamW.
    """

    name: str
    sizes: tuple[int, ...]
    batch_size: int
    n_rows: int
    epochs: int
    rounds: int
    activation: str = "relu"
    dropout: float = 0.0
    weight_decay: float = 0.0

    @property
    def n_steps(self) -> int:
        """Optimizer steps of one run."""
        return self.epochs * self.n_rows // self.batch_size

    def data(self) -> tuple[Array, Array]:
        """Return inputs, (n_rows, sizes[0]), float32, and labels: the digits, or made up for other widths."""
        if self.sizes[0] == 64:
            digits = load_digits()
            scaling = Scaling.fit("centered", digits.pictures, digits.max_value)
            return scaling.apply(digits.pictures)[: self.n_rows], digits.labels[: self.n_rows]
        rng = np.random.default_rng(0)
        return rng.standard_normal((self.n_rows, self.sizes[0]), np.float32), rng.integers(0, 10, self.n_rows)


JOBS = (
    Job("A 64-32-10, batch 32", (64, 32, 10), 32, 1792, 10, 21),
    Job("B 64-128-64-10, batch 64", (64, 128, 64, 10), 64, 1792, 10, 21),
    Job("C 784-256-128-10, batch 128", (784, 256, 128, 10), 128, 59904, 1, 5),
    Job("D 784-1024-1024-10, batch 256", (784, 1024, 1024, 10), 256, 12800, 3, 5),
)
MODERN = Job("B with gelu, dropout 0.2, AdamW", (64, 128, 64, 10), 64, 1792, 10, 15, "gelu", 0.2, 0.01)

Run = Callable[[], Any]


def ours(job: Job) -> Run:
    """Our `train()`, from fresh weights to the last epoch."""
    inputs, labels = job.data()
    specs = [LayerSpec(units, job.activation, job.dropout) for units in job.sizes[1:-1]]
    optimizer = AdamW(LEARNING_RATE, job.weight_decay) if job.weight_decay else Adam(LEARNING_RATE)
    settings = TrainingSettings(epochs=job.epochs, batch_size=job.batch_size)
    plain = Scaling(1.0, np.zeros(job.sizes[0], np.float32), 1.0)
    rows = np.arange(job.n_rows)

    def run() -> Network:
        rngs = dict(zip(("init", "shuffle", "dropout"), np.random.default_rng(0).spawn(3), strict=True))
        network = Network(specs, job.sizes[0], job.sizes[-1], rng=rngs.pop("init"))
        state = TrainingState.start(network, optimizer, rngs)
        batches = ChunkLoader(inputs[:, None, :], labels, rows, plain, job.batch_size, shuffle=rngs["shuffle"])
        for _ in train(network, CrossEntropy(), optimizer, Constant(), batches, None, settings, state=state):
            pass
        return network

    return run


def scikit_learn(job: Job) -> Run:
    """MLPClassifier on float32 inputs."""
    from sklearn.neural_network import MLPClassifier

    inputs, labels = job.data()

    def run() -> Any:
        model = MLPClassifier(
            job.sizes[1:-1],
            batch_size=job.batch_size,
            max_iter=job.epochs,
            learning_rate_init=LEARNING_RATE,
            alpha=0.0,
            tol=0.0,
            n_iter_no_change=job.epochs + 1,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged: it was not to
            return model.fit(inputs, labels)

    return run


def torch_adam(job: Job, *, fused: bool) -> Run:
    """PyTorch, eager; its Adam a loop over tensors or fused into one call."""
    import torch

    torch.set_num_threads(1)
    inputs, labels = (torch.from_numpy(np.ascontiguousarray(array)) for array in job.data())
    activation = {"relu": torch.nn.ReLU, "gelu": lambda: torch.nn.GELU(approximate="tanh")}[job.activation]

    def run() -> Any:
        torch.manual_seed(0)
        layers: list[Any] = []
        for fan_in, fan_out in zip(job.sizes[:-2], job.sizes[1:-1], strict=True):
            layers += [torch.nn.Linear(fan_in, fan_out), activation()]
            layers += [torch.nn.Dropout(job.dropout)] if job.dropout else []
        network = torch.nn.Sequential(*layers, torch.nn.Linear(*job.sizes[-2:]))
        loss_of = torch.nn.CrossEntropyLoss()
        kind = torch.optim.AdamW if job.weight_decay else torch.optim.Adam
        optimizer = kind(network.parameters(), lr=LEARNING_RATE, weight_decay=job.weight_decay, fused=fused)
        for _ in range(job.epochs):
            order = torch.randperm(job.n_rows)
            x, y = inputs[order], labels[order]
            for start in range(0, job.n_rows, job.batch_size):
                optimizer.zero_grad()
                loss = loss_of(network(x[start : start + job.batch_size]), y[start : start + job.batch_size])
                loss.backward()
                optimizer.step()
        return network

    return run


def jax_adam(job: Job, *, scan: bool) -> Run:
    """JAX with Adam by hand: one compiled step, or one compiled `lax.scan` over the steps of an epoch."""
    import jax
    import jax.numpy as jnp

    inputs, labels = job.data()
    x_all, y_all = jnp.asarray(inputs), jnp.asarray(labels)
    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def start() -> Any:
        rng = np.random.default_rng(0)
        params = [
            (jnp.asarray(rng.standard_normal((i, o), np.float32) * (2 / i) ** 0.5), jnp.zeros(o, jnp.float32))
            for i, o in zip(job.sizes[:-1], job.sizes[1:], strict=True)
        ]
        zeros = jax.tree.map(jnp.zeros_like, params)
        return params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0)

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        for weight, bias in params[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        logits = x @ params[-1][0] + params[-1][1]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()

    def step(state: Any, batch: Any) -> Any:
        params, mean, square, t = state
        loss, grads = jax.value_and_grad(loss_of)(params, *batch)
        t = t + 1
        mean = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, mean, grads)
        square = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, square, grads)
        rate = LEARNING_RATE * jnp.sqrt(1 - beta2**t) / (1 - beta1**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + eps), params, mean, square)
        return (params, mean, square, t), loss

    one_step = jax.jit(step, donate_argnums=0)
    n_batches = job.n_rows // job.batch_size

    def epoch(state: Any, order: Any) -> Any:
        x = x_all[order].reshape(n_batches, job.batch_size, -1)
        return jax.lax.scan(step, state, (x, y_all[order].reshape(n_batches, job.batch_size)))

    whole_epoch = jax.jit(epoch, donate_argnums=0)

    def run() -> Any:
        rng, state = np.random.default_rng(0), start()
        for _ in range(job.epochs):
            order = rng.permutation(job.n_rows)
            if scan:
                state, _ = whole_epoch(state, order)
                continue
            x, y = x_all[order], y_all[order]
            for begin in range(0, job.n_rows, job.batch_size):
                batch = x[begin : begin + job.batch_size], y[begin : begin + job.batch_size]
                state, _ = one_step(state, batch)
        return jax.block_until_ready(state)

    return run


def limit(job: Job) -> Run:
    """The bare matrix products of every step, on arrays made beforehand: nothing trains faster with this BLAS."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((job.batch_size, n), np.float32) for n in job.sizes]
    weights = [rng.standard_normal((i, o), np.float32) for i, o in zip(job.sizes[:-1], job.sizes[1:], strict=True)]
    grads = [np.empty_like(weight) for weight in weights]
    deltas = [np.zeros_like(x) for x in inputs]

    def run() -> None:
        for _ in range(job.n_steps):
            for k, weight in enumerate(weights):
                np.dot(inputs[k], weight, out=inputs[k + 1])
            for k in reversed(range(len(weights))):
                np.dot(inputs[k].T, deltas[k + 1], out=grads[k])
                if k:
                    np.dot(deltas[k + 1], weights[k].T, out=deltas[k])

    return run


def peers_of(job: Job) -> Iterator[tuple[str, Run]]:
    """Yield each peer that is installed and can do the job, ready to run; ours first."""
    yield "ours", ours(job)
    if job.activation == "relu":
        yield "scikit-learn MLPClassifier", scikit_learn(job)
    if is_installed("torch"):
        yield "torch eager Adam", torch_adam(job, fused=False)
        yield "torch fused Adam", torch_adam(job, fused=True)
    if is_installed("jax") and job.activation == "relu":
        yield "jax, one jit per step", jax_adam(job, scan=False)
        yield "jax, lax.scan over an epoch", jax_adam(job, scan=True)
    yield "limit: bare products", limit(job)


def is_installed(package: str) -> bool:
    """Return whether a peer is here."""
    return importlib.util.find_spec(package) is not None
