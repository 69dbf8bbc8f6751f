"""Is an interrupted run the same as an undisturbed one? DiverseEvol, killed at five moments.

A killed run gets SIGKILL, with its whole process group; then the same line is run until it is
done, and its rows are compared with those of a run that was left alone. No run sees another's
measurements.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pieces
import pyarrow.parquet as pq
from killing import Process, files, finish, kill, log, start
from pieces import Row

from modicum import find_model

ROUNDS = 2
LINE = ("-m", "diverse-evol", "-k", "30", "--set", "initial=10", "--set", f"rounds={ROUNDS}")
TRAIN = ["num_train_epochs=1"]
SAME = ("id", "picked", "order", "round", "reason")  # the columns that have to agree
START = "at the start"
_AFTER = 1.0  # seconds
_LOOK = 0.005  # seconds between two looks at a run folder: writing is soon over
_TRIES = 3

Event = Callable[[Path], bool]


def begun(run: Path) -> bool:
    return (run / "rounds" / "1").is_dir()


def trained(run: Path) -> bool:
    return (run / "rounds" / "1" / "training.json").exists()


def viewed(run: Path) -> bool:
    return (run / "rounds" / "1.json").exists()


def chosen(run: Path) -> bool:
    return (run / "rounds" / f"{ROUNDS}.json").exists()


def writing(run: Path) -> bool:
    return (run / "rows.parquet").exists() or any(run.glob("subset.*"))


def ended(run: Path) -> bool:
    return (run / "manifest.json").exists()


# Each moment lies between two events. The kill comes after this share of the time that passed
# between them in the undisturbed run.
MOMENTS: dict[str, tuple[Event, Event, float]] = {
    "in a training": (begun, trained, 0.5),
    "in a view": (trained, viewed, 0.5),
    "between rounds": (viewed, chosen, 0.0),
    "while writing": (writing, ended, 0.0),
}


def main() -> None:
    options = pieces.parser(__doc__, "kills", rows=200).parse_args()
    if not options.table:
        run_all(options.name, options.rows, options.train or TRAIN)
    show(options.name)


def run_all(name: str, count: int, train: list[str]) -> None:
    """The undisturbed run and the killed ones, those that are not done yet."""
    find_model()  # converted before caches that share it are made
    folder, kept, told = pieces.work(name), pieces.results(name), {"rows": count, "train": train}
    pool = folder / "pool.jsonl"
    pieces.write_rows(pool, pieces.evenly(pieces.real_rows("dolly_15k"), count))
    words = [*pieces.COMMAND, "select", str(pool), *LINE, *pieces.each("--train", train)]
    whole = folder / "undisturbed"
    timed = pieces.once(kept / "undisturbed.json", told, lambda: undisturbed(words, whole))
    for moment in (START, *MOMENTS):
        run = folder / moment.replace(" ", "-")
        pieces.once(
            kept / f"{run.name}.json",
            told,
            partial(disturbed, words, run, moment, timed["lasted"], whole),
        )


def undisturbed(words: list[str], run: Path) -> Row:
    """One run to its end, with the seconds between the two events of each moment."""
    process, began = start(words, run), time.monotonic()
    seen: dict[Event, float] = {}

    def look() -> None:
        for event in {event for first, last, _ in MOMENTS.values() for event in (first, last)}:
            if event not in seen and event(run):
                seen[event] = time.monotonic() - began

    try:
        while process.poll() is None:
            look()
            time.sleep(_LOOK)
    finally:
        kill(process)
    look()
    if process.returncode or len(seen) < len({begun, trained, viewed, chosen, writing, ended}):
        raise SystemExit(
            f"the undisturbed run ended with {process.returncode}, having come to "
            f"{', '.join(event.__name__ for event in seen) or 'nothing'}; see {log(run)}"
        )
    lasted = {name: seen[last] - seen[first] for name, (first, last, _) in MOMENTS.items()}
    return {"seconds": time.monotonic() - began, "lasted": lasted}


def disturbed(
    words: list[str], run: Path, moment: str, lasted: dict[str, float], whole: Path
) -> Row:
    """One run that is killed at this moment, gone on with, and compared."""
    for _ in range(_TRIES):
        process, began = start(words, run), time.monotonic()
        try:
            wait(process, run, moment, lasted)
            killed_at, hit = time.monotonic() - began, process.poll() is None
        finally:
            kill(process)
        if hit and not (ended(run) if moment == START else MOMENTS[moment][1](run)):
            break
    else:
        raise SystemExit(f"{moment}: the run was past it {_TRIES} times; run this line again")
    before = files(run)
    lines = finish(words, run)
    after, rounds = files(run), [name for name in before if name.startswith("rounds/")]
    return {
        "killed_at": killed_at,
        "found": sorted(before),
        "done_again": sorted(name for name in rounds if after.get(name, -1) > before[name]),
        "resumed": lines,
        "same": compared(whole, run),
        "seconds": time.monotonic() - began,
    }


def wait(process: Process, run: Path, moment: str, lasted: dict[str, float]) -> None:
    """Until the moment has come, or the run has ended before."""
    if moment == START:
        time.sleep(_AFTER)
        return
    first, _, share = MOMENTS[moment]
    while not first(run) and process.poll() is None:
        time.sleep(_LOOK)
    time.sleep(share * lasted[moment])


def compared(one: Path, other: Path) -> dict[str, bool]:
    """For each column that has to agree, whether it does; and `gain`, which rounding may move."""
    mine, theirs = (pq.read_table(run / "rows.parquet") for run in (one, other))
    return {name: mine[name].equals(theirs[name]) for name in (*SAME, "gain")}


def show(name: str) -> None:
    """One line per moment."""
    head = ("killed", "after", "lines until done", "rounds done again", "same", "seconds in all")
    lines = []
    for moment in (START, *MOMENTS):
        for found in pieces.finished(name, moment.replace(" ", "-")).values():
            same = "yes" if all(found["same"][column] for column in SAME) else "no"
            again = ", ".join(found["done_again"]) or "none"
            at, took = f"{found['killed_at']:.1f} s", f"{found['seconds']:.0f}"
            lines.append((moment, at, found["resumed"], again, same, took))
    pieces.print_table(head, lines)


if __name__ == "__main__":
    main()
