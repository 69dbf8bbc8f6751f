"""What every score of the room keeps to, present and future.

A new score fails here until `EXAMPLES` says with which options to try it.
"""

from __future__ import annotations

import pkgutil
from typing import Any

import numpy as np
import pytest

import modicum.scores
from modicum.meter import Meter
from modicum.models import find_model
from modicum.parts import build, members
from modicum.pool import Pool, RawRow, Turn
from modicum.store import Store

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "ask-llm": [{}],
    "complexity": [{}],
    "entropy": [{}],
    "ifd": [{}],
    "ifd-ppl": [{}],
    "judge-gap": [{"max_new_tokens": 4}],
    "key-gain": [{}],
    "least-confidence": [{}],
    "length": [{}],
    "loss": [{}],
    "margin": [{}],
    "quality": [{}],
    "reversed-ifd": [{}],
    "select-it": [{}],
    "worth": [{}],
    "wrong-answer": [{}],
}
ASK_THE_USER = {
    "ask-llm",
    "complexity",
    "judge-gap",
    "key-gain",
    "quality",
    "reversed-ifd",
    "select-it",
    "worth",
}  # and have nothing to say of a row without one
YES_OR_NO = {"wrong-answer"}
SCORES = members("modicum.scores")
CASES = [(name, options) for name in SCORES for options in EXAMPLES.get(name, [])]
every_score = pytest.mark.parametrize(("name", "options"), CASES)


def score(name: str, options: dict[str, Any]) -> Any:
    return build(SCORES[name], options)


def pool_of(*rows: tuple[str, str]) -> Pool:
    turns = [(Turn("user", q, False), Turn("assistant", a, True)) for q, a in rows]
    return Pool.build(RawRow(None, "test", "", t, 0, i, 0, 0) for i, t in enumerate(turns))


def assert_close(one_N: np.ndarray, other_N: np.ndarray) -> None:
    np.testing.assert_allclose(one_N, other_N, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_every_module_of_the_room_has_a_score() -> None:
    print("scores:", ", ".join(SCORES))  # noqa: T201
    for info in pkgutil.iter_modules(modicum.scores.__path__):
        module = f"modicum.scores.{info.name}"
        assert any(kind.__module__ == module for kind in SCORES.values()), f"{module} has no score"


@pytest.mark.parametrize("name", SCORES)
def test_every_score_is_tried(name: str) -> None:
    assert EXAMPLES.get(name), f"say in EXAMPLES with which options to try {name}"


@every_score
def test_a_score_has_one_float_for_every_example(name, options, tiny_pool, meter):
    values_N = score(name, options)(tiny_pool, meter)
    assert values_N.dtype == np.float32
    assert values_N.shape == (len(tiny_pool),)
    assert np.isfinite(values_N).all()
    assert name in YES_OR_NO or len(np.unique(values_N)) > len(tiny_pool) / 2


@every_score
def test_permuting_the_pool_permutes_the_values(name, options, tiny_pool, tiny_model, tmp_path):
    order_N = np.random.default_rng(0).permutation(len(tiny_pool))
    permuted = Pool(tiny_pool.table.take(order_N), tiny_pool.files)
    meters = [Meter(tiny_model, Store(tmp_path / place)) for place in ("a", "b")]
    straight_N = score(name, options)(tiny_pool, meters[0])
    assert_close(score(name, options)(permuted, meters[1]), straight_N[order_N])


@every_score
def test_batch_size_does_not_matter(name, options, odd_pool, tiny_model, tmp_path):
    def values_N(budget: int) -> np.ndarray:
        meter = Meter(tiny_model, Store(tmp_path / str(budget)), batch_tokens=budget)
        made: np.ndarray = score(name, options)(odd_pool, meter)
        return made

    assert_close(values_N(1), values_N(10**6))
    assert_close(values_N(200), values_N(10**6))


@every_score
def test_the_other_rows_do_not_matter(name, options, odd_pool, tiny_model, tmp_path):
    few = [1, 7, 10, 12]
    all_N = score(name, options)(odd_pool, Meter(tiny_model, Store(tmp_path / "a")))
    few_N = score(name, options)(odd_pool.take(few), Meter(tiny_model, Store(tmp_path / "b")))
    assert_close(few_N, all_N[few])


@every_score
def test_equal_rows_get_equal_values(name, options, tiny_pool, meter):
    assert tiny_pool.digests[1] == tiny_pool.digests[4]
    values_N = score(name, options)(tiny_pool, meter)
    assert values_N[1] == values_N[4]


@every_score
def test_a_second_call_gives_the_same_bits_for_nothing(
    name, options, odd_pool, tiny_model, store, tmp_path, monkeypatch
):
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))  # where answers are kept
    first, second = Meter(tiny_model, store), Meter(tiny_model, store)
    cold_N = score(name, options)(odd_pool, first)
    assert score(name, options)(odd_pool, second).tobytes() == cold_N.tobytes()
    assert second.ledger.forward_tokens == 0
    assert first.ledger.forward_tokens > 0 or name == "length"


@every_score
def test_a_row_without_an_answer_is_nan_and_no_other(name, options, odd_pool, meter):
    values_N = score(name, options)(odd_pool, meter)
    without = [12, 13] if name in ASK_THE_USER else [12]
    assert np.flatnonzero(np.isnan(values_N)).tolist() == without


@every_score
def test_a_pool_of_no_rows_has_no_values(name, options, tiny_pool, meter):
    assert score(name, options)(tiny_pool.take([]), meter).shape == (0,)


def test_length_counts_the_answer_and_its_end_only(meter):
    pool = pool_of(("Hi", "Yes"), ("Say a lot more words than before, please.", "Yes"))
    short, long = score("length", {})(pool, meter)
    assert short == long == len(meter.model.tokenizer("Yes")["input_ids"]) + 1


def test_length_grows_with_the_answer(meter):
    pool = pool_of(("Hi", "Yes."), ("Hi", "Yes. And that is that."))
    short, long = score("length", {})(pool, meter)
    assert short < long


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Two good pairs, then the first answer under a question it does not fit, then garbage."""
    paris = "Paris is the capital of France."
    pool = pool_of(
        ("What is the capital of France?", paris),
        ("Name the four seasons.", "Spring, summer, autumn and winter."),
        ("How do I sharpen a kitchen knife?", paris),
        ("What is the capital of France?", "qx vrolp zzt 9 nnng"),
    )
    store = Store(tmp_path_factory.mktemp("judged"))
    meter = Meter(find_model(None, precision="float32"), store)
    return {name: score(name, {})(pool, meter).tolist() for name in SCORES}


@pytest.mark.real
def test_loss_is_highest_for_garbage(judged):
    assert np.argmax(judged["loss"]) == 3
    assert judged["loss"][2] > judged["loss"][0]


@pytest.mark.real
@pytest.mark.parametrize("name", ["ifd", "ifd-ppl"])
def test_ifd_is_higher_under_the_wrong_question(name, judged):
    fits, seasons, wrong, _ = judged[name]
    assert max(fits, seasons) < wrong
    assert max(fits, seasons) < 1


@pytest.mark.real
@pytest.mark.parametrize("name", ["least-confidence", "margin", "entropy"])
def test_the_model_is_least_sure_of_garbage_at_the_end_that_is_said(name, judged):
    least = {"top": np.argmax, "bottom": np.argmin}[SCORES[name].takes]
    assert least(judged[name]) == 3
