"""Generated answers, against a loop that runs the whole model once for every token."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma3TextConfig,
    Lfm2Config,
    MambaConfig,
    MistralConfig,
)

from modicum.errors import InputError, OptionError
from modicum.forward import Batch, forward_hidden, make_ready
from modicum.generation import _as_measured, _end_tokens, _room, _written, generate
from modicum.head import head
from modicum.ledger import Ledger
from modicum.meter import Meter
from modicum.models import Model, find_model
from modicum.pool import Pool, RawRow, Turn
from modicum.render import ANSWER, Rendered, render
from small_networks import SMALL


def slowly(rendered: Rendered, row: int, model: Model, most: int) -> list[int]:
    """The likeliest token after the row's prompt, again and again, without cache or padding."""
    network = make_ready(model.network)
    ids_T, kinds_T = rendered.row(row)
    start = int(np.flatnonzero(kinds_T != ANSWER)[-1])  # the row's only answer but for its newline
    start = int(np.flatnonzero(kinds_T[:start] != ANSWER)[-1]) + 1
    written = [int(token) for token in ids_T[:start]]
    for _ in range(most):
        ids_1T = torch.tensor([written])
        batch = Batch(ids_1T, torch.zeros_like(ids_1T), len(written))
        with torch.inference_mode():
            logits_1V = head(network, forward_hidden(network, batch, [-1])[-1][:, -1])
        written.append(int(logits_1V.argmax()))
        if written[-1] == model.tokenizer.eos_token_id:
            break
    return written[start:]


PADDED = {**SMALL, "pad_token_id": 0}
# And whether they take a cache of one size; what the others need, transformers knows.
KINDS: dict[str, tuple[Any, bool]] = {
    "mistral, of a window of 8": (MistralConfig(**PADDED, sliding_window=8), True),
    "gemma 3, of windows of 8": (
        Gemma3TextConfig(
            **PADDED,
            head_dim=16,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
        ),
        True,
    ),
    "lfm2, with convolutions": (
        Lfm2Config(**PADDED, layer_types=["conv", "full_attention"]),
        True,
    ),
    "mamba, without attention": (
        MambaConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2, state_size=4),
        False,
    ),
    "falcon, with ALiBi": (
        FalconConfig(
            vocab_size=99,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            alibi=True,
            initializer_range=0.3,
        ),
        False,
    ),
}


def small(kind: str) -> Any:
    torch.manual_seed(0)
    return make_ready(AutoModelForCausalLM.from_config(KINDS[kind][0]).eval())


def some_prompts(*lengths: int) -> list[np.ndarray]:
    chance = np.random.default_rng(0)
    return [chance.integers(3, 99, n).astype(np.int32) for n in lengths]


def likeliest(network: Any, prompt_T: np.ndarray, ends: list[int], most: int) -> list[int]:
    """The likeliest token after a prompt, again and again, until one of these."""
    written = prompt_T.tolist()
    while len(written) < len(prompt_T) + most and not {*written[len(prompt_T) :]} & {*ends}:
        ids_1T = torch.tensor([written])
        batch = Batch(ids_1T, torch.zeros_like(ids_1T), len(written))
        with torch.inference_mode():
            logits_1V = head(network, forward_hidden(network, batch, [-1])[-1][:, -1])
        written.append(int(logits_1V.argmax()))
    return written[len(prompt_T) :]


