"""The import rule: config, errors, tokenizer < dataset, model, runtime < train, evaluate < server < commands.

What runs a model needs no torch, and importing a module does no work.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import inkhorn

SOURCE = Path(inkhorn.__file__).parent
FOUNDATION = {"config", "errors", "unknown", "weights", "tokenizer"}
LEARNING = {
    "model",
    "optim",
    "train",
    "train_state",
    "evaluate",
    "hardware",
    "dataset",
    "recipes",
    "schedule",
    "textsource",
    "documents",
    "encoding",
    "shards",
    "shard_builder",
}
TOP = ("commands", "cli", "__main__")


@cache
def modules() -> dict[str, Path]:
    """Every module below inkhorn, by its dotted name without the package's."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(node: ast.AST, *, inside_functions: bool) -> Iterator[ast.AST]:
    """All that runs when the module is imported, and if asked what its functions run."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        yield child
        if inside_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(child, inside_functions=inside_functions)


@cache
def imports(module: str, *, anywhere: bool = True) -> frozenset[str]:
    """Full names of the modules that a module imports, at its top or anywhere in it."""
    found = set()
    for node in statements(ast.parse(modules()[module].read_text(encoding="utf-8")), inside_functions=anywhere):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            source = str(node.module)
            submodules = {f"{source}.{alias.name}" for alias in node.names} & {f"inkhorn.{name}" for name in modules()}
            found |= submodules or {source}
    return frozenset(found)


def inner(module: str, *, anywhere: bool = True) -> set[str]:
    """The modules of ours that a module imports."""
    return {name.removeprefix("inkhorn.") for name in imports(module, anywhere=anywhere) if name.startswith("inkhorn.")}


def outer(module: str, *, anywhere: bool = True) -> set[str]:
    """The packages of others that a module imports, the standard library's left out."""
    tops = {name.partition(".")[0] for name in imports(module, anywhere=anywhere)}
    return tops - sys.stdlib_module_names - {"inkhorn"}


def reach(module: str, *, anywhere: bool = True) -> set[str]:
    """The modules of ours that a module imports, directly or not, itself among them."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += inner(name, anywhere=anywhere)
    return seen


def below(names: set[str], package: str) -> set[str]:
    return {name for name in names if name == package or name.startswith(package + ".")}


def runtime() -> set[str]:
    return below(set(modules()), "runtime")


def test_the_walk_sees_what_is_there() -> None:
    assert FOUNDATION | LEARNING | {"", "cli", "runtime", "runtime.engine", "commands.train"} <= set(modules())
    assert "torch" in outer("model")
    assert {"tokenizers"} == outer("tokenizer") - {"numpy"}
    assert "tokenizers" not in outer("tokenizer", anywhere=False)
    assert {"weights", "unknown", "errors"} <= inner("tokenizer")
    assert {"config", "weights", "tokenizer", "unknown"} <= reach("runtime.engine")


@pytest.mark.parametrize("module", sorted(FOUNDATION))
def test_the_foundation_stands_on_itself(module: str) -> None:
    assert inner(module) <= FOUNDATION
    assert outer(module) <= {"numpy", "safetensors", "tokenizers"}


def test_model_py_imports_little() -> None:
    assert inner("model") == {"config", "weights"}
    assert outer("model") == {"torch", "safetensors"}


def test_the_runtime_never_imports_the_learning_half_or_torch() -> None:
    for module in runtime():
        assert outer(module) <= {"numpy", "safetensors", "tokenizers"}, module
        assert inner(module) <= FOUNDATION | runtime() | {"checkpoint"}, module
        assert not reach(module) & LEARNING, module
        for reached in reach(module):
            assert "torch" not in outer(reached), f"{module} reaches {reached}"


def test_only_higher_rooms_import_lower_ones() -> None:
    high = (
        "train",
        "train_state",
        "train_step",
        "evaluate",
        "scoring",
        "tasks",
        "explain",
        "progress",
        "report",
        "server",
        *TOP,
    )
    for module in modules():
        used = inner(module)
        if not module.startswith(TOP):
            assert not any(below(used, top) for top in TOP), f"{module} imports the command line"
            if not module.startswith("server"):
                assert not below(used, "server"), f"{module} imports the server"
        if module in LEARNING - {"train", "train_state", "evaluate"} | {"checkpoint", "corpus"} or module in runtime():
            assert not any(below(used, room) for room in high), f"{module} imports a room above it"


def test_no_module_imports_itself_in_a_circle() -> None:
    for module in modules():
        for used in inner(module):
            assert module not in reach(used), f"{module} and {used} import each other"


def test_transformers_is_for_tests_only_and_heavy_things_for_who_needs_them() -> None:
    for module in modules():
        used = outer(module)
        assert not used & {"transformers", "pytest", "hypothesis", "requests"}, module
        assert "datasets" not in used or module == "documents", module
        assert not outer(module, anywhere=False) & {"datasets", "filelock"}, module
        if not module.startswith("server") and not module.startswith("commands.serve"):
            assert not used & {"fastapi", "uvicorn", "prometheus_client", "starlette", "pydantic"}, module


def test_modules_only_define_things() -> None:
    """At its top a module has imports, definitions, names and docstrings: no loops, no calls for their effect."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    allowed = (ast.Import, ast.ImportFrom, *functions, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for module, path in modules().items():
        if module == "__main__":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            main = isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
            assert isinstance(node, allowed) or text or main or is_type_checking(node), f"{module}, line {node.lineno}"


LIGHT = """
import sys
import inkhorn
assert set(sys.modules) & {"numpy", "inkhorn.config"} == set(), "import inkhorn should cost nothing"
import inkhorn.cli
assert "numpy" not in sys.modules, "inkhorn --help should not wait for NumPy"
import inkhorn.runtime.engine
import inkhorn.tokenizer, inkhorn.checkpoint, inkhorn.recipes
heavy = {"torch", "fastapi", "transformers", "tokenizers", "matplotlib", "rich", "tyro", "pydantic", "uvicorn"}
assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))
"""

QUIET = """
import importlib, os, sys
for name in {others!r}:
    importlib.import_module(name)
done = []
def watch(event, arguments):
    writes = event == "open" and (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+") or arguments[2] & 3)
    acts = ("socket", "subprocess", "os.system", "os.mkdir", "os.rename", "os.remove", "os.fork", "os.posix_spawn")
    if writes or event.startswith(acts):
        done.append((event, arguments))
sys.addaudithook(watch)
environment = dict(os.environ)
for name in {ours!r}:
    importlib.import_module(name)
assert not done, done
assert dict(os.environ) == environment
assert "transformers" not in sys.modules
"""


def run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""  # and importing says nothing


def test_what_runs_a_model_loads_nothing_heavy() -> None:
    run(LIGHT)


def test_importing_does_no_work() -> None:
    """No file is written, no process started, no connection made, no word said."""
    ours = [f"inkhorn.{name}".rstrip(".") for name in modules() if name != "__main__"]
    others = sorted(set().union(*(outer(name, anywhere=False) for name in modules())))
    run(QUIET.format(ours=ours, others=others))


def test_public_names_are_there_and_no_others() -> None:
    for name in inkhorn.__all__:
        assert getattr(inkhorn, name).__module__.startswith("inkhorn.")
    assert set(dir(inkhorn)) == set(inkhorn.__all__)
    with pytest.raises(AttributeError, match="'inkhorn' has no attribute 'gpt'"):
        inkhorn.gpt  # noqa: B018
