"""Training options as they come: from words and files, refused or read with TRL's own types."""

from __future__ import annotations

import math
from argparse import ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from modicum.errors import OptionError

if TYPE_CHECKING:
    from transformers import HfArgumentParser

_MASK = "Modicum renders the rows, so that what is scored is what is trained: leave it out"
_NO_EVALUATION = "there are no evaluation rows here: leave it out, and evaluate the trained model"
_NO_UPLOAD = "Modicum uploads nothing: leave it out, and upload the finished folder yourself"
_QUANTISED = "quantised loading is not supported: leave it out; --lora saves memory without it"
_COLUMNS = "Modicum sets the columns: leave it out"
_RESUME = "a killed training could not go on as if nothing had been: leave it out"
_REFUSED = {
    "output_dir": "the folder is -o DIR",
    "seed": "use --seed N",
    "data_seed": "use --seed N",
    "resume_from_checkpoint": "leave it out: the same line again goes on where it stopped",
    "dataset_*": _MASK,
    "formatting*": _MASK,
    "completion_only_loss": _MASK,
    "assistant_only_loss": _MASK,
    "chat_template_path": _MASK,
    "eos_token": _MASK,
    "pad_token": _MASK,
    "truncation_mode": "no row is cut in training: --max-tokens N drops or truncates rows openly",
    "padding_free": "packs have no padding anyway: leave it out",
    "trust_remote_code": "use --trust-remote-code",
    "model_name_or_path": "use --model",
    "model_revision": "use --model with a folder of that revision",
    "model_init_kwargs": "use --model, dtype=… and attn_implementation=…",
    "lora_task_type": "models are tuned to write answers, CAUSAL_LM: leave it out",
    "push_to_hub": _NO_UPLOAD,
    "hub_*": _NO_UPLOAD,
    "*eval*": _NO_EVALUATION,
    "load_best_model_at_end": _NO_EVALUATION,
    "metric_for_best_model": _NO_EVALUATION,
    "greater_is_better": _NO_EVALUATION,
    "prediction_loss_only": _NO_EVALUATION,
    "include_for_metrics": _NO_EVALUATION,
    "do_*": "this trains and does nothing else: leave it out",
    "remove_unused_columns": _COLUMNS,
    "label_names": _COLUMNS,
    "load_in_*": _QUANTISED,
    "use_bnb*": _QUANTISED,
    "bnb_*": _QUANTISED,
    "save_only_model": _RESUME,
    "ignore_data_skip": _RESUME,
    "parallelism_config": "leave it out, and set it with accelerate config",
}
_ABOVE_ZERO = (
    *("num_train_epochs", "learning_rate", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "max_length", "lora_r", "lora_alpha"),
)


class Options(NamedTuple):
    """Options that were given and can be used, of the types that TRL declares."""

    training: dict[str, Any]  # of SFTConfig
    model: dict[str, Any]  # of ModelConfig: LoRA, and how the model is loaded


def pairs(word: str) -> Iterator[tuple[str, Any]]:
    """What one word of the command line gives: the option KEY=VALUE, or those of a YAML file."""
    key, separator, value = word.partition("=")
    if Path(word).suffix in (".yaml", ".yml") and not key.isidentifier():
        yield from _file(Path(word))
    elif key and separator and value:
        yield key, value
    else:
        raise OptionError(f"--train {word}: write KEY=VALUE, or name a .yaml file of options")


def _file(path: Path) -> list[tuple[str, Any]]:
    """The options of a YAML file in its order; a key written twice comes twice."""
    import yaml  # type: ignore[import-untyped]

    try:
        text = path.read_text(encoding="utf-8")
        # Composed as well as loaded: a loaded mapping has already lost the first of two like keys.
        node, options = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise OptionError(f"--train {path} cannot be read as YAML: {told}") from error
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise OptionError(f"--train {path}: write one option per line, as KEY: VALUE")
    keys = [key.value for key, _ in node.value]
    if merged := options.keys() - set(keys):
        raise OptionError(f"--train {path}: {min(merged)} comes from a merge (<<); write it out")
    return [(key, options[key]) for key in keys if key in options]