def text(ids: list[int], model: Model) -> str:
    return str(model.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def with_settings(model: Model, folder: Path, **settings: object) -> Model:
    """The same weights, with other generation settings."""
    shutil.copytree(model.folder, folder)
    path = folder / "generation_config.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(known | settings), encoding="utf-8")
    return find_model(folder, precision=model.precision)


@pytest.fixture(scope="module")
def rendered(tiny_pool: Pool, tiny_model: Model) -> Rendered:
    return render(tiny_pool, tiny_model.tokenizer)


@pytest.fixture(scope="module")
def answers(rendered: Rendered, tiny_model: Model) -> list[str]:
    return generate(rendered, tiny_model, Ledger(), max_new_tokens=12).answers


def test_each_answer_takes_the_likeliest_token_at_each_step(answers, rendered, tiny_model):
    expected = [text(slowly(rendered, i, tiny_model, 12), tiny_model) for i in range(12)]
    assert answers == expected
    assert len(set(answers)) > 5  # the rows do differ


@pytest.mark.parametrize("batch_tokens", [1, 100, 10**6])
def test_batch_size_and_order_make_no_difference(batch_tokens, answers, rendered, tiny_model):
    back = rendered.take(np.arange(len(rendered))[::-1])
    for rows, expected in ((rendered, answers), (back, answers[::-1])):
        found = generate(rows, tiny_model, Ledger(), max_new_tokens=12, batch_tokens=batch_tokens)
        assert found.answers == expected


def test_in_bfloat16_it_computes_as_when_it_is_measured(tiny_pool, tiny_model):
    model = Model("tiny", tiny_model.folder, "bfloat16")
    rendered = render(tiny_pool.take(range(4)), model.tokenizer)
    found = generate(rendered, model, Ledger(), max_new_tokens=6).answers
    assert found == [text(slowly(rendered, i, model, 6), model) for i in range(4)]


def test_of_a_row_of_several_turns_the_last_answer_is_written(answers, tiny_pool, tiny_model):
    turns = tiny_pool[10].turns
    other = (*turns[:-1], Turn("assistant", "Something else.", True))
    changed = Pool.build([RawRow("r", "s", "", other, 0, 0, 0, 0)])
    found = generate(render(changed, tiny_model.tokenizer), tiny_model, Ledger(), max_new_tokens=12)
    assert found.answers == [answers[10]]


def test_an_answer_stops_at_what_the_models_settings_call_its_end(rendered, tiny_model, tmp_path):
    free = slowly(rendered, 0, tiny_model, 12)
    stop = free[4]
    model = with_settings(tiny_model, tmp_path / "stops", eos_token_id=stop)
    ledger = Ledger()
    found = generate(rendered.take([0]), model, ledger, max_new_tokens=12)
    until = free.index(stop) + 1
    assert ledger.generated_tokens == until
    assert found.answers == [text(free[: until - 1], model)]
    assert found.cut_N.tolist() == [False]


def test_an_answer_that_had_more_to_say_is_called_cut(rendered, tiny_model, tmp_path):
    free = slowly(rendered, 0, tiny_model, 12)
    until = free.index(free[4]) + 1
    model = with_settings(tiny_model, tmp_path / "stops", eos_token_id=free[4])
    for most, cut in ((until - 1, True), (until, False), (12, False)):
        found = generate(rendered.take([0]), model, Ledger(), max_new_tokens=most)
        assert found.cut_N.tolist() == [cut]


def test_an_answer_stops_at_what_ends_the_rows_own_answers(rendered, tiny_model):
    named = tiny_model.tokenizer.convert_tokens_to_ids
    eos, other, ordinary = named("<|im_end|>"), named("<|eot_id|>"), named("a")
    first = rendered.take([0])
    last = int(np.flatnonzero(first.kinds == ANSWER)[-1])
    for end, expected in ((eos, {eos}), (other, {eos, other}), (ordinary, {eos})):
        ids = first.ids.copy()
        ids[last] = end
        row = Rendered(ids, first.kinds, first.starts)
        assert set(_end_tokens(row, tiny_model)) == expected


def test_the_models_own_sampling_and_penalties_are_left_aside(
    answers, rendered, tiny_model, tmp_path
):
    settings = {"do_sample": True, "temperature": 9.0, "top_p": 0.5, "repetition_penalty": 5.0}
    model = with_settings(tiny_model, tmp_path / "samples", **settings)
    assert generate(rendered, model, Ledger(), max_new_tokens=12).answers == answers
    assert model.network.generation_config.temperature == 9.0  # and stay as they were


def test_an_answer_ends_with_the_models_window(tiny_model):
    turns = (Turn("user", "a" * 492, False), Turn("assistant", "b", True))
    short = (Turn("user", "Say hello.", False), Turn("assistant", "b", True))
    pool = Pool.build(
        [RawRow(str(i), "s", "", t, 0, i, 0, 0) for i, t in enumerate((turns, short))]
    )
    rendered, ledger = render(pool, tiny_model.tokenizer), Ledger()
    prompts = rendered.lengths_N - rendered.answer_lengths_N - 1  # a newline stands at the end
    room = tiny_model.window - int(prompts[0])
    assert 0 < room < 20
    found = generate(rendered, tiny_model, ledger, max_new_tokens=20)
    assert found.cut_N[0]
    most = [len(slowly(rendered, i, tiny_model, n)) for i, n in ((0, room), (1, 20))]
    assert ledger.generated_tokens == sum(most)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_writes_what_it_writes_without_a_cache(kind: str):
    network, prompts = small(kind), some_prompts(30, 17, 5, 1, 30, 12)
    assert (_room(network, 50) is not None) is KINDS[kind][1]
    free = [likeliest(network, prompt_T, [], 20) for prompt_T in prompts]
    ends = sorted({free[0][3], free[1][10]})  # some answers end early, at different steps
    expected = [likeliest(network, prompt_T, ends, 20) for prompt_T in prompts]
    with _as_measured(network):
        found = [ids_T.tolist() for ids_T in _written(network, prompts, ends, 20)]
    assert found == expected
    assert len({*map(len, found)}) > 1


def test_answers_that_have_ended_cost_no_more():
    network, prompts = small("mistral, of a window of 8"), some_prompts(30, 17, 5, 1, 30, 12)
    free = [likeliest(network, prompt_T, [], 40) for prompt_T in prompts]
    last = max(range(6), key=lambda i: free[i].index(free[i][-1]))  # the one that goes on longest
    ends = sorted({free[i][2] for i in range(6) if i != last} - {*free[last][:9]})
    lengths = [len(likeliest(network, prompt_T, ends, 40)) for prompt_T in prompts]
    sent: list[int] = []
    seen = network.get_input_embeddings().register_forward_hook(
        lambda module, given, out: sent.append(given[0].numel())
    )
    with _as_measured(network):
        _written(network, prompts, ends, 40)
    seen.remove()
    alive = [sum(length > start for length in lengths) for start in (0, 8, 24)]
    longest = max(lengths)
    steps = np.clip(longest - np.array([0, 8, 24]), 0, [8, 16, 16])
    assert sum(sent) == 6 * 30 + int(np.dot(steps, alive)) - alive[0]
    assert alive[1] < 6 and longest > 8


def test_the_ledger_counts_prompts_answers_and_padding(rendered, tiny_model):
    ledger = Ledger()
    two = rendered.take([0, 1])
    generate(two, tiny_model, ledger, max_new_tokens=3)
    prompts = (two.lengths_N - two.answer_lengths_N - 1).tolist()
    assert ledger.forward_tokens == sum(prompts)
    assert ledger.padding_tokens == abs(prompts[0] - prompts[1]) > 0
    assert ledger.generated_tokens == sum(len(slowly(two, i, tiny_model, 3)) for i in range(2))
    assert ledger.seconds.keys() == {"load model", "generate"}


def test_nothing_is_warned_of(rendered, tiny_model, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generate(rendered, tiny_model, Ledger(), max_new_tokens=2)
    assert caplog.text == ""


def test_measuring_after_generating_gives_the_same_bits(tiny_pool, tiny_model, tmp_path):
    from modicum.store import Store
    from modicum.wants import Loss

    before = Meter(tiny_model, Store(tmp_path / "before")).measured(tiny_pool, Loss())
    generate(render(tiny_pool, tiny_model.tokenizer), tiny_model, Ledger(), max_new_tokens=2)
    after = Meter(tiny_model, Store(tmp_path / "after")).measured(tiny_pool, Loss())
    assert before.tobytes() == after.tobytes()


def test_a_row_without_an_answer_is_named(odd_pool, tiny_model):
    with pytest.raises(InputError, match="row 12 has no answer to compare with"):
        generate(render(odd_pool, tiny_model.tokenizer), tiny_model, Ledger())


def test_a_prompt_that_fills_the_window_is_named(tiny_model):
    turns = (Turn("user", "a" * 600, False), Turn("assistant", "b", True))
    pool = Pool.build([RawRow("r", "s", "", turns, 0, 0, 0, 0)])
    with pytest.raises(InputError, match=r"row 0: a prompt of .* leaves no room"):
        generate(render(pool, tiny_model.tokenizer), tiny_model, Ledger())


def test_no_rows_give_no_answers_and_no_tokens_are_refused(rendered, tiny_model):
    none = generate(rendered.take([]), tiny_model, Ledger())
    assert none.answers == [] and none.cut_N.shape == (0,)
    with pytest.raises(OptionError, match="max_new_tokens=0"):
        generate(rendered, tiny_model, Ledger(), max_new_tokens=0)
