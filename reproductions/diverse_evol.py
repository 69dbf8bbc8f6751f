"""DiverseEvol (arXiv 2311.08182): rounds of picking what the model has not seen beat chance."""

from __future__ import annotations

from collections.abc import Iterator

from claims import Claim, Piece, parted, rows_of, shared, short

CLAIM = Claim(
    paper="diverse-evol",
    title="DiverseEvol, Wu et al. 2023, arXiv 2311.08182",
    says="Less than 8 % of the pool, picked in rounds by k-center as the model tuned so far sees "
    "it, tunes a model as good as the whole pool does or better, and a better one than chance.",
    scaled="1,000 Dolly rows, 1,500 of TREC; four rounds, not eleven: a quarter of the rows are "
    "drawn at random, not a tenth; a model of 135 million parameters, tuned already, and not of 7 "
    "billion; held-out loss and accuracy, not a judge's score.",
)
OPEN = {"cpu": (1_000, 300, 3), "gpu": (10_000, 1_000, 5)}  # pool, held out, seeds
LABELLED = {"cpu": (1_500, 400, 3), "gpu": (5_000, 500, 10)}
LONGEST = 1_200  # characters: a few long rows would take most of the time
METHODS = "diverse-evol(rounds=3,initial={}),k-center"  # a first draw and three rounds; one shot
# Another design: hidden states as they are lie in a narrow cone, where outliers are what is far.
WHITENED = "diverse-evol(rounds=3,initial={},whiten=true),k-center(whiten=true)"


def pieces(size: str) -> Iterator[Piece]:
    """Open answers (Dolly), and a task with labels (TREC's kinds of questions)."""
    pool_rows, held_out, seeds = OPEN[size]
    pool, exam = parted(short(rows_of("pools/dolly_15k"), LONGEST), pool_rows, held_out)
    yield Piece(
        "dolly",
        "Are rounds better than chance, and than one shot of k-center, at 8 %?",
        pool,
        exam,
        f"-m {METHODS.format(pool_rows // 50)} -k 8% --full-seeds 1 --seeds {seeds} "
        "--train num_train_epochs=2 --max-tokens 512",
    )
    pool_rows, held_out, seeds = LABELLED[size]
    columns = ("choices", "answer")
    easy = shared.evenly(rows_of("pools/cls_train", columns, task="trec"), pool_rows)
    asked = shared.evenly(rows_of("eval/cls_test", columns, task="trec"), held_out)
    how = "-k 4% --measure choice,loss --train num_train_epochs=4"
    line = f"-m {METHODS.format(pool_rows // 100)} {how}"
    yield Piece(
        "trec",
        "The same on a task of six labels, by accuracy, at 4 %.",
        easy,
        asked,
        f"{line} --seeds {seeds} --no-full",
    )
    yield Piece(
        "trec-whitened",
        "Another design, whitened vectors, in which no direction outweighs the others: the same?",
        easy,
        asked,
        f"-m {WHITENED.format(pool_rows // 100)} {how} --seeds {seeds} --no-full",
    )
    if size == "gpu":
        yield Piece(
            "trec-whole",
            "Do 4 % of those rows teach the task as well as all of them do? One seed.",
            easy,
            asked,
            f"{line} --seeds 1 --full-seeds 1",
        )


if __name__ == "__main__":
    CLAIM.main(pieces)
