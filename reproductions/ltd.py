"""LTD (arXiv 2305.09246): half a percent of a task's rows, well spread, is enough for the task."""

from __future__ import annotations

from collections.abc import Iterator

from claims import Claim, Piece, Row, parted, rows_of, shared

CLAIM = Claim(
    paper="ltd",
    title="Maybe Only 0.5% Data is Needed, Chen et al. 2023, arXiv 2305.09246",
    says="A core set of less than 0.5 % of the data tunes a specialist some two points better "
    "than all of the task's rows, and one instruction type is enough for it.",
    scaled="4,000 rows of natural language inference in place of P3; 10 %, 1 % and 0.5 %; a model "
    "of 135 million parameters, tuned already, in place of Galactica. All of these take as many "
    "steps, so that a small set is seen more often. The whole pool is TREC's: 1,500 questions.",
)
SIZES = {"cpu": (4_000, 600, 4), "gpu": (20_000, 4_000, 5)}  # pool, held out, seeds
STEPS = {"cpu": 40, "gpu": 1_200}  # of 512 tokens: at cpu size one epoch of 10 %
TARGET = 100  # rows of the task in view
EASIER = {"cpu": (1_500, 200, 4), "gpu": (5_000, 500, 10)}  # the same, of TREC
COLUMNS = ("template", "choices", "answer")


def pieces(size: str) -> Iterator[Piece]:
    """A piece a budget, at equal steps; the whole pool; an easier task; one way of asking."""
    pool_rows, held_out, seeds = SIZES[size]
    pool, target = parted(_told(rows_of("pools/nli_train", COLUMNS)), pool_rows, TARGET)
    exam = shared.evenly(_told(rows_of("eval/nli_test", COLUMNS, task="snli")), held_out)
    aim = shared.write_rows(shared.work("ltd") / "target.jsonl", target)
    asked = f"--measure choice,loss --seeds {seeds} --no-full --train max_steps={STEPS[size]}"
    for budget in ("10%", "1%", "0.5%"):
        yield Piece(
            f"nli-{budget.rstrip('%')}",
            f"At {budget} of the task's rows and equal steps: is a core set better than chance?",
            pool,
            exam,
            f"-m ltd,k-center -k {budget} --target {aim} {asked}",
        )
    if size == "gpu":  # hours on a processor; there `trec` asks it
        yield Piece(
            "nli-whole",
            "Are 10 %, 1 % or 0.5 % of the task's rows as good as all of them, in two epochs each?",
            pool,
            exam,
            f"-m ltd -k 10%,1%,0.5% --target {aim} --measure choice,loss --seeds 3 --full-seeds 1 "
            "--train num_train_epochs=2",
        )
    yield _easier(size)
    yield Piece(
        "templates",
        "At 10 % and equal steps: is one way of asking better than four, asked in that way?",
        pool,
        exam,
        f"-m reproductions.one_source:OneSource -k 10% {asked}",
    )


def _easier(size: str) -> Piece:
    """Another design: a task that is learned within minutes, of a few rows."""
    pool_rows, held_out, seeds = EASIER[size]
    columns = ("choices", "answer")
    pool, target = parted(rows_of("pools/cls_train", columns, task="trec"), pool_rows, TARGET)
    aim = shared.write_rows(shared.work("ltd") / "trec.jsonl", target)
    return Piece(
        "trec",
        "Another design, a task that is learned within minutes: are 1 % and 10 % of TREC's "
        "questions better by a core set than by chance, and as good as all?",
        pool,
        shared.evenly(rows_of("eval/cls_test", columns, task="trec"), held_out),
        f"-m ltd -k 1%,10% --target {aim} --measure choice,loss --seeds {seeds} --full-seeds 1 "
        "--train num_train_epochs=4",
    )


def _told(rows: list[Row]) -> list[Row]:
    """Rows with a label (some of SNLI's have none), whose source is their way of asking."""
    labelled = (row for row in rows if row["answer"] != "-")
    return [{**row, "source": f"template {row['template']}"} for row in labelled]


if __name__ == "__main__":
    CLAIM.main(pieces)
