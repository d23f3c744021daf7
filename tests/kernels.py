"""`make test-kernels`: the tests that hang on arithmetic, with the BLAS kernels and features of other processors.

Each setting is a process of its own, and must first be seen to have taken hold: by what the processor itself says, by
OpenBLAS' and NumPy's own words, and by a product. Then the grids of all digits, of the samples and of 300 drawn
pictures must be the bytes that they are without any setting, and the tests must pass.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
sys.path[:0] = [str(CHECKOUT)]

TESTS = [
    *("engine", "data/test_normalize.py", "data/test_ink.py", "data/test_image.py", "insight", "test_resume.py"),
    *("test_live_panels.py", "test_verify.py", "test_explain_command.py", "test_check.py", "test_blas.py"),
    *("test_kernel.py", "test_gradients.py", "test_properties.py", "test_optimizers.py"),
]
KERNELS = {"Haswell": "avx2", "Sandybridge": "avx", "Nehalem": "sse4_2", "SkylakeX": "avx512f"}  # and what they need
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # for speed: the threads have settings of their own
OURS = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NPY_DISABLE_CPU_FEATURES")

TOLD = """
import json, numpy
from backprop_cli.blas import blas_kernel, cpu_features, n_blas_threads
ones = numpy.ones((64, 64), numpy.float32)
assert (ones @ ones == 64).all()
print(json.dumps({"kernel": blas_kernel(), "features": cpu_features(), "threads": n_blas_threads()}))
"""


@dataclass(frozen=True)
class Setting:
    """Variables of the environment, and what must be seen of them.

    Attributes:
        kernel: That OpenBLAS must say it uses; None: any.
        needs: A flag of the processor, without which the setting cannot be tried.
        without: Features that NumPy must not use.
        threads: That BLAS must use; None: any.
    """

    variables: dict[str, str] = field(default_factory=dict)
    kernel: str | None = None
    needs: str | None = None
    without: tuple[str, ...] = ()
    threads: int | None = None


def settings() -> dict[str, Setting]:
    """Return every setting by name; the first sets nothing."""
    from backprop_cli.blas import _generation, cpu_features
    from backprop_cli.data.processes import n_cores

    found = {"none": Setting(threads=n_cores())}
    for kernel, flag in KERNELS.items():
        found[kernel] = Setting({"OPENBLAS_CORETYPE": kernel} | ONE_THREAD, kernel=kernel, needs=flag)
    for generation, name in ((2, "no-AVX-512"), (1, "no-AVX2")):
        unwanted = tuple(feature for feature in cpu_features() if _generation(feature) >= generation)
        if unwanted and unwanted not in [setting.without for setting in found.values()]:
            found[name] = Setting({"NPY_DISABLE_CPU_FEATURES": " ".join(unwanted)} | ONE_THREAD, without=unwanted)
    for threads in (1, 2):
        found[f"threads-{threads}"] = Setting({"OPENBLAS_NUM_THREADS": str(threads)}, threads=threads)
    return found


def environment(setting: Setting) -> dict[str, str]:
    """Return the environment of a process with this setting and no other."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return kept | {"PYTHONPATH": str(CHECKOUT)} | setting.variables


def run(setting: Setting, *arguments: str) -> str:
    """Run Python with a setting; return its stdout."""
    done = subprocess.run([sys.executable, *arguments], env=environment(setting), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def took_hold(setting: Setting) -> str:
    """Return, in words, what a process with this setting really uses; end the program if that is not the setting."""
    told = json.loads(run(setting, "-W", "error", "-c", TOLD))
    right = (
        setting.kernel in (None, told["kernel"])
        and not set(setting.without) & set(told["features"])
        and setting.threads in (None, told["threads"])
    )
    words = f"kernel {told['kernel']}, {told['threads']} threads, {' '.join(told['features'])}"
    if not right:
        raise SystemExit(f"the setting {setting.variables} did not take hold: {words}")
    return words


def digest_of_grids(folder: Path) -> str:
    """Return a digest of the grids of all digits, of the samples and of the pictures in a folder."""
    import numpy as np

    from backprop_cli.data.dataset import load_digits
    from backprop_cli.data.image import read_picture
    from backprop_cli.data.normalize import bitmap, normalize, normalize_many

    digest = hashlib.sha256()
    bitmaps = bitmap(load_digits().pictures)
    digest.update(np.packbits(bitmaps).tobytes())
    inks = [
        read_picture(path).levels for path in sorted([*folder.iterdir(), *(CHECKOUT / "data/samples").glob("*.png")])
    ]
    for side in (8, 16, 28):
        slant = "edges" if side == 8 else "moments"
        digest.update(normalize(bitmaps.astype(np.float32), picture=(side, side), slant=slant).tobytes())
        digest.update(normalize_many(inks, picture=(side, side), slant=slant).tobytes())
    return digest.hexdigest()


def draw_pictures(folder: Path) -> int:
    """Draw 312 pictures of digits on paper, photographed, scanned and so on; return how many."""
    from backprop_cli.data.dataset import load_digits
    from backprop_cli.data.normalize import bitmap
    from benchmarks.make_pictures import make_pictures

    digits = load_digits()
    return len(make_pictures(1.0 * bitmap(digits.pictures), digits.labels, folder, per_kind=12))


def main(arguments: Sequence[str] | None = None) -> None:
    """Try every setting, or those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="settings, such as Nehalem or no-AVX2; all without them")
    parser.add_argument("--quick", action="store_true", help="without the tests that are marked slow")
    parser.add_argument("--grids", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.grids:
        sys.stdout.write(digest_of_grids(options.grids))
        return
    known = settings()
    if unknown := set(options.names) - set(known):
        raise SystemExit(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    flags = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    pytest = ["-m", "pytest", "-q", "-n", "auto", *(["-m", "not slow"] if options.quick else [])]
    with tempfile.TemporaryDirectory() as folder:
        n_pictures = draw_pictures(Path(folder))
        usual = run(known["none"], __file__, "--grids", folder)
        for name in options.names or known:
            setting = known[name]
            if setting.needs and setting.needs not in flags:
                say(f"{name}: not tried, this processor has no {setting.needs}")
                continue
            say(f"{name}: {took_hold(setting)}")
            if run(setting, __file__, "--grids", folder) != usual:
                raise SystemExit(f"{name}: the grids are not those without it")
            say(f"{name}: the grids of 1,797 digits, the samples and {n_pictures} pictures are the same bytes")
            tests = [str(CHECKOUT / "tests" / test) for test in TESTS]
            done = subprocess.run(
                [sys.executable, *pytest, *tests], cwd=CHECKOUT, env=environment(setting), check=False
            )
            if done.returncode:
                raise SystemExit(f"{name}: the tests failed")


def say(line: str) -> None:
    """Print at once, before what the tests print."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
