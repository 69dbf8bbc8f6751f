"""What a trainer is given and makes of it: every row, every token, and only answers learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy

from modicum.errors import InputError, OptionError, TrainingError
from modicum.render import ANSWER, TEMPLATE, USER, Rendered
from modicum.training import Recipe, tune
from modicum.training.rows import IGNORED, check_arrived, dataset, learned_tokens, packed
from modicum.training.tune import start
from modicum.wants import Loss

PACKED: dict[str, Any] = {"max_length": 1024}  # all rows of the small pool in one pack
ONE_BY_ONE: dict[str, Any] = {"packing": False, "per_device_train_batch_size": 12}


def rows(*rows_: tuple[list[int], list[int]]) -> Rendered:
    """Rendered rows of (ids, kinds)."""
    ids, kinds = zip(*rows_, strict=True)
    starts = np.cumsum([0, *map(len, ids)])
    return Rendered(
        np.concatenate(ids).astype(np.int32), np.concatenate(kinds).astype(np.uint8), starts
    )


ASKED = rows(
    ([0, 5, 7, 8], [TEMPLATE, USER, ANSWER, ANSWER]),
    ([0, 6, 9], [TEMPLATE, USER, ANSWER]),
)


@pytest.fixture
def rendered(meter, tiny_pool) -> Rendered:
    return meter.rendered(tiny_pool)


@pytest.fixture
def trainer(rendered, tiny_model, tmp_path):
    """Makes the trainer of a recipe, ready to train on the small pool."""
    from modicum.training.trainer import Watch

    return lambda given: start(
        rendered, tiny_model, tmp_path, Recipe(given), 0, Watch(lambda done: None)
    )


def batch_of(trainer: Any) -> dict[str, torch.Tensor]:
    """The one batch that holds all rows."""
    (batch,) = trainer.get_train_dataloader()
    return batch


def by_hand(network: Any, rendered: Rendered) -> torch.Tensor:
    """Mean loss of all answer tokens, each row read alone."""
    losses = []
    for i in range(len(rendered)):
        ids, kinds = (torch.tensor(array.astype(np.int64)) for array in rendered.row(i))
        token_losses = cross_entropy(network(ids[None]).logits[0, :-1], ids[1:], reduction="none")
        losses.append(token_losses[kinds[1:] == ANSWER])
    return torch.cat(losses).mean()


def gradients(network: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    network.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in network.named_parameters()}


def test_answers_are_labelled_with_their_own_ids_and_nothing_else_is() -> None:
    made = dataset(ASKED)
    assert made["input_ids"][:] == [[0, 5, 7, 8], [0, 6, 9]]
    assert made["labels"][:] == [[IGNORED, IGNORED, 7, 8], [IGNORED, IGNORED, 9]]


def test_a_token_that_nothing_predicts_is_not_learned() -> None:
    first_is_answer = rows(([7, 8, 9], [ANSWER, ANSWER, ANSWER]), ([0, 9], [TEMPLATE, ANSWER]))
    assert learned_tokens(first_is_answer).tolist() == [2, 1]
    assert learned_tokens(rows(([], []), ([0, 9], [TEMPLATE, ANSWER]))).tolist() == [0, 1]


@pytest.mark.parametrize("teaches_nothing", [([0, 5], [TEMPLATE, USER]), ([7], [ANSWER])])
def test_a_row_with_nothing_to_learn_is_refused(teaches_nothing) -> None:
    with pytest.raises(InputError, match=r"1 rows teach nothing; the first, row 1: no answer tok"):
        dataset(rows(([0, 9], [TEMPLATE, ANSWER]), teaches_nothing))


def test_a_row_without_tokens_is_refused_with_its_reason(meter, odd_pool) -> None:
    whole = meter.rendered(odd_pool)
    refused = min(whole.errors)
    with pytest.raises(InputError) as told:
        dataset(whole)
    assert f"row {refused}: {whole.errors[refused]}" in str(told.value)


def test_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match="no rows to train on"):
        dataset(ASKED.take([]))


def test_what_was_sent_may_arrive_in_any_order_and_in_packs() -> None:
    check_arrived(dataset(ASKED), ASKED)
    check_arrived(dataset(ASKED).select([1, 0]), ASKED)
    ids, labels = [0, 5, 7, 8, 0, 6, 9], [-100, -100, 7, 8, -100, -100, 9]
    pack = {"input_ids": [ids], "labels": [labels], "seq_lengths": [[4, 3]]}
    check_arrived(Dataset.from_dict(pack), ASKED)
    with pytest.raises(TrainingError, match="made 1 rows of 2"):
        check_arrived(Dataset.from_dict(pack | {"seq_lengths": [[7]]}), ASKED)


@pytest.mark.parametrize(
    ("ids", "labels", "told"),
    [
        ([[0, 5, 7, 8]], [[-100, -100, 7, 8]], "1 rows of 2"),
        ([[0, 5, 7], [0, 6, 9]], [[-100, 7, 8], [-100, -100, 9]], "6 tokens of 7"),
        ([[0, 5, 7, 8], [0, 6, 9]], [[-100, -100, -100, 8], [-100, -100, 9]], "2 answer tokens of"),
        ([[0, 5, 7, 8], [0, 6, 9]], [[-100, 5, 7, 8], [-100, -100, 9]], "4 answer tokens of 3"),
    ],
)
def test_a_row_a_token_or_a_label_that_is_lost_or_added_stops_it(ids, labels, told) -> None:
    with pytest.raises(TrainingError, match=f"{told}.*nothing was trained"):
        check_arrived(Dataset.from_dict({"input_ids": ids, "labels": labels}), ASKED)


def test_a_length_that_would_cut_a_row_is_refused(rendered, tiny_model, tmp_path) -> None:
    longest = int(rendered.lengths_N.max())
    for packing in (True, False):
        recipe = Recipe({"max_length": longest - 1, "packing": packing})
        with pytest.raises(OptionError, match=f"would cut the longest row, which has {longest}"):
            tune(rendered, tiny_model, tmp_path / "out", recipe)


def test_every_row_is_whole_in_some_pack(rendered, trainer) -> None:
    packs, expected, found = trainer({"max_length": 128}).train_dataset, dataset(rendered), []
    assert 1 < len(packs) < len(expected)
    for pack in packs:
        ends = np.cumsum(pack["seq_lengths"])
        for end, length in zip(ends, pack["seq_lengths"], strict=True):
            part = slice(end - length, end)
            found.append((pack["input_ids"][part], pack["labels"][part]))
    assert sorted(found) == sorted((row["input_ids"], row["labels"]) for row in expected)


@pytest.mark.parametrize("given", [PACKED, ONE_BY_ONE])
def test_the_loss_of_a_batch_is_that_of_its_answers_with_each_row_read_alone(
    given, rendered, trainer
) -> None:
    ready = trainer(given)
    network = ready.model.eval()
    batch = batch_of(ready)
    assert ("attention_mask" in batch) == (given is ONE_BY_ONE)
    theirs = gradients(network, ready.compute_loss(network, batch))
    ours = gradients(network, by_hand(network, rendered))
    for name, gradient in ours.items():
        torch.testing.assert_close(theirs[name], gradient, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        ready.compute_loss(network, batch), by_hand(network, rendered), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("items", [None, 1000])
def test_our_cheaper_loss_is_trls_own(items, trainer, monkeypatch) -> None:
    ready = trainer(PACKED)
    batch, count = batch_of(ready), items and torch.tensor(items)
    assert ready._own_loss(batch)
    ours = gradients(ready.model, ready.compute_loss(ready.model, batch, num_items_in_batch=count))
    monkeypatch.setattr(ready, "_own_loss", lambda inputs: False)
    loss = ready.compute_loss(ready.model, batch, num_items_in_batch=count)
    for name, gradient in gradients(ready.model, loss).items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*label_smoothing_factor")
@pytest.mark.parametrize("word", ["loss_type=dft", "label_smoothing_factor=0.1"])
def test_another_loss_is_left_to_trl(word, trainer) -> None:
    ready = trainer(dict([word.split("=")]))
    assert not ready._own_loss(batch_of(ready))


def test_prompts_carry_no_loss(trainer) -> None:
    """A token that no answer follows may be any; an answer's label may not."""
    ready = trainer(PACKED)
    batch = batch_of(ready)
    learned = batch["labels"][0] != IGNORED
    unread = torch.nonzero(batch["position_ids"][0] == 0)[1] - 1  # ends the first row of the pack
    assert not learned[unread]  # the line break after an answer's end
    before = ready.compute_loss(ready.model, batch)
    batch["input_ids"][0, unread] += 1
    torch.testing.assert_close(ready.compute_loss(ready.model, batch), before, rtol=0, atol=0)
    batch["labels"][0, torch.nonzero(learned)[0]] += 1
    assert abs(ready.compute_loss(ready.model, batch) - before) > 1e-4


