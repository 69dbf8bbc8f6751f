"""How a tuning is set: TRL's and peft's options under their own names, ours where none is given.

No option is mirrored: what is given goes to TRL's `SFTConfig` (training) and `ModelConfig` (LoRA,
loading). `_ours` holds the few defaults that differ from TRL's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from modicum.errors import OptionError
from modicum.training.given import Options, pairs, read

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig

EPOCHS = 3  # as DiverseEvol (arXiv 2311.08182)
WARM_UP = 0.03  # of the steps
_YES = ("yes", "true", "t", "y", "1")
PACK = 1024  # tokens; TRL's own length
PROCESSES = "processes"


@dataclass(frozen=True)
class Recipe:
    """How to tune: options of TRL's SFTConfig and, for LoRA, of its ModelConfig, as given.

    One is ours: `processes`, that share the rows, each with a device of its own.
    """

    given: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(given: Recipe | Mapping[str, Any] | str | Path | None) -> Recipe:
        """The recipe of options by name, or of a YAML file of them."""
        if isinstance(given, Recipe):
            return given
        if isinstance(given, str | Path):
            return Recipe.parse([str(given)])
        return Recipe(dict(given or {}))

    @staticmethod
    def parse(words: Sequence[str], lora: bool = False) -> Recipe:
        """The recipe of `KEY=VALUE` words and of YAML files with a flat mapping.

        A key given twice is an OptionError. Whether TRL knows a key and takes its value is for
        `check` to say: this one reads no more than the words.
        """
        given: dict[str, Any] = {}
        for word in words:
            for key, value in pairs(word):
                if key in given:
                    raise OptionError(f"--train {key} is given twice: leave one of them out")
                given[key] = value
        return Recipe(given).with_(use_peft=True) if lora else Recipe(given)

    def with_(self, **more: Any) -> Recipe:
        """This recipe and more options; one that is there with another value is an OptionError."""
        for name, value in more.items():
            if name in self.given and not _same(self.given[name], value):
                raise OptionError(
                    f"{name} is given as {self.given[name]} and as {value}: leave one of them out"
                )
        return Recipe({**more, **self.given})

    @property
    def lora(self) -> bool:
        """Whether an adapter is tuned and the model itself left as it is."""
        return str(self.given.get("use_peft")).lower() in _YES

    @property
    def processes(self) -> int:
        """How many train together."""
        given = self.given.get(PROCESSES, 1)
        if str(given).isdigit() and int(given) > 0:
            return int(given)
        raise OptionError(f"--train {PROCESSES}={given}: give a whole number of at least 1")

    def epochs(self) -> float:
        """How often each row is trained on, unless `max_steps` says otherwise."""
        given = self.given.get("num_train_epochs", EPOCHS)
        with suppress(TypeError, ValueError):
            if 0 < float(given) < math.inf:
                return float(given)
        raise OptionError(f"--train num_train_epochs={given}: give a number above 0")

    def check(self, longest: int = 0) -> None:
        """Refuse what TRL does not know, what Modicum decides, values that TRL cannot read, and a
        `max_length` that would cut a row of `longest` tokens."""
        given = self._read().training
        if "max_length" in given:
            _check_length({"packing": True} | given, longest)

    def config(
        self, folder: Path, *, seed: int, bfloat16: bool, longest: int, cpu: bool
    ) -> SFTConfig:
        """TRL's settings for training in `folder` on rows of at most `longest` tokens.

        `bfloat16` asks for mixed precision, `cpu` for no GPU. A `max_length` that would cut rows
        and options that exclude each other are an OptionError.
        """
        given = self._read().training
        from trl.trainer.sft_config import SFTConfig

        options = _ours(given, lora=self.lora, bfloat16=bfloat16, longest=longest, cpu=cpu) | given
        if "max_length" in given:
            _check_length(options, longest)
        options |= {"output_dir": str(folder), "seed": seed, "data_seed": seed}
        try:
            return SFTConfig(**options)
        except (ImportError, OSError, TypeError, ValueError) as error:
            told = " ".join(str(error).split())
            raise OptionError(f"--train: TRL refuses these options: {told}") from error

    def adapter(self) -> LoraConfig | None:
        """peft's settings for LoRA (arXiv 2106.09685); None where the whole model is tuned.

        Where nothing is given: rank 16 and alpha 32, as TRL; every linear layer; no dropout.
        """
        given = self._read().model
        if not self.lora:
            return None
        from trl.trainer.model_config import ModelConfig
        from trl.trainer.utils import get_peft_config

        # Dropout would make the loss that is logged another one than the loss that scores.
        ours: dict[str, Any] = {"lora_dropout": 0.0}
        if given.get("lora_target_parameters") is None:
            # Left to itself peft takes queries and values only, and no layer in new architectures.
            ours["lora_target_modules"] = ["all-linear"]
        adapter: Any = get_peft_config(ModelConfig(**ours | given))
        named = (ours | given).get("lora_target_modules")
        if isinstance(named, list) and len(named) == 1 and named != ["all-linear"]:
            adapter.target_modules = set(named)  # TRL makes it a text, and peft that a pattern
        return cast("LoraConfig", adapter)

    def loading(self) -> dict[str, Any]:
        """The `from_pretrained` arguments that were given: `attn_implementation`, `dtype`."""
        given = self._read().model
        names = ("attn_implementation", "dtype")
        return {name: given[name] for name in names if given.get(name) is not None}

    def to_json(self) -> dict[str, Any]:
        """What was given, sorted by name."""
        return dict(sorted(self.given.items()))

    def _read(self) -> Options:
        needs_trl()
        _ = self.processes
        theirs = {name: value for name, value in self.given.items() if name != PROCESSES}
        return read(theirs, self.lora)


def needs_trl() -> None:
    """Refuse where the two packages that training needs are not installed."""
    missing = [name for name in ("trl", "peft") if find_spec(name) is None]
    if missing:
        raise OptionError(
            f"training needs two more packages, of which {' and '.join(missing)} cannot be found: "
            "pip install 'modicum[train]'"
        )


def _same(one: Any, other: Any) -> bool:
    """Whether two values say the same: 2, 2.0 and "2" do, and so do True and "true"."""
    with suppress(TypeError, ValueError):
        return float(one) == float(other)
    return _word(one) == _word(other)


def _word(value: Any) -> str:
    word = str(value).lower()
    return "true" if word in _YES else word


def _check_length(options: Mapping[str, Any], longest: int) -> None:
    length = options["max_length"]
    if length is None and options["packing"]:
        raise OptionError("--train max_length=none: a pack needs a length; add packing=false")
    if length is not None and length < longest:
        raise OptionError(
            f"--train max_length={length} would cut the longest row, which has {longest} tokens: "
            f"leave it out, or drop or truncate such rows openly with --max-tokens {length}"
        )


def _ours(
    given: Mapping[str, Any], *, lora: bool, bfloat16: bool, longest: int, cpu: bool
) -> dict[str, Any]:
    """What differs from TRL's defaults."""
    from trl.trainer.sft_config import SFTConfig

    kinds = {f.name: f.type for f in fields(SFTConfig)}
    ours: dict[str, Any] = {
        "packing": True,  # instruction rows are short and uneven: batches would be mostly padding
        # A longer row is a pack of its own; without packs, no row is to be cut.
        "max_length": PACK if given.get("packing", True) else max(PACK, longest),
        "num_train_epochs": EPOCHS,
        "learning_rate": 2e-4 if lora else 2e-5,  # an adapter starts at 0 and needs ten times more
        "lr_scheduler_type": "cosine",  # this, the warm-up and no decay as DiverseEvol
        "weight_decay": 0.0,
        "gradient_accumulation_steps": 4,  # one pack alone makes a noisy step
        "logging_steps": 1,  # few rows are few steps
        "save_total_limit": 2,  # a full model each
        "report_to": "none",  # nothing leaves the machine unasked
        "disable_tqdm": True,  # Modicum has its own bar
        "bf16": bfloat16 and not given.get("fp16", False),
        "use_cpu": cpu,
        "dataloader_pin_memory": not cpu,  # pinning is for the way to a GPU
    }
    # Computing activations twice costs a fifth of the speed, and short rows need little memory.
    # Newer transformers call it activation_checkpointing; both names are set to say the same.
    names = {"activation_checkpointing", "gradient_checkpointing"}
    ours |= dict.fromkeys(names & kinds.keys(), given.get("gradient_checkpointing", False))
    if not {"warmup_ratio", "warmup_steps"} & given.keys():
        # Before transformers 5 warmup_steps is a whole number, and the share is another option.
        whole = kinds["warmup_steps"] in (int, "int")
        ours["warmup_ratio" if whole else "warmup_steps"] = WARM_UP
    if given.get("packing", True):
        ours["per_device_train_batch_size"] = 1  # a pack is a batch
    if "save_steps" not in given:
        ours["save_strategy"] = "no"  # Modicum saves by the clock
    return ours
