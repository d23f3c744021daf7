"""`make bench`: our training step and our command line against others, and how they grow; writes docs/performance.md.

Every comparison is a ratio within one interleaved run: each peer runs in turn, round after round, and the figure is the
median of the rounds' ratios. Absolute times drift on shared machines; ratios taken so do not.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from benchmarks import peers  # noqa: E402  (NumPy reads the variables above when it is imported)

HERE = Path(__file__).parent
INTRODUCTION = """\
# Performance

`make bench` measures a training step against scikit-learn, PyTorch and JAX (`pip install -e '.[bench]'`; those that
are missing are skipped), whole processes against `import numpy`, and how time and memory grow, and writes this page.
All ratios come from one run in which every peer takes its turn, round by round; those that fall short are here too."""
RESULTS = HERE.parent / "docs/performance.md"

Table = tuple[str, Sequence[str], list[Sequence[str]]]  # title and remark, columns, rows


def interleaved(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each run in each round; a round runs all in turn, and the first is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for counted in [False, *[True] * rounds]:
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if counted:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def paired_ratio(numerator: list[float], denominator: list[float]) -> float:
    """Return the median of the rounds' ratios."""
    return median(a / b for a, b in zip(numerator, denominator, strict=True))


def step_table(share: float) -> Table:
    """Measure a training step against the peers on every job."""
    rows: list[Sequence[str]] = []
    for job in (*peers.JOBS, peers.MODERN):
        runs = dict(peers.peers_of(job))
        say(f"{job.name}: {', '.join(runs)}")
        seconds = interleaved(runs, max(3, round(job.rounds * share)))
        for name in runs:
            microseconds = 1e6 * median(seconds[name]) / job.n_steps
            ratio = paired_ratio(seconds[name], seconds["ours"])
            rows.append((job.name, name, f"{microseconds:,.1f}", f"{ratio:.2f}"))
    missing = [package for package in ("torch", "jax") if not peers.is_installed(package)]
    remark = f" Not installed here, so not measured: {', '.join(missing)}." if missing else ""
    title = "## A training step\n\nMicroseconds a step, and how many times ours that is." + remark
    return title, ("job", "by", "us a step", "times ours"), rows


SCIKIT_LEARN_JOB = """
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
import warnings; warnings.simplefilter("ignore")
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=0.3, stratify=y, random_state=0)
MLPClassifier((32,), batch_size=32, max_iter=40, learning_rate_init=3e-3, alpha=0, tol=0, n_iter_no_change=99,
              random_state=0).fit(x_train, y_train).score(x_test, y_test)
"""


def process_table(share: float) -> Table:
    """Measure whole processes, from start to exit, against importing NumPy."""
    backprop = [sys.executable, "-m", "backprop_cli"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def process(*command: str) -> Callable[[], object]:
            return lambda: subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)

        process(*backprop, "train", "-c", "quick", "--run-dir", "model")()
        _clean_picture(Path(folder) / "four.png")
        _small_pictures(Path(folder) / "many", 1000)
        runs = {
            'python -c "import numpy"': process(sys.executable, "-c", "import numpy"),
            "backprop --help": process(*backprop, "--help"),
            "backprop predict, one clean 28x28 picture": process(*backprop, "predict", "four.png", "-m", "model"),
            "backprop train -c quick": process(*backprop, "train", "-c", "quick"),
            "backprop train (digits.yaml)": process(*backprop, "train"),
            "that quick job in scikit-learn": process(sys.executable, "-c", SCIKIT_LEARN_JOB),
            "backprop predict, 1,000 small pictures": process(*backprop, "predict", "many", "-m", "model", "--json"),
        }
        say("processes: " + ", ".join(runs))
        seconds = interleaved(runs, max(3, round(11 * share)))
    numpy_seconds = next(iter(seconds.values()))
    rows = [
        (name, f"{1e3 * median(taken):,.0f}", f"{paired_ratio(taken, numpy_seconds):.2f}")
        for name, taken in seconds.items()
    ]
    factor = paired_ratio(seconds["that quick job in scikit-learn"], seconds["backprop train -c quick"])
    pace = 1000 / median(seconds["backprop predict, 1,000 small pictures"])
    title = (
        f"## Whole processes\n\nFrom start to exit. The quick job is {factor:.1f} times faster than in scikit-learn; "
        f"small pictures are read at {pace:,.0f} a second."
    )
    return title, ("command", "ms", "times import numpy"), rows


