"""Run the commands of a README ($1) as they stand, in this empty folder, with the `backprop` that is on the PATH."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

readme = Path(sys.argv[1]).read_text("utf-8")
lines = [
    line[2:]
    for block in re.findall(r"^```console(?: run)?\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
assert len(lines) >= 7, lines
for line in lines:
    print(f"$ {line}", flush=True)
    if line != "backprop draw":
        subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], check=True, stdout=subprocess.DEVNULL)
        continue
    with subprocess.Popen(["backprop", "draw", "--no-browser"], stdout=subprocess.PIPE, text=True) as serving:
        address = serving.stdout.readline().split()[1].partition("#")[0]
        for name in (
            "",
            "watch",
            "page.css",
            *(f"{name}.js" for name in ("page", "board", "lesson", "paint", "ask", "watch")),
        ):
            assert len(urllib.request.urlopen(address + name).read()) > 200, name
        serving.send_signal(signal.SIGINT)
    assert serving.returncode == 0, serving.returncode
assert Path("digits-1.html").stat().st_size > 500_000
