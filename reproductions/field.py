"""What a user compares with: many methods at 5 %, in one comparison a pool.

No paper's claim: it is asked which of the methods beats chance, which beats length, and at what
cost, on open answers by held-out loss, and on a task with labels and a target by accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator

from claims import Claim, Piece, parted, rows_of, shared, short

CLAIM = Claim(
    paper="field",
    title="Many methods side by side",
    says="None: who beats chance, who beats length, and at what cost?",
    scaled="1,500 rows to choose 5 % of; a model of 135 million parameters, tuned already, which "
    "also judges where a method asks a judge; three seeds.",
)
OPEN = {"cpu": (1_500, 300, 3), "gpu": (15_000, 1_000, 5)}  # pool, held out, seeds
LABELLED = {"cpu": (1_500, 300, 3), "gpu": (5_000, 500, 10)}
LONGEST = 1_200  # characters: a few long rows would take most of the time
TARGET = 100  # rows of the task in view
METHODS = "k-center,kmeans,density,facility,semdedup,ifd-ppl,superfilter,selective-reflection"


def pieces(size: str) -> Iterator[Piece]:
    """Open answers (Dolly), and a task with labels (TREC's kinds of questions) with a target."""
    pool_rows, held_out, seeds = OPEN[size]
    pool, exam = parted(short(rows_of("pools/dolly_15k"), LONGEST), pool_rows, held_out)
    yield Piece(
        "dolly",
        "Of Dolly's rows, by held-out loss.",
        pool,
        exam,
        f"-m {METHODS},ask-llm,deita -k 5% --no-full --seeds {seeds} --train num_train_epochs=1 "
        "--max-tokens 512",
    )
    pool_rows, held_out, seeds = LABELLED[size]
    columns = ("choices", "answer")
    easy, task = parted(rows_of("pools/cls_train", columns, task="trec"), pool_rows, TARGET)
    aim = shared.write_rows(shared.work("field") / "target.jsonl", task)
    yield Piece(
        "trec",
        "Of TREC's questions, with 100 of them as the target, by accuracy.",
        easy,
        shared.evenly(rows_of("eval/cls_test", columns, task="trec"), held_out),
        f"-m rds,ltd,{METHODS},kpig,ask-llm,deita -k 5% --target {aim} --measure choice,loss "
        f"--no-full --seeds {seeds} --train num_train_epochs=4",
    )


if __name__ == "__main__":
    CLAIM.main(pieces)
