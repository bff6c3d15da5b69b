"""The notes of a release: its section of CHANGELOG.md.

    python release/notes.py [--version | --check FOLDER]

It uses the standard library alone. `--version` prints the version. `--check` requires that a folder holds the source
distribution and one wheel for every platform of that version.
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLATFORMS = (
    r"manylinux_2_\d+_x86_64",
    r"manylinux_2_\d+_aarch64",
    r"musllinux_1_\d+_x86_64",
    r"musllinux_1_\d+_aarch64",
    r"macosx_\d+_\d+_arm64",
    r"macosx_\d+_\d+_x86_64",
    r"win_amd64",
)


def version() -> str:
    """The version that the package declares."""
    source = (ROOT / "src" / "inkhorn" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert found is not None
    return found[1]


def notes(changelog: str, wanted: str) -> str:
    """The section of a version.

    Raises:
        SystemExit: there is none, or it is empty.
    """
    for section in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if re.match(rf"\[?{re.escape(wanted)}\]?( |$)", heading) and text.strip():
            return text.strip() + "\n"
    raise SystemExit(f"CHANGELOG.md has no section for version {wanted}")


def missing_files(names: list[str], wanted: str) -> list[str]:
    """What a complete release of a version lacks in a list of file names."""
    name = re.escape(f"inkhorn-{wanted}")
    patterns = [rf"{name}\.tar\.gz"]
    patterns += [rf"{name}-py3-none-([\w.]+\.)?{platform}(\.[\w.]+)?\.whl" for platform in PLATFORMS]
    return [pattern for pattern in patterns if sum(bool(re.fullmatch(pattern, one)) for one in names) != 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--version", action="store_true", help="print the version only")
    group.add_argument("--check", type=Path, metavar="FOLDER", help="check that this folder is complete")
    args = parser.parse_args()
    if args.version:
        print(version())
    elif args.check:
        if missing := missing_files([path.name for path in args.check.iterdir()], version()):
            sys.exit(f"{args.check} does not have exactly one file for each of: {', '.join(missing)}")
    else:
        print(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version()), end="")


if __name__ == "__main__":
    main()
