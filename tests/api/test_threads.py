"""Eight threads read pictures and explain them while a ninth trains: all as in one thread, and stderr still works."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLES, environment, process
from PIL import Image

SCRIPT = """
import os, sys, threading
from pathlib import Path

import numpy as np
from PIL import Image

import backprop_cli as backprop

n_pictures, paths = int(sys.argv[1]), sorted(Path("pictures").iterdir())
levels = np.asarray(Image.open(paths[2]).convert("L"))
sources = [*paths, paths[0].read_bytes(), Image.open(paths[1]), levels, "digits:3"]
model = backprop.load("pretrained")
small = backprop.train("quick", run_dir=False).model

def read(k):
    source = sources[k % len(sources)]
    return next(model.predict_many([source])).to_dict()

def explain(k):
    return small.explain(paths[k % 8], learning_rates=(0.1,)).to_dict()

answers, explanations = [read(k) for k in range(len(sources))], [explain(k) for k in range(8)]
trained = backprop.train("quick", run_dir=False).parameters_sha256
assert sum("error" in answer for answer in answers) == 2, answers
wrong, shas, reading = [], [], threading.Event()

def reader(number):
    try:
        for k in range(number, number + n_pictures):
            if read(k) != answers[k % len(sources)]:
                wrong.append((number, k))
            if k % (n_pictures // 4) == 0 and explain(k) != explanations[k % 8]:
                wrong.append((number, k, "explained"))
    except BaseException as problem:
        wrong.append(repr(problem))
        raise

def trainer():
    while not reading.is_set() or not shas:
        shas.append(backprop.train("quick", run_dir=False).parameters_sha256)

readers = [threading.Thread(target=reader, args=(number,)) for number in range(8)]
ninth = threading.Thread(target=trainer)
for thread in [ninth, *readers]:
    thread.start()
for thread in readers:
    thread.join()
reading.set()
ninth.join()
assert not wrong, wrong[:5]
assert set(shas) == {trained}, (trained, shas)
print(len(shas), "trainings", file=sys.stderr, flush=True)
os.write(2, b"still there")
"""


@pytest.mark.parametrize("n_pictures", [12, pytest.param(1000, marks=pytest.mark.slow)])
def test_threads_answer_as_one_does(work: Path, n_pictures: int) -> None:
    folder = work / "pictures"
    folder.mkdir()
    for k, path in enumerate(sorted(SAMPLES.glob("*.png"))[:12]):
        picture = Image.open(path).convert("L")
        picture.save(folder / f"{k}.png")
        picture.save(folder / f"{k}.tiff", compression=("raw", "tiff_lzw", "tiff_deflate")[k % 3])
    (folder / "blank.png").write_bytes(b"")
    whole = (folder / "1.tiff").read_bytes()
    (folder / "z.tiff").write_bytes(whole[: len(whole) // 2])
    levels = np.asarray(Image.open(folder / "2.png"))
    Image.fromarray(levels.astype(np.uint16) << 8).save(folder / "deep.tiff")
    done = process(str(n_pictures), cwd=work, program=(sys.executable, "-W", "error", "-c", SCRIPT), env=environment())
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert done.stderr.endswith(b"trainings\nstill there"), done.stderr[-500:]
