"""What a template writes around words is found once a shape, and changes nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import RenderError
from modicum.pool import Turn
from modicum.render.forms import Form, Forms, Place, form_of
from modicum.render.template import Template, written
from tiny_tokenizers import CHATML, SHAPES, THINKING, byte_level

# Leaves white space on one side, in one role only.
HALF_TRIMMED = CHATML.replace("{{ m.content }}", "{{ m.content.lstrip() }}")
# Trims the first turn and no other: what is left out around a turn depends on its place.
FIRST_TRIMMED = CHATML.replace(
    "{{ m.content }}",
    "{% if loop.first %}{{ m.content | trim }}{% else %}{{ m.content }}{% endif %}",
)
TWICE = CHATML.replace("{{ m.content }}", "{{ m.content }}{{ m.content }}")
TEMPLATES = {
    **{name: template for name, (template, _, _) in SHAPES.items()},
    "thinking": THINKING,
    "half-trimmed": HALF_TRIMMED,
    "first-trimmed": FIRST_TRIMMED,
    "twice": TWICE,
}
ONE = (Turn("user", "Hi", False), Turn("assistant", "Yes", True))
TWO = (*ONE, Turn("user", "Why?", False), Turn("assistant", "So.", True))
SHAPED = {
    "one": ONE,
    "two": TWO,
    "first answer not learned": (ONE[0], ONE[1]._replace(train=False), *TWO[2:]),
    "system": (Turn("system", "Be kind.", False), *ONE),
}
WORDS = st.one_of(
    st.sampled_from(
        ["a", " a", "a\n", " \u2003a ", "", "  ", "<think>b</think>c", "<|im_end|>", "\U000f0000"]
    ),
    st.text(alphabet="ab \n\u2003</>think", max_size=12),
)


def template_of(name):
    tokenizer = byte_level("chatml" if name not in SHAPES else name)
    tokenizer.chat_template = TEMPLATES[name]
    return Template.of(tokenizer)


def outcome(write, turns):
    try:
        return write(turns)
    except RenderError as error:
        return str(error)


BY_NAME = {name: (Forms(template_of(name)), template_of(name)) for name in TEMPLATES}


@pytest.mark.parametrize("shape", SHAPED)
@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_row_is_written_the_same_with_forms_and_without(name, shape, data):
    forms, template = BY_NAME[name]
    turns = tuple(turn._replace(content=data.draw(WORDS)) for turn in SHAPED[shape])
    expected = outcome(lambda turns: written(template, turns), turns)
    assert outcome(forms.written, turns) == expected


def test_a_form_is_what_stands_around_the_words():
    places = (Place(0, True, True), Place(1, True, True))
    around = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n")
    assert form_of(template_of("chatml"), (("user", False), ("assistant", True))) == Form(
        around, places
    )


def test_a_form_says_which_white_space_a_template_trims():
    found = [form_of(template_of(name), (("user", False),)) for name in ("llama3", "half-trimmed")]
    assert [form.places for form in found] == [(Place(0, False, False),), (Place(0, False, True),)]


@pytest.mark.parametrize("name", ["first-trimmed", "twice"])
def test_a_template_that_treats_turns_of_one_role_differently_has_no_form(name):
    shape = tuple((turn.role, turn.train) for turn in TWO)
    assert form_of(template_of(name), shape) is None


def test_an_ordinary_row_is_written_once(monkeypatch):
    forms, writes = Forms(template_of("llama3")), []
    forms.written(TWO)
    write = Template.write
    monkeypatch.setattr(
        Template, "write", lambda self, turns: writes.append(turns) or write(self, turns)
    )
    for n in range(10):
        forms.written(tuple(turn._replace(content=f" {turn.content} {n}\n") for turn in TWO))
    assert len(writes) == 10
