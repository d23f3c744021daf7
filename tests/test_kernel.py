"""Trained bytes that travel: the portable kernel, and a run's own kernel when it is verified."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kernels
import pytest
from command_line import PROGRAM, answer, environment, parsed, process, refusal

import backprop_cli.experiment  # noqa: F401  (before a test replaces what it takes from blas)
from backprop_cli import blas

# SHA-256 of the parameters, the same with every NumPy from 2.3 on; quick's is in docs/promises.md too.
PORTABLE = {
    "quick": "7da8b82ef6f31fa19041b1d691cc66bbbe755cc272472bab0fae4b671dd65643",
    "digits": "f7f11688b9dfbc08ef1eb65672a2e6edb23e391a86e5c9b4f1a441c7d1e37808",
}
OTHER = {"OPENBLAS_CORETYPE": "Nehalem"}
QUICK = ("train", "-c", "quick", "--epochs", "3", "--progress", "none")


def processor_flags() -> set[str]:
    return set(Path("/proc/cpuinfo").read_text("utf-8").split()) if Path("/proc/cpuinfo").exists() else set()


numpy_has_avx2 = any(blas._generation(name) for name in blas.cpu_features())
needs_avx2 = pytest.mark.skipif(
    not ({"avx2", "fma"} <= processor_flags() and numpy_has_avx2), reason="a processor or a NumPy without AVX2"
)


def recorded(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "environment.json").read_text())
    return found


# ---- portable ------------------------------------------------------------------------------------------------------


@needs_avx2
@pytest.mark.parametrize("config", PORTABLE)
def test_the_bytes_are_those_of_every_processor_with_avx2(config: str, work: Path) -> None:
    done = process("train", "-c", config, "--portable", "--json", cwd=work)
    assert parsed(done.stdout.decode())["parameters_sha256"] == PORTABLE[config]


@pytest.mark.slow
@needs_avx2
def test_a_command_begins_anew_with_the_kernel_that_its_config_asks_for(work: Path) -> None:
    shas = []
    for name, options in {"flag": ["--portable"], "setting": ["--set", "training.kernel=portable"]}.items():
        done = process(*QUICK, *options, "--run-dir", name, "--json", cwd=work, env=OTHER)
        assert recorded(work / name)["blas_kernel"] == blas.PORTABLE_KERNEL
        shas.append(parsed(done.stdout.decode())["parameters_sha256"])
    done = process(*QUICK, "--run-dir", "auto", "--json", cwd=work, env=OTHER)
    assert recorded(work / "auto")["blas_kernel"] == "Nehalem"
    assert len({*shas, parsed(done.stdout.decode())["parameters_sha256"]}) == 2


@needs_avx2
def test_a_config_on_standard_input_is_handed_on(work: Path) -> None:
    config = f"name: piped\n# {'a long comment ' * 9000}\ntraining: {{epochs: 2, kernel: portable}}\n"
    done = subprocess.run(
        [*PROGRAM, "train", "-c", "-", "--seed", "3", "--progress", "none"],
        input=config.encode(),
        cwd=work,
        env=environment(**OTHER),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    run = work / "runs/piped-1"
    assert recorded(run)["blas_kernel"] == blas.PORTABLE_KERNEL
    assert "seed: 3\n" in (run / "config.yaml").read_text()


@pytest.mark.slow
@needs_avx2
def test_a_run_goes_on_with_its_kernel_and_folds_have_it_too(work: Path) -> None:
    process(*QUICK, "--portable", "--run-dir", "run", cwd=work)
    process(*QUICK, "--portable", "--run-dir", "whole", "--epochs", "5", cwd=work)
    done = process("train", "--resume", "run", "--epochs", "5", "--json", cwd=work, env=OTHER)
    assert done.stderr.count(b"not as when the run began") == 0
    assert (work / "run/model.safetensors").read_bytes() == (work / "whole/model.safetensors").read_bytes()
    folds = ("cv", "-c", "quick", "--folds", "2", "--set", "training.epochs=2", "--json")
    found = [process(*folds, "--set", "training.kernel=portable", cwd=work, env=env).stdout for env in ({}, OTHER)]
    first, second = (parsed(text.decode()) | {"seconds": 0} for text in found)
    assert first == second


LIBRARY = """
import numpy
from backprop_cli.config.config import load_config
from backprop_cli.experiment.experiment import Experiment
from backprop_cli.errors import ConfigError
try:
    Experiment(load_config("quick", ["training.kernel=portable"])).train()
except ConfigError as problem:
    print(problem)
