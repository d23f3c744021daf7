"""Each optimizer and each loss, from the config to the last command; and one of each that is added in its one file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import answer, backprop, document, environment, refusal
from faults.trials import differences, rows

import backprop_cli
from backprop_cli.config.config import bundled_folder
from backprop_cli.config.schema import json_schema
from backprop_cli.data.dataset import load_digits
from backprop_cli.engine.losses import LOSSES
from backprop_cli.engine.optimizers import OPTIMIZERS

SMALL = (
    *("-c", "quick", "--set", "training.epochs=3", "--set", "data.test_size=0.8"),
    *("--set", "network.layers=[{units: 8}]"),
)
SCHEMA = json_schema()
CHOICES = [("optimizer", name) for name in OPTIMIZERS] + [("loss", name) for name in LOSSES]


def choosing(section: str, settings: str) -> tuple[str, ...]:
    return (*SMALL, "--set", f"{section}={{{settings}}}")


# ---- each that there is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "name"), CHOICES)
def test_the_schema_names_and_describes_it(section: str, name: str) -> None:
    mapping = SCHEMA["properties"][section]["discriminator"]["mapping"]
    described = SCHEMA["$defs"][mapping[name].rpartition("/")[2]]
    assert described["properties"]["name"]["const"] == name
    assert described["description"].endswith(".")


@pytest.mark.parametrize(("section", "name"), CHOICES)
def test_a_slip_in_its_name_or_its_keys_is_told_as_any_other(section: str, name: str) -> None:
    assert f'"{name}x" is not one of ' in (line := refusal("train", *choosing(section, f"name: {name}x")))
    assert line.endswith(f'; did you mean "{name}"?\n')
    line = refusal("train", *choosing(section, f"name: {name}, nane: 1"))
    assert line.endswith(f": {section}.nane: unknown key; did you mean {section}.name?\n")


@pytest.mark.parametrize(("section", "name"), CHOICES)
def test_it_learns_and_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    work: Path, stop_at: Callable[[int], None], section: str, name: str
) -> None:
    command = ("train", *choosing(section, f"name: {name}"), "--progress", "plain")
    answer(*command, "--run-dir", "whole")
    stop_at(2)
    answer(*command, "--run-dir", "broken", code=143)
    answer("train", "--resume", "broken")
    assert differences(work / "broken", work / "whole") == []
    first, *_, last = rows(work / "whole")
    assert last["loss"] < first["loss"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_that_is_far_too_high_is_answered_with_the_usual_one(work: Path, name: str) -> None:
    result = backprop("train", *choosing("optimizer", f"name: {name}, learning_rate: 1e+30"))
    assert result.exit_code == 1, result.output
    usual = OPTIMIZERS[name]().learning_rate
    remedy = ("--set", f"optimizer.learning_rate={usual:.2g}")
    assert f"which is 1e+30: {' '.join(remedy)}\n" in result.stderr
    answer("train", *choosing("optimizer", f"name: {name}, learning_rate: 1e+30"), *remedy)


@pytest.mark.parametrize("name", LOSSES)
def test_every_command_knows_the_loss(work: Path, name: str) -> None:
    options, units = choosing("loss", f"name: {name}"), LOSSES[name]().output
    assert document("check", *options)["passed"]
    assert document("train", *options, "--dry-run")["layers"][-1]["activation"] == units
    answer("train", *options, "--run-dir", "run")
    assert 0.0 <= document("eval", "-m", "run")["accuracy"] <= 1.0
    (picture,) = document("predict", "-m", "run", "digits:5")["predictions"]
    assert sum(picture["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)
    told = answer("explain", "-m", "run", "digits:5", "--worksheet", "sheet.md")
    assert re.search(rf"^output +{units} ", told, re.MULTILINE)
    assert "LOSS        The truth is 5: loss = " in told
    assert f"-> 10 ({units})" in Path("sheet.md").read_text()


# ---- one more -------------------------------------------------------------------------------------------------------

LION = '''
@dataclass(frozen=True)
class Lion(_Optimizer):
    """The sign of momentum.

        c = beta1 * m + (1 - beta1) * g
        m = beta2 * m + (1 - beta2) * g
        params -= learning_rate * sign(c)

    Attributes:
        name: `lion`.
        beta1: Share of the old mean in the step, in [0, 1).
        beta2: Share of the old mean that is kept, in [0, 1).

    Source: Chen et al. 2023, algorithm 2.
    """

    name: Literal["lion"] = "lion"
    learning_rate: float = _within("(0, inf)", 3e-4)
    beta1: float = _within("[0, 1)", 0.9)
    beta2: float = _within("[0, 1)", 0.99)

    def init(self, n_params: int, dtype: Any = np.float32) -> OptimizerState:
        """Return the state before the first step."""
        return OptimizerState(n_params, dtype, ["mean"], beta1=self.beta1, beta2=self.beta2, rate=0.0)

    def update(self, params: Array, grads: Array, block: Block, step: int, learning_rate: float) -> None:
        """Make a step on one block."""
        mean, scratch = block.mean, block.scratch
        block.rate[()] = learning_rate
        mean -= grads
        np.multiply(mean, block.beta1, out=scratch)
        scratch += grads
        mean *= block.beta2
        mean += grads
        np.sign(scratch, out=scratch)
        scratch *= block.rate
        params -= scratch


Optimizer = Lion | '''

BINARY = '''
@dataclass(frozen=True)
class BinaryCrossEntropy(_Loss):
    """Sigmoid units, each with a cross-entropy of its own: loss = -mean_i sum_k t ln o + (1 - t) ln (1 - o).

    Attributes:
        name: `binary`.

    Source: Bishop 2006, equation 5.23.
    """

    name: Literal["binary"] = "binary"

    output = "sigmoid"
    term = "-{t} x ln {o} - (1 - {t}) x ln (1 - {o})"
    slope = "(1 - {t}) / (1 - {o}) - {t} / {o}"
    delta = "{o} - {t}"

    def values(self, outputs: Array, targets: Array) -> Array:
        """Return the loss of every example, (batch,); finite for any logits."""
        floor = np.finfo(outputs.dtype).tiny
        yes, no = np.log(np.maximum(outputs, floor)), np.log(np.maximum(1.0 - outputs, floor))
        return np.asarray(-(targets * yes + (1.0 - targets) * no).sum(axis=1))

    def slopes(self, outputs: Array, targets: Array, out: Array) -> Array:
        """Write (1 - targets) / (1 - outputs) - targets / outputs into `out`, (batch, n_classes)."""
        return np.subtract((1.0 - targets) / (1.0 - outputs), targets / outputs, out=out)

    def gradient(self, outputs: Array, targets: Array, out: Array, buffers: RowBuffers | None = None) -> Array:
        """Write dLoss/dlogits = (outputs - targets) / batch into `out`, (batch, n_classes)."""
        np.subtract(outputs, targets, out=out)
        out *= 1.0 / len(out) if buffers is None else buffers.share
        return out


Loss = BinaryCrossEntropy | '''

SQUARE_ROOT = '''
@formulas("f(z) = z / sqrt(1 + z^2)", "f'(z) = (1 + z^2)^(-3/2)")
def isru(z: Array, a: Array, slope: Array) -> None:
    """Squash to (-1, 1) without an exponential. Source: Carlile et al. 2017, equation 1."""
    np.multiply(z, z, out=slope)
    slope += 1.0
    np.sqrt(slope, out=slope)
    np.divide(z, slope, out=a)
    np.power(slope, -3.0, out=slope)


ACTIVATIONS: dict[str, Activation] = {
    "isru": isru,'''

UCI = '''"""Lines of 64 counts and a label, as UCI keeps its digits."""

import numpy as np

from backprop_cli.data.dataset import Dataset
from backprop_cli.data.readers.shared import Wanted, dataset_of


def matches(source: str) -> bool:
    """Return whether a source is such a file, by its name."""
    return source.endswith(".tra")


def load(source: str, wanted: Wanted) -> Dataset:
    """Return its pictures."""
    table = np.loadtxt(source, np.uint8, delimiter=",")
    return dataset_of(source, table[:, :64].reshape(-1, 8, 8), table[:, 64], max_value=16.0)
'''

COUNT = '''"""`backprop count`."""

from backprop_cli.cli import console
from backprop_cli.cli.app import command_app
from backprop_cli.cli.options import ConfigName, Overrides, load_config

app = command_app()


@app.command()
def count(config: ConfigName = None, overrides: Overrides = None) -> None:
    """Count the parameters of a config."""
    from backprop_cli.api.plan import plan

    console.print_result(str(plan(load_config(config, overrides)).n_parameters))
'''

# What is added -> each file that is touched: the text before which something is put in (None: a new file), and that.
ADDED: dict[str, list[tuple[str, str | None, str]]] = {
    "an activation": [
        ("engine/activations.py", "\nACTIVATIONS: dict[str, Activation] = {", SQUARE_ROOT),
        (
            "../tests/textbook.py",
            '    "identity": (',
            '    "isru": (lambda z: z / math.sqrt(1 + z * z), lambda z: (1 + z * z) ** -1.5),\n    "identity": (',
        ),
    ],
    "an optimizer": [("engine/optimizers.py", "\nOptimizer = ", LION)],
    "a loss": [("engine/losses.py", "\nLoss = ", BINARY)],
    "a setting": [
        (
            "engine/schedules.py",
            "        progress = (step - n_warmup) / max(1.0, n_steps - n_warmup)\n        return 0.5 * (1.0 + math",
            "        if step >= (1.0 - self.rest) * n_steps:\n            return 0.0\n"
            "        progress = (step - n_warmup) / max(1.0, n_steps - n_warmup)\n        return 0.5 * (1.0 + math",
        ),
        (
            "engine/schedules.py",
            "    warmup: float = 0.1\n",
            "    warmup: float = 0.1\n    rest: float = 0.0  # share of all steps at the end that stand still\n",
        ),
    ],
    "a form of data": [
        ("data/readers/uci.py", None, UCI),
        ("data/sources.py", '    "npz": "FILE.npz",\n', '    "uci": "FILE.tra",\n    "npz": "FILE.npz",\n'),
    ],
    "a command": [
        ("cli/count.py", None, COUNT),
        ("cli/app.py", '    "init": (', '    "count": ("count", "Count the parameters of a config."),\n    "init": ('),
    ],
}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the package, its configs and its tests, and add all of them to the copy; the package itself stays."""
    folder, unneeded = tmp_path_factory.mktemp("changed"), shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(backprop_cli.__file__).parent, folder / "backprop_cli", ignore=unneeded)
    shutil.copytree(Path(__file__).parent, folder / "tests", ignore=unneeded)
    shutil.copytree(bundled_folder(), folder / "configs")
    shutil.copy(Path(__file__).parents[1] / "pyproject.toml", folder)
    for file, place, text in [change for changes in ADDED.values() for change in changes]:
        path = folder / "backprop_cli" / file
        if place is not None:
            before, found, after = path.read_text().partition(place)
            assert found, (file, place)
            text = before + text + after
        path.write_text(text)
    return folder


