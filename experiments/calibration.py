"""Do intervals cover what they say, and how often is "better" false? Simulated from real losses.

`--tune` measures the held-out losses once: the embedded model untrained, tuned on rows drawn anew
under each seed, and on the longest rows. They are kept, with how they were made, in
`results/calibration/losses.json`, which is all that the simulation needs.

A simulated loss is the row's effect + the seed's effect + noise. Rows are drawn with replacement
from the real ones. Of an arm's effect on them there are three kinds: `longest`, the real mean
differences between the two ways of choosing rows (less what noise adds to their variance), moved
to a mean of 0; `shuffled`, the same among other rows; `alike`, none. Noise is a real residual of
the same row, of a seed drawn at random, with a random sign. Seeds' effects are normal, with the
real seed means' variance less what noise adds to it. All arms are compared with one baseline, so
their differences share its chance, as they do in use.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pieces
from pieces import Row

from modicum.evaluation.paired import Difference, compare_paired
from modicum.evaluation.verdicts import holm, ratio_interval, verdict
from modicum.runs import write_json

SEEDS_OF_DESIGNS, ROWS_OF_DESIGNS = (2, 3, 5, 6, 8, 12), (50, 200)
KINDS = ("longest", "shuffled", "alike")
SHARE = 0.7  # of the whole pool's gain, in simulations of shares
NAME = "calibration"
DRAWS = 2_000
TUNED, HELD_OUT = 60, 100  # rows
LONGEST = 300  # characters of a row
TRAIN = {"num_train_epochs": 1, "learning_rate": 1e-4, "gradient_accumulation_steps": 1}
SEEDS = {"random": 6, "longest": 6}


class Real(NamedTuple):
    """What simulations are drawn from."""

    effects_N: np.ndarray  # of an arm on each row; mean 0
    gains_N: np.ndarray  # of tuning on each row
    noise_RN: np.ndarray  # of single losses
    seed_sd: float
    difference: float  # between the two real arms
    seeds: dict[str, int]


def main() -> None:
    options = _options()
    folder = pieces.results(NAME)
    if options.tune:
        tune_all(folder / "losses.json")
    real = read(folder / "losses.json")
    sizes = list(product(SEEDS_OF_DESIGNS, ROWS_OF_DESIGNS))
    with ProcessPoolExecutor() as workers:
        lines = list(workers.map(partial(design, real, options.runs), sizes))
    about = {"runs": options.runs, "seed_sd": real.seed_sd, "seeds": real.seeds}
    sds = {"effect_sd": float(real.effects_N.std()), "noise_sd": float(real.noise_RN.std())}
    told = {**about, **sds, "difference": real.difference, "designs": lines}
    write_json(folder / "table.json", told)
    (folder / "table.md").write_text(table(told), encoding="utf-8")


def read(path: Path) -> Real:
    """Effects of rows and seeds, and noise, of the losses that are kept."""
    arms = json.loads(path.read_text(encoding="utf-8"))["arms"]
    one_RN, other_RN, base_N = (np.array(arms[a]) for a in ("random", "longest", "base"))
    noises = [_residuals(each_RN) for each_RN in (one_RN, other_RN) if len(each_RN) > 1]
    variance = float(np.concatenate(noises).var())
    means = [each_RN.mean(axis=1) for each_RN in (one_RN, other_RN)]
    freedom = sum(len(each) - 1 for each in means)
    between = sum(float(((each - each.mean()) ** 2).sum()) for each in means) / freedom
    effects_N = other_RN.mean(axis=0) - one_RN.mean(axis=0)
    added = variance * (1 / len(one_RN) + 1 / len(other_RN))
    kept = max(0.0, 1 - added / float(effects_N.var()))
    return Real(
        (effects_N - effects_N.mean()) * kept**0.5,
        base_N[0] - one_RN.mean(axis=0),
        np.concatenate(noises),
        max(0.0, between - variance / one_RN.shape[1]) ** 0.5,
        float(effects_N.mean()),
        {"random": len(one_RN), "longest": len(other_RN)},
    )


def design(real: Real, runs: int, size: tuple[int, int]) -> dict[str, Any]:
    """How a number of seeds and rows does: with no true difference, and with the real one."""
    seeds, rows = size
    rng = np.random.default_rng(size)
    found = [arms(real, seeds, rows, rng) for _ in range(runs)]
    shares = [share(real, seeds, rows, rng) for _ in range(runs)]
    nulls, trues = ([verdicts(run[k]) for run in found] for k in (0, 1))
    return {
        "seeds": seeds,
        "rows": rows,
        "covered": {
            kind: float(np.mean([null[k].low <= 0 <= null[k].high for null, _ in found]))
            for k, kind in enumerate(KINDS)
        },
        "false_better": float(np.mean(["better" in said for said in nulls])),
        "false_better_beside_a_true_one": float(np.mean(["better" in said[1:] for said in trues])),
        "true_better": float(np.mean([said[0] == "better" for said in trues])),
        "smallest": float(np.median([null[0].smallest for null, _ in found])),
        "share_covered": float(np.mean([inside for inside, _ in shares])),
        "share_unbounded": float(np.mean([unbounded for _, unbounded in shares])),
    }


def arms(
    real: Real, seeds: int, rows: int, rng: np.random.Generator
) -> tuple[list[Difference], list[Difference]]:
    """One experiment: an arm of each kind against the same baseline, of which none truly differs;
    and again with the real difference, as a lower loss, in the first arm."""
    rows_M = rng.integers(len(real.effects_N), size=rows)
    baseline_SM = losses(real, seeds, rows_M, rng)
    shuffled_N = rng.permutation(real.effects_N)
    found = []
    for effect_N in (real.effects_N, shuffled_N, np.zeros_like(shuffled_N)):
        found.append(effect_N[rows_M] + losses(real, seeds, rows_M, rng) - baseline_SM)
    lower_SM = found[0] - abs(real.difference)
    draw = int(rng.integers(2**31))
    null = [compare_paired(each_SM, draws=DRAWS, seed=draw + n) for n, each_SM in enumerate(found)]
    return null, [compare_paired(lower_SM, draws=DRAWS, seed=draw), *null[1:]]


def losses(real: Real, seeds: int, rows_M: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(S, M) what seeds and noise add to the losses of an arm."""
    shape = (seeds, len(rows_M))
    noise_SM = real.noise_RN[rng.integers(len(real.noise_RN), size=shape), rows_M]
    signs_SM = rng.choice([-1.0, 1.0], shape)
    return np.asarray(rng.normal(0, real.seed_sd, (seeds, 1)) + signs_SM * noise_SM)


