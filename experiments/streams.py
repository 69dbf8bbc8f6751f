"""What does selective replay save from being forgotten? InsCL, random and no replay on six tasks.

Six of InsCL's sixteen categories of Super-NaturalInstructions, evenly spaced in the order of its
public training script among those with enough short rows (Code has none, Mathematics three
instructions): ten instructions each, of each six rows to learn and ten held out, none longer than
150 tokens. Two of the paper's orders, easy to hard (Curriculum) and hard to easy (Reverse), by the
untrained model's loss; under the first the two ablations run as well. Each order is one `modicum
stream`, which goes on where it was stopped; `--gather` keeps the arms that are finished so far.

`--forgetful` is another design, in which tasks are forgotten: four of the tasks from hard to easy,
six times the learning rate, six rows held out of each instruction, its results under `forgetful`.
"""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections import defaultdict
from pathlib import Path
from typing import Any

import pieces
import pyarrow.parquet as pq
from pieces import Row

TASKS = (
    "Classification",
    "Sentiment_Analysis",
    "Closed_QA",
    "Program_Execution",
    "Open_QA",
    "Summarization",
)
METHODS = ["inscl", "random", "none"]
ABLATIONS = ["inscl(how_much=uniform)", "inscl(which=random)"]
ORDERS = {"easy-hard": [*METHODS, *ABLATIONS], "hard-easy": METHODS}
INSTRUCTIONS, LEARNED, HELD_OUT = 10, 6, 10
LONGEST = 150  # tokens, template included
REPLAY = 10  # rows of each old task on average
GENERATED = 32  # tokens
# Of two learning rates tried on two other categories the better (dev/LOG.md); two epochs as InsCL.
TRAIN = (
    "num_train_epochs=2",
    "learning_rate=5e-5",
    "gradient_accumulation_steps=1",
    "max_length=512",
)
# Another design, in which tasks are forgotten (dev/LOG.md).
FORGETFUL = {
    "name": "forgetful",
    "tasks": ["Classification", "Closed_QA", "Program_Execution", "Summarization"],
    "order": ["hard-easy"],
    "held_out": 6,
    "train": [*(each for each in TRAIN if "rate" not in each), "learning_rate=3e-4"],
}


def main() -> None:
    options = _options()
    folder = pieces.work(options.name)
    if not (options.table or options.gather):
        prepare(folder, options)
        for order in options.order:
            stream(folder, order, ORDERS[order], options)
    gather(folder, options)
    show(options.name)


def stream(folder: Path, order: str, methods: list[str], options: Namespace) -> None:
    """Every method and seed under one order."""
    train, test = (
        [folder / part / f"{task}.jsonl" for task in options.tasks] for part in ("train", "test")
    )
    line: list[str | Path] = ["stream", *train]
    line += ["-m", ",".join(methods), "-k", str(REPLAY), "--per-task", "--order", order]
    line += ["--seeds", str(options.seeds), "--max-new-tokens", str(GENERATED)]
    line += pieces.each("--eval", map(str, test))
    line += pieces.each("--train", options.train or TRAIN)
    pieces.modicum(*line, "-o", folder / order)


def gather(folder: Path, options: Namespace) -> None:
    """Keep the finished arms, and the whole of a finished order, without row ids and answers."""
    name, tasks = options.name, options.tasks
    for order in ORDERS:
        for arm in sorted((folder / order / "arms").glob("*")):
            stages = [json.loads(each.read_text(encoding="utf-8")) for each in _stages(arm)]
            if len(stages) == len(tasks):
                kept = {"order": order, "arm": arm.name, "stages": [_brief(s) for s in stages]}
                pieces.write_json(pieces.results(name) / "arms" / f"{arm.name}.json", kept)
        if (record := folder / order / "stream.json").exists():
            found = json.loads(record.read_text(encoding="utf-8"))
            found["arms"] = [
                {**arm, "stages": [_brief(stage) for stage in arm["stages"]]}
                for arm in found["arms"]
            ]
            pieces.write_json(pieces.results(name) / f"{order}.json", found)


def prepare(folder: Path, options: Namespace) -> None:
    """The tasks as files, the same whenever they are made."""
    for task in options.tasks:
        learned, held_out = rows_of(task, options.held_out)
        pieces.write_rows(folder / "train" / f"{task}.jsonl", learned)
        pieces.write_rows(folder / "test" / f"{task}.jsonl", held_out)


