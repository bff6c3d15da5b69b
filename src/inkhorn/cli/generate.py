"""`inkhorn generate`: continue a prompt and print the text as it is generated."""

import json
import secrets
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from inkhorn.cli.parsing import default, parse
from inkhorn.config.bounds import Range
from inkhorn.config.quantization import Precision
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError
from inkhorn.inference.engine import Engine
from inkhorn.inference.outputs import Prompt
from inkhorn.tokenizer.normalize import UnknownPolicy

EXAMPLE = 'inkhorn generate "ROMEO:" --max-words 80 --temperature 0.7 --seed 1'
DEFAULT_WORDS, DEFAULT_TOKENS = 120, 4000  # the token limit ends a text without spaces
MAX_REPORTED = 10  # unknown characters


@dataclass(frozen=True, kw_only=True)
class SamplingFlags(SamplingParams):
    """Sampling parameters and stopping conditions."""

    temperature: Annotated[float, default(None, alias="-t")] = SamplingParams.temperature
    max_tokens: Annotated[int | None, default(f"{DEFAULT_TOKENS}, if there is no other limit", alias="-n")] = None
    max_words: Annotated[int | None, default(f"{DEFAULT_WORDS}, if there is no other limit", alias="--words")] = None


@dataclass(frozen=True, kw_only=True)
class GenerateArgs:
    """Continue a prompt, which is an argument, a file or standard input."""

    prompt: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PROMPT]", help_behavior_hint="")] = None
    """text to continue; may be empty"""
    prompt_file: Annotated[Path | None, default()] = None
    """read the prompt from this file"""
    model: Annotated[str, default(None, alias="-m")] = "shakespeare"
    """name of a shipped model, checkpoint folder or run folder"""
    quantize: Annotated[Precision | None, default("int8; fp32 without the native kernel")] = None
    """precision of the weights: fp32 is exact, fewer bits are faster"""
    threads: Annotated[int | None, Range(ge=1), default("one per core")] = None
    """maximum number of threads"""
    num_samples: Annotated[int, Range(ge=1)] = 1
    """number of texts to generate for the prompt"""
    on_unknown: UnknownPolicy = "replace"
    """characters outside the vocabulary: reject, drop or replace them"""
    json: bool = False
    """print one JSON object"""
    echo: bool = True
    """print the prompt before the text"""
    stream: bool = True
    """print the text while it is generated"""
    sampling: Annotated[SamplingFlags, tyro.conf.OmitArgPrefixes, tyro.conf.UseAppendAction] = field(
        default_factory=SamplingFlags
    )


def run(argv: list[str]) -> int:
    args = parse(GenerateArgs, argv, "inkhorn generate", example=EXAMPLE)
    params: SamplingParams = args.sampling
    if params.max_tokens is None and params.max_words is None and not params.end_at_sentence:
        params = replace(params, max_words=DEFAULT_WORDS, max_tokens=DEFAULT_TOKENS)
    if params.seed is None:
        params = replace(params, seed=secrets.randbits(32))
    text = _prompt_text(args)
    with Engine.from_pretrained(args.model, precision=args.quantize, threads=args.threads) as engine:
        prompt = engine.encode_prompt(text, args.on_unknown)
        for unknown in prompt.unknown[:MAX_REPORTED]:
            _warn(f"not in the vocabulary: {unknown}")
        if len(prompt.unknown) > MAX_REPORTED:
            _warn(f"{len(prompt.unknown) - MAX_REPORTED} more characters are not in the vocabulary")
        if args.json:
            _print_json(engine, prompt, params, args)
        else:
            _print_text(engine, prompt, params, args)
    return 0


def _warn(text: str) -> None:
    print(f"inkhorn: {text}", file=sys.stderr)


def _prompt_text(args: GenerateArgs) -> str:
    if args.prompt is not None and args.prompt_file is not None:
        raise UsageError("give the prompt as an argument or with --prompt-file, not both")
    if args.prompt is not None:
        return args.prompt
    if args.prompt_file is None and (sys.stdin is None or sys.stdin.isatty()):
        return ""
    source = "standard input" if args.prompt_file is None else str(args.prompt_file)
    try:
        data = sys.stdin.buffer.read() if args.prompt_file is None else args.prompt_file.read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the prompt from {source}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        invalid = f"byte {error.start} is 0x{data[error.start]:02x}"
        raise UsageError(f"the prompt in {source} is not UTF-8 text: {invalid}") from None


def _print_text(engine: Engine, prompt: Prompt, params: SamplingParams, args: GenerateArgs) -> None:
    num_characters, num_tokens, start = 0, 0, time.perf_counter()
    for sample_index, handle in enumerate(engine.submit_many(prompt, params, args.num_samples)):
        if args.num_samples > 1:
            print(f"{'' if sample_index == 0 else chr(10)}--- {sample_index + 1} ---")
        if args.echo:
            sys.stdout.write(prompt.text)
            sys.stdout.flush()
        held_back = []
        for chunk in handle:
            num_characters += len(chunk.text)
            num_tokens += chunk.token_id is not None
            if args.stream:
                sys.stdout.write(chunk.text)
                sys.stdout.flush()
            else:
                held_back.append(chunk.text)
        print("".join(held_back))
    if sys.stdout.isatty():
        seconds = time.perf_counter() - start
        counts = {"characters": num_characters, "tokens": num_tokens}
        rates = " and ".join(f"{count:,} {unit} ({count / seconds:,.0f}/s)" for unit, count in counts.items())
        summary = f"{rates} in {seconds:.1f} s; --seed {params.seed}"
        print(f"\033[2m{summary}\033[0m", file=sys.stderr)


def _print_json(engine: Engine, prompt: Prompt, params: SamplingParams, args: GenerateArgs) -> None:
    start = time.perf_counter()
    completions = [handle.result() for handle in engine.submit_many(prompt, params, args.num_samples)]
    num_generated, num_prompt = sum(each.num_tokens for each in completions), len(prompt.token_ids)
    result = {
        "model": args.model,
        "prompt": prompt.text,
        "seed": params.seed,
        "choices": [
            {"index": i, "text": each.text, "finish_reason": each.finish_reason} for i, each in enumerate(completions)
        ],
        "usage": {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_generated,
            "total_tokens": num_prompt + num_generated,
        },
        "seconds": round(time.perf_counter() - start, 4),
        "unknown": [str(unknown) for unknown in prompt.unknown],
    }
    prints_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(result, ensure_ascii=not prints_unicode))
