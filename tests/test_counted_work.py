"""Work is counted and held against stored bounds: unlike seconds, counts know no noise."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from modicum.evaluation.options import option_losses
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.pool import Pool
from modicum.selection import kcenter
from modicum.selection.distances import Work
from modicum.store import Store
from modicum.wants import HiddenState, Loss

ROOT = Path(__file__).parent.parent
BOUNDS = json.loads((ROOT / "benchmarks" / "bounds.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pool():
    return Pool.read(ROOT / "examples" / "pool.jsonl").take(np.arange(40))


def cost(model, folder, pool, *asked):
    """The ledger of asking these wants one after the other."""
    meter = Meter(model, Store(folder))
    for wants in asked:
        meter.prepare(pool, wants)
    return meter.ledger


def test_ifd_and_hidden_states_read_each_row_and_each_answer_once(pool, tiny_model, tmp_path):
    ledger = cost(tiny_model, tmp_path, pool, [Loss(), Loss(prompt=False), HiddenState()])
    rendered = Meter(tiny_model).rendered(pool)
    least = rendered.lengths_N.sum() + rendered.answer_lengths_N.sum() + len(pool)  # start tokens
    assert ledger.forward_tokens <= BOUNDS["measure_tokens_per_least"] * least
    assert ledger.padding_tokens <= BOUNDS["measure_padding_share"] * least


def test_three_measurements_cost_their_passes_once(pool, tiny_model, tmp_path):
    # IFD, hidden states, and learnability: the loss through the model and through a second one.
    ifd, hidden, learnability = [Loss(), Loss(prompt=False)], [HiddenState()], [Loss()]
    meter = Meter(tiny_model, Store(tmp_path))
    meter.prepare(pool, ifd + hidden + learnability)
    meter.through(replace(tiny_model, precision="bfloat16")).prepare(pool, learnability)
    whole, alone = (
        cost(tiny_model, tmp_path / str(want), pool, [want]).forward_tokens for want in ifd
    )
    assert meter.ledger.forward_tokens <= BOUNDS["together_per_passes"] * (2 * whole + alone)


def test_options_share_their_prompt(pool, tiny_model):
    rendered, ledger = Meter(tiny_model).rendered(pool.take([0])), Ledger()
    prompt_T = rendered.row(0).ids_T[:60]
    options = [np.arange(5, 9) + n for n in range(77)]
    option_losses([prompt_T], [options], tiny_model, ledger)
    least = len(prompt_T) + sum(map(len, options))
    assert ledger.forward_tokens <= BOUNDS["options_tokens_per_least"] * least


def test_distances_grow_hardly_faster_than_the_rows():
    rng = np.random.default_rng(0)
    sizes, picks, counted = np.array([4_000, 8_000, 16_000, 32_000]), 200, []
    centres_CD = rng.normal(size=(100, 32))
    for size in sizes:
        vectors_ND = centres_CD[rng.integers(0, 100, size)] + rng.normal(size=(size, 32))
        work = Work()
        list(islice(kcenter(vectors_ND.astype(np.float32), seed=0, work=work), picks))
        counted.append(work.distances)
    exponent = np.polyfit(np.log(sizes), np.log(counted), 1)[0]
    assert exponent <= BOUNDS["kcenter_exponent"]
    assert counted[-1] <= BOUNDS["kcenter_share_of_pairs"] * sizes[-1] * picks
