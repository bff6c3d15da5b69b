"""`inkhorn generate`: continue a prompt and show the text as it is written."""

import json
import secrets
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from inkhorn.cli.parsing import parse
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError, require
from inkhorn.inference.engine import Engine
from inkhorn.inference.outputs import Prompt
from inkhorn.tokenizer.normalize import UnknownPolicy

DEFAULT_WORDS, DEFAULT_TOKENS = 120, 4000  # the tokens end a text that has no spaces
DEFAULT_PRECISION = "int8, 0.04 % worse on held-out text than fp32 and five times as fast; fp32 without the kernel"
Precision = Literal["fp32", "bf16", "int8", "int4"]


def _also(alias: str, default: int | None = None) -> Any:
    """Another name for a flag, and the default that `run` sets where no flag says when to stop."""
    hint = None if default is None else f"(default: {default} where no limit is given)"
    return tyro.conf.arg(aliases=[alias], help_behavior_hint=hint)


@dataclass(frozen=True, kw_only=True)
class SamplingFlags(SamplingParams):
    """How tokens are drawn and when to stop."""

    temperature: Annotated[float, _also("-t")] = SamplingParams.temperature
    max_tokens: Annotated[int | None, _also("-n", DEFAULT_TOKENS)] = SamplingParams.max_tokens
    max_words: Annotated[int | None, _also("--words", DEFAULT_WORDS)] = SamplingParams.max_words


@dataclass(frozen=True, kw_only=True)
class GenerateArgs:
    """Continue a prompt. The prompt is an argument, a file, or standard input."""

    prompt: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PROMPT]", help_behavior_hint="")] = None
    """text to continue; may be empty"""
    prompt_file: Path | None = None
    """read the prompt from this file"""
    model: Annotated[str, _also("-m")] = "shakespeare"
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    quantize: Annotated[Precision | None, tyro.conf.arg(help_behavior_hint=f"(default: {DEFAULT_PRECISION})")] = None
    """how the weights are kept: fewer bits are faster, fp32 is exact"""
    threads: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: one for each core)")] = None
    """use at most so many threads"""
    num_samples: int = 1
    """how many texts to write for the prompt"""
    on_unknown: UnknownPolicy = "replace"
    """for characters outside the vocabulary: refuse the text, drop them, or replace each by the closest match"""
    json: bool = False
    """print one JSON object instead of the text"""
    echo: bool = True
    """print the prompt before the text"""
    stream: bool = True
    """print the text as it is written, not at the end"""
    sampling: Annotated[SamplingFlags, tyro.conf.OmitArgPrefixes, tyro.conf.UseAppendAction] = field(
        default_factory=SamplingFlags
    )


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(GenerateArgs, argv, "inkhorn generate")
    require(args.num_samples >= 1, f"--num-samples must be at least 1, not {args.num_samples}")
    params: SamplingParams = args.sampling
    if params.max_tokens is None and params.max_words is None and not params.end_at_sentence:
        params = replace(params, max_words=DEFAULT_WORDS, max_tokens=DEFAULT_TOKENS)
    if params.seed is None:
        params = replace(params, seed=secrets.randbits(32))
    text = _prompt_text(args)
    engine = Engine.from_pretrained(args.model, precision=args.quantize, threads=args.threads)
    prompt = engine.encode_prompt(text, args.on_unknown)
    for unknown in prompt.unknown[:10]:
        _note(f"the model has never seen {unknown}")
    if len(prompt.unknown) > 10:
        _note(f"and {len(prompt.unknown) - 10} more kinds of unknown character")
    if args.json:
        _print_json(engine, prompt, params, args)
    else:
        _print_text(engine, prompt, params, args)
    return 0


def _note(text: str) -> None:
    print(f"inkhorn: {text}", file=sys.stderr)  # noqa: T201


def _prompt_text(args: GenerateArgs) -> str:
    if args.prompt is not None and args.prompt_file is not None:
        raise UsageError("give the prompt as an argument or with --prompt-file, not both")
    if args.prompt is not None:
        return args.prompt
    if args.prompt_file is None and (sys.stdin is None or sys.stdin.isatty()):
        return ""
    where = "standard input" if args.prompt_file is None else str(args.prompt_file)
    try:
        data = sys.stdin.buffer.read() if args.prompt_file is None else args.prompt_file.read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the prompt from {where}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start} is 0x{data[error.start]:02x}"
        raise UsageError(f"the prompt in {where} is not UTF-8 text: {wrong}") from None


def _print_text(engine: Engine, prompt: Prompt, params: SamplingParams, args: GenerateArgs) -> None:
    on_terminal = sys.stdout.isatty()
    written, start = 0, time.perf_counter()
    for choice, pieces in enumerate(engine.submit_many(prompt, params, args.num_samples)):
        if args.num_samples > 1:
            print(f"{'' if choice == 0 else chr(10)}--- {choice + 1} ---")  # noqa: T201
        if args.echo:
            sys.stdout.write(prompt.text)
            sys.stdout.flush()
        held = []
        for piece in pieces:
            written += len(piece.text)
            if args.stream:
                sys.stdout.write(piece.text)
                sys.stdout.flush()
            else:
                held.append(piece.text)
        print("".join(held))  # noqa: T201
    if on_terminal:
        speed = written / (time.perf_counter() - start)
        done = f"{written} characters, {speed:,.0f} a second; --seed {params.seed}"
        print(f"\033[2m{done}\033[0m", file=sys.stderr)  # noqa: T201


def _print_json(engine: Engine, prompt: Prompt, params: SamplingParams, args: GenerateArgs) -> None:
    start = time.perf_counter()
    texts = [handle.result() for handle in engine.submit_many(prompt, params, args.num_samples)]
    tokens, given = sum(text.num_tokens for text in texts), len(prompt.token_ids)
    result = {
        "model": args.model,
        "prompt": prompt.text,
        "seed": params.seed,
        "choices": [{"index": i, "text": t.text, "finish_reason": t.finish_reason} for i, t in enumerate(texts)],
        "usage": {"prompt_tokens": given, "completion_tokens": tokens, "total_tokens": given + tokens},
        "seconds": round(time.perf_counter() - start, 4),
        "unknown": [str(unknown) for unknown in prompt.unknown],
    }
    print(json.dumps(result, ensure_ascii=not _prints_unicode()))  # noqa: T201


def _prints_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")