def _clean_picture(path: Path) -> None:
    from PIL import Image

    sample = HERE.parent / "data" / "samples" / "4-1419.png"
    Image.open(sample).convert("L").resize((28, 28)).save(path)


def _small_pictures(folder: Path, n: int) -> None:
    from PIL import Image

    folder.mkdir()
    samples = sorted((HERE.parent / "data" / "samples").glob("*.png"))
    for i in range(n):
        Image.open(samples[i % len(samples)]).convert("L").resize((28, 28)).save(folder / f"{i:04}.png")


def overhead_table(share: float) -> Table:
    """Measure what figures, files and progress add to the bare epochs of network B, and validation on top."""
    from contextlib import closing

    from backprop_cli.config.config import read_config
    from backprop_cli.experiment.experiment import Experiment
    from backprop_cli.store.run_directory import RunDirectory

    text = (
        "{{network: {{layers: [{{units: 128}}, {{units: 64}}]}}, data: {{split: stratified, test_size: 0, "
        "validation_size: {}}}, training: {{epochs: 200, batch_size: 64}}}}"
    )

    def run(validation_size: float, *, with_files: bool) -> Callable[[], object]:
        experiment_of = lambda: Experiment(read_config(text.format(validation_size), where="bench"))  # noqa: E731

        def whole() -> None:
            experiment = experiment_of()
            with tempfile.TemporaryDirectory() as folder:
                directory = RunDirectory.create("bench", Path(folder) / "run") if with_files else None
                with closing(experiment.train(directory)) as events:
                    for _ in events:
                        pass
                if directory:
                    directory.close()

        return whole

    runs = {
        "bare": run(0, with_files=False),
        "with metrics and checkpoints": run(0, with_files=True),
        "with validation on 180 of the rows too": run(0.1, with_files=True),
    }
    say("overhead: " + ", ".join(runs))
    seconds = interleaved(runs, max(3, round(9 * share)))
    rows = []
    for name, taken in seconds.items():
        n_rows = 1617 if "validation" in name else 1797
        per_row = [s / n_rows for s in taken]
        bare = [s / 1797 for s in seconds["bare"]]
        rows.append((name, f"{1e3 * median(taken) / 200:.2f}", f"{paired_ratio(per_row, bare):.3f}"))
    title = "## What an epoch of network B carries\n\n200 epochs on the digits; the ratio is per training row."
    return title, ("training", "ms an epoch", "times bare"), rows


PAYS = 1.2  # how many times faster two threads have to be

GROWTH = """
import json, os, sys, time
import numpy as np
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import CrossEntropy
from backprop_cli.engine.network import Network
from backprop_cli.engine.optimizers import Adam
from backprop_cli.engine.schedules import Constant
from backprop_cli.engine.training import EpochResult, TrainingSettings, train
from backprop_cli.engine.training_state import TrainingState
from backprop_cli.data.dataset import ChunkLoader, Scaling
width, depth, batch, rows, threads = map(int, sys.argv[1:6])
rng = np.random.default_rng(0)
pictures = rng.integers(0, 256, (rows, 1, 64), np.uint8)
labels = rng.integers(0, 10, rows)
if threads > 1:
    os.sched_setaffinity(0, range(os.cpu_count()))
def peak_kilobytes():  # of this process; getrusage would start with the size of the one that started it
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0])
before = peak_kilobytes()
network = Network([LayerSpec(width)] * depth, 64, 10, rng=rng)
state = TrainingState.start(network, Adam(), {"shuffle": rng})
scaling = Scaling(255.0, np.zeros(64, np.float32), 1.0)
batches = ChunkLoader(pictures, labels, np.arange(rows), scaling, batch, shuffle=rng)
from threadpoolctl import threadpool_limits
with threadpool_limits(threads, user_api="blas"):
    settings = TrainingSettings(epochs=100, batch_size=batch)
    events = train(network, CrossEntropy(), Adam(), Constant(), batches, None, settings, state=state)
    seconds = [event.seconds for event, _ in zip((e for e in events if isinstance(e, EpochResult)), range(3))]
peak = peak_kilobytes()
steps = -(-rows // batch)
print(json.dumps({"epoch": min(seconds), "steps": steps, "n_params": network.n_params, "peak": peak - before}))
"""


