"""LoBaSS (arXiv 2310.13008): 6 % of Alpaca by learnability is worth more than all of it."""

from __future__ import annotations

from collections.abc import Iterator

from claims import Claim, Piece, parted, rows_of, shared, short

CLAIM = Claim(
    paper="lobass",
    title="LoBaSS / DavIR, Zhou et al. 2023, arXiv 2310.13008",
    says="3,000 rows of Alpaca's 52,002 (6 %), those whose loss falls most in relation to itself, "
    "tune a better model than all of them, and 800 (1.5 %) one as good; 16.7 % of a mix with GSM8K "
    "serve both.",
    scaled="1,500 Alpaca rows; a model of 135 million parameters, tuned already, and not of 7 "
    "billion; held-out loss and not a judge's score. The reference is tuned on the whole pool, "
    "once for all seeds.",
)
SIZES = {"cpu": (1_500, 300, 3), "gpu": (20_000, 1_000, 5)}  # pool, held out, seeds
MIXED = {"cpu": 900, "gpu": 20_000}  # of which one fifth is GSM8K
LONGEST = 1_200  # characters: a few long rows would take most of the time


def pieces(size: str) -> Iterator[Piece]:
    """The budgets of the paper with folds beside them, equal steps, and the mix with GSM8K."""
    pool_rows, held_out, seeds = SIZES[size]
    answered = [row for row in rows_of("pools/alpaca_52k") if row["messages"][-1]["content"]]
    pool, exam = parted(short(answered, LONGEST), pool_rows, held_out)
    always = f"--seeds {seeds} --choose-once --train num_train_epochs=2"
    yield Piece(
        "alpaca",
        "Is learnability better than chance and length at 1.5 % and 6 %? By a reference that has "
        "seen the rows, and by two that have not (folds).",
        pool,
        exam,
        f"-m lobass,lobass(folds=2) -k 1.5%,6% --full-seeds 1 {always}",
    )
    yield Piece(
        "steps",
        "Another design, for learnable rows are short: is learnability better than chance at 6 % "
        "if all arms take as many steps?",
        pool,
        exam,
        f"-m lobass -k 6% --match steps --no-full {always}",
    )
    mixed = MIXED[size]
    maths = shared.evenly(rows_of("pools/gsm8k_train"), mixed // 5)
    yield Piece(
        "mixed",
        "Of a pool one fifth of which is GSM8K: are 16.7 % by learnability better at GSM8K than "
        "16.7 % by chance?",
        [*shared.evenly(pool, mixed - len(maths)), *maths],
        shared.evenly(rows_of("eval/gsm8k_test"), held_out),
        f"-m lobass -k 16.7% --no-full {always}",
    )


if __name__ == "__main__":
    CLAIM.main(pieces)
