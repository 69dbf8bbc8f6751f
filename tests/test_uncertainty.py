"""How unsure a model is of an answer, against full logits and distributions made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modicum import head, measure
from modicum.forward import make_ready
from modicum.head import of_tokens
from modicum.meter import Meter
from modicum.render import ANSWER
from modicum.scores.uncertainty import Entropy, LeastConfidence, Margin
from modicum.store import Store
from modicum.wants import HiddenState, Loss, Uncertainty

SCORES = [LeastConfidence(), Margin(), Entropy()]
WANTS = [Uncertainty(kind) for kind in ("least-confidence", "margin", "entropy")]
every_score = pytest.mark.parametrize("score", SCORES, ids=lambda score: score.name)


@pytest.mark.parametrize(
    ("p_V", "unsure", "margin", "entropy"),
    [
        ([0.5, 0.25, 0.125, 0.125], 0.5, 0.25, 1.75 * math.log(2)),
        ([0.125, 0.25, 0.125, 0.5], 0.5, 0.25, 1.75 * math.log(2)),  # the order is nothing
        ([0.25, 0.25, 0.25, 0.25], 0.75, 0.0, math.log(4)),  # knows nothing
        ([1.0, 1e-30, 1e-30, 1e-30], 0.0, 1.0, 0.0),  # is sure
    ],
)
def test_numbers_of_a_distribution_made_by_hand(p_V, unsure, margin, entropy):
    logits_1V = torch.tensor([p_V]).log() + 7  # a constant changes no distribution
    expected = {"least-confidence": unsure, "margin": margin, "entropy": entropy}
    for kind, value in expected.items():
        found_1 = of_tokens(logits_1V, torch.tensor([2]), kind)
        assert found_1.tolist() == pytest.approx([value], abs=1e-6)


def plainly(network, ids_T: np.ndarray, kinds_T: np.ndarray) -> dict[str, float]:
    """From the whole row's logits: the mean over the tokens of the answer, prompt left out."""
    with torch.inference_mode():
        logits_TV = network(input_ids=torch.tensor(ids_T.astype(np.int64))[None]).logits[0]
    p_TV = torch.softmax(logits_TV.float(), 1).numpy()
    p_MV = p_TV[:-1][kinds_T[1:] == ANSWER]
    sorted_MV = np.sort(p_MV, axis=1)
    return {
        "least-confidence": float(np.mean(1 - sorted_MV[:, -1])),
        "margin": float(np.mean(sorted_MV[:, -1] - sorted_MV[:, -2])),
        "entropy": float(np.mean(-(p_MV * np.log(p_MV)).sum(1))),
    }


@every_score
def test_values_are_those_of_full_logits_row_by_row(score, tiny_pool, meter):
    network, rendered = meter.model.network, meter.rendered(tiny_pool)
    expected = [plainly(network, *rendered.row(i))[score.name] for i in range(len(tiny_pool))]
    assert score(tiny_pool, meter).tolist() == pytest.approx(expected, abs=1e-5)


@every_score
def test_a_row_without_an_answer_is_nan_and_the_others_are_in_range(score, odd_pool, meter):
    values_N = score(odd_pool, meter)
    assert np.flatnonzero(np.isnan(values_N)).tolist() == [12]
    most = math.log(len(meter.model.tokenizer)) if score.name == "entropy" else 1
    assert 0 < np.nanmin(values_N) < np.nanmax(values_N) < most


def test_what_is_measured_together_has_the_bits_of_what_is_measured_alone(
    odd_pool, tiny_model, tmp_path
):
    wants = (Loss(), *WANTS, HiddenState())
    together = Meter(tiny_model, Store(tmp_path / "together"))
    together.prepare(odd_pool, wants)
    for want in wants:
        alone = Meter(tiny_model, Store(tmp_path / want.name))
        bits = alone.measured(odd_pool, want).tobytes()
        assert together.measured(odd_pool, want).tobytes() == bits
        assert together.ledger.forward_passes == alone.ledger.forward_passes


@pytest.mark.parametrize(
    ("wants", "kinds"),
    [
        ([HiddenState()], []),
        ([Loss()], ["loss"]),
        ([WANTS[1], HiddenState()], ["margin"]),
        ([Loss(), *WANTS], ["loss", "least-confidence", "margin", "entropy"]),
    ],
)
def test_logits_are_made_once_and_only_what_is_wanted_of_them(
    wants, kinds, tiny_pool, meter, monkeypatch
):
    heads, found, make, of = [], [], head.head, head.of_tokens
    make_ready(meter.model.network)  # its check makes logits too
    monkeypatch.setattr(measure, "make_ready", lambda network: network)
    monkeypatch.setattr(head, "head", lambda *args: heads.append(1) or make(*args))
    monkeypatch.setattr(head, "of_tokens", lambda *args: found.append(args[2]) or of(*args))
    meter.prepare(tiny_pool.take([2]), wants)
    by_tiles = kinds == ["loss"]  # its logits never exist at once
    assert len(heads) == (0 if by_tiles else min(1, len(kinds)))
    assert found == ([] if by_tiles else kinds)
