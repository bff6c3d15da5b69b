"""`inkhorn generate` as its user meets it: texts, notes on standard error, exit codes, and never a traceback."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.web import save_bpe_checkpoint
from safetensors.numpy import load_file, save_file

from inkhorn import __version__
from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.cli.generate import DEFAULT_TOKENS, DEFAULT_WORDS
from inkhorn.cli.main import COMMANDS, main
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError
from inkhorn.inference.api import generate
from inkhorn.inference.engine import Engine
from inkhorn.tokenizer.char import CharTokenizer

ALPHABET = "abcdefghij .,!'\nROMEO:é"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = CharTokenizer(ALPHABET)
    ends = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    save_checkpoint(folder, tiny_model(tiny_config(vocab_size=tokenizer.vocab_size, **ends)), tokenizer)
    return folder


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """Standard error without the frames that tyro draws and the lines that it breaks."""
        return " ".join(re.sub(r"[─│╭╮╰╯]", " ", self.err).split())


Run = Callable[..., Result]


@pytest.fixture
def run(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in this process, with the tiny model if none is named."""

    def call(*argv: str, stdin: bytes = b"", use: Path | None = model) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "ascii"))
        capsys.readouterr()
        try:
            code: Any = main([*argv, *(["--model", str(use)] if use else [])])
        except SystemExit as leaving:  # tyro's way out
            code = leaving.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Result(code, captured.out, captured.err)

    return call


def command(*argv: str, python: str = "") -> list[str]:
    """A command line for another process; `python` is run before it."""
    return [sys.executable, "-c", f"import sys\n{python}\nfrom inkhorn.cli.main import main\nsys.exit(main())", *argv]


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | changes


def outside(*argv: str, python: str = "", env: dict[str, str] | None = None, **options: Any) -> Result:
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    } | options
    pipes |= {"env": environment(**(env or {})), "timeout": 60}
    done: subprocess.CompletedProcess[bytes] = subprocess.run(command(*argv, python=python), check=False, **pipes)
    out, err = (stream.decode() if stream else "" for stream in (done.stdout, done.stderr))
    assert "Traceback" not in err
    return Result(done.returncode, out, err)


# The prompt


def test_prompt_argument(run: Run) -> None:
    done = run("generate", "ROMEO:", "--max-tokens", "9", "--ignore-eos")
    assert done.code == 0
    assert done.out.startswith("ROMEO:")
    assert len(done.out) == len("ROMEO:") + 9 + 1
    assert done.out.endswith("\n")
    assert done.err == ""


def test_generate_is_the_default_command(run: Run) -> None:
    options = ("--max-tokens", "9", "--seed", "1", "--ignore-eos")
    assert run("ROMEO:", *options) == run("generate", "ROMEO:", *options)
    assert run(*options, "ROMEO:") == run("generate", "ROMEO:", *options)


def test_prompt_from_stdin_and_file(run: Run, tmp_path: Path) -> None:
    options = ("--max-tokens", "9", "--seed", "1", "--ignore-eos")
    expected = run("bad café\n", *options)
    assert expected.out.startswith("bad café\n")
    file = tmp_path / "prompt.txt"
    file.write_bytes("bad café\n".encode())
    assert run(*options, stdin="bad café\n".encode()) == expected
    assert run("--prompt-file", str(file), *options) == expected
    assert run("bad café\n", *options, stdin=b"not read, for there is an argument") == expected


def test_none_is_an_ordinary_word(run: Run) -> None:
    options = ("--max-tokens", "3", "--on-unknown", "drop")
    assert run("generate", "ROMEO: None", *options).out.startswith("ROMEO: e")
    assert run("generate", "None", *options, stdin=b"hi").out.startswith("e")
    done = run("generate", "--prompt-file", "None", *options, stdin=b"hi")
    assert (done.code, done.out) == (2, "")
    assert "cannot read the prompt from None" in done.err


@pytest.mark.parametrize("stdin", [b"", b"abc"])
def test_empty_prompt(run: Run, stdin: bytes) -> None:
    done = run("", "--words", "3", "--ignore-eos", stdin=stdin)
    assert done.code == 0
    assert len(done.out.split()) == 3


def test_prompt_and_prompt_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("abc")
    done = run("abc", "--prompt-file", str(file))
    assert (done.code, done.out) == (2, "")
    assert "as an argument or with --prompt-file, not both" in done.err