@pytest.mark.parametrize(
    "given",
    [
        PACKED,
        {"max_length": 128, "gradient_accumulation_steps": 99},  # several packs, one step
        {"packing": False, "per_device_train_batch_size": 5, "gradient_accumulation_steps": 3},
        {"use_peft": True},
    ],
)
def test_the_mask_that_trains_is_the_mask_that_scores(
    given, rendered, meter, tiny_pool, tiny_model, tmp_path: Path
) -> None:
    tuned = tune(rendered, tiny_model, tmp_path / "out", Recipe({**given, "max_steps": 1}))
    scores_N = meter.measured(tiny_pool, Loss())
    mean = np.average(scores_N, weights=learned_tokens(rendered))
    (first,) = tuned.record["loss_curve"]
    assert first["loss"] == pytest.approx(mean, abs=1e-5)
    assert tuned.record["tokens_seen"] == len(rendered.ids)
    assert tuned.record["answer_tokens_seen"] == learned_tokens(rendered).sum()


def test_a_row_longer_than_a_pack_is_a_pack_of_its_own_and_makes_no_other_longer(rendered) -> None:
    rows, longest = dataset(rendered), int(rendered.lengths_N.max())
    for length in (longest - 1, longest, 1):
        packs = packed(rows, length)
        check_arrived(packs, rendered)
        sizes = [(len(pack["input_ids"]), pack["seq_lengths"]) for pack in packs]
        assert all(size <= length or len(parts) == 1 for size, parts in sizes)
        arrived = sorted(n for _, parts in sizes for n in parts)
        assert arrived == sorted(rendered.lengths_N.tolist())
