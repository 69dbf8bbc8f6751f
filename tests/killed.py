"""`python tests/killed.py LINE KILLS SEED POOL MODEL FOLDER`: is a killed line the same in the end?

A process that has all modules loaded forks for every run, so that a run takes a fraction of a
second. After its first measurement is kept, a run gets SIGKILL at a moment drawn at random from
the time that an undisturbed one still takes; then the same line runs to its end, and what it
leaves is compared. Runs that end before they are killed are not counted. Tunings are a stand-in.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch

import modicum.cli
import modicum.measure
import modicum.question
from diverse_evol_rounds import RATES
from lines import STAND_INS, Place
from modicum import durable
from quick_tuning import QuickTuning

MOST = 5  # runs for every kill that is wanted


def main() -> None:
    name, kills, seed, pool, model, folder = sys.argv[1:]
    torch.set_num_threads(1)
    modicum.measure.FLUSH_SECONDS, modicum.measure.BATCH_TOKENS = 0, 200
    modicum.question.calibrate = lambda *_: RATES
    for stand_in in STAND_INS:
        module, _, function = f"modicum.{stand_in}".rpartition(".")
        setattr(importlib.import_module(module), function, QuickTuning())

    def place(trial: str) -> Place:
        return Place(Path(folder, trial), name, line, Path(pool), Path(model))

    sys.stdout.write(json.dumps(tried(place, int(kills), random.Random(int(seed)))))


def tried(place: Callable[[str], Place], kills: int, draw: random.Random) -> dict[str, Any]:
    """How many runs were killed, and of those how many went on to another result."""
    first, straight = place("first"), place("straight")
    Run(first).to_end()
    for module in (first.root.with_suffix(".modules")).read_text().split():
        with suppress(Exception):  # what a run loads is loaded once, here
            importlib.import_module(module)
    seconds = Run(straight).to_end()
    whole = straight.result()
    found: dict[str, Any] = {"runs": 0, "killed": 0, "another": [], "seconds": round(seconds, 3)}
    while found["killed"] < kills and found["runs"] < MOST * kills:
        found["runs"] += 1
        trial = place(str(found["runs"]))
        after = draw.uniform(0, seconds)
        if Run(trial).killed(after):
            found["killed"] += 1
            Run(trial).to_end()
        if trial.result() != whole:
            found["another"].append({"run": found["runs"], "after": after})
    return found


class Run:
    """A forked process with the line of a place; it says when its first measurement is kept."""

    def __init__(self, place: Place) -> None:
        self.began, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.environ["MODICUM_CACHE"] = str(place.root / "cache")
            log = os.open(place.root.with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)

            def step(moment: str, path: Path) -> None:
                if moment == "kept" and path.suffix == ".safetensors":
                    os.write(writing, b".")

            durable.step = step
            status = place.run()
            place.root.with_suffix(".modules").write_text("\n".join(sys.modules))
            os._exit(status)
        os.close(writing)
        self.log = place.root.with_suffix(".log")

    def to_end(self) -> float:
        """Wait for the end; the seconds since the first measurement."""
        os.read(self.began, 1)
        since = time.monotonic()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if status:
            sys.exit(f"a run ended with {status}: {self.log.read_text()}")
        return time.monotonic() - since

    def killed(self, after: float) -> bool:
        """Kill it so long after its first measurement; False if it had ended."""
        os.read(self.began, 1)
        time.sleep(after)
        os.kill(self.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return status == -signal.SIGKILL


def line(*words: str) -> int:
    """Run the line in this process; its status."""
    sys.argv = ["modicum", *words]
    try:
        modicum.cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    main()
