import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backprop_cli
from backprop_cli.errors import ModelFileError, RunDirectoryError
from backprop_cli.store.model_file import Model
from backprop_cli.store.run_directory import RUNS, RunDirectory
from backprop_cli.store.runs import LATEST, find_model, find_run, list_runs, write_latest


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(backprop_cli.__file__).parents[1]))  # for other processes
    return tmp_path


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def make_run(name: str = "digits", run_dir: Path | None = None, *, model: bool = True) -> Path:
    with RunDirectory.create(name, run_dir) as run:
        run.write_config(f"name: {name}\n")
        if model:
            run.model_path.write_bytes(b"model")
        return run.path


def row(epoch: int, **more: Any) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "loss": 1 / epoch,
        "val_loss": abs(epoch - 3) / 10,
        "val_accuracy": 0.5 + epoch / 100,
        **more,
    }


# Making, taking up, refusing


def test_runs_are_numbered_one_above_the_highest_ever_used() -> None:
    assert make_run() == Path("runs/digits-1")
    assert make_run() == Path("runs/digits-2")
    (RUNS / "digits-7").mkdir()
    for other in ("digits-x", "digits-0099", "other-50", "digits-8-9", "digits"):
        (RUNS / other).mkdir()
    assert make_run() == Path("runs/digits-8")
    assert make_run("other") == Path("runs/other-51")


def test_a_number_taken_in_between_leads_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    make_run()
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(()))
    assert make_run() == Path("runs/digits-2")


