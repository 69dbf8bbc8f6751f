"""What a model thinks of rows: by a pass here, by a token of an endpoint, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fake_endpoint import Server, serving
from modicum.choose import select
from modicum.errors import OptionError
from modicum.meter import Meter
from modicum.models import Model, find_model
from modicum.opinion import Opinion, opening_tokens
from modicum.parts import build, members
from modicum.pool import Pool, texts
from modicum.question import ask, rests_on
from modicum.scores.opinions import AskLlm, Complexity, Quality, Worth, mean_rating
from modicum.scores.reversed_ifd import ReversedIfd
from modicum.scores.select_it import SelectIt, sure_rating
from modicum.store import Store

Chances = Callable[[str], dict[str, float]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "cache") as running:
        running.about = str
        yield running


def openings_of(model: Model) -> Chances:
    """What a server that holds the model knows of a reply: its 20 likeliest first tokens."""
    import torch

    network, tokenizer = model.network, model.tokenizer

    def found(text: str) -> dict[str, float]:
        asked = [{"role": "user", "content": text}]
        said = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(said, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            likely = network(input_ids=ids).logits[0, -1].float().softmax(0).topk(20)
        tokens = [tokenizer.decode([token]) for token in likely.indices]
        return dict(zip(tokens, likely.values.tolist(), strict=True))

    return found


def question_of(part: Opinion, pool: Pool) -> list[str]:
    return list(part._questions(pool))


def test_a_chance_is_that_of_the_first_token_after_the_question(
    tiny_pool: Pool, tiny_model: Model, meter: Meter
):
    import torch

    part, tokenizer = AskLlm(), tiny_model.tokenizer
    chance_N = part(tiny_pool, meter)
    cases = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("Yes", "yes"))
    yes = [ids[0] for ids in cases if len(ids) == 1]
    assert len(yes) == 1  # this vocabulary has no token for the other
    for i, text in enumerate(question_of(part, tiny_pool)):
        said = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        ids = tokenizer(said, add_special_tokens=False, return_tensors="pt")["input_ids"]
        if ids.shape[1] >= meter.max_tokens:
            assert np.isnan(chance_N[i])
            continue
        with torch.inference_mode():
            p_V = tiny_model.network(input_ids=ids).logits[0, -1].softmax(0)
        assert chance_N[i] == pytest.approx(float(p_V[yes[0]]), rel=1e-3)
    assert np.isfinite(chance_N).any()


def test_a_sure_rating_by_hand():
    chance_NR = np.array(
        [[0, 0, 0, 0, 0.2], [0.1, 0.1, 0.1, 0.1, 0.1], [0.3, 0.1, 0, 0, 0], [0] * 5]
    )
    found_N = sure_rating(np.vstack([chance_NR, np.full(5, np.nan)]))
    # All on 5: 5 × 1. All alike: 0. On 1 three quarters: (0.5 + 3 × 0.75) ÷ 4.
    assert found_N[:3].tolist() == pytest.approx([5, 0, 0.6875])
    assert np.isnan(found_N[3:]).all()


def test_select_it_asks_every_question_of_its_file(
    tiny_pool: Pool, tiny_model: Model, meter: Meter, tmp_path: Path
):
    file = tmp_path / "asked.txt"
    file.write_text("Good? {instruction} {answer}\n---\n{answer}: is it good for {instruction}?\n")
    part = SelectIt(prompt=str(file), alpha=0.5)
    assert [each.text for each in part._parts] == [
        "Good? {instruction} {answer}",
        "{answer}: is it good for {instruction}?",
    ]
    rated_QN = np.stack([sure_rating(each.chances(tiny_pool, meter)) for each in part._parts])
    expected_N = rated_QN.mean(0) / (1 + 0.5 * np.abs(rated_QN[0] - rated_QN[1]) / 2)
    np.testing.assert_allclose(part(tiny_pool, meter), expected_N, rtol=1e-5)
    assert len(SelectIt()._parts) == 5
    assert part.other_model(False) != SelectIt().other_model(False)
    with pytest.raises(OptionError, match="alpha=-1"):
        SelectIt(alpha=-1)


def test_a_mean_rating_by_hand():
    chance_NR = np.array([[0.5, 0.5, 0, 0, 0, 0], [0, 0, 0.1, 0, 0, 0.1], [np.nan] * 6])
    assert mean_rating(chance_NR) == pytest.approx([1.5, 4.5, np.nan], nan_ok=True)


def test_worth_is_complexity_times_quality(tiny_pool: Pool, meter: Meter):
    product_N = Complexity()(tiny_pool, meter) * Quality()(tiny_pool, meter)
    assert Worth()(tiny_pool, meter) == pytest.approx(product_N, nan_ok=True)


def test_a_question_of_the_users_own_changes_the_answer(
    tiny_pool: Pool, meter: Meter, tmp_path: Path
):
    own = tmp_path / "own.txt"
    own.write_text("{instruction} {answer} Yes or no?")
    usual_N, own_N = (AskLlm(prompt)(tiny_pool, meter) for prompt in ("", str(own)))
    assert not np.allclose(usual_N, own_N, equal_nan=True)
    before = rests_on(AskLlm(str(own)), meter.model)
    assert before != rests_on(AskLlm(), meter.model)
    own.write_text("{instruction} {answer} No or yes?")
    assert rests_on(AskLlm(str(own)), meter.model) != before  # so a run with it is another
    own.write_text("Yes or no?")
    with pytest.raises(OptionError, match=r"does not say where \{instruction\} stands"):
        AskLlm(str(own))(tiny_pool, meter)


def test_an_endpoint_with_the_same_model_says_the_same(server: Server, tmp_path: Path):
    model = find_model(precision="float32")
    pool = Pool.read("examples/pool.jsonl").take([0, 1, 130, 200, 300])
    server.chances = openings_of(model)
    here, afar = (Meter(model, Store(tmp_path / place)) for place in ("here", "afar"))
    far_N = AskLlm(url=server.url, judge="small")(pool, afar)
    assert far_N == pytest.approx(AskLlm()(pool, here), rel=0.03)
    rated_N = Quality(url=server.url, judge="small")(pool, afar)
    for rated, text in zip(rated_N, question_of(Quality(), pool), strict=True):
        likely = {word: p for word, p in server.chances(text).items() if word in Quality.words}
        mean = sum(int(word) * p for word, p in likely.items()) / sum(likely.values())
        assert rated == pytest.approx(mean, rel=1e-4)  # of the ratings among the 20 likeliest
    assert afar.ledger.forward_tokens == 0
    assert (afar.ledger.requests, afar.ledger.request_tokens) == (10, 100)
    asked = server.bodies[0]
    assert (asked["max_tokens"], asked["logprobs"], asked["top_logprobs"]) == (1, True, 20)


def test_what_was_replied_is_not_asked_again(server: Server, tiny_pool: Pool, tiny_model: Model):
    server.chances = lambda text: {"Yes": 0.25, " yes": 0.125, "No": 0.5}
    first, second = Meter(tiny_model), Meter(tiny_model)
    part = AskLlm(url=server.url, judge="small")
    assert part(tiny_pool, first) == pytest.approx([0.375] * 12)
    again = AskLlm(url=server.url, judge="small")
    assert again(tiny_pool, second).tolist() == part(tiny_pool, first).tolist()
    assert (first.ledger.requests, second.ledger.requests) == (11, 0)  # two rows say the same
    assert second.ledger.rows_reused == 11


def test_a_reply_of_other_words_is_missing_and_left_out(
    server: Server, tiny_pool: Pool, tiny_model: Model
):
    odd = next(iter(texts(tiny_pool, "instruction")))
    server.chances = lambda text: {"Sure": 0.9} if odd in text else {"No": 0.9}
    chosen = select(tiny_pool, "ask-llm", 5, tiny_model, url=server.url, judge="small")
    assert list(chosen.left_out) == [0]
    assert "ask-llm is nan" in chosen.left_out[0]


def test_an_endpoint_that_ignores_logprobs_is_named(
    server: Server, tiny_pool: Pool, tiny_model: Model
):
    with pytest.raises(OptionError) as told:
        AskLlm(url=server.url, judge="small")(tiny_pool, Meter(tiny_model))
    assert f"{server.url} (model small) replied without the logprobs asked for" in str(told.value)
    assert "leave url out" in str(told.value)


def test_an_endpoint_without_a_model_is_refused_at_once():
    with pytest.raises(OptionError, match="give its name: --set judge=NAME"):
        AskLlm(url="http://127.0.0.1:9/v1")


def test_every_question_is_a_file_that_can_be_read():
    for name in ("ask-llm", "complexity", "quality"):
        part = build(members("modicum.scores")[name], {})
        assert all(f"{{{place}}}" in part._text for place in part.places)
        assert part.words[-1] in part._text


def test_a_word_that_is_no_token_is_known_by_how_it_begins(meter: Meter):
    ids = meter.model.tokenizer("Certainly", add_special_tokens=False)["input_ids"]
    assert len(ids) > 1
    assert opening_tokens("Certainly", meter) == ids[:1]


def test_words_that_begin_alike_are_refused(tiny_pool: Pool, meter: Meter):
    class Alike(AskLlm):
        words = ("Certainly", "Certain-not")

    with pytest.raises(OptionError, match="begins the replies Certainly and Certain-not with one"):
        Alike()(tiny_pool, meter)


def test_a_question_is_never_cut(tiny_pool: Pool, tiny_model: Model, store: Store):
    whole = Meter(tiny_model, store)
    limit = int(np.median(whole.rendered(tiny_pool).lengths_N)) + 60
    cutting = Meter(tiny_model, store, limit=limit, truncate=True)
    for part in (AskLlm(), ReversedIfd()):
        expected_N, found_N = part(tiny_pool, whole), part(tiny_pool, cutting)
        there_N = np.isfinite(found_N)
        np.testing.assert_allclose(found_N[there_N], expected_N[there_N], rtol=1e-5)
    asked, _ = AskLlm()._asked(tiny_pool, cutting)
    too_long_N = whole.rendered(asked).lengths_N > limit
    assert too_long_N.any()
    before = cutting.ledger.rows_not_asked
    assert np.isnan(AskLlm()(tiny_pool, cutting)[too_long_N]).all()
    assert cutting.ledger.rows_not_asked - before == too_long_N.sum()


def test_a_local_judge_is_asked_in_place_of_the_model(
    tiny_pool: Pool, tiny_model: Model, meter: Meter
):
    ours = AskLlm()(tiny_pool, meter)
    judged = AskLlm(judge=str(tiny_model.folder))
    np.testing.assert_allclose(judged(tiny_pool, meter), ours, rtol=1e-5)
    assert judged.further(tiny_pool, meter) == []  # it is another model that measures
    assert judged.other_model(False) != AskLlm().other_model(False)
    assert rests_on(judged, tiny_model) == [judged.other_model(False)]


def test_another_question_in_the_same_file_is_another_selection(
    tiny_pool: Pool, meter: Meter, tmp_path: Path
):
    own = tmp_path / "own.txt"

    def made_from(text: str) -> str:
        own.write_text(text)
        return ask(tiny_pool, "ask-llm", 2, meter, 0, prompt=str(own)).context.made_from

    first = made_from("{instruction} {answer}: is it good, Yes or No?")
    assert first != made_from("{instruction} {answer}: is it bad, Yes or No?")
    assert first == made_from("{instruction} {answer}: is it good, Yes or No?")


def test_an_empty_reply_is_a_missing_value(server: Server, tiny_pool: Pool, meter: Meter):
    first = next(iter(AskLlm()._questions(tiny_pool)))
    server.chances = lambda text: {} if text == first else {"Yes": 0.5, "No": 0.25}
    found_N = AskLlm(url=server.url, judge="m", at_once=1)(tiny_pool, meter)
    assert 0 < np.isnan(found_N).sum() < len(tiny_pool)
    assert np.isfinite(found_N).sum() > len(tiny_pool) / 2
