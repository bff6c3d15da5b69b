"""Layers of the package: every module belongs to one layer and imports only its own layer or lower ones.

`LAYERS` is the only list. A new package must be added to it, at its place in the order.
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

LAYERS = (
    "errors",
    "utils",
    "config",
    "tokenizer",
    "checkpoint",
    "costs",
    "data",
    "model",
    "inference",
    "inspection",
    "hardware",
    "convert",
    "evaluation",
    "training",
    "course",
    "web",
    "server",
    "cli",
)
"""Lowest first. Reserved for later: `integrations` above `server`."""

TORCH_LAYERS = {"model", "hardware", "evaluation", "training", "course"}
"""May import torch at module level. Elsewhere torch is imported inside the functions that need it."""

LIGHT_LAYERS = {"errors", "utils", "config", "tokenizer", "checkpoint", "inference"}
"""What `pip install inkhorn` uses: these import no third-party package but the required dependencies."""

REQUIRED = {"numpy", "yaml", "safetensors", "tokenizers", "tyro", "rich", "platformdirs"}
ENTRY_POINTS = {"", "__main__"}
"""`inkhorn/__init__.py` (lazy public names) and `python -m inkhorn` are exempt."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, without the leading `inkhorn.`."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def layer_of(module: str) -> int:
    return LAYERS.index(module.partition(".")[0])


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(node: ast.AST, *, anywhere: bool) -> Iterator[ast.AST]:
    """Statements that run at import; with `anywhere`, also those in functions and under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child) and not anywhere:
            continue
        yield child
        if anywhere or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(child, anywhere=anywhere)


@cache
def imports(module: str, *, anywhere: bool = True) -> frozenset[str]:
    """Full names of the modules that a module imports: anywhere in it, or only at module level."""
    found = set()
    for node in statements(ast.parse(modules()[module].read_text(encoding="utf-8")), anywhere=anywhere):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            source = str(node.module)
            submodules = {f"{source}.{alias.name}" for alias in node.names} & {f"inkhorn.{name}" for name in modules()}
            found |= submodules or {source}
    return frozenset(found)


def own_imports(module: str, *, anywhere: bool = True) -> set[str]:
    """Modules of this package that a module imports."""
    return {name.removeprefix("inkhorn.") for name in imports(module, anywhere=anywhere) if name.startswith("inkhorn.")}


def third_party(module: str, *, anywhere: bool = True) -> set[str]:
    """Top-level packages of others that a module imports, without the standard library."""
    tops = {name.partition(".")[0] for name in imports(module, anywhere=anywhere)}
    return tops - sys.stdlib_module_names - {"inkhorn"}


def reachable(module: str, *, anywhere: bool = True) -> set[str]:
    """Modules of this package that a module imports directly or indirectly, itself included."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += own_imports(name, anywhere=anywhere)
    return seen


def layered() -> list[str]:
    return [module for module in modules() if module not in ENTRY_POINTS]


def test_import_scan_finds_known_imports() -> None:
    assert {"inference.engine", "cli.train", "server.app", "training.trainer"} <= set(modules())
    assert "torch" in third_party("model")
    assert "torch" in third_party("cli.train")
    assert "torch" not in third_party("cli.train", anywhere=False)
    assert "inference.engine_loop" in own_imports("inference.engine")


def test_every_module_has_a_layer() -> None:
    tops = {module.partition(".")[0] for module in layered()}
    assert tops == set(LAYERS)


def test_imports_point_down() -> None:
    upward = [
        f"{module} imports {used}"
        for module in layered()
        for used in own_imports(module)
        if layer_of(used) > layer_of(module)
    ]
    assert not upward, "\n".join(upward)


def test_no_circular_imports() -> None:
    for module in modules():
        for used in own_imports(module):
            assert module not in reachable(used), f"{module} and {used} import each other"


@pytest.mark.parametrize("module", layered())
def test_module_level_torch_imports(module: str) -> None:
    if module.partition(".")[0] in TORCH_LAYERS:
        return
    for reached in reachable(module, anywhere=False):
        assert "torch" not in third_party(reached, anywhere=False), f"importing {module} imports torch, by {reached}"


@pytest.mark.parametrize("module", layered())
def test_light_layers_dependencies(module: str) -> None:
    if module.partition(".")[0] in LIGHT_LAYERS:
        assert third_party(module, anywhere=False) <= REQUIRED, module


def test_model_imports_little() -> None:
    assert {name.partition(".")[0] for name in own_imports("model")} == {"config", "checkpoint"}
    assert third_party("model") == {"torch"}


def test_server_imports() -> None:
    web_stack = {"fastapi", "uvicorn", "prometheus_client", "starlette", "pydantic"}
    for module in layered():
        if layer_of(module) < layer_of("server"):
            assert not third_party(module) & web_stack, module


def test_no_imports_of_test_packages() -> None:
    for module in modules():
        assert not third_party(module) & {"transformers", "pytest", "hypothesis"}, module
        assert not third_party(module, anywhere=False) & {"datasets", "filelock"}, module


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
assert set(sys.modules) & {"numpy", "inkhorn.config.model"} == set(), "import inkhorn should cost nothing"
import inkhorn.cli.main
assert "numpy" not in sys.modules, "inkhorn --help should not wait for NumPy"
import inkhorn.inference.engine
import inkhorn.tokenizer.load, inkhorn.checkpoint.resolve, inkhorn.config.recipes
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
    assert done.stdout == done.stderr == ""  # importing prints nothing


def test_no_heavy_imports() -> None:
    run(LIGHT)


def test_imports_do_no_work() -> None:
    """Importing writes no file, starts no process, opens no connection and prints nothing."""
    ours = [f"inkhorn.{name}".rstrip(".") for name in modules() if name != "__main__"]
    used = set().union(*(imports(name, anywhere=False) for name in modules()))
    others = sorted(name for name in used if name.partition(".")[0] != "inkhorn")
    run(QUIET.format(ours=ours, others=others))


def test_public_names() -> None:
    for name in inkhorn.__all__:
        assert getattr(inkhorn, name).__module__.startswith("inkhorn.")
    assert set(dir(inkhorn)) == set(inkhorn.__all__)
    with pytest.raises(AttributeError, match="'inkhorn' has no attribute 'gpt'"):
        inkhorn.gpt  # noqa: B018