def test_many_processes_at_once_never_share_a_directory() -> None:
    code = (
        "from backprop_cli.store.run_directory import RunDirectory\n"
        "for _ in range(10):\n"
        "    with RunDirectory.create('digits') as run: run.write_config(''); print(run.path)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    paths = [line for process in processes for line in process.communicate()[0].split()]
    assert len(paths) == len(set(paths)) == 40


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../up", "a b", "é", "a\n", "a\0"])
def test_a_name_cannot_leave_the_directory(name: str) -> None:
    with pytest.raises(ValueError, match="not a valid name for a run"):
        RunDirectory.create(name)
    assert not RUNS.exists()


def test_run_dir_is_taken_literally_and_may_be_new_or_empty(work: Path) -> None:
    assert make_run(run_dir=work / "deep" / "er") == work / "deep" / "er"
    (work / "empty").mkdir()
    assert make_run(run_dir=Path("empty")) == Path("empty")
    assert not RUNS.exists()


def test_a_used_directory_is_refused_and_left_untouched() -> None:
    make_run(run_dir=Path("used"))
    litter = Path("used/.model.safetensors.999999.0123abcd.tmp")
    litter.touch()
    before = [(path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(Path("used").iterdir())]
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory.create("digits", Path("used"))
    assert str(caught.value) == ("used: is already a run; resume it, or choose another directory")
    assert before == [
        (path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(Path("used").iterdir())
    ]
    with RunDirectory.open(Path("used")):  # the refusal has let go of the lock
        pass


def test_a_foreign_directory_is_refused_and_left_untouched() -> None:
    Path("home").mkdir()
    Path("home/thesis").write_text("words")
    with pytest.raises(RunDirectoryError, match=r"^home: is not empty; choose another directory$"):
        RunDirectory.create("digits", Path("home"))
    assert names_in(Path("home")) == ["thesis"]
    with pytest.raises(RunDirectoryError, match="thesis: is not a directory"):
        RunDirectory.create("digits", Path("home/thesis"))


def test_a_directory_that_a_killed_process_had_just_begun_is_still_free() -> None:
    Path("begun").mkdir()
    Path("begun/.config.yaml.999999.0123abcd.tmp").touch()
    make_run(run_dir=Path("begun"), model=False)
    assert names_in(Path("begun")) == ["config.yaml"]


def test_a_run_in_which_nothing_was_written_leaves_no_directory() -> None:
    with RunDirectory.create("digits") as run:
        assert run.path.is_dir()
    assert names_in(RUNS) == []


def test_only_a_run_can_be_opened() -> None:
    Path("empty").mkdir()
    Path("file").touch()
    for name in ("empty", "file", "missing", "\x1b[2J", "nul\0"):
        with pytest.raises(RunDirectoryError, match="not a run") as caught:
            RunDirectory.open(Path(name))
        assert str(caught.value).isprintable()


def test_opening_clears_the_litter_of_dead_runs() -> None:
    path = make_run()
    (path / f".checkpoint.safetensors.{os.getpid()}.0123abcd.tmp").touch()
    (path / ".mine.tmp").touch()
    with RunDirectory.open(path):
        assert names_in(path) == [".mine.tmp", "config.yaml", "model.safetensors"]


# The lock


@contextmanager
def training_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    code = (
        "import sys; from pathlib import Path; from backprop_cli.store.run_directory import RunDirectory\n"
        "run = RunDirectory.open(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_run_that_is_being_trained_is_refused_until_its_process_is_gone() -> None:
    path = make_run()
    (path / ".x.999999.0123abcd.tmp").touch()
    with training_elsewhere(path) as process:
        (path / ".y.999999.0123abcd.tmp").touch()
        with pytest.raises(RunDirectoryError, match=r"^runs/digits-1: another training is running here$"):
            RunDirectory.open(path)
        with pytest.raises(RunDirectoryError, match="another training is running here"):
            RunDirectory.create("digits", path)
        assert ".y.999999.0123abcd.tmp" in names_in(path)  # it may be the other's: only the lock's holder clears up
        process.send_signal(signal.SIGKILL)
        process.wait()
        with RunDirectory.open(path):
            assert names_in(path) == ["config.yaml", "model.safetensors"]


def test_two_trainings_in_one_process_are_kept_apart_too() -> None:
    path = make_run()
    with RunDirectory.open(path), pytest.raises(RunDirectoryError, match="another training"):
        RunDirectory.open(path)
    RunDirectory.open(path).close()


def test_a_file_system_without_locks_is_used_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert make_run() == Path("runs/digits-1")


def test_a_run_leaks_no_descriptor() -> None:
    path = make_run()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with RunDirectory.open(path) as run:
            run.append_metrics(row(1))
            with pytest.raises(RunDirectoryError):
                RunDirectory.open(path)
            run.cut_metrics(0)
            run.append_metrics(row(1))
        run.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# Config, environment, metrics


def test_config_and_environment_come_back() -> None:
    with RunDirectory.create("digits") as run:
        run.write_config("name: é\n")
        run.write_environment({"python": "3.11", "threads": 1})
        assert run.read_config() == "name: é\n"
        assert run.read_environment() == {"python": "3.11", "threads": 1}


def test_a_config_or_environment_that_cannot_be_read_is_a_clear_error() -> None:
    with RunDirectory.create("digits") as run:
        for content in (b"\xff", b"x" * (2**20 + 1)):
            (run.path / "config.yaml").write_bytes(content)
            with pytest.raises(
                RunDirectoryError, match=r"^runs/digits-1/config.yaml: (not UTF-8 text|larger than 1 MB)$"
            ):
                run.read_config()
        assert run.read_environment() == {}  # killed before it was written
        for text in ("[]", "{", '{"a": NaN}', "[" * 100_000):
            (run.path / "environment.json").write_text(text)
            with pytest.raises(RunDirectoryError, match="not a JSON object"):
                run.read_environment()


def test_metrics_are_one_json_line_an_epoch() -> None:
    with RunDirectory.create("digits") as run:
        assert run.read_metrics() == []
        for epoch in (1, 2):
            run.append_metrics(row(epoch, val_loss=None))
            run.sync_metrics()
        lines = (run.path / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == run.read_metrics() == [row(k, val_loss=None) for k in (1, 2)]


def test_metrics_hold_finite_numbers_only() -> None:
    with RunDirectory.create("digits") as run:
        for value in (math.nan, math.inf):
            with pytest.raises(ValueError, match="not JSON compliant"):
                run.append_metrics({"epoch": 1, "loss": value})
        assert run.read_metrics() == []


def test_a_metrics_row_is_written_at_once_so_that_a_kill_loses_at_most_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with RunDirectory.create("digits") as run:
        run.append_metrics(row(1))
        sizes = []
        original = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, data: (sizes.append(len(data)), original(fd, data))[1])
            run.append_metrics(row(2))
        assert (run.path / "metrics.jsonl").read_bytes().endswith(b"}\n")
        assert len(sizes) == 1


def test_a_torn_last_line_is_left_out_and_cut_away() -> None:
    with RunDirectory.create("digits") as run:
        for epoch in (1, 2, 3):
            run.append_metrics(row(epoch))
        path = run.path / "metrics.jsonl"
        whole = path.read_bytes()
        first, second, third = whole.splitlines(keepends=True)
        for length in range(len(third) - 1):
            path.write_bytes(first + second + third[:length])
            assert [r["epoch"] for r in run.read_metrics()] == [1, 2]
            run.cut_metrics(9)
            assert path.read_bytes() == first + second
        path.write_bytes(whole[:-1])  # all but the line's end: the row is whole
        run.cut_metrics(3)
        assert path.read_bytes() == whole


def test_rows_after_the_checkpoint_are_cut_and_the_next_ones_follow() -> None:
    with RunDirectory.create("digits") as run:
        for epoch in range(1, 6):
            run.append_metrics(row(epoch))
        before = (run.path / "metrics.jsonl").read_bytes()
        run.cut_metrics(3)
        for epoch in (4, 5):
            run.append_metrics(row(epoch))
        assert (run.path / "metrics.jsonl").read_bytes() == before
        run.cut_metrics(0)
        assert run.read_metrics() == []
        assert names_in(run.path) == ["metrics.jsonl"]


def test_rows_of_an_ensemble_are_cut_by_their_count() -> None:
    with RunDirectory.create("digits") as run:
        for member in (0, 1, 2):
            for epoch in (1, 2, 3):
                run.append_metrics(row(epoch, member=member))
        run.cut_metrics(5)
        assert [(r["member"], r["epoch"]) for r in run.read_metrics()] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]


def test_cutting_is_atomic_and_writes_only_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    with RunDirectory.create("digits") as run:
        run.cut_metrics(0)
        assert names_in(run.path) == []
        run.append_metrics(row(1))
        run.append_metrics(row(2))
        before = (run.path / "metrics.jsonl").read_bytes()

        def fail(*args: object, **kwargs: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            run.cut_metrics(2)
            with pytest.raises(OSError, match="No space left") as caught:
                run.cut_metrics(1)
        assert caught.value.filename == "runs/digits-1/metrics.jsonl"
        assert (run.path / "metrics.jsonl").read_bytes() == before
        assert names_in(run.path) == ["metrics.jsonl"]


def test_metrics_that_fail_to_be_written_name_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with RunDirectory.create("digits") as run:
        run.append_metrics(row(1))
        for step in ("write", "fsync"):
            with monkeypatch.context() as patch:
                patch.setattr(os, step, fail)
                with pytest.raises(OSError, match="Input/output error") as caught:
                    run.append_metrics(row(2)) if step == "write" else run.sync_metrics()
            assert caught.value.filename == "runs/digits-1/metrics.jsonl"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("precious"), os.mkdir])
def test_metrics_go_into_no_pipe_link_or_folder(make: Any) -> None:
    Path("precious").write_text("words")
    with RunDirectory.create("digits") as run:
        make(run.path / "metrics.jsonl")
        with pytest.raises(OSError, match=r"metrics\.jsonl"):
            run.append_metrics(row(1))
    assert Path("precious").read_text() == "words"


# Checkpoint and model


def test_the_checkpoint_is_missing_then_there_then_damaged() -> None:
    with RunDirectory.create("digits") as run:
        assert run.load_checkpoint() is None
        run.save_checkpoint({"params": np.arange(3.0)}, {"epoch": 1})
        loaded = run.load_checkpoint()
        assert loaded is not None
        assert loaded[0]["params"].tolist() == [0, 1, 2]
        assert loaded[1] == {"epoch": 1}
        damaged = bytearray(run.checkpoint_path.read_bytes())
        damaged[-1] ^= 1
        run.checkpoint_path.write_bytes(damaged)
        with pytest.raises(ModelFileError) as caught:
            run.load_checkpoint()
        assert str(caught.value) == (
            "runs/digits-1/checkpoint.safetensors: checksum mismatch; the file is damaged; "
            "remove it to start again from epoch 1, or restore a copy"
        )
        run.checkpoint_path.unlink()
        run.checkpoint_path.symlink_to("lost")
        with pytest.raises(ModelFileError, match="No such file"):  # never a silent fresh start
            run.load_checkpoint()


def test_metrics_are_on_the_disk_before_the_checkpoint_that_counts_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with RunDirectory.create("digits") as run:
        run.append_metrics(row(1))
        synced = []
        original = os.fsync

        def fsync(descriptor: int) -> None:
            synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
            original(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        run.save_checkpoint({"params": np.arange(3.0)}, {"epoch": 1})
    assert synced[0] == "metrics.jsonl"
    assert synced[1].startswith(".checkpoint.safetensors")
    assert synced[2] == "digits-1"


def test_a_full_disk_leaves_the_old_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunDirectory.create("digits") as run:
        run.save_checkpoint({"params": np.arange(3.0)}, {"epoch": 1})
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fail)
            with pytest.raises(OSError, match="No space left") as caught:
                run.save_checkpoint({"params": np.arange(3.0)}, {"epoch": 2})
        assert caught.value.filename == "runs/digits-1/checkpoint.safetensors"
        loaded = run.load_checkpoint()
        assert loaded is not None
        assert loaded[1] == {"epoch": 1}
        assert names_in(run.path) == ["checkpoint.safetensors"]


def test_the_model_is_saved_where_find_model_looks() -> None:
    model = Model(
        n_inputs=1,
        layers=(),
        classes=("a", "b"),
        members=(np.zeros(4, np.float32),),
        loss={"name": "mse"},
        preprocessing={"picture": [1, 1], "max_value": 1.0, "scale": 1.0, "slant": "edges"},
        mean=np.zeros(1, np.float32),
        config={},
        summary={},
    )
    with RunDirectory.create("digits") as run:
        run.save_model(model)
        assert find_model("digits-1") == run.model_path


# Finding


def test_latest_names_a_run_inside_runs_and_the_path_of_one_outside(work: Path) -> None:
    with pytest.raises(ModelFileError, match=r"^no model yet; train one first$"):
        find_model(None)
    inside, outside = make_run(), make_run(run_dir=work / "else where\n")
    write_latest(inside)
    assert LATEST.read_text() == "digits-1\n"
    assert find_model() == find_model("latest") == find_model("runs/latest") == inside / "model.safetensors"
    assert find_run() == find_run("latest") == inside
    write_latest(Path("else where\n"))
    assert LATEST.read_text() == f"{outside}\n"
    assert find_model() == outside / "model.safetensors"
    assert names_in(RUNS) == ["digits-1", "latest"]


def test_latest_follows_the_working_directory(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_latest(make_run(run_dir=Path("run")))
    assert find_run() == work / "run"
    monkeypatch.chdir(work / "run")
    with pytest.raises(ModelFileError, match="no model yet"):
        find_model()


def test_latest_keeps_file_names_that_are_no_utf8(work: Path) -> None:
    write_latest(make_run(run_dir=work / "caf\udce9"))
    assert find_run() == work / "caf\udce9"


def test_writing_latest_clears_what_a_killed_one_left() -> None:
    path = make_run()
    dead, alive = RUNS / ".latest.9999999.0123abcd.tmp", RUNS / f".latest.{os.getppid()}.0123abcd.tmp"
    dead.touch()
    alive.touch()
    write_latest(path)
    assert names_in(RUNS) == [alive.name, "digits-1", "latest"]


@pytest.mark.parametrize("content", ["", "\n", "../up\n", "a/b", ".", "\x1b[2J", "x" * 20_000])
def test_a_latest_that_names_no_run_is_a_clear_error(content: str) -> None:
    RUNS.mkdir()
    LATEST.write_text(content)
    with pytest.raises(ModelFileError, match=r"^runs/latest: (does not name a run|larger than)"):
        find_model()
    with pytest.raises(RunDirectoryError, match=r"^runs/latest: (does not name a run|larger than)"):
        find_run()


def test_a_latest_whose_run_is_gone_is_a_clear_error() -> None:
    RUNS.mkdir()
    LATEST.write_text("digits-9\n")
    with pytest.raises(ModelFileError, match=r"^runs/latest: no such model; looked at runs/digits-9$"):
        find_model()
    LATEST.write_text("/nul\0\n")
    with pytest.raises(ModelFileError, match="no such model"):
        find_model()


def test_a_model_is_found_by_file_directory_or_name(work: Path) -> None:
    path = make_run()
    for reference in (path / "model.safetensors", path, work / path):
        expected = reference if reference.name == "model.safetensors" else reference / "model.safetensors"
        assert find_model(str(reference)) == expected
    assert find_model("digits-1") == path / "model.safetensors"
    Path("digits-1").mkdir()  # another directory of this name hides nothing
    assert find_model("digits-1") == path / "model.safetensors"
    assert find_run("digits-1") == path
    Path("digits-1/model.safetensors").touch()
    assert find_model("digits-1") == Path("digits-1/model.safetensors")


def test_what_is_not_found_says_where_it_was_looked_for() -> None:
    path = make_run(model=False)
    with pytest.raises(ModelFileError, match=r"^runs/digits-1: holds no model.safetensors; has it been trained\?$"):
        find_model("digits-1")
    with pytest.raises(ModelFileError, match=r"^digits-2: no such model; looked at digits-2 and runs/digits-2$"):
        find_model("digits-2")
    with pytest.raises(ModelFileError, match=r"^\.\./x: no such model; looked at \.\./x$"):
        find_model("../x")
    with pytest.raises(RunDirectoryError, match=r"^digits-2: no such run; looked at digits-2 and runs/digits-2$"):
        find_run("digits-2")
    (path / "config.yaml").unlink()
    with pytest.raises(RunDirectoryError, match=r"^runs/digits-1: not a run \(it has no config.yaml\)$"):
        find_run("digits-1")


@pytest.mark.parametrize("reference", ["", "x" * 5000, "nul\0", "\ud800", "\x1b[2J", "/", "a/" * 3000])
def test_odd_references_are_refused_in_one_line(reference: str) -> None:
    with pytest.raises(ModelFileError) as model_error:
        find_model(reference)
    with pytest.raises(RunDirectoryError) as run_error:
        find_run(reference)
    assert str(model_error.value).isprintable()
    assert str(run_error.value).isprintable()


# Listing


def test_runs_are_listed_in_natural_order_with_their_best_epoch() -> None:
    assert list_runs() == []
    for number in range(11):
        with RunDirectory.create("digits") as run:
            run.write_config("")
            for epoch in range(1, 6 if number else 1):
                run.append_metrics(row(epoch))
    make_run("a.b")
    (RUNS / "foreign").mkdir()
    write_latest(RUNS / "digits-2")
    runs = list_runs()
    assert [info.name for info in runs] == ["a.b-1", *(f"digits-{number}" for number in range(1, 12))]
    assert (runs[1].epochs, runs[1].best_epoch, runs[1].val_loss, runs[1].val_accuracy) == (0, None, None, None)
    assert (runs[2].epochs, runs[2].best_epoch, runs[2].val_loss, runs[2].val_accuracy) == (5, 3, 0.0, 0.53)
    assert runs[2].path == RUNS / "digits-2"


def test_a_run_without_validation_keeps_its_last_epoch() -> None:
    with RunDirectory.create("digits") as run:
        run.write_config("")
        for epoch in (1, 2):
            run.append_metrics(row(epoch, val_loss=None, val_accuracy=None))
    assert (list_runs()[0].best_epoch, list_runs()[0].val_loss) == (2, None)


def test_the_earliest_of_equal_epochs_is_the_best() -> None:
    with RunDirectory.create("digits") as run:
        run.write_config("")
        for epoch in (1, 2, 3):
            run.append_metrics(row(epoch, val_loss=0.5))
    assert list_runs()[0].best_epoch == 1


@pytest.mark.parametrize(
    ("last", "model", "finished"),
    [
        ({"stop_reason": "completed"}, True, True),
        ({"stop_reason": "early_stopping"}, True, True),
        ({"stop_reason": "interrupted"}, True, False),
        ({"stop_reason": None}, True, False),
        ({"stop_reason": "completed"}, False, False),
        ({}, True, False),
        ({}, False, False),
    ],
)
def test_a_run_is_finished_when_it_stopped_well_and_has_a_model(
    last: dict[str, Any], model: bool, finished: bool
) -> None:
    with RunDirectory.create("digits") as run:
        run.write_config("")
        run.append_metrics(row(1))
        run.append_metrics(row(2, **last))
        if model:
            run.model_path.touch()
    assert list_runs()[0].is_finished is finished


@pytest.mark.parametrize(
    "metrics",
    [
        b"",
        b"\xff\xfe\x00",
        b"[1]\n5\nnull\n{}\n",
        b'{"epoch": "1"}\n{"epoch": true}\n{"epoch": 1.5}\n{"epoch": null}\n',
        b'{"epoch": 1, "val_loss": NaN}\n{"epoch": 1, "val_loss": 1e999}\n',
        b'{"epoch": ' + b"1" * 5000 + b"}\n",
        b"[" * 200_000,
        b'{"epoch": 1, "epoch": 2}\n',
    ],
)
def test_hostile_metrics_count_as_none(metrics: bytes) -> None:
    path = make_run()
    (path / "metrics.jsonl").write_bytes(metrics)
    assert (list_runs()[0].epochs, list_runs()[0].best_epoch) == (0, None)


def test_hostile_values_and_files_do_not_stop_the_list() -> None:
    first, second, third = make_run(), make_run(), make_run()
    (first / "metrics.jsonl").write_text('{"epoch": 4, "val_loss": "low", "val_accuracy": [1], "stop_reason": {}}\n')
    os.mkfifo(second / "metrics.jsonl")
    with (third / "metrics.jsonl").open("wb") as file:
        file.truncate(2**40)
    (RUNS / "loop").symlink_to("loop")
    (RUNS / "bad\x1b\udcff\n").mkdir()
    (RUNS / "bad\x1b\udcff\n" / "config.yaml").touch()
    runs = list_runs()
    assert [info.epochs for info in runs] == [0, 4, 0, 0]
    assert (runs[1].val_loss, runs[1].val_accuracy, runs[1].is_finished) == (None, None, False)


def test_finding_and_listing_runs_needs_neither_numpy_nor_yaml() -> None:
    make_run()
    code = (
        "import sys; from backprop_cli.store import runs\n"
        "runs.list_runs(); runs.find_model('digits-1')\n"
        "print([name for name in ('numpy', 'safetensors', 'yaml', 'pydantic', 'rich') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
