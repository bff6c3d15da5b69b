"""Check an installation of inkhorn from a wheel: the kernel is inside, and `inkhorn "ROMEO:"` writes text.

    python release/check_install.py [--without-kernel]

Run it outside the repository with the Python that the wheel was installed for, as cibuildwheel and the release
workflow do. It uses the standard library and inkhorn alone.
"""

import argparse
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

PROMPT = "ROMEO:"


def generate(*flags: str, **environment: str) -> str:
    """What the installed command writes after the prompt."""
    command = Path(sysconfig.get_path("scripts")) / "inkhorn"
    done = subprocess.run(
        [command, PROMPT, "--max-tokens", "60", *flags],
        check=True, stdout=subprocess.PIPE, encoding="utf-8", env=os.environ | {"PYTHONUTF8": "1"} | environment,
        timeout=600,
    )  # fmt: skip
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without-kernel", action="store_true", help="expect an installation without the kernel")
    args = parser.parse_args()

    import inkhorn
    from inkhorn.inference.backends import native_bindings as kernel

    reason = kernel.unavailable_reason()
    if (reason is not None) != args.without_kernel:
        sys.exit(f"the kernel is {'in use' if reason is None else f'missing: {reason}'}")
    text = generate("--seed", "1")
    if not text.startswith(PROMPT) or len(text.split()) < 3:
        sys.exit(f"no text: {text!r}")
    if generate("--seed", "1") != text:
        sys.exit("the same seed gave another text")
    exact = generate("--temperature", "0", "--quantize", "fp32")
    if exact != generate("--temperature", "0", "--quantize", "fp32", INKHORN_BACKEND="numpy"):
        sys.exit("the kernel and NumPy wrote different texts at temperature 0")
    print(text)
    isa = "NumPy" if reason is not None else kernel.isa()
    print(f"inkhorn {inkhorn.__version__}, Python {platform.python_version()}, {platform.platform()}: {isa}: works")


if __name__ == "__main__":
    main()
