"""Runs of the command line that can be killed: their processes, caches, logs and files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from modicum.cache import cache_folder

Process = subprocess.Popen[bytes]
_TRIES = 3


def start(words: list[str], run: Path) -> Process:
    """The line from nothing: no run folder, no log, and a cache without measurements.

    Only the converted model and the hashes of files are shared with the user's own cache.
    """
    for folder in (run, cache(run)):
        shutil.rmtree(folder, ignore_errors=True)
    log(run).unlink(missing_ok=True)
    cache(run).mkdir(parents=True)
    for name in ("models", "hashes"):
        shared = cache_folder() / name
        shared.mkdir(parents=True, exist_ok=True)
        (cache(run) / name).symlink_to(shared.resolve())
    return go_on(words, run)


def go_on(words: list[str], run: Path) -> Process:
    """The same line on what is there, as the leader of a process group of its own."""
    own = os.environ | {"MODICUM_CACHE": str(cache(run).resolve())}
    with log(run).open("ab") as text:
        return subprocess.Popen(
            [*words, "-o", str(run)], env=own, stdout=text, stderr=text, process_group=0
        )


def finish(words: list[str], run: Path) -> int:
    """The same line until it succeeds; how many times that took."""
    for times in range(1, _TRIES + 1):
        process = go_on(words, run)
        try:
            if process.wait() == 0:
                return times
        finally:
            kill(process)
    raise SystemExit(f"{run} cannot be finished; see {log(run)}")


def kill(process: Process) -> None:
    """SIGKILL to the whole process group, unless the process has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def files(run: Path) -> dict[str, int]:
    """What a run has finished so far, with each file's time: done again, it would be another."""
    found = [*run.glob("rounds/*.json"), *run.glob("rounds/*/training.json"), *run.glob("[!.]*")]
    return {str(p.relative_to(run)): p.stat().st_mtime_ns for p in found if p.is_file()}


def cache(run: Path) -> Path:
    """The cache of this run alone, beside its folder."""
    return run.with_name(f"{run.name}-cache")


def log(run: Path) -> Path:
    """What the run said, beside its folder."""
    return run.with_name(f"{run.name}.log")
