"""InsCL (arXiv 2403.11435): replay by distance and information forgets less than by chance.

The comparison is `experiments/streams.py`: six tasks one after another, two orders, three seeds;
and another design, in which tasks are forgotten.
"""

from __future__ import annotations

import argparse

from claims import Claim, shared

CLAIM = Claim(
    paper="inscl",
    title="InsCL, Wang et al. 2024, arXiv 2403.11435",
    says="Replay shared out by how far tasks are apart, and picked by what instructions inform of, "
    "ends 3.0 points of Relative Gain above replay by chance, and 27.96 above none.",
    scaled="Six of sixteen task categories, 60 rows of each and 10 replayed of each old task, not "
    "200; a model of 135 million parameters, tuned already, and not of 7 billion.",
)
# Folders of `experiments/results/` and the orders in them.
STREAMS = (("streams", "easy-hard"), ("streams", "hard-easy"), ("forgetful", "hard-easy"))


def main() -> None:
    options = argparse.ArgumentParser(description=CLAIM.says)
    options.add_argument("--size", choices=("cpu",), default="cpu")
    options.add_argument("--order", nargs="+", default=["easy-hard", "hard-easy"])
    given = options.parse_args()
    script = shared.ROOT / "experiments" / "streams.py"
    shared.run(script, "--order", *given.order)
    shared.run(script, "--forgetful")


if __name__ == "__main__":
    main()
