#!/usr/bin/env python3
"""Generate Shakespeare: asks for a beginning and a number of words, then writes that many words.

Usage: python3 generation.py ["BEGINNING" [WORDS]]
"""

import os
import sys
from pathlib import Path

MAX_WORDS = 5000
ROOT = Path(__file__).resolve().parent


def use_project_python() -> None:
    """Restart with the interpreter of the project's .venv, if there is one and this is not it."""
    venv = ROOT / ".venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists() and Path(sys.prefix).resolve() != venv.resolve():
        os.execv(python, [str(python), *sys.argv])


def parse_words(answer: str) -> int:
    """The number of words; raises ValueError with a message for the user."""
    try:
        words = int(answer.strip().replace(",", ""))
    except ValueError:
        words = 0
    if not 1 <= words <= MAX_WORDS:
        raise ValueError(f"Please give a whole number of words from 1 to {MAX_WORDS}, such as 100.")
    return words


def ask_words() -> int:
    """Ask until the answer is valid."""
    while True:
        try:
            return parse_words(input(f"How many words (1 to {MAX_WORDS})? "))
        except ValueError as error:
            print(error)


def main() -> int:
    """Ask or take the arguments, generate, and return the exit code."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    try:
        from inkhorn.cli.main import main as inkhorn
    except ModuleNotFoundError as error:
        print(f"Missing package: {error.name}. Run `make demo` in {ROOT} first.", file=sys.stderr)
        return 1
    try:
        if len(arguments) > 2:
            raise ValueError("Please give a beginning and a number of words, in quotes where there are spaces.")
        beginning = arguments[0] if arguments else input("Beginning of the text (may be empty): ")
        words = parse_words(arguments[1]) if len(arguments) == 2 else ask_words()
    except (ValueError, EOFError) as error:  # ValueError: also input that is not UTF-8
        print(str(error) or f"No answer. {__doc__.splitlines()[-1]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
        return 130
    return inkhorn(["generate", f"--max-words={words}", "--ignore-eos", "--", beginning])


if __name__ == "__main__":
    use_project_python()
    sys.exit(main())