def rows_of(task: str, count: int) -> tuple[list[Row], list[Row]]:
    """Rows to learn, and so many held out, of each of ten instructions."""
    if not (data := os.environ.get("MODICUM_DATA")):
        raise SystemExit("set MODICUM_DATA to the folder that holds the real pools")
    found = pq.read_table(
        Path(data) / "pools" / "superni_train" / "part-0.parquet",
        columns=["id", "messages", "definition", "task_name"],
        filters=[("task", "=", task)],
    ).to_pylist()
    groups: dict[str, list[Row]] = defaultdict(list)
    for row, tokens in zip(found, lengths(found), strict=True):
        if tokens <= LONGEST:
            kept = {"id": row["id"], "instruction": row["definition"], "messages": row["messages"]}
            groups[row["task_name"]].append(kept)
    enough = [groups[name] for name in sorted(groups) if len(groups[name]) >= LEARNED + HELD_OUT]
    if len(enough) < INSTRUCTIONS:
        raise SystemExit(f"{task} has {len(enough)} instructions with enough short rows")
    chosen = pieces.evenly(enough, INSTRUCTIONS)  # type: ignore[type-var]
    learned = [row for rows in chosen for row in rows[:LEARNED]]
    return learned, [row for rows in chosen for row in rows[LEARNED : LEARNED + count]]


def lengths(rows: list[Row]) -> list[int]:
    """Tokens of each row under the default model's template."""
    from modicum import find_model
    from modicum.pool import Pool, RawRow, Turn
    from modicum.render import render

    pool = Pool.build(
        RawRow(None, "", "", tuple(_turn(Turn, each) for each in row["messages"]), 0, n, 0, 0)
        for n, row in enumerate(rows)
    )
    return [int(n) for n in render(pool, find_model().tokenizer).lengths_N]


def show(name: str) -> None:
    """Per order the numbers of each method, and how methods differ."""
    for order in ORDERS:
        path = pieces.results(name) / f"{order}.json"
        if not path.exists():
            done = sorted((pieces.results(name) / "arms").glob(f"*-{order}-*"))
            print(f"{order}: {len(done)} arms are finished, not all\n")
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        heads = ("method", "measure", "RG", "mean RG", "AP", "BWT", "F", "FWT", "LA")
        numbers = ("RG", "RG_mean", "AP", "BWT", "F", "FWT", "LA")
        pieces.print_table(
            heads,
            [
                (row["method"], row["measure"], *(_shown(row[n]) for n in numbers))
                for row in found["summary"]
            ],
        )
        print()
        pieces.print_table(
            ("methods", "measure", "of", "difference", "95 % interval"),
            [
                (
                    " − ".join(pair["methods"]),
                    pair["measure"],
                    pair["number"],
                    f"{pair['difference']:+.3f}",
                    f"{pair['low']:+.3f} to {pair['high']:+.3f}",
                )
                for pair in found["pairs"]
            ],
        )
        print()


def _turn(kind: Any, message: Row) -> Any:
    return kind(message["role"], message["content"], message["role"] == "assistant")


def _stages(arm: Path) -> list[Path]:
    paths = (path for path in arm.glob("*.json") if path.stem.isdigit())
    return sorted(paths, key=lambda path: int(path.stem))


def _brief(stage: Row) -> Row:
    """A stage without the ids and reasons of replayed rows."""
    replay = stage.get("replay")
    if replay:
        tasks = [{k: v for k, v in task.items() if k != "rows"} for task in replay["tasks"]]
        replay = {**replay, "tasks": tasks}
    return {**stage, "replay": replay}


def _shown(spread: Row | None) -> str:
    if spread is None:
        return ""
    sd = "" if spread["sd"] is None else f" ± {spread['sd']:.3f}"
    return f"{spread['mean']:.3f}{sd}"


def _options() -> Namespace:
    parser = pieces.parser(__doc__, "streams", rows=LEARNED * INSTRUCTIONS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--order", nargs="+", choices=list(ORDERS), default=list(ORDERS))
    parser.add_argument("--gather", action="store_true", help="keep what is finished so far")
    parser.add_argument("--forgetful", action="store_true", help="the design that forgets")
    parser.set_defaults(tasks=list(TASKS), held_out=HELD_OUT)
    given, _ = parser.parse_known_args()
    if given.forgetful:
        parser.set_defaults(**FORGETFUL)
    return parser.parse_args()


if __name__ == "__main__":
    main()