def growth_table(share: float) -> Table:
    """Measure how step, epoch and memory grow with width, depth, batch and rows, each in a process of its own."""
    base = {"width": 128, "depth": 2, "batch": 64, "rows": 8192}
    sweeps = {
        "width": (64, 256, 1024, 4096),
        "depth": (1, 4, 16, 50),
        "batch": (1, 16, 256, 4096),
        "rows": (1_000, 10_000, 100_000, 1_000_000),
    }
    rows: list[Sequence[str]] = []
    for key, values in sweeps.items():
        for value in values if share >= 1 else values[:-1]:
            sizes = {**base, key: value}
            if key == "width" and value >= 1024:
                sizes["rows"] = 1024
            say(f"growth: {key} {value}")
            one = _grow(sizes, 1)
            rows.append(
                (
                    key,
                    f"{value:,}",
                    f"{one['n_params']:,}",
                    f"{1e6 * one['epoch'] / one['steps']:,.0f}",
                    f"{1e3 * one['epoch']:,.1f}",
                    f"{one['peak'] / 1024:,.0f}",
                    f"{one['epoch'] / _grow(sizes, 2)['epoch']:.2f}" if key == "width" else "",
                )
            )
    title = (
        "## How it grows\n\n64 inputs, two hidden layers of 128, batch 64, 8,192 rows (1,024 from width 1,024 on), "
        "with one of these changed; Adam. Memory is what training added at its peak. The last column is how many times "
        "faster two BLAS threads are (`training.threads: 2`)."
    )
    paying = [row[1] for row in rows if row[0] == "width" and float(row[-1]) >= PAYS]
    title += f" Two threads pay ({PAYS} times or more) " + (f"from width {paying[0]} on." if paying else "at no width.")
    columns = ("changed", "to", "parameters", "us a step", "ms an epoch", "MB", "two threads")
    return title, columns, rows


