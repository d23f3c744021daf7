"""The fault campaign: `make faults`. Prints what was tried and what failed; exit code 1 when anything did."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from faults.disk import check_full_disks, check_io_errors
from faults.kills import check_kills
from faults.sameness import PLACES, check_sameness
from faults.sharing import check_sharing
from faults.stops import check_signals
from faults.surroundings import SURROUNDINGS, check_surroundings
from faults.trials import Tally, Training


def main() -> int:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--signals", type=int, default=40)
    parser.add_argument("--io-errors", type=int, default=200)
    parser.add_argument("--full-disks", type=int, default=40)
    parser.add_argument("--sharing", type=int, default=20, help="two trainings in one run directory")
    parser.add_argument("--surroundings", type=int, default=len(SURROUNDINGS), help="the first N of them")
    parser.add_argument("--places", type=int, default=len(PLACES), help="to train the same model in; the first N")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="trials at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the order")
    options = parser.parse_args()
    jobs, seed = options.jobs, options.seed
    with tempfile.TemporaryDirectory(prefix="backprop-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "whole").mkdir()
        training = Training(folder / "whole")
        checks: list[tuple[int, Callable[[int], Tally]]] = [
            (options.kills, lambda n: check_kills(training, n, jobs, seed=seed)),
            (options.signals, lambda n: check_signals(training, n, jobs, seed=seed)),
            (options.io_errors, lambda n: check_io_errors(training, n, jobs, folder, seed=seed)),
            (options.full_disks, lambda n: check_full_disks(training, n, jobs, seed=seed)),
            (options.sharing, lambda n: check_sharing(training, n, jobs, seed=seed)),
            (options.surroundings, lambda n: check_surroundings(folder, jobs, places=SURROUNDINGS[:n])),
            (options.places, lambda n: check_sameness(folder, jobs, places=PLACES[:n])),
        ]
        print(f"{'check':<34}{'tried':>7}{'failed':>8}{'seconds':>9}", flush=True)
        return int(sum([show(check, n) for n, check in checks if n]) > 0)


def show(check: Callable[[int], Tally], n: int) -> int:
    """Run a check; print its line of the table, and below it what failed; return how much did."""
    begin = time.monotonic()
    tally = check(n)
    n_failed, seconds = len(tally.failures), time.monotonic() - begin
    print(f"{tally.check:<34}{tally.tried:>7}{n_failed:>8}{seconds:>9.0f}", flush=True)
    for line in [f"skipped: {name}" for name in tally.skipped] + tally.failures[:20]:
        print(f"  {line[:600]}", flush=True)
    return n_failed


if __name__ == "__main__":
    sys.exit(main())
