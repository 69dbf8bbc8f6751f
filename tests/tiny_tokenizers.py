"""Tiny tokenizers and chat templates of every shape, made on the spot."""

from __future__ import annotations

import json

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = [
    "<unk>",
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
]
_LINES = [
    "user system assistant model",
    "What is two and two? It is four, and that is that.",
    "Name a colour. Blue is a colour.  Red is another one.\n\nYes.",
    "[INST] Say hello. [/INST] Hello there!",
]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# Leaves the system turn out without a word; the answer follows a space.
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
# Drops the thoughts of all answers but the last.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] | trim }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# name: (template, bos, eos)
SHAPES: dict[str, tuple[str | None, str, str]] = {
    "chatml": (CHATML, "<|im_start|>", "<|im_end|>"),
    "llama3": (LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
    "gemma": (GEMMA, "<bos>", "<end_of_turn>"),
    "mistral": (MISTRAL, "<s>", "</s>"),
    "none": (None, "<s>", "</s>"),
}


def byte_level(shape: str = "chatml", trim_offsets: bool = True) -> PreTrainedTokenizerFast:
    """Like GPT-2's and Llama 3's: bytes, no space in front of a text."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(_LINES, trainer)
    return dressed(made, *SHAPES[shape])


def metaspace(shape: str = "chatml", legacy: bool = True) -> PreTrainedTokenizerFast:
    """Like Llama 2's: `▁` in front of every text, unknown characters as bytes.

    `legacy` puts it after every special token too; otherwise it stands before the text alone.
    """
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=SPECIAL, show_progress=False)
    learned = tokenizers.Tokenizer(models.BPE())
    learned.train_from_iterator([f"▁{w}" for w in " ".join(_LINES).split()], trainer)
    model = json.loads(learned.to_str())["model"]
    letters = [*model["vocab"], *(f"<0x{byte:02X}>" for byte in range(256))]
    vocab = {letter: i for i, letter in enumerate(letters)}
    merges = [tuple(merge) for merge in model["merges"]]
    bpe = models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    made = tokenizers.Tokenizer(bpe)
    made.add_special_tokens(SPECIAL)
    if legacy:
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        made.normalizer = normalizers.Sequence(steps)
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    spaces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*spaces, decoders.Strip(" ", 1, 0)])
    return dressed(made, *SHAPES[shape])


def dressed(
    made: tokenizers.Tokenizer, template: str | None, bos: str, eos: str
) -> PreTrainedTokenizerFast:
    """A tokenizer of `transformers` around one of `tokenizers`."""
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=bos, eos_token=eos, chat_template=template
    )
