"""What SECURITY.md promises: no data runs as code, no key is written, nobody is called."""

from __future__ import annotations

import ast
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modicum
from fake_endpoint import Server, serving
from modicum.errors import ModicumError
from modicum.models import Model, find_model
from modicum.pool import Pool
from modicum.render import render
from modicum.training import Recipe
from test_cli import Run, run
from test_stream import task_files
from tiny_tokenizers import byte_level

__all__ = ["run"]

SOURCE = Path(modicum.__file__).parent
NEVER_IMPORTED = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
NEVER_CALLED = {"eval", "exec", "compile", "os.system", "os.popen", "torch.load", "yaml.load"}
NEVER_CALLED |= {"np.load", "numpy.load", "pickle.loads", "subprocess.run", "subprocess.Popen"}
# This interpreter once more, without a shell, and no word of a row in the line.
STARTED = {
    ("apart", "subprocess.run([*_launch(recipe.processes), '-m', 'modicum.training.apart', name]")
}


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_runs_what_it_reads(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not NEVER_IMPORTED & {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.module not in NEVER_IMPORTED
    for call in calls(tree):
        begun = ast.unparse(call).split("]", 1)[0] + "]"
        assert ast.unparse(call.func) not in NEVER_CALLED or (path.stem, begun) in STARTED
        for given in call.keywords:
            if given.arg in ("trust_remote_code", "shell", "allow_pickle"):
                assert not isinstance(given.value, ast.Constant) or given.value.value is False
            if given.arg == "use_safetensors":
                assert ast.unparse(given.value) == "True"


# What a template of a hostile model may try; and what it raises instead of our reading of it.
HOSTILE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ messages.append(1) }}",
    "{% for i in range(99999999) %}x{% endfor %}",
    "{{ 1 // 0 }}",
    "{{ {}['a'] }}",
    "{{ messages[99].content }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ raise_exception('no') }}",
    "{{ 10 ** 'a' }}",
    "{% include '/etc/passwd' %}",
    "{{ lipsum.__globals__ }}",
]


@pytest.mark.parametrize("template", HOSTILE)
def test_a_hostile_template_costs_its_rows_and_no_more(template: str, tiny_pool: Pool):
    tokenizer = byte_level()
    tokenizer.chat_template = template
    try:
        made = render(tiny_pool, tokenizer)
    except ModicumError as error:
        assert "\n" not in str(error)
    else:
        assert len(made.errors) == len(tiny_pool)
        assert all("\n" not in why for why in made.errors.values())


def test_weights_in_pickles_are_not_read(tiny_model: Model, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model.folder, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModicumError, match="reads safetensors or GGUF weights only"):
        assert find_model(folder).network


@pytest.mark.parametrize("option", ["hub_token", "push_to_hub", "hub_model_id"])
def test_a_training_goes_to_no_hub(option: str):
    with pytest.raises(ModicumError, match=option):
        Recipe({option: "true"}).check()


KEYS = {
    name: f"sk-{name.lower().replace('_', '')}-4f9a1c77e05b"
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")
} | {"AWS_SECRET_ACCESS_KEY": "AKIA4f9a1c77e05b00000000"}
JUDGED = "Score A: 3\nScore B: 4"
LINES = [
    "select POOL -m k-center -k 4 --export trl --export axolotl -o select",
    "select POOL -m lobass -k 4 --train max_steps=2 -o lobass",
    "score POOL --with loss,entropy -o score",
    "train POOL --train max_steps=2 -o train",
    "train POOL --train max_steps=2 --train run_name=KEY -o named",
    "train POOL --train hub_token=KEY -o hub",
    "replay --old TASKS --new POOL -m inscl -k 3 --tagger URL --tagger-model m -o mix.jsonl",
    "replay --old TASKS --new POOL -m inscl -k 3 --tagger URL?key=KEY --tagger-model m -o no.jsonl",
    "compare POOL --eval TASK -m random -k 4 --seeds 1 --no-full --train max_steps=2 "
    "--measure judge --judge URL --judge-model m -o compare",
    "stream TASKS -m inscl,random -k 2 --holdout 2 --seeds 1 --no-generate --train max_steps=2 "
    "--tagger URL --tagger-model m -o stream",
    "report select",
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "cache") as running:
        # An endpoint that repeats the key it was sent, in its replies and its errors.
        running.misbehave = lambda text, before: (
            {"message": f"bad key {KEYS['OPENAI_API_KEY']}"}
            if before == 0 and len(text) % 2
            else f'["{KEYS["OPENAI_API_KEY"]}"]'
        )
        yield running


def test_no_key_is_written_or_printed(
    run: Run,
    server: Server,
    tiny_file: Path,
    tiny_model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    tasks = task_files(tmp_path / "tasks")
    given = {"POOL": [str(tiny_file)], "TASKS": list(tasks[:2]), "TASK": [tasks[0]]}
    said = ""
    for line in LINES:
        words = [
            w.replace("URL", server.url).replace("KEY", KEYS["OPENAI_API_KEY"])
            for word in line.split()
            for w in given.get(word, [word])
        ]
        named = "KEY" in line and "run_name" in line  # what the user names is the user's to name
        model = [] if line.startswith("report") else ["--model", str(tiny_model.folder)]
        ran = run(*words, *model)
        said += "" if named else ran.out + ran.err
        if named:
            shutil.rmtree(tmp_path / "named", ignore_errors=True)
    assert server.headers, "the endpoint was asked"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 50
    for key in KEYS.values():
        assert key not in said
        assert [path for path in files if key.encode() in path.read_bytes()] == []


def test_nobody_is_called_who_was_not_named(
    run: Run, tiny_file: Path, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    called: list[Any] = []

    def refused(*about: Any, **more: Any) -> Any:
        called.append(about)
        raise OSError("no network here")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setenv("MODICUM_CACHE", str(tmp_path / "cache"))
    tasks = task_files(tmp_path / "tasks")
    given = {"POOL": [str(tiny_file)], "TASKS": list(tasks[:2]), "TASK": [tasks[0]]}
    lines = [line for line in LINES if "URL" not in line and "KEY" not in line]
    for line in [*lines, "check POOL", "show select r1"]:
        words = [w for word in line.split() for w in given.get(word, [word])]
        model = [] if words[0] in ("report", "show") else ["--model", str(tiny_model.folder)]
        assert run(*words, *model).status in (0, 1), line
    assert called == []
    assert json.loads((tmp_path / "select" / "manifest.json").read_text())["counts"]["picked"] == 4
