"""Losses, hidden states and difficulty against hand computation and against transformers' own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from modicum import head, measure
from modicum.errors import ModelError
from modicum.forward import answers_alone, check_head, start_token
from modicum.ledger import Ledger
from modicum.measure import row_keys
from modicum.meter import Meter
from modicum.models import find_model
from modicum.render import ANSWER, TEMPLATE, USER, Rendered
from modicum.scores.ifd import Ifd, IfdPpl
from modicum.store import Store
from modicum.wants import HiddenState, Loss, Uncertainty

GIVEN, ALONE = Loss(), Loss(prompt=False)
VIEWS = [HiddenState(layer, "mean", "row") for layer in (0, 1, -1)]


def rows(*rows_: tuple[list[int], list[int]]) -> Rendered:
    """Rendered rows of (ids, kinds)."""
    ids, kinds = zip(*rows_, strict=True)
    starts = np.cumsum([0, *map(len, ids)])
    return Rendered(
        np.concatenate(ids).astype(np.int32), np.concatenate(kinds).astype(np.uint8), starts
    )


# P[a][b]: how likely b follows a. Token 0 starts and ends, 1 and 2 are words.
P = [[0.2, 0.3, 0.5], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]]
ASKED = rows(([0, 2, 1, 1, 0], [TEMPLATE, USER, ANSWER, ANSWER, ANSWER]))  # 2 → 1 1 end


@dataclass(frozen=True)
class Bigrams:
    """A model of three tokens whose next token depends on the last one alone, as P says."""

    fingerprint: str = "bigrams"
    dtype: torch.dtype = torch.float32
    text_config: Any = field(default_factory=lambda: SimpleNamespace(hidden_size=4))
    tokenizer: Any = field(default_factory=lambda: SimpleNamespace(bos_token_id=0, eos_token_id=0))

    @property
    def network(self) -> LlamaForCausalLM:
        """No layers: the norm makes 2·e_a of the embedding e_a, and the head half of log P[a]."""
        sizes = {"hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 1}
        network = LlamaForCausalLM(
            LlamaConfig(vocab_size=3, num_hidden_layers=0, rms_norm_eps=1e-12, **sizes)
        )
        with torch.no_grad():
            network.model.embed_tokens.weight.copy_(torch.eye(3, 4))
            network.lm_head.weight.zero_()
            network.lm_head.weight[:, :3] = torch.tensor(P).log().T / 2
        return network.eval()


@dataclass
class Given:
    """Stands for a meter that has measured these losses."""

    losses: dict[Loss, list[float]]

    def measured(self, pool: None, want: Loss) -> np.ndarray:
        return np.array(self.losses[want], np.float32)


def test_ifd_of_a_model_of_three_tokens_is_as_computed_by_hand(store):
    given = -(math.log(0.25) + math.log(0.6) + math.log(0.1)) / 3  # 2→1, 1→1, 1→0
    alone = -(math.log(0.3) + math.log(0.6) + math.log(0.1)) / 3  # 0→1, 1→1, 1→0
    found = measure.measure(ASKED, [GIVEN, ALONE], Bigrams(), store, Ledger())
    assert found[GIVEN].tolist() == pytest.approx([given], rel=1e-5)
    assert found[ALONE].tolist() == pytest.approx([alone], rel=1e-5)
    losses = Given({want: values.tolist() for want, values in found.items()})
    assert Ifd()(None, losses).tolist() == pytest.approx([given / alone], rel=1e-5)
    expected = ((0.3 * 0.6 * 0.1) / (0.25 * 0.6 * 0.1)) ** (1 / 3)
    assert IfdPpl()(None, losses).tolist() == pytest.approx([expected], rel=1e-5)


def test_uncertainties_of_a_model_of_three_tokens_are_as_computed_by_hand(store):
    expected = {  # what follows 2, 1 and 1, whatever stands there
        Uncertainty("least-confidence"): (0.5 + 0.4 + 0.4) / 3,
        Uncertainty("margin"): (0.25 + 0.3 + 0.3) / 3,
        Uncertainty("entropy"): -sum(p * math.log(p) for a in (2, 1, 1) for p in P[a]) / 3,
    }
    found = measure.measure(ASKED, list(expected), Bigrams(), store, Ledger())
    for want, value in expected.items():
        assert found[want].tolist() == pytest.approx([value], rel=1e-5)


def test_the_two_difficulties_can_order_a_pair_differently():
    pair = Given({GIVEN: [3.0, 0.6], ALONE: [4.0, 1.0]})
    assert Ifd()(None, pair).tolist() == pytest.approx([0.75, 0.6])
    assert IfdPpl()(None, pair).tolist() == pytest.approx([math.exp(-1), math.exp(-0.4)])


def test_a_prompt_that_tells_nothing_has_difficulty_one():
    same = Given({GIVEN: [2.0], ALONE: [2.0]})
    assert Ifd()(None, same).tolist() == IfdPpl()(None, same).tolist() == [1.0]


def test_answers_alone_are_cut_out_behind_a_start_token():
    two = ([9, 5, 6, 9, 7], [TEMPLATE, ANSWER, ANSWER, USER, ANSWER])
    one = ([8, 5], [ANSWER, ANSWER])  # begins where the row before it ends
    alone, row_S = answers_alone(rows(two, ([], []), one), start=0)
    assert [alone.row(i).ids_T.tolist() for i in range(3)] == [[0, 5, 6], [0, 7], [0, 8, 5]]
    assert alone.row(0).kinds_T.tolist() == [TEMPLATE, ANSWER, ANSWER]
    assert row_S.tolist() == [0, 0, 2]
    assert alone.answer_lengths_N.tolist() == [2, 1, 2]


def test_no_answers_alone_of_no_rows():
    alone, row_S = answers_alone(rows(([], [])), start=0)
    assert len(alone) == len(row_S) == 0


def theirs(network, ids, kinds) -> float:
    """The loss of transformers itself: full logits, labels -100 outside the answers."""
    ids_1T, kinds_1T = torch.tensor([list(ids)]), torch.tensor([list(kinds)])
    labels_1T = torch.where(kinds_1T == ANSWER, ids_1T, -100)
    with torch.inference_mode():
        return float(network(input_ids=ids_1T, labels=labels_1T).loss)


def test_losses_are_those_of_transformers_row_by_row(tiny_pool, meter):
    network, rendered = meter.model.network, meter.rendered(tiny_pool)
    expected = [theirs(network, *map(np.int64, rendered.row(i))) for i in range(len(tiny_pool))]
    assert meter.measured(tiny_pool, GIVEN).tolist() == pytest.approx(expected, abs=1e-4)


SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 512}
OTHERS = {
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 2},  # its own names, and LayerNorm
    "GPTNeoX": SMALL | {"hidden_size": 32, "intermediate_size": 64},
    "OPT": SMALL | {"hidden_size": 32, "ffn_dim": 64, "word_embed_proj_dim": 16},
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures_are_measured_too(kind, precision, tiny_pool, tiny_model, tmp_path):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tiny_model.tokenizer), **OTHERS[kind]
    )
    plain = AutoModelForCausalLM.from_config(config).eval()
    plain.save_pretrained(tmp_path / "model")
    tiny_model.tokenizer.save_pretrained(tmp_path / "model")
    meter = Meter(find_model(tmp_path / "model", precision=precision), Store(tmp_path / "store"))
    expected = theirs(plain, *map(np.int64, meter.rendered(tiny_pool).row(0)))
    near = 1e-4 if precision == "float32" else 0.05
    assert meter.measured(tiny_pool, GIVEN)[0] == pytest.approx(expected, abs=near)
    wide = config.word_embed_proj_dim if kind == "OPT" else 32
    assert meter.measured(tiny_pool, HiddenState()).shape == (len(tiny_pool), wide)


def test_two_answers_alone_weigh_as_many_as_their_tokens(tiny_pool, meter):
    ids_T, kinds_T = meter.rendered(tiny_pool).row(10)
    runs = [list(run) for kind, run in groupby(range(len(ids_T)), kinds_T.__getitem__) if kind == 2]
    network, start = meter.model.network, start_token(meter.model.tokenizer)
    answers = [[start, *ids_T[run].tolist()] for run in runs]
    losses = [theirs(network, ids, [0] + [ANSWER] * (len(ids) - 1)) for ids in answers]
    expected = np.average(losses, weights=[len(run) for run in runs])
    assert len(runs) == 2
    assert meter.measured(tiny_pool, ALONE)[10] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("pooling", ["weighted", "mean", "last"])
@pytest.mark.parametrize("over", ["row", "answer", "instruction"])
def test_hidden_states_are_pooled_as_said(layer, pooling, over, tiny_pool, meter):
    row, network = 11, meter.model.network
    ids_T, kinds_T = meter.rendered(tiny_pool).row(row)
    with torch.inference_mode():
        ids_1T = torch.tensor(ids_T.astype(np.int64))[None]
        hidden_TD = network(ids_1T, output_hidden_states=True).hidden_states[layer][0].numpy()
    kinds = {"row": [TEMPLATE, USER, ANSWER], "answer": [ANSWER], "instruction": [USER]}[over]
    chosen_MD = hidden_TD[np.isin(kinds_T, kinds)]
    weights = {"weighted": np.arange(1, len(chosen_MD) + 1), "mean": np.ones(len(chosen_MD))}
    weights["last"] = np.eye(len(chosen_MD))[-1]
    expected_D = np.average(chosen_MD, axis=0, weights=weights[pooling])
    found_ND = meter.measured(tiny_pool, HiddenState(layer, pooling, over))
    kept = 2**-11 * np.abs(expected_D).max()  # as float16
    np.testing.assert_allclose(found_ND[row], expected_D, rtol=1e-4, atol=1e-5 + kept)


def test_a_layer_that_the_model_has_not_is_refused(tiny_pool, meter):
    with pytest.raises(ModelError, match="layer 7 asked for, the model has 0 to 2"):
        meter.measured(tiny_pool, HiddenState(layer=7))


def test_loss_and_hidden_states_cost_one_pass(tiny_pool, meter):
    pool = tiny_pool.take([0, 1, 2, 3])
    meter.prepare(pool, [GIVEN, *VIEWS])
    for want in (GIVEN, *VIEWS):
        meter.measured(pool, want)
    assert meter.ledger.forward_passes == 4
    assert meter.ledger.forward_tokens == meter.rendered(pool).lengths_N.sum()


def test_difficulty_and_hidden_states_cost_two_passes(tiny_pool, meter):
    pool = tiny_pool.take([0, 1, 2, 3])
    meter.prepare(pool, [*Ifd.wants, *VIEWS])
    assert meter.ledger.forward_passes == 2 * 4
    rendered = meter.rendered(pool)
    alone = rendered.answer_lengths_N.sum() + 4  # a start token each
    assert meter.ledger.forward_tokens == rendered.lengths_N.sum() + alone


def test_the_weights_are_read_once_and_only_if_needed(tiny_pool, tiny_model, store, monkeypatch):
    reads, read = [], AutoModelForCausalLM.from_pretrained

    def counted(*args, **options):
        reads.append(1)
        return read(*args, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    for _ in range(2):
        again = find_model(tiny_model.folder, precision="float32")
        Meter(again, store).prepare(tiny_pool, [*Ifd.wants, *VIEWS])
    assert len(reads) == 1


def test_rows_that_are_added_to_a_pool_are_all_that_is_measured(tiny_pool, tiny_model, store):
    Meter(tiny_model, store).prepare(tiny_pool.take(range(7)), [GIVEN])
    grown = Meter(tiny_model, store)
    grown.prepare(tiny_pool, [GIVEN])
    assert (grown.ledger.forward_passes, grown.ledger.rows_reused) == (5, 6)  # rows 1, 4 are equal


def test_a_damaged_shard_is_measured_again_and_named(tiny_pool, tiny_model, store):
    first, second = Meter(tiny_model, store), Meter(tiny_model, store)
    values_N = first.measured(tiny_pool, GIVEN)
    shard = next(store.folder.rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert second.measured(tiny_pool, GIVEN).tobytes() == values_N.tobytes()
    assert second.ledger.damaged_shards == [str(shard)]
    assert second.ledger.forward_passes == first.ledger.forward_passes


@pytest.mark.parametrize("want", [GIVEN, ALONE, VIEWS[1], Uncertainty("margin")])
def test_a_killed_measurement_goes_on_to_the_same_bits(
    want, tiny_pool, tiny_model, tmp_path, monkeypatch
):
    def meter(place: str) -> Meter:
        return Meter(tiny_model, Store(tmp_path / place), batch_tokens=100)

    whole, killed, resumed = meter("a"), meter("b"), meter("b")
    expected = whole.measured(tiny_pool, want).tobytes()
    work, calls = measure.forward_hidden, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return work(*args)

    monkeypatch.setattr(measure, "FLUSH_SECONDS", -1)
    monkeypatch.setattr(measure, "forward_hidden", interrupted)
    with pytest.raises(KeyboardInterrupt):
        killed.measured(tiny_pool, want)
    monkeypatch.setattr(measure, "forward_hidden", work)
    assert resumed.measured(tiny_pool, want).tobytes() == expected
    passes = [m.ledger.forward_passes for m in (whole, killed, resumed)]
    assert passes[1] >= 2
    assert passes[0] == passes[1] + passes[2]


def test_a_model_that_changes_its_logits_is_refused(tiny_model):
    class Loud(LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = out.logits * 1.5
            return out

    with pytest.raises(ModelError, match="Loud changes its logits"):
        check_head(Loud.from_pretrained(tiny_model.folder))


def test_a_model_whose_tokens_see_later_ones_is_refused(tiny_model):
    class Both(LlamaForCausalLM):
        @property
        def base_model(self):
            return self.backwards

        def backwards(self, inputs_embeds, **kwargs):
            out = self.model(inputs_embeds=inputs_embeds.flip(1), **kwargs)
            out.last_hidden_state = out.last_hidden_state.flip(1)
            return out

        def forward(self, input_ids, **kwargs):
            hidden = self.backwards(self.model.embed_tokens(input_ids), **kwargs).last_hidden_state
            return SimpleNamespace(logits=self.lm_head(hidden))

    with pytest.raises(ModelError, match="Both is not causal"):
        check_head(Both.from_pretrained(tiny_model.folder))


def test_logits_are_scaled_and_capped_as_the_architecture_says(tiny_model):
    network = LlamaForCausalLM.from_pretrained(tiny_model.folder)
    hidden_MD = torch.ones(2, 32)
    plain = network.lm_head(hidden_MD).detach()
    network.config.final_logit_softcapping = 0.5
    network.config.logits_scaling = 4.0
    with torch.inference_mode():
        found = head.head(network, hidden_MD)
    torch.testing.assert_close(found, torch.tanh(plain / 4 / 0.5) * 0.5)


def test_an_answer_alone_needs_a_start_or_an_end_token():
    nothing = SimpleNamespace(bos_token_id=None, eos_token_id=None, name_or_path="mine")
    with pytest.raises(ModelError, match="mine: the tokenizer has neither"):
        start_token(nothing)
    assert start_token(SimpleNamespace(bos_token_id=None, eos_token_id=4)) == 4


def test_a_row_is_known_by_its_tokens_and_what_they_belong_to():
    same, kinds, ids = row_keys(
        rows(([1, 2], [USER, ANSWER]), ([1, 2], [TEMPLATE, ANSWER]), ([1, 3], [USER, ANSWER]))
    )
    assert len({same, kinds, ids}) == 3
    assert row_keys(rows(([1, 2], [USER, ANSWER]))) == [same]