def in_the_copy(folder: Path, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        env=environment(PYTHONPATH=str(folder), PYTEST_ADDOPTS=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout[-5000:] + done.stderr[-1000:]
    return done


FOLLOWING = [  # a file of tests, and which of the three it must take up
    ("test_one_change_one_file.py", "lion"),
    ("test_one_change_one_file.py", "binary"),
    ("test_optimizers.py", "lion"),
    ("test_gradients.py", "binary"),
    ("test_gradients.py", "isru"),
    ("test_check.py", "binary"),
    ("engine/test_activations.py", "isru"),
    ("engine/test_losses.py", "binary"),
    ("engine/test_gradient_check.py", "binary"),
    ("engine/test_gradient_check.py", "isru"),
    ("engine/test_memory.py", "lion"),
    ("engine/test_memory.py", "binary"),
    ("engine/test_memory.py", "isru"),
    ("insight/test_worksheet.py", "binary"),
    ("insight/test_worksheet.py", "isru"),
]


@pytest.mark.slow
def test_the_tests_of_all_take_up_one_more_activation_optimizer_and_loss(changed: Path) -> None:
    done = in_the_copy(
        changed,
        *("-m", "pytest", "-q", "-rA", "-o", "addopts=", "-p", "no:cacheprovider"),
        *("-k", "lion or binary or isru", "--rootdir", str(changed)),
        *sorted({f"tests/{file}" for file, _ in FOLLOWING}),
    )
    passed = re.findall(r"^PASSED tests/(\S+?)::(\S+)$", done.stdout, re.MULTILINE)
    for file, name in FOLLOWING:
        assert any(name in test for where, test in passed if where == file), f"no test of {file} took up {name}"


def test_one_more_form_of_data_setting_and_command_are_there_at_once(changed: Path) -> None:
    digits = load_digits()
    table = np.column_stack([digits.pictures.reshape(-1, 64), digits.labels])[:400]
    np.savetxt(changed / "some.tra", table, "%d", delimiter=",")
    run = ("-m", "backprop_cli")
    small = ("--set", "training.epochs=3", "--set", "network.layers=[{units: 16}]")
    at_rest = ("--set", "schedule={name: warmup_cosine, rest: 0.5}")
    in_the_copy(changed, *run, "train", "-c", "quick", *small, *at_rest, "--set", "data.source=some.tra")
    rows = (changed / "runs" / "quick-1" / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(row)["learning_rate"] for row in rows]
    assert (rates[0] > 0, rates[-1]) == (True, 0)
    source = ("data", "show", "-c", "quick", "--set")
    assert "some.tra: 400 pictures of 8x8" in in_the_copy(changed, *run, *source, "data.source=some.tra").stdout
    assert ", FILE.tra, FILE.npz, " in in_the_copy(changed, *run, *source, "data.source=none", code=2).stderr
    assert in_the_copy(changed, *run, "count", "-c", "quick", *small).stdout == f"{65 * 16 + 17 * 10}\n"
    told = in_the_copy(changed, *run, "--help").stdout
    assert re.search(r"^ +count +Count the parameters of a config\.$", told, re.MULTILINE)