"""


@needs_avx2
def test_a_program_that_has_numpy_with_another_kernel_is_refused(work: Path) -> None:
    done = process(cwd=work, program=(sys.executable, "-c", LIBRARY), env=OTHER)
    assert done.stdout.decode().startswith("training.kernel: portable needs the kernel Haswell and no more than AVX2")
    assert done.stdout.decode().endswith('start Python with OPENBLAS_CORETYPE="Haswell"\n')


@needs_avx2
def test_where_numpy_may_not_use_avx2_portable_is_refused_and_nothing_is_written(work: Path) -> None:
    names = [name for name in blas.cpu_features() if blas._generation(name)]
    done = process(*QUICK, "--portable", cwd=work, env={"NPY_DISABLE_CPU_FEATURES": " ".join(names)})
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: training.kernel: portable needs an x86-64 processor with AVX2")
    assert list(work.iterdir()) == []


@needs_avx2
def test_a_processor_that_cannot_run_the_kernel_is_refused_in_words(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blas, "blas_kernel", lambda: "Nehalem")
    monkeypatch.setattr(blas, "_PROBE", "import os; os.kill(os.getpid(), 4)")  # as an unknown instruction does
    assert "a product with its kernel failed on this machine" in refusal(*QUICK, "--portable")
    assert list(work.iterdir()) == []


@pytest.mark.skipif(not processor_flags(), reason="a system that does not tell the processor's features")
def test_whether_a_kernel_runs_is_found_out_by_a_product() -> None:
    """OpenBLAS says SkylakeX where it is asked to, and dies in the first product if there is no AVX-512."""
    assert blas.can_run("SkylakeX", {"OPENBLAS_CORETYPE": "SkylakeX"}) == ("avx512f" in processor_flags())
    assert blas.can_run("Nehalem", OTHER)
    assert not blas.can_run("Nehalem", {"OPENBLAS_CORETYPE": "Prescott"})


@pytest.mark.parametrize(
    ("found", "unwanted"),
    [
        ("X86_V2 X86_V3 X86_V4 AVX512_ICL", "X86_V4 AVX512_ICL"),  # NumPy 2.4
        ("SSE SSE2 SSE3 SSSE3 AVX F16C FMA3 AVX2 AVX512F AVX512_SKX", "AVX512F AVX512_SKX"),  # before
    ],
)
def test_features_beyond_avx2_are_left_out_by_the_names_of_this_numpy(
    found: str, unwanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blas, "cpu_features", lambda: tuple(found.split()))
    monkeypatch.setattr(blas, "blas_kernel", lambda: "SkylakeX")
    monkeypatch.delenv("NPY_DISABLE_CPU_FEATURES", raising=False)
    expected = {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": unwanted}
    assert blas.portable_variables() == expected
    monkeypatch.setattr(blas, "blas_kernel", lambda: "Haswell")
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "X86_V9")
    assert blas.portable_variables() == {"NPY_DISABLE_CPU_FEATURES": f"X86_V9 {unwanted}"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (OTHER, {"kernel": "Haswell"}),
        pytest.param({}, {"without": blas.cpu_features()}, marks=needs_avx2),
        ({}, {"threads": 77}),
    ],
)
def test_the_kernel_tests_notice_a_setting_that_did_not_take_hold(
    variables: dict[str, str], expected: dict[str, Any]
) -> None:
    with pytest.raises(SystemExit, match="did not take hold"):
        kernels.took_hold(kernels.Setting(variables, **expected))
    assert kernels.took_hold(kernels.Setting(OTHER, kernel="Nehalem")).startswith("kernel Nehalem")


# ---- verify --------------------------------------------------------------------------------------------------------


def test_a_run_from_a_machine_with_another_kernel_is_verified_byte_for_byte(work: Path) -> None:
    process(*QUICK, "--run-dir", "run", cwd=work, env=OTHER)
    done = process("verify", "run", "--json", cwd=work)
    found = parsed(done.stdout.decode())
    assert (found["verdict"], found["environment"]) == ("equal", {})


def test_a_kernel_that_this_machine_lacks_is_named_and_figures_are_compared(work: Path) -> None:
    answer(*QUICK, "--run-dir", "run")
    path = work / "run/environment.json"
    path.write_text(json.dumps(recorded(work / "run") | {"blas_kernel": "Nonsense"}))
    found = parsed(process("verify", "run", "--json", cwd=work).stdout.decode())
    assert found["environment"] == {"blas_kernel": {"then": "Nonsense", "now": blas.blas_kernel()}}
    assert found["verdict"] in ("equal", "close")


def test_kernels_of_other_processors_are_within_the_tolerance(work: Path) -> None:
    process(*QUICK, "--run-dir", "run", cwd=work, env={"OPENBLAS_CORETYPE": "Prescott"})
    path = work / "run/environment.json"
    path.write_text(json.dumps({key: value for key, value in recorded(work / "run").items() if key != "blas_kernel"}))
    found = parsed(process("verify", "run", "--json", cwd=work).stdout.decode())
    assert found["environment"]["blas_kernel"]["then"] is None
    assert found["verdict"] in ("equal", "close")
