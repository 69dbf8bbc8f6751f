"""What a head makes of hidden states: the same by tiles as by whole distributions."""

from types import SimpleNamespace

import pytest
import torch

from modicum import head

WORDS, WIDE = 50, 8


def network(bias=False, **config):
    torch.manual_seed(1)
    linear = torch.nn.Linear(WIDE, WORDS, bias=bias)
    return SimpleNamespace(
        config=SimpleNamespace(**config),
        get_output_embeddings=lambda: linear,
        parameters=linear.parameters,
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"bias": True},
        {"logit_scale": 3.0},
        {"logits_scaling": 4.0},
        {"final_logit_softcapping": 0.5},
    ],
)
@pytest.mark.parametrize("columns", [7, 25, 50, 64])
def test_losses_by_tiles_are_those_of_the_whole_distribution(given, columns, monkeypatch):
    monkeypatch.setattr(head, "_TILE", {"cpu": 1})
    monkeypatch.setattr(head, "_NARROWEST", columns)
    model, hidden_MD = network(**given), torch.randn(WORDS, WIDE)
    target_M = torch.arange(WORDS)  # every column once, so every edge of a tile
    with torch.inference_mode():
        whole_MV = head.head(model, hidden_MD)
        found_M = head.losses(model, hidden_MD, target_M)
    expected_M = torch.nn.functional.cross_entropy(whole_MV, target_M, reduction="none")
    torch.testing.assert_close(found_M, expected_M, rtol=1e-5, atol=1e-5)


def test_logits_beyond_what_exp_can_hold_still_give_a_loss():
    model, hidden_MD = network(logit_scale=1e4), torch.randn(4, WIDE)
    with torch.inference_mode():
        found_M = head.losses(model, hidden_MD, torch.arange(4))
    assert torch.isfinite(found_M).all()


def test_a_tile_holds_no_more_logits_than_it_may(monkeypatch):
    seen, linear = [], torch.nn.functional.linear
    monkeypatch.setattr(head, "_TILE", {"cpu": 40})
    monkeypatch.setattr(head, "_NARROWEST", 2)
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda *given: seen.append(linear(*given)) or seen[-1]
    )
    with torch.inference_mode():
        head.losses(network(), torch.randn(4, WIDE), torch.arange(4))
    assert {tile.numel() for tile in seen} == {40}
    assert sum(tile.shape[1] for tile in seen) == WORDS


def test_a_head_that_is_more_than_a_linear_map_is_asked_for_its_logits():
    class Doubling(torch.nn.Linear):
        def forward(self, hidden_MD):
            return 2 * super().forward(hidden_MD)

    model, made = network(), Doubling(WIDE, WORDS)
    model.get_output_embeddings = lambda: made
    hidden_MD, target_M = torch.randn(3, WIDE), torch.arange(3)
    with torch.inference_mode():
        found = head.token_values(model, hidden_MD, target_M, ["loss"])["loss"]
        logits_MV = made(hidden_MD)
    expected = torch.nn.functional.cross_entropy(logits_MV, target_M, reduction="none")
    torch.testing.assert_close(found, expected)


def test_nothing_to_predict_gives_nothing():
    for kinds in (["loss"], ["margin", "loss"]):
        with torch.inference_mode():
            none = torch.zeros(0, dtype=torch.int64)
            found = head.token_values(network(), torch.zeros(0, WIDE), none, kinds)
        assert {kind: len(values) for kind, values in found.items()} == dict.fromkeys(kinds, 0)
