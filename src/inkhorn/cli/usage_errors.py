"""tyro's messages about a command line as one line each, with the flags that other programs call by another name."""

import re
from collections.abc import Iterable, Sequence

_BOX = re.compile("[\u2500-\u257f]")
_COLOR = re.compile("\033\\[[0-9;]*m")
_RULE = re.compile("[\u2500-]{8}")
_TYPES = {"INT": "an integer", "FLOAT": "a number"}

_PROXY = "put a reverse proxy in front of the server"
_RENAMED = {
    "--max-new-tokens": "use --max-tokens",
    "--n-predict": "use --max-tokens",
    "--max-length": "use --max-tokens",
    "--num-return-sequences": "use --num-samples",
    "--num-words": "use --max-words",
    "--prompt": "give the prompt as an argument, in quotes",
    "--file": "use --prompt-file",
    "--repeat-penalty": "use --repetition-penalty",
    "--checkpoint": "use --model",
    "--model-path": "use --model",
    "--load-format": "inkhorn import converts other formats",
    "--max-model-len": "the model fixes its context length",
    "--ctx-size": "the model fixes its context length",
    "--dtype": "use --quantize",
    "--quantization": "use --quantize",
    "--parallel": "use --max-num-seqs",
    "--log-level": "the log has one line for each request, on standard error",
    "--root-path": f"{_PROXY} that strips the prefix",
    "--uds": f"{_PROXY}; the server listens on --host and --port",
    "--ssl-keyfile": f"{_PROXY} for HTTPS",
    "--ssl-certfile": f"{_PROXY} for HTTPS",
    "--reload": "restart the server instead",
    "--workers": "start several servers, each on its own --port",
    "--epochs": "use --steps",
    "--max-steps": "use --steps",
    "--max-iters": "use --steps",
    "--learning-rate": "use --lr",
    "--output-dir": "use --out",
    "--out-dir": "use --out",
    "--data": "use --text",
    "--dataset": "use --corpus or --text",
    "--eval-interval": "use --eval-every",
    "--gradient-accumulation-steps": "use --grad-accum",
}
"""What to do instead of a flag of vLLM, llama.cpp, transformers, litgpt or nanoGPT."""


def one_line(text: str, argv: Sequence[str], flags: Iterable[str]) -> str:
    """tyro's message on one line.

    Args:
        text: what tyro printed: a message in a box, then a rule and details.
        argv: the words of the command line.
        flags: the flags of the command.
    """
    lines = _COLOR.sub("", text).splitlines()
    before_rule: list[str] = []
    for line in lines[1:]:  # the first has the title
        if _RULE.search(line):
            if before_rule:
                break
            continue
        before_rule.append(_BOX.sub("", line).strip())
    message = " ".join(" ".join(before_rule).split())
    if match := re.match(r"Error parsing (\S+?): (.*)", message):
        return _wrong_type(_given(match[1], argv), match[2])
    if match := re.match(r"invalid choice '(.*)' for argument '(.*?)'\. Expected one of \((.*)\)\.", message):
        choices = [choice for choice in re.findall("'(.*?)'", match[3]) if choice != "None"]
        return f"{_given(match[2], argv)} must be one of {', '.join(sorted(choices))}, not {match[1]!r}"
    if match := re.match(r"Missing value for argument '(.*?)'", message):
        return f"{_given(match[1], argv)} needs a value"
    if match := re.match(r"Unrecognized options: (.*)", message):
        return _unknown(match[1].split(", "), "\n".join(lines), set(flags))
    return message[:1].lower() + message[1:]


def _given(names: str, argv: Sequence[str]) -> str:
    """The name that the command line uses, of names such as --words/--max-words."""
    words = {word.partition("=")[0] for word in argv}
    return next((name for name in names.split("/") if name in words), names.rpartition("/")[2])


def _wrong_type(flag: str, reason: str) -> str:
    value = re.search(r"\['(.*?)'\]", reason) or re.search(r": '(.*)'$", reason)
    kind = re.search("matching (INT|FLOAT)", reason)
    noun = _TYPES[kind[1]] if kind else _TYPES["FLOAT"] if "to float" in reason else _TYPES["INT"]
    return f"{flag} must be {noun}" + (f", not {value[1]!r}" if value else "")


def _unknown(words: Sequence[str], text: str, flags: set[str]) -> str:
    flag = next((word for word in words if word.startswith("-")), None)
    if flag is None:
        return f"unexpected argument {words[0]!r}"
    flag = flag.partition("=")[0]
    advice = _RENAMED.get(flag.replace("_", "-"))
    missing = advice is not None and advice.startswith("use ") and not flags & set(re.findall(r"--[\w-]+", advice))
    if advice is None or missing:
        suggested = re.findall(r"(--[\w-]+)", text.partition("Perhaps you meant:")[2])
        advice = f"did you mean {suggested[0]}?" if suggested else None
    return f"there is no flag {flag}" + (f": {advice}" if advice else "")