def test_unreadable_prompt_file(run: Run, tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.txt", "No such file"), (tmp_path, "Is a directory")):
        done = run("--prompt-file", str(path))
        assert done.code == 2
        assert f"cannot read the prompt from {path}: {why}" in done.err


def test_prompt_that_is_not_utf8(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prompt.bin").write_bytes(b"ab\xff\xfe")
    for done, where in (
        (run("--prompt-file", str(tmp_path / "prompt.bin")), "prompt.bin"),
        (run(stdin=b"ab\xff\xfe"), "standard input"),
    ):
        assert done.code == 2
        assert f"{where} is not UTF-8 text: byte 2 is 0xff" in done.err


def test_prompt_of_emoji(run: Run) -> None:
    done = run("😀🎭😀", "--words", "2", "--ignore-eos")
    assert done.code == 0
    assert len(done.out.split()) == 2
    assert "GRINNING FACE) at character 0 (2 times): dropped" in done.err
    assert "PERFORMING ARTS) at character 1: dropped" in done.err


def test_on_unknown(run: Run) -> None:
    options = ("--max-tokens", "1", "--ignore-eos", "--seed", "1")
    near = run("“bad” café", *options)
    assert near.out.startswith("'bad' café")
    assert "LEFT DOUBLE QUOTATION MARK" in near.err
    assert run("“bad” café", *options, "--on-unknown", "drop").out.startswith("bad café")
    refused = run("“bad” café", *options, "--on-unknown", "error")
    assert (refused.code, refused.out) == (1, "")
    assert "LEFT DOUBLE QUOTATION MARK" in refused.err


def test_many_unknown_characters(run: Run) -> None:
    done = run("".join(map(chr, range(0x4E00, 0x4E00 + 40))), "--max-tokens", "1")
    assert done.code == 0
    assert done.err.count("\n") == 11
    assert "30 more characters are not in the vocabulary" in done.err


def test_long_prompt(run: Run) -> None:
    done = run("--max-tokens", "5", "--ignore-eos", "--no-echo", stdin=b"bad cafe.\n" * 100_000)
    assert (done.code, len(done.out)) == (0, 6)


# How much


@pytest.mark.parametrize("flag", [("--words", "7"), ("--words=7",), ("--max-words", "7"), ("--max-words=7",)])
def test_max_words(run: Run, flag: tuple[str, ...]) -> None:
    done = run("", *flag, "--ignore-eos")
    assert done.code == 0
    assert len(done.out.split()) == 7


def test_max_tokens(run: Run) -> None:
    for flag in (("--max-tokens", "30"), ("-n", "30"), ("-n=30",)):
        done = run("a", *flag, "--ignore-eos", "--no-echo")
        assert len(done.out) == 31


def test_flag_aliases_as_values(run: Run) -> None:
    options = ("a", "--seed", "1", "--max-tokens", "9", "--ignore-eos")
    assert run(*options, "--stop=-m") == run(*options)
    assert run(*options, "-t", "0") == run(*options, "--temperature", "0")


def test_default_limit(run: Run) -> None:
    assert len(run("", "--ignore-eos").out.split()) == DEFAULT_WORDS


def test_default_limit_without_spaces(run: Run, tmp_path: Path) -> None:
    tokenizer = CharTokenizer("ab")
    ends = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    save_checkpoint(tmp_path, tiny_model(tiny_config(vocab_size=tokenizer.vocab_size, **ends)), tokenizer)
    assert len(run("", "--ignore-eos", use=tmp_path).out) == DEFAULT_TOKENS + 1


def test_end_at_sentence(run: Run) -> None:
    done = run("", "--words", "5", "--end-at-sentence", "--ignore-eos", "--seed", "1")
    assert re.search(r"[.!]'*\n$", done.out)
    assert len(done.out.split()) >= 5


def test_stop(run: Run) -> None:
    options = ("a", "--seed", "2", "--max-tokens", "80", "--ignore-eos", "--no-echo")
    whole = run(*options).out[:-1]
    one, two = whole[30:32], whole[20:22]
    assert run(*options, "--stop", one).out[:-1] == whole[: whole.index(one)]
    first = min(whole.index(one), whole.index(two))
    assert run(*options, "--stop", one, "--stop", two).out[:-1] == whole[:first]
    assert run("--stop", one, *options).out[:-1] == whole[: whole.index(one)], "the prompt is no stop string"


# In which form


def test_num_samples(run: Run, model: Path) -> None:
    options = ("--seed", "3", "--max-tokens", "12", "--ignore-eos")
    done = run("ab", *options, "--num-samples", "3")
    params = SamplingParams(seed=3, max_tokens=12, ignore_eos=True)
    texts = [Engine.from_pretrained(model).submit("ab", params, choice).result().text for choice in range(3)]
    assert len(set(texts)) == 3
    assert done.out == "\n".join(f"--- {i + 1} ---\nab{text}\n" for i, text in enumerate(texts))
    assert run("ab", *options).out == f"ab{texts[0]}\n", "the first is what one sample gives"
    assert run("ab", "--num-samples", "0").code == 2


def test_quantize_fp32(run: Run) -> None:
    options = ("ab", "--seed", "3", "--max-tokens", "12", "--ignore-eos")
    done = run(*options, "--quantize", "fp32")
    assert (done.code, len(done.out)) == (0, 15)


def test_json(run: Run, model: Path) -> None:
    done = run("ab😀é", "--json", "--num-samples", "2", "--seed", "3", "--max-tokens", "12", "--ignore-eos")
    assert done.code == 0
    assert done.out.count("\n") == 1
    result = json.loads(done.out)
    texts = [choice["text"] for choice in result["choices"]]
    params = SamplingParams(seed=3, max_tokens=12, ignore_eos=True)
    assert texts == [Engine.from_pretrained(model).submit("abé", params, choice).result().text for choice in range(2)]
    assert [choice["finish_reason"] for choice in result["choices"]] == ["length", "length"]
    assert (result["prompt"], result["seed"], result["model"]) == ("abé", 3, str(model))
    assert result["usage"] == {"prompt_tokens": 3, "completion_tokens": 24, "total_tokens": 27}
    assert len(result["unknown"]) == 1
    assert "GRINNING FACE" in result["unknown"][0]
    assert "GRINNING FACE" in done.err


def test_json_reports_the_seed(run: Run) -> None:
    options = ("ab", "--json", "--max-tokens", "30", "--ignore-eos")
    first, second = (json.loads(run(*options).out) for _ in range(2))
    assert first["choices"] != second["choices"]
    again = json.loads(run(*options, "--seed", str(first["seed"])).out)
    assert again["choices"] == first["choices"]


def test_seed(run: Run) -> None:
    options = ("ab", "--max-tokens", "30", "--ignore-eos")
    assert run(*options, "--seed", "5") == run(*options, "--seed", "5")
    assert run(*options, "--seed", "5") != run(*options, "--seed", "6")
    assert run(*options) != run(*options)


def test_no_echo_and_no_stream(run: Run) -> None:
    options = ("ab", "--max-tokens", "30", "--ignore-eos", "--seed", "5")
    whole = run(*options).out
    assert run(*options, "--no-echo").out == whole.removeprefix("ab")
    assert run(*options, "--no-stream").out == whole


def test_streaming(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token is flushed by itself, the prompt before the first."""

    class Terminal(io.StringIO):
        flushed: list[str] = []  # noqa: RUF012

        def flush(self) -> None:
            self.flushed.append(self.getvalue())

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["ab", "--max-tokens", "5", "--ignore-eos", "--model", str(model)]) == 0
    text = terminal.getvalue()
    assert len(text) == 8
    assert list(dict.fromkeys(terminal.flushed)) == [text[:end] for end in (2, 3, 4, 5, 6, 7, 8)]


def test_run_folder(run: Run, model: Path, tmp_path: Path) -> None:
    runs = RunFolder(tmp_path / "run")
    runs.save(3, lambda folder: (shutil.copytree(model, folder, dirs_exist_ok=True), None)[1])
    options = ("ab", "--max-tokens", "9", "--seed", "1")
    assert run(*options, use=tmp_path / "run") == run(*options)


# Options that cannot be meant


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--temperature", "-1"), "--temperature must be between 0 and 100, not -1"),
        (("-t", "nan"), "--temperature must be between 0 and 100, not nan"),
        (("--temperature", "warm"), "warm"),
        (("--top-p", "0"), "--top-p must be greater than 0 and at most 1, not 0.0"),
        (("--top-p", "1.5"), "--top-p must be greater than 0 and at most 1"),
        (("--top-k", "-3"), "--top-k must be at least 0, not -3"),
        (("--min-p", "2"), "--min-p must be between 0 and 1"),
        (("--words", "0"), "--max-words must be at least 1, not 0"),
        (("--max-tokens", "2.5"), "2.5"),
        (("--seed", "-1"), "--seed must be between 0 and 18446744073709551615, not -1"),
        (("--stop", ""), "stop must not contain an empty string"),
        (("--num-samples", "0"), "--num-samples must be at least 1, not 0"),
        (("--quantize", "int6"), "int6"),
        (("--threads", "0"), "--threads must be at least 1, not 0"),
        (("--logit-bias", "99", "1"), "token ids of this model are 0 to 24, not 99"),
        (("--context-overflow", "slide"), "shift"),
        (("--temprature", "1"), "--temperature"),
        (("--unheard-of",), "--unheard-of"),
    ],
)
def test_invalid_options(run: Run, argv: tuple[str, ...], message: str) -> None:
    done = run("generate", "ab", *argv)
    assert done.code == 2
    assert done.out in ("", "ab")
    assert message in done.message


def test_out_of_range_error_is_one_line(run: Run) -> None:
    error = "--temperature must be between 0 and 100, not nan"
    assert run("generate", "ab", "-t", "nan") == Result(2, "", f"inkhorn: {error} (see inkhorn generate --help)\n")
    done = run("train", "test", "--dropout", "1.5", use=None)
    error = "--dropout must be at least 0 and less than 1, not 1.5"
    assert done == Result(2, "", f"inkhorn: {error} (see inkhorn train test --help)\n")


@pytest.mark.parametrize("limit", ["max_tokens", "max_words"])
def test_limit_of_zero(model: Path, limit: str) -> None:
    with pytest.raises(UsageError, match=f"{limit} must be at least 1, not 0"):
        generate("ab", model, **{limit: 0})
    assert len(generate("ab", model, ignore_eos=True, **{limit: None})) == 200


def test_prompt_exceeding_the_context(run: Run) -> None:
    done = run("a" * 13, "--context-overflow", "stop")
    assert (done.code, done.out) == (2, "")
    assert "the prompt has 13 tokens, more than the block size of 12" in done.err


# Models that cannot be used


def broken(model: Path, tmp_path: Path, file: str, change: Callable[[bytes], bytes] | None) -> Path:
    folder = tmp_path / "broken"
    shutil.copytree(model, folder)
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(change((folder / file).read_bytes()))
    return folder


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize(
    "change",
    [
        None,
        lambda data: b"",
        lambda data: data[:100],
        lambda data: data[:-20],
        lambda data: bytes(255 - byte for byte in data),
        lambda data: b"[]",
    ],
    ids=["missing", "empty", "truncated", "last bytes missing", "corrupt", "something else"],
)
def test_damaged_checkpoint(
    run: Run, model: Path, tmp_path: Path, file: str, change: Callable[[bytes], bytes] | None
) -> None:
    folder = broken(model, tmp_path, file, change)
    done = run("ab", use=folder)
    assert (done.code, done.out) == (1, "")
    assert str(folder) in done.err
    assert file in done.err


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n_embd", 32, "does not match config.json"),
        ("n_layer", 3, "does not match config.json: it has no transformer.h.2."),
        ("n_layer", 1, "does not match config.json: unexpected tensors transformer.h.1."),
        ("n_head", 3, "n_embd (16) must be a multiple of n_head (3)"),
        ("vocab_size", 20, "wte.weight has shape [25, 16], the config asks for [20, 16]"),
        ("vocab_size", "20", "vocab_size must be an integer"),
        ("model_type", "llama", "model_type is 'llama'"),
        ("activation_function", "swish", "activation_function must be one of"),
    ],
)
def test_mismatched_config(run: Run, model: Path, tmp_path: Path, key: str, value: Any, message: str) -> None:
    def change(data: bytes) -> bytes:
        return json.dumps(json.loads(data) | {key: value}).encode()

    done = run("ab", use=broken(model, tmp_path, "config.json", change))
    assert (done.code, done.out) == (1, "")
    assert "config.json" in done.err
    assert message.replace("transformer.", "") in done.err.replace("transformer.", "")


def test_mismatched_tokenizer(run: Run, model: Path, tmp_path: Path) -> None:
    folder = broken(model, tmp_path, "config.json", lambda data: data)
    CharTokenizer(ALPHABET + "klmnopq").save(folder)
    done = run("ab", use=folder)
    assert (done.code, done.out) == (1, "")
    assert "do not belong together" in done.err


def test_weights_not_finite(run: Run, model: Path, tmp_path: Path) -> None:
    folder = broken(model, tmp_path, "config.json", lambda data: data)
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.0.mlp.c_fc.weight"] = np.full_like(tensors["transformer.h.0.mlp.c_fc.weight"], np.nan)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    done = run("ab", use=folder)
    assert done.code == 1
    assert "weights are damaged" in done.err or "not finite" in done.err


def test_missing_model(run: Run, tmp_path: Path) -> None:
    done = run("ab", use=tmp_path / "none")
    assert (done.code, done.out) == (1, "")
    assert f"{tmp_path / 'none'} does not exist" in done.err
    done = run("ab", use=tmp_path)
    assert done.code == 1
    assert "neither a checkpoint nor a run folder" in done.err


# The command as such


def test_help_and_version(run: Run) -> None:
    usage = run("--help", use=None)
    assert usage.code == 0
    assert all(name in usage.out for name in COMMANDS)
    assert run("--version", use=None).out == f"inkhorn {__version__}\n"
    long = run("generate", "--help", use=None)
    assert long.code == 0
    text = " ".join(re.sub(r"[─│╭╮╰╯]", " ", long.out).split())
    assert "-t FLOAT, --temperature FLOAT softmax temperature: 0 is greedy decoding" in text
    assert "-m STR, --model STR name of a shipped model" in text
    assert f"--words INT, --max-words INT stop after this many words (default: {DEFAULT_WORDS}, if" in text
    assert f"-n INT, --max-tokens INT maximum number of tokens to generate (default: {DEFAULT_TOKENS}, if" in text
    assert "[OPTIONS] [PROMPT]" in text
    assert "{None}" not in text


def test_a_terminal_is_told_both_rates(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In characters and in tokens, which are not the same with a byte-level BPE."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    folder = save_bpe_checkpoint(tmp_path / "bpe")
    done = run("generate", "JULIET", "-n", "30", "--seed", "3", "--ignore-eos", "--no-echo", use=folder)
    found = re.search(r"([\d,]+) characters \([\d,]+/s\) and 30 tokens \([\d,]+/s\) in [\d.]+ s; --seed 3", done.err)
    assert found is not None, done.err
    assert int(found[1]) == len(done.out) - 1 != 30


def test_usage_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert main([]) == 0
    assert "usage: inkhorn" in capsys.readouterr().out


MODULES = """import atexit
atexit.register(lambda: print(*sorted(m.partition(".")[0] for m in sys.modules), file=sys.stderr))"""


def test_help_imports() -> None:
    done = outside("--help", python=MODULES)
    assert done.code == 0
    assert not {"torch", "numpy", "tyro", "rich", "fastapi", "safetensors"} & set(done.err.split())


def test_generate_imports(model: Path) -> None:
    done = outside("ab", "--max-tokens", "3", "--model", str(model), python=MODULES)
    assert done.code == 0
    modules = set(done.err.split())
    assert {"numpy", "inkhorn"} <= modules
    assert not {"torch", "fastapi", "uvicorn", "transformers", "tokenizers", "matplotlib", "pydantic"} & modules


def test_python_m_inkhorn(model: Path) -> None:
    options = ["ab", "--max-tokens", "3", "--ignore-eos", "--model", str(model)]
    done = subprocess.run(
        [sys.executable, "-m", "inkhorn", *options], env=environment(), capture_output=True, check=True
    )
    assert len(done.stdout) >= 6


@pytest.mark.skipif(os.name != "posix", reason="not on this machine: POSIX pipes and signals")
@pytest.mark.parametrize("options", [["--max-tokens", "5"], ["--json", "--max-tokens", "5"], ["--num-samples", "3"]])
def test_broken_pipe(model: Path, options: list[str]) -> None:
    """`inkhorn ROMEO: | head -c 1` ends without an error message."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = outside("ab", "--no-stream", *options, "--model", str(model), stdout=writing)
    finally:
        os.close(writing)
    assert (done.code, done.err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="not on this machine: /dev/full")
def test_full_disk(model: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = outside("ab", "--max-tokens", "5", "--model", str(model), stdout=full)
    assert (done.code, done.err) == (1, "inkhorn: cannot write: No space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="not on this machine: POSIX pipes and signals")
def test_keyboard_interrupt(model: Path) -> None:
    options = ["ab", "--max-tokens", "1000000000", "--ignore-eos", "--model", str(model)]
    # Where the tests run in the background the signal is ignored, and a child would inherit that.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        command(*options, python=listen), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert len(process.stdout.read(50)) == 50
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == b"\ninkhorn: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="not on this machine: POSIX file descriptors")
def test_closed_stdin(model: Path) -> None:
    close = "import os; os.close(0); sys.stdin = None"
    done = outside("--max-tokens", "5", "--ignore-eos", "--model", str(model), python=close)
    assert (done.code, done.err) == (0, "")
    assert len(done.out) == 6
    assert outside(python=close).out.startswith("usage: inkhorn")


def test_ascii_terminal(model: Path) -> None:
    options = ("é", "--max-tokens", "1", "--model", str(model))
    done = outside(*options, env={"PYTHONIOENCODING": "ascii"})
    assert done.code == 0
    assert done.out.startswith("?")
    done = outside(*options, "--json", env={"PYTHONIOENCODING": "ascii"})
    assert json.loads(done.out)["prompt"] == "é", "JSON has a form for it"
