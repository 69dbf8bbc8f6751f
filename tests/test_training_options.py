"""How a tuning is set. `given` is what the user said, the rest TRL's defaults or ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modicum.errors import OptionError
from modicum.training import options
from modicum.training.options import Recipe


def settings(*words: str, lora: bool = False, longest: int = 300, **more: Any) -> Any:
    place = {"seed": 7, "bfloat16": False, "cpu": True, **more}
    return Recipe.parse(words, lora=lora).config(Path("out"), longest=longest, **place)


def written(folder: Path, text: str) -> str:
    path = folder / "how.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_nothing_given_is_our_recipe() -> None:
    ours = settings()
    assert ours.packing and ours.max_length == 1024 and ours.packing_strategy == "bfd"
    assert (ours.num_train_epochs, ours.learning_rate, ours.weight_decay) == (3, 2e-5, 0)
    assert (ours.per_device_train_batch_size, ours.gradient_accumulation_steps) == (1, 4)
    assert ours.lr_scheduler_type == "cosine" and ours.get_warmup_steps(100) == 3
    assert ours.save_strategy == "no" and ours.report_to == [] and ours.disable_tqdm
    assert not ours.gradient_checkpointing and not ours.bf16 and ours.use_cpu
    assert (ours.output_dir, ours.seed, ours.data_seed) == ("out", 7, 7)


def test_what_is_given_wins_over_ours_and_is_read_with_the_types_of_trl() -> None:
    given = settings("learning_rate=1e-4", "packing=false", "warmup_steps=5", "max_steps=9")
    assert given.learning_rate == 1e-4 and given.max_steps == 9
    assert not given.packing and given.get_warmup_steps(1000) == 5


def test_without_packs_the_batch_is_as_large_as_that_of_trl() -> None:
    from trl.trainer.sft_config import SFTConfig

    usual = SFTConfig.per_device_train_batch_size
    assert settings("packing=false").per_device_train_batch_size == usual > 1
    one = settings("packing=false", "per_device_train_batch_size=1")
    assert one.per_device_train_batch_size == 1


def test_no_row_is_cut() -> None:
    assert settings(longest=3000).max_length == 1024  # it is a pack of its own
    assert settings("packing=false", longest=3000).max_length == 3000
    assert settings("max_length=3000", longest=3000).max_length == 3000
    with pytest.raises(OptionError, match=r"max_length=2999 .* 3000 tokens: .*--max-tokens 2999"):
        settings("max_length=2999", longest=3000)


def test_none_means_none_where_trl_has_it() -> None:
    assert settings("max_length=none", "packing=false").max_length is None
    assert settings("report_to=none").report_to == []
    with pytest.raises(OptionError, match="a pack needs a length"):
        settings("max_length=none")
    with pytest.raises(OptionError, match="learning_rate=none: invalid float"):
        settings("learning_rate=none")


def test_precision_is_the_models_unless_another_is_given() -> None:
    assert settings(bfloat16=True).bf16
    assert not settings("bf16=no", bfloat16=True).bf16
    half = settings("fp16=true", bfloat16=True)
    assert half.fp16 and not half.bf16
    with pytest.raises(OptionError, match=r"TRL refuses these options: .*fp16"):
        settings("fp16=true", "bf16=true")


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_recomputing_has_two_names_that_say_the_same(name: str) -> None:
    assert not settings().gradient_checkpointing
    assert settings(f"{name}=true").gradient_checkpointing


def test_saving_by_steps_needs_no_second_option() -> None:
    assert settings("save_steps=50").save_strategy == "steps"


def test_a_yaml_file_reads_like_the_words(tmp_path: Path) -> None:
    text = "learning_rate: 1e-4\nnum_train_epochs: 2\nsave_strategy: no\npacking: false\n"
    text += "report_to: null\nmax_length: null\nlr_scheduler_kwargs: {num_cycles: 0.25}\n"
    given = settings(written(tmp_path, text), "weight_decay=0.1")
    assert (given.learning_rate, given.num_train_epochs) == (1e-4, 2)
    assert given.save_strategy == "no" and not given.packing and given.max_length is None
    assert given.lr_scheduler_kwargs == {"num_cycles": 0.25} and given.weight_decay == 0.1
    assert given.report_to == []


def test_a_value_with_an_equals_sign_or_a_file_name_is_a_value() -> None:
    given = Recipe.parse(["optim_args=a=1,b=2", "deepspeed=zero.yaml"]).given
    assert given == {"optim_args": "a=1,b=2", "deepspeed": "zero.yaml"}


@pytest.mark.parametrize("text", ["", "- 1\n", "just words\n", "1: 2\n", "a: [\n"])
def test_a_file_that_is_no_mapping_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(OptionError, match=r"how\.yaml"):
        Recipe.parse([written(tmp_path, text)])


@pytest.mark.parametrize("word", ["learning_rate", "=3", "learning_rate=", "", "absent.yaml"])
def test_a_word_that_gives_nothing_is_refused(word: str) -> None:
    with pytest.raises(OptionError, match=r"write KEY=VALUE|absent\.yaml cannot be read"):
        Recipe.parse([word])


def test_a_key_given_twice_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    once = written(tmp_path, "max_steps: 3\n")
    for words in (["max_steps=3", "max_steps=3"], [once, "max_steps=4"], [once, once]):
        with pytest.raises(OptionError, match="max_steps is given twice"):
            Recipe.parse(words)
    with pytest.raises(OptionError, match="max_steps is given twice"):
        Recipe.parse([written(tmp_path, "max_steps: 3\nmax_steps: 4\n")])


def test_adding_an_option_leaves_the_recipe_alone_and_names_what_contradicts() -> None:
    recipe = Recipe({"num_train_epochs": "2"})
    assert recipe.with_(num_train_epochs=2).given == {"num_train_epochs": "2"}
    assert recipe.with_(packing=False).given == {"num_train_epochs": "2", "packing": False}
    assert recipe.given == {"num_train_epochs": "2"}
    with pytest.raises(OptionError, match="num_train_epochs is given as 2 and as 5"):
        recipe.with_(num_train_epochs=5)


def test_epochs_are_three_or_what_is_given() -> None:
    assert Recipe().epochs() == 3
    assert Recipe.parse(["num_train_epochs=0.5"]).epochs() == 0.5
    for wrong in ("0", "-1", "nan", "inf", "three", None):
        with pytest.raises(OptionError, match="num_train_epochs="):
            Recipe({"num_train_epochs": wrong}).epochs()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("learning_rat=1", "TRL has no option learning_rat; did you mean learning_rate"),
        ("lora_rank=8", "did you mean lora_r"),
        ("rounds=8", "TRL has no option rounds; the names are in the docs of SFTConfig"),
        ("learning_rate=fast", "invalid float value"),
        ("learning_rate=nan", "give a finite number"),
        ("max_steps=1.5", "invalid int value"),
        ("packing=perhaps", "yes/no"),
        ("lr_scheduler_type=cosin", "invalid choice: 'cosin' .*cosine"),
        ("gradient_accumulation_steps=0", "give a number above 0"),
        ("learning_rate=-1", "give a number above 0"),
        ("use_peft=maybe", "true/false"),
        ("lora_r=8", "has no effect on full tuning: add --lora"),
    ],
)
def test_what_trl_cannot_use_is_refused_with_the_way_out(word: str, told: str) -> None:
    with pytest.raises(OptionError, match=f"^--train {word}.*{told}"):
        Recipe.parse([word]).check()


@pytest.mark.parametrize("value", [{"a": 1}, [1e-4], object(), True])
def test_a_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(OptionError, match="--train learning_rate="):
        Recipe({"learning_rate": value}).check()


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("output_dir", "-o DIR"),
        ("seed", "--seed N"),
        ("data_seed", "--seed N"),
        ("resume_from_checkpoint", "the same line again"),
        ("dataset_text_field", "Modicum renders"),
        ("assistant_only_loss", "Modicum renders"),
        ("pad_token", "Modicum renders"),
        ("truncation_mode", "--max-tokens N"),
        ("packing_strategy", "packing=false"),
        ("trust_remote_code", "--trust-remote-code"),
        ("model_name_or_path", "--model"),
        ("hub_model_id", "uploads nothing"),
        ("eval_strategy", "no evaluation rows"),
        ("per_device_eval_batch_size", "no evaluation rows"),
        ("do_train", "leave it out"),
        ("load_in_4bit", "--lora"),
        ("bnb_4bit_quant_type", "not supported"),
    ],
)
def test_what_modicum_decides_is_refused_with_the_way_out(name: str, way_out: str) -> None:
    with pytest.raises(OptionError, match=f"^--train {name}=wrapped: .*{way_out}"):
        Recipe.parse([f"{name}=wrapped"]).check()


@pytest.mark.parametrize("word", ["max_steps=5", "report_to=wandb", "packing_strategy=bfd"])
def test_what_is_allowed_passes(word: str) -> None:
    Recipe.parse([word]).check()


def test_full_tuning_has_no_adapter() -> None:
    assert not Recipe().lora and Recipe().adapter() is None
    assert not Recipe.parse(["use_peft=false"]).lora


def test_lora_takes_every_linear_layer_and_a_larger_step() -> None:
    adapter = Recipe.parse([], lora=True).adapter()
    assert adapter is not None
    assert (adapter.r, adapter.lora_alpha, adapter.lora_dropout) == (16, 32, 0)
    assert adapter.target_modules == "all-linear" and adapter.task_type == "CAUSAL_LM"
    assert settings(lora=True).learning_rate == 2e-4
    assert settings("learning_rate=1e-5", lora=True).learning_rate == 1e-5


@pytest.mark.parametrize("modules", ["q_proj, v_proj", ["q_proj", "v_proj"]])
def test_the_options_of_lora_reach_peft(modules: str | list[str]) -> None:
    given = {"use_peft": "yes", "lora_r": "4", "lora_target_modules": modules, "use_rslora": True}
    adapter = Recipe(given).adapter()
    assert adapter is not None and adapter.r == 4 and adapter.use_rslora
    assert adapter.target_modules == {"q_proj", "v_proj"}


def test_lora_against_its_own_option_is_refused() -> None:
    assert Recipe.parse(["use_peft=true"], lora=True).lora
    with pytest.raises(OptionError, match="use_peft is given as false and as True"):
        Recipe.parse(["use_peft=false"], lora=True)


def test_loading_names_only_what_was_given() -> None:
    assert Recipe().loading() == {}
    given = Recipe.parse(["dtype=bfloat16", "attn_implementation=sdpa"])
    assert given.loading() == {"dtype": "bfloat16", "attn_implementation": "sdpa"}
    with pytest.raises(OptionError, match="dtype=int4: invalid choice"):
        Recipe.parse(["dtype=int4"]).loading()


def test_the_record_is_what_was_given_in_order_of_names() -> None:
    record = Recipe.parse(["weight_decay=0.1", "bf16=no"], lora=True).to_json()
    assert list(record.items()) == [("bf16", "no"), ("use_peft", True), ("weight_decay", "0.1")]


def test_without_trl_the_way_out_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None if name == "trl" else name)
    with pytest.raises(OptionError, match=r"which trl cannot be found: pip install 'modicum\[tra"):
        Recipe().check()


def test_reading_words_loads_neither_trl_nor_torch() -> None:
    code = "import sys; from modicum.training.options import Recipe as R; R.parse(['a=1'], True)"
    code += "; sys.exit(bool({'trl', 'torch', 'transformers', 'yaml'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_single_layer_can_be_named_for_lora() -> None:
    assert Recipe.parse(["lora_target_modules=q_proj"], lora=True).adapter().target_modules == {
        "q_proj"
    }


@pytest.mark.parametrize("word", ["save_only_model=true", "save_total_limit=1"])
def test_what_would_keep_a_killed_training_from_going_on_is_refused(word: str) -> None:
    with pytest.raises(OptionError, match="could not go on as if nothing had been"):
        Recipe.parse([word]).check()


def test_a_recipe_is_made_of_what_is_at_hand(tmp_path: Path) -> None:
    file = tmp_path / "how.yaml"
    file.write_text("learning_rate: 0.5\n")
    assert Recipe.of(None) == Recipe() == Recipe.of({})
    assert Recipe.of(file) == Recipe.of(str(file)) == Recipe.of({"learning_rate": 0.5})


def test_options_that_a_yaml_file_merges_in_are_not_lost_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "how.yaml"
    file.write_text("<<: {learning_rate: 0.1}\nwarmup_steps: 3\n")
    with pytest.raises(OptionError, match="learning_rate comes from a merge"):
        Recipe.parse([str(file)])
