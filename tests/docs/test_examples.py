"""Each example runs at a small size, and examples/README.md lists it and records its output."""

import re
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import pytest
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.paths import ROOT
from helpers.scripts import load_script

from inkhorn.tokenizer.char import CharTokenizer

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def example(name: str) -> ModuleType:
    return load_script(EXAMPLES / f"{name}.py")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A random model of every character that the examples write to one."""
    tokenizer = CharTokenizer("ROMEO:\nWhat light JULIET To be, or not KING")
    end = tokenizer.eos_id
    config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=96, bos_token_id=end, eos_token_id=end)
    save_checkpoint(tmp_path / "tiny", tiny_model(config), tokenizer)
    return tmp_path / "tiny"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "my.txt"
    path.write_text("Once upon a time there was a text of my own.\n" * 60)
    return path


def test_generate(capsys: pytest.CaptureFixture[str]) -> None:
    example("generate").main("ROMEO:", "6")
    output = capsys.readouterr().out
    assert output.startswith("ROMEO:")
    assert re.search(r"FALSTAFF: .*\(\d+ tokens, finish reason length\)", output)
    assert "the same seed gives the same text outside a batch: True" in output


def test_train_on_text(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("train_on_text").main(str(text), "3", str(tmp_path / "run"))
    output = capsys.readouterr().out
    assert re.search(r"^   3   \d\.\d{3} #+$", output, re.M)
    assert Path(re.search(r"report with samples: (\S+)", output)[1]).is_file()  # type: ignore[index]


def test_train_on_package_source(tmp_path: Path) -> None:
    source = example("train_on_text").package_source(tmp_path).read_text("utf-8")
    assert "class CausalSelfAttention(nn.Module):" in source


def test_finetune_lora(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text.write_text(text.read_text() * 10)  # a tenth is held out, at least a block of 512 tokens
    example("finetune_lora").main(str(text), "2", str(tmp_path))
    output = capsys.readouterr().out
    assert re.search(r"adapter has [\d,]+ kB; the base model has 11 MB", output)
    assert float(re.search(r"largest difference between logits: (\S+)", output)[1]) < 1e-4  # type: ignore[index]
    assert output.index("before: The model") < output.index("after: The model")


def test_documentation_is_prose(tmp_path: Path) -> None:
    prose = example("finetune_lora").documentation(tmp_path).read_text("utf-8")
    assert len(prose) > 10_000
    assert "|" not in prose[:1000]


def test_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mpl.use("agg")
    example("explain").main("ROMEO:\nO, she doth teach", "5", str(tmp_path / "attention.png"))
    output = capsys.readouterr().out
    assert output.count("\n  block ") == 7
    assert re.search(r"^next: '.+' \d+%", output)
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")


def test_openai_client(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("openai_client").main(str(tiny))
    output = capsys.readouterr().out
    assert "serves tiny" in output
    assert len(re.findall(r"^  '.*' of '.*%", output, re.M)) == 3
    assert len(re.findall(r"^\d: ", output, re.M)) == 4


def test_transformers_gguf(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("transformers_gguf").main(str(tiny))
    output = capsys.readouterr().out
    assert "same token ids: True" in output
    for difference in re.findall(r"between logits: (\S+)", output):
        assert float(difference) < 1e-4
    assert "GPT2LMHeadModel generates: 'ROMEO:\\nWhat light" in output
    assert "model.gguf" in output


def test_evaluate(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("evaluate").main(str(text))
    found = {name: float(bits) for name, bits in re.findall(r"^(.+?) +(\d+\.\d\d) bits", capsys.readouterr().out, re.M)}
    assert next(iter(found)) == str(text)
    assert found["The Tempest, held out"] < found["modern prose"] < found["shuffled letters"]


def test_length_and_readme_entry() -> None:
    page = (EXAMPLES / "README.md").read_text("utf-8")
    for script in SCRIPTS:
        assert len(script.read_text("utf-8").splitlines()) < 80
        assert f"]({script.name})" in page


@pytest.mark.parametrize(
    "words",
    [
        "the same seed gives the same text outside a batch:",
        "step   validation loss",
        "the base model has ",
        "highest surprisal:",
        "bits per character, perplexity",
        "To be, or not to ...",
        "same token ids:",
    ],
)
def test_recorded_output(words: str) -> None:
    assert words in (EXAMPLES / "README.md").read_text("utf-8")
    assert any(words in script.read_text("utf-8") for script in SCRIPTS)
