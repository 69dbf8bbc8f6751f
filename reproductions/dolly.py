"""Four choices from Dolly beside one another, and the whole pool once.

No paper's claim: what somebody gets who compares methods on a mixed pool of instructions with the
options that are set where nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator

from claims import Claim, Piece, rows_of, shared

CLAIM = Claim(
    paper="dolly",
    title="Four choices from Dolly",
    says="Nobody's: what does a user get who takes 5 % of a mixed pool by length, by k-center or "
    "by LoBaSS, and what by chance?",
    scaled="2,000 rows of Dolly, of at most 1,024 tokens; LoBaSS's reference is tuned once, on the "
    "whole pool, for all seeds.",
)
SIZES = {"cpu": (2_000, 400, 3), "gpu": (10_000, 2_000, 6)}  # pool, held out, seeds


def pieces(size: str) -> Iterator[Piece]:
    """Every method at 5 %; and the whole pool, once, beside chance."""
    pool_rows, held_out, seeds = SIZES[size]
    rows = shared.evenly(rows_of("pools/dolly_15k"), pool_rows + held_out)
    every = len(rows) // held_out
    pool, exam = [row for i, row in enumerate(rows) if i % every], rows[::every]
    how = "-k 5% --train num_train_epochs=2 --max-tokens 1024"
    yield Piece(
        "four",
        "Which choice of 5 % is better than chance?",
        pool,
        exam,
        f"-m random,longest,k-center,lobass {how} --seeds {seeds} --no-full --choose-once",
        steps="",
    )
    yield Piece(
        "whole",
        "How much more is there to be had from the whole pool?",
        pool,
        exam,
        f"-m random {how} --seeds 1 --full-seeds 1",
        steps="",
    )


if __name__ == "__main__":
    CLAIM.main(pieces)
