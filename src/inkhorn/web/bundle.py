"""Some of the page's modules as one script, for a report that is a single file."""

import re
from pathlib import Path

from inkhorn.web import STATIC_DIR

_IMPORT = re.compile(r'^import \{[^}]*\} from "([^"]+)";\n', re.MULTILINE)
_COMMENT = re.compile(r"^ *(/\*\*.*?\*/|// [^\n]*)\n", re.MULTILINE | re.DOTALL)


def report_script() -> str:
    """The script of the slider in report.html."""
    return bundle(STATIC_DIR / "watch" / "report.js")


def bundle(entry: Path) -> str:
    """A module with all that it imports, in the order of their evaluation; no two may declare the same name."""
    parts: dict[Path, str] = {}

    def add(path: Path) -> None:
        source = path.read_text(encoding="utf-8")
        for imported in _IMPORT.findall(source):
            if (found := (path.parent / imported).resolve()) not in parts:
                add(found)
        parts[path] = re.sub(r"^export ", "", _COMMENT.sub("", _IMPORT.sub("", source)), flags=re.MULTILINE)

    add(entry.resolve())
    return "\n".join(part.strip() for part in parts.values()) + "\n"
