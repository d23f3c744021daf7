"""The fault campaign: `make faults`. Prints what was tried and what failed; exit code 1 when anything did."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from faults.disk import check_full_disks, check_io_errors
from faults.kills import check_kills
from faults.sharing import check_sharing
from faults.stops import check_signals
from faults.trials import Tally, Training

def main() -> int:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--signals", type=int, default=40)
    parser.add_argument("--sharing", type=int, default=20, help="two trainings in one run directory")
    parser.add_argument("--io-errors", type=int, default=200)
    parser.add_argument("--full-disks", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="trials at a time")
    options = parser.parse_args()
    print(f"{'check':<34}{'tried':>7}{'failed':>8}{'seconds':>9}")
    n_failed = 0
    with tempfile.TemporaryDirectory(prefix="backprop-faults-") as name, tempfile.TemporaryDirectory() as extra:
        training = Training(Path(name))
        checks = [
            lambda: check_kills(training, options.kills, options.jobs),
            lambda: check_signals(training, options.signals, options.jobs),
            lambda: check_sharing(training, options.sharing, options.jobs),
            lambda: check_io_errors(training, options.io_errors, options.jobs, Path(extra)),
            lambda: check_full_disks(training, options.full_disks, options.jobs),
        ]
        for check in checks:
            begin = time.monotonic()
            n_failed += show(check(), time.monotonic() - begin)
    return int(n_failed > 0)


def show(tally: Tally, seconds: float) -> int:
    """Print one line of the table, and below it what failed; return how much did."""
    n_failed = len(tally.failures)
    result = f"skipped: {tally.skipped}" if tally.skipped else f"{tally.tried:>7}{n_failed:>8}{seconds:>9.0f}"
    print(f"{tally.check:<34}{result}", flush=True)
    for failure in tally.failures[:10]:
        print(f"  {failure[:600]}", file=sys.stderr, flush=True)
    return n_failed


if __name__ == "__main__":
    sys.exit(main())