def read(given: Mapping[str, Any], lora: bool) -> Options:
    """The given options with the types of TRL's SFTConfig and ModelConfig.

    An option that TRL does not have, that Modicum decides, that has no effect, or whose value
    TRL would not read, is an OptionError.
    """
    from trl.trainer.model_config import ModelConfig
    from trl.trainer.sft_config import SFTConfig

    for name, value in given.items():
        _refuse(name, value)
    _check_names(given, [f.name for kind in (SFTConfig, ModelConfig) for f in fields(kind)])
    options = Options(_values(SFTConfig, given), _values(ModelConfig, given))
    _check_sense(options, lora)
    return options


def _refuse(name: str, value: object) -> None:
    for pattern, reason in _REFUSED.items():
        if fnmatchcase(name, pattern):
            shown = "…" if name == "hub_token" else value  # it is a key
            raise OptionError(f"--train {name}={shown}: {reason}")
    if name == "save_total_limit" and str(value) == "1":  # it may be the half-written one
        raise OptionError(f"--train {name}={value}: {_RESUME}, or keep 2")
    if name == "packing_strategy" and value != "bfd":
        raise OptionError(
            f"--train {name}={value}: only bfd keeps rows whole and apart; "
            "write bfd, or packing=false to train on rows one by one"
        )


def _check_names(given: Mapping[str, Any], known: Sequence[str]) -> None:
    from difflib import get_close_matches

    for name in given:
        if name not in known:
            near = get_close_matches(name, known)
            # Of the near names one of the same family: lora_rank is lora_r, not local_rank.
            near.sort(key=lambda other: other.partition("_")[0] != name.partition("_")[0])
            advice = (
                f"did you mean {near[0]}?" if near else "the names are in the docs of SFTConfig"
            )
            raise OptionError(f"--train {name}={given[name]}: TRL has no option {name}; {advice}")


def _check_sense(options: Options, lora: bool) -> None:
    """Refuse numbers that would stop TRL midway, and LoRA's options where nothing uses them."""
    for name, value in (options.training | options.model).items():
        if name in _ABOVE_ZERO and value is not None and value <= 0:
            raise OptionError(f"--train {name}={value}: give a number above 0")
    for name, value in options.model.items():
        if not lora and (name.startswith("lora_") or name in ("use_rslora", "use_dora")):
            raise OptionError(
                f"--train {name}={value} has no effect on full tuning: add --lora, or use_peft=true"
            )


def _values(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given options that one of TRL's dataclasses has, each of its type there."""
    from transformers.hf_argparser import HfArgumentParser

    parser = HfArgumentParser(kind, exit_on_error=False)
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind) if f.name in given]
    return {name: _value(parser, name, hints[name], given[name]) for name in names}


def _value(parser: HfArgumentParser, name: str, hint: Any, given: Any) -> Any:
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = {get_origin(member) or member for member in members}
    if isinstance(given, dict) and dict in kinds:
        return given
    if isinstance(given, list) and list in kinds:
        return [_scalar(parser, name, item) for item in given]
    text = "none" if given is None else given
    # For report_to, "none" is a value of its own, and not giving one has meant "all".
    if str(text).lower() in ("none", "null") and type(None) in kinds and name != "report_to":
        return None
    if list in kinds and str not in kinds and isinstance(text, str | bool | int | float):
        return [_scalar(parser, name, item.strip()) for item in str(text).split(",")]
    if name == "fsdp" and isinstance(text, bool):
        return text  # transformers asks for true here, and still declares the option as text
    return _scalar(parser, name, text)


def _scalar(parser: HfArgumentParser, name: str, given: Any) -> Any:
    """One value, read from its text whatever it came as: to YAML, 1e-4 is text and 2 is not 2.0."""
    if not isinstance(given, str | bool | int | float):
        raise OptionError(f"--train {name}={given}: {name} takes no {type(given).__name__}")
    # Not "true" and "false": YAML reads an unquoted no as false, and to a strategy it means "no".
    text = ("yes" if given else "no") if isinstance(given, bool) else str(given)
    try:
        read = getattr(parser.parse_args([f"--{name}={text}"]), name)
    except ArgumentError as error:
        raise OptionError(f"--train {name}={given}: {error.message}") from error
    value = read[0] if isinstance(read, list) else read
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"--train {name}={given}: give a finite number")
    return value