def share(real: Real, seeds: int, rows: int, rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether the true share of a gain is within its bounds, and whether there are any."""
    rows_M = rng.integers(len(real.gains_N), size=rows)
    whole_SM = real.gains_N[rows_M] + losses(real, seeds, rows_M, rng)
    part_N = SHARE * real.gains_N + real.effects_N
    found = ratio_interval(part_N[rows_M] + losses(real, seeds, rows_M, rng), whole_SM)
    if found.low is None or found.high is None:
        return True, True
    return found.low <= SHARE <= found.high, False


def verdicts(run: Sequence[Difference]) -> list[str]:
    """What is shown of each arm, all of them held against chance together. Lower is better."""
    adjusted_M = holm([each.p for each in run])
    return [verdict(each, p, "lower") for each, p in zip(run, adjusted_M, strict=True)]


def table(told: Row) -> str:
    """The designs as a Markdown table."""
    head = ["seeds", "rows", *(f"covered, {kind}" for kind in KINDS)]
    head += ["false better", "beside a true one", "true better", "smallest", "share covered"]
    lines = [
        f"{told['runs']:,} simulations of each line, 95 % intervals, Holm over three arms at 5 %. "
        f"Standard deviations in nats: a seed {told['seed_sd']:.4f}, an arm's effect on a row "
        f"{told['effect_sd']:.4f}, noise {told['noise_sd']:.4f}; the true difference is "
        f"{abs(told['difference']):.4f}.\n",
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
    ]
    for line in told["designs"]:
        shares = [*line["covered"].values(), line["false_better"]]
        shares += [line["false_better_beside_a_true_one"], line["true_better"]]
        cells = [line["seeds"], line["rows"], *(f"{100 * share:.1f} %" for share in shares)]
        unbounded = f" ({100 * line['share_unbounded']:.0f} % unbounded)"
        cells += [f"{line['smallest']:.4f}", f"{100 * line['share_covered']:.1f} %{unbounded}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def tune_all(made: Path) -> None:
    """Measure the held-out losses of every tuning, and write them together."""
    folder = pieces.work(NAME)
    rows = [row for row in pieces.real_rows("dolly_15k") if _size(row) <= LONGEST]
    held_out = pieces.evenly(rows, HELD_OUT)
    gone = {row["id"] for row in held_out}
    rest = [row for row in rows if row["id"] not in gone]
    options = {"train": TRAIN, "tuned_rows": TUNED, "held_out": HELD_OUT, "longest": LONGEST}
    held_pool = pieces.write_rows(folder / "held-out.jsonl", held_out)
    arms: dict[str, list[list[float]]] = {}
    for arm, seed in [
        ("base", 0),
        *((arm, s) for s in range(max(SEEDS.values())) for arm in SEEDS),
    ]:
        if seed < SEEDS.get(arm, 1):
            pool = _picked(folder, arm, seed, rest)
            piece = partial(_losses, held_pool, pool, folder / f"{arm}-{seed}", seed)
            found = pieces.once(folder / "losses" / f"{arm}-{seed}.json", options, piece)
            arms.setdefault(arm, []).append(found["losses"])
    about = "held-out losses in nats per token of SmolLM2-135M-Instruct (Q4_1) tuned on Dolly rows"
    write_json(made, {"made": about, "options": options, "arms": arms})


def _residuals(losses_RN: np.ndarray) -> np.ndarray:
    """What neither the row's mean nor the seed's explains, spread out for the means taken off."""
    seeds, rows = losses_RN.shape
    left_RN = losses_RN - losses_RN.mean(axis=0) - losses_RN.mean(axis=1, keepdims=True)
    return np.asarray(
        (left_RN + losses_RN.mean()) * (seeds * rows / ((seeds - 1) * (rows - 1))) ** 0.5
    )


def _picked(folder: Path, arm: str, seed: int, rest: list[Row]) -> Path | None:
    """The rows that an arm is tuned on: drawn anew under each seed, or the longest under all."""
    if arm == "base":
        return None
    draw = np.random.default_rng(seed)
    drawn = [rest[i] for i in draw.choice(len(rest), TUNED, replace=False)]
    by_size = sorted(rest, key=lambda row: -_size(row))
    rows = drawn if arm == "random" else by_size[:TUNED]
    return pieces.write_rows(folder / f"{arm}-{seed}.jsonl", rows)


def _losses(held_out: Path, pool: Path | None, run: Path, seed: int) -> Row:
    from modicum import Pool, find_model, train
    from modicum.meter import Meter
    from modicum.wants import Loss

    model = find_model()
    if pool is not None:
        model = train(Pool.read(pool), run, model, train=TRAIN, seed=seed).model(model)
    loss_N = Meter(model).measured(Pool.read(held_out), Loss())
    shutil.rmtree(run, ignore_errors=True)
    return {"losses": [round(float(loss), 5) for loss in loss_N]}


def _size(row: Row) -> int:
    return sum(len(turn["content"]) for turn in row["messages"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--tune", action="store_true", help="measure the losses first, as far as they are not there"
    )
    parser.add_argument("--runs", type=int, default=1000, help="simulations of each design")
    return parser.parse_args()


if __name__ == "__main__":
    main()
