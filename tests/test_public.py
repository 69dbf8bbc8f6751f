"""What users import, what it costs to import it, and which way imports go."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import modicum

HEAVY = ("numpy", "pyarrow", "torch", "transformers", "sklearn", "datasets")
# A module imports from those before its own room only. `cli` and `__init__.py` stand aside.
ABOVE = """
errors durable visible free devices progress ledger cache spool held pool runs readers chat overlap
check render models batches head wants forward compiled store measure meter geometry generation
answers derived own_answers opinion views tags scores selection scale training evaluation context
plan filters methods replay parts lineup usable filtered estimate cost candidates question report
output tuning choose scoring mixed mixing stream evidence comparing fewest catalogue snippets
export explain damage doctor jobs show show_tasks show_evidence show_selection show_doctor
"""
ORDER = ABOVE.split()
# What a pool offers as its own: `Pool.read`, and `Pool.take` of a selection.
FRONT_DOORS = {("pool", "readers"), ("pool", "choose")}
BARE = "import typer\napp = typer.Typer()\n@app.command()\ndef f(x: int = 1): ...\napp(['--help'])"
HELP = "import sys\nsys.argv = ['modicum', '--help']\nfrom modicum.cli import main\nmain()"


def python(code: str) -> str:
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return made.stdout


def imported_rooms(path: Path) -> Iterator[str]:
    """Rooms that a module imports when it is loaded or called, not only for its types."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modicum."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "modicum":
            yield from (alias.name for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_every_public_name_is_listed_once_and_can_be_imported():
    assert sorted(modicum.__all__) == sorted(modicum._HOMES)
    for name in [*modicum.__all__, *modicum.__all__]:  # its module, once imported, must not hide it
        assert getattr(modicum, name).__name__ == name
        assert callable(getattr(modicum, name))


def test_import_modicum_loads_nothing_heavy():
    code = f"import modicum, sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    assert python(code) == "[]\n"


def test_help_loads_nothing_heavy():
    seen = f"print([name for name in {HEAVY} if name in sys.modules])"
    code = HELP.replace("main()", f"try: main()\nexcept SystemExit: {seen}")
    assert python(code).splitlines()[-1] == "[]"


def test_help_takes_little_more_than_a_bare_help_of_typer():
    def fastest(code: str) -> float:
        seconds = []
        for _ in range(4):
            began = time.perf_counter()
            python(code)
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    assert fastest(HELP) < 1.7 * fastest(BARE)  # 0.3 s where the bare help takes 0.17


def test_rooms_import_only_from_rooms_above_them():
    root = Path(str(modicum.__file__)).parent
    rooms = {p: p.relative_to(root).parts[0].removesuffix(".py") for p in root.rglob("*.py")}
    checked = {p: room for p, room in rooms.items() if room not in ("cli", "__init__", "__main__")}
    assert set(checked.values()) == set(ORDER)
    down = [
        (room, other)
        for path, room in checked.items()
        for other in imported_rooms(path)
        if ORDER.index(other) > ORDER.index(room) and (room, other) not in FRONT_DOORS
    ]
    assert down == []


def test_selection_needs_numbers_only():
    root = Path(str(modicum.__file__)).parent / "selection"
    allowed = {"selection", "errors"}
    assert {room for path in root.glob("*.py") for room in imported_rooms(path)} <= allowed
    packages = {
        name.split(".")[0]
        for path in root.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in imported_names(node)
    }
    assert packages - sys.stdlib_module_names == {
        "modicum",
        "numpy",
        "ot",
        "scipy",
        "sklearn",
        "threadpoolctl",
    }
