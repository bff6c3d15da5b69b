"""The plugin for the `llm` command, in the real llm."""

import asyncio
import json
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import ROOT

import inkhorn

llm: Any = pytest.importorskip("llm")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # llm's imports take seconds
FOLDER = ROOT / "plugins" / "llm-inkhorn"


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The plugin, registered as if it were installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        patch.setenv("LLM_USER_PATH", str(tmp_path_factory.mktemp("llm")))
        import_module("llm.cli")  # loads the plugins that are installed, which may include this one
        manager, module = import_module("llm.plugins").pm, import_module("llm_inkhorn")
        if not manager.is_registered(module):
            manager.register(module)
        yield module


def command(*words: str) -> Any:
    """Run llm's command line."""
    from click.testing import CliRunner

    return CliRunner().invoke(import_module("llm.cli").cli, list(words))


def expected(**sampling: Any) -> str:
    with inkhorn.load("shakespeare") as model:
        return model.generate("ROMEO:", **sampling).text


@pytest.mark.parametrize("flags", [(), ("--no-stream",)])
def test_the_command_continues_a_prompt(flags: tuple[str, ...]) -> None:
    done = command("-m", "inkhorn", "ROMEO:", "-o", "max_tokens", "60", "-o", "seed", "1", *flags)
    assert done.exit_code == 0, done.output
    assert done.output.rstrip("\n") == expected(max_tokens=60, seed=1).rstrip("\n")


def test_every_option_reaches_the_model() -> None:
    sampling = {
        "max_tokens": 80, "max_words": 12, "temperature": 0.9, "top_k": 20, "top_p": 0.95, "min_p": 0.01,
        "repetition_penalty": 1.1, "seed": 3, "end_at_sentence": True, "stop": "zzz",
    }  # fmt: skip
    model = llm.get_model("inkhorn")
    options = {name: value for name, value in model.Options.model_fields.items() if name != "model"}
    assert options.keys() == sampling.keys()
    assert all(field.description for field in options.values())
    response = model.prompt("ROMEO:", **sampling)
    assert response.text() == expected(**{**sampling, "stop": ("zzz",)})
    with inkhorn.load("shakespeare") as shipped:
        assert response.input_tokens == len(shipped.tokenizer.encode("ROMEO:"))
    assert 0 < response.output_tokens <= 80


def test_without_a_limit_a_text_ends() -> None:
    response = llm.get_model("inkhorn").prompt("ROMEO:", seed=1)
    assert response.text() == expected(max_tokens=200, seed=1)
    assert response.output_tokens == 200


def test_streams_in_pieces() -> None:
    pieces = list(llm.get_model("inkhorn").prompt("ROMEO:", max_tokens=40, seed=1))
    assert len(pieces) > 10
    assert "".join(pieces) == expected(max_tokens=40, seed=1)


def test_async_model_writes_the_same() -> None:
    async def write() -> str:
        return str(await llm.get_async_model("inkhorn").prompt("ROMEO:", max_tokens=40, seed=1).text())

    assert asyncio.run(write()) == expected(max_tokens=40, seed=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "temperature", "-1"), "temperature"),
        (("-o", "model", "nowhere"), "nowhere"),
        (("-o", "max_tokens", "x"), "max_tokens"),
        (("-s", "You are a poet"), "inkhorn has no system prompt"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], message: str) -> None:
    done = command("-m", "inkhorn", "ROMEO:", *words)
    assert done.exit_code != 0
    assert message in done.output
    assert "Traceback" not in done.output


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    from helpers.models import save_checkpoint, tiny_config, tiny_model

    from inkhorn.tokenizer.char import CharTokenizer

    tokenizer = CharTokenizer("abc ROMEO:")
    save_checkpoint(tmp_path, tiny_model(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer)
    text = llm.get_model("inkhorn").prompt("ROMEO:", model=str(tmp_path), max_tokens=9, temperature=0).text()
    with inkhorn.load(tmp_path) as model:
        assert text == model.generate("ROMEO:", max_tokens=9, temperature=0).text


def test_models_list_names_it() -> None:
    done = command("models", "list", "-m", "inkhorn", "--options")
    assert "inkhorn" in done.output.lower()
    assert "max_words" in done.output


def test_the_package_declares_the_plugin() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["llm"] == {"inkhorn": "llm_inkhorn"}
    assert json.dumps(project["dependencies"]).count("inkhorn>=") == 1
