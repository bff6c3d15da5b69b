#!/usr/bin/env python3
"""Write Shakespeare: `python3 generation.py` asks for a beginning and a number of words, and writes that many new ones.

`python3 generation.py "ROMEO:" 200` asks nothing.
"""

import os
import sys
from pathlib import Path

MOST_WORDS = 5000
HERE = Path(__file__).resolve().parent


def use_project_python() -> None:
    """Start again with the project's own interpreter, if `make demo` has made one and this is not it."""
    venv = HERE / ".venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists() and Path(sys.prefix).resolve() != venv.resolve():
        os.execv(python, [str(python), *sys.argv])


def count_of_words(answer: str) -> int:
    """The number in an answer; ValueError with a message for a person if it is none that can be written."""
    try:
        words = int(answer.strip().replace(",", ""))
    except ValueError:
        shown = f"{answer.strip()[:40]!r} is not a whole number." if answer.strip() else "That was no number."
        raise ValueError(f"{shown} Please give one from 1 to {MOST_WORDS}, such as 100.") from None
    if words < 1:
        raise ValueError(f"{words} words would be no text. Please give a number from 1 to {MOST_WORDS}.")
    if words > MOST_WORDS:
        raise ValueError(
            f"{words} words are more than I can write at once. Please give a number from 1 to {MOST_WORDS}."
        )
    return words


def ask_words() -> int:
    """Ask until there is a number."""
    while True:
        try:
            return count_of_words(input(f"How many words shall I write (1 to {MOST_WORDS})? "))
        except ValueError as error:
            print(error)


def main() -> int:
    """Ask, or take the arguments; write; return the exit code."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    if len(arguments) > 2:
        print("Please give a beginning and a number of words, in quotes where there are spaces.", file=sys.stderr)
        return 2
    try:
        from inkhorn.config.sampling import SamplingParams
        from inkhorn.errors import InkhornError
        from inkhorn.inference.engine import load
    except ModuleNotFoundError as error:
        print(
            f"The set-up is missing ({error.name}). Please run `make demo` in {HERE} once, then try again.",
            file=sys.stderr,
        )
        return 1
    try:
        if len(arguments) == 2:
            try:
                words = count_of_words(arguments[1])
            except ValueError as error:
                print(error, file=sys.stderr)
                return 2
            beginning = arguments[0]
        else:
            beginning = arguments[0] if arguments else input("How shall it begin (may be empty)? ")
            words = ask_words()
        engine = load()
        prompt = engine.prompt(beginning)
        for unknown in prompt.unknown:
            print(f"I have never seen {unknown}", file=sys.stderr)
        sys.stdout.write(prompt.text)
        for piece in engine.stream(prompt, SamplingParams(max_words=words, ignore_eos=True)):
            sys.stdout.write(piece.text)
            sys.stdout.flush()
        print()
    except InkhornError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except EOFError:
        print(
            "\nThe answer is missing. Questions can be skipped: python3 generation.py BEGINNING WORDS", file=sys.stderr
        )
        return 2
    except UnicodeDecodeError as error:
        print(f"That was not text: byte 0x{error.object[error.start]:02x} at place {error.start}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    use_project_python()
    sys.exit(main())