def _grow(sizes: dict[str, int], threads: int) -> dict[str, float]:
    arguments = [str(sizes[key]) for key in ("width", "depth", "batch", "rows")]
    command = [sys.executable, "-c", GROWTH, *arguments, str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    environment.pop("OPENBLAS_NUM_THREADS")  # the process sets them itself; OpenBLAS cannot go above this variable
    done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def augmentation_table(share: float) -> Table:
    """Measure an epoch's augmentation of 1,437 digits with the default config's warps, and what is done once before."""
    import numpy as np

    from backprop_cli.config.config import load_config
    from backprop_cli.data.augment import augment, sampling_points
    from backprop_cli.data.dataset import load_digits

    settings = load_config("digits").data.augment
    assert settings is not None
    pictures = load_digits().pictures[:1437]
    points = sampling_points(pictures, settings)
    rng = np.random.default_rng(0)
    seconds = interleaved(
        {
            "each epoch": lambda: augment(points, settings, rng, 16.0),
            "once, before the first": lambda: sampling_points(pictures, settings),
        },
        max(5, round(40 * share)),
    )
    title = "## Augmentation\n\n1,437 digits: rotation, scale, shear, shift, elastic grid, read in bitmaps."
    return title, ("work", "ms"), [(name, f"{1e3 * median(values):.1f}") for name, values in seconds.items()]


def mapped_table(share: float) -> Table:
    """Measure training on a folder of a million pictures, mapped, against a file of 50,000 in memory."""
    import numpy as np

    sizes = {"mapped folder": round(1_000_000 * min(1.0, share)), "npz in memory": 50_000}
    rows, steps_us = [], []
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        source = Path(folder) / "pictures"
        source.mkdir()
        n = sizes["mapped folder"]
        images = np.lib.format.open_memmap(source / "images.npy", "w+", np.uint8, (n, 28, 28))
        for start in range(0, n, 10_000):
            images[start : start + 10_000] = rng.integers(0, 256, images[start : start + 10_000].shape, np.uint8)
        labels = rng.integers(0, 10, n)
        np.save(source / "labels.npy", labels)
        few = sizes["npz in memory"]
        np.savez(Path(folder) / "pictures.npz", images=images[:few], labels=labels[:few])
        del images
        for name, data in (("mapped folder", "pictures"), ("npz in memory", "pictures.npz")):
            say(f"mapped: {name}")
            config = Path(folder) / "big.yaml"
            config.write_text(
                f"data: {{source: {data}, split: ordered, validation_size: 0, test_size: 0}}\n"
                "network: {layers: [{units: 256}, {units: 128}]}\ntraining: {epochs: 1, batch_size: 128}\n"
            )
            seconds, kilobytes = _watch_memory(config, Path(folder))
            steps_us.append(1e6 * seconds / -(-sizes[name] // 128))
            rows.append((name, f"{sizes[name]:,}", f"{steps_us[-1]:,.0f}", f"{kilobytes / 1024:,.0f}"))
    title = (
        "## More rows than memory\n\nNetwork C, batch 128, an epoch of 28x28 pictures; MB is the peak of the process's "
        f"own memory (RssAnon). A step on the mapped folder takes {steps_us[0] / steps_us[1]:.2f} times that in memory."
    )
    return title, ("source", "rows", "us a step", "MB"), rows


def _watch_memory(config: Path, folder: Path) -> tuple[float, int]:
    """Train in a process of its own; return the epoch's seconds and the peak of its own memory, in kilobytes."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    command = [
        sys.executable,
        "-m",
        "backprop_cli",
        "train",
        "-c",
        str(config),
        "--run-dir",
        str(config.with_suffix("")),
    ]
    peak = 0
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            if "RssAnon:" in status:
                peak = max(peak, int(status.partition("RssAnon:")[2].split()[0]))
            time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    run = config.with_suffix("")
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    shutil.rmtree(run)
    return row["seconds"], peak


TABLES: dict[str, Callable[[float], Table]] = {
    "steps": step_table,
    "processes": process_table,
    "overhead": overhead_table,
    "augmentation": augmentation_table,
    "growth": growth_table,
    "mapped": mapped_table,
}


def main() -> None:
    """Measure, print, and write docs/performance.md when everything was measured in full."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TABLES, help="one table, printed and not written")
    parser.add_argument("--share", type=float, default=1.0, help="of the rounds; below 1 nothing is written")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(TABLES)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core for all, so that all are treated alike
    text = "\n".join([_heading(), *[_markdown(*TABLES[name](arguments.share)) for name in names]])
    print(text)
    if arguments.only is None and arguments.share >= 1:
        RESULTS.write_text(text, "utf-8")
        say(f"wrote {RESULTS.relative_to(HERE.parent)}")


def _heading() -> str:
    import numpy as np

    from backprop_cli.experiment.environment import processor_name

    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    for package in ("scikit-learn", "torch", "jax"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return (
        f"{INTRODUCTION}\n\n"
        f"{processor_name()}, {os.cpu_count()} cores; {', '.join(versions)}; {blas['name']} {blas['version']}; "
        "one thread, float32. Every peer runs in turn, round after round; ratios are medians of the rounds' ratios.\n"
    )


def _markdown(title: str, columns: Sequence[str], rows: list[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]
    return "\n".join([title, "", *lines, ""])


def say(text: str) -> None:
    """Tell what is being measured."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
