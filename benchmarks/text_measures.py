"""Measures of generated text that need no other language model: words, verse, recitation, speakers, grammar.

Each takes texts in the form of the works (`NAME:` on a line, the speech below, a blank line) and returns a share.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
SPEAKER = re.compile(r"^([A-Z][A-Za-z'-]*(?: [A-Za-z'-]+)*):$", re.M)

Pronunciations = Mapping[str, Sequence[Sequence[str]]]
"""CMUdict: phonemes by word; those of vowels end in their stress, 0 to 2."""


def vocabulary_share(text: str, vocabulary: frozenset[str]) -> float:
    """Share of the words that are in the vocabulary, ignoring case."""
    words = WORD.findall(text)
    return sum(word.lower() in vocabulary for word in words) / max(1, len(words))


def word_ngrams(text: str, n: int = 4) -> list[tuple[str, ...]]:
    words = [word.lower() for word in WORD.findall(text)]
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def new_share(text: str, known: frozenset[tuple[str, ...]]) -> float:
    """Share of the word 4-grams that the training text does not have."""
    found = word_ngrams(text)
    return sum(ngram not in known for ngram in found) / max(1, len(found))


class Recitation:
    """Finds what a text recites from a source.

    Args:
        source: the text that may be recited.
        anchor: characters. A recited part of at least 2 * anchor - 1 is always found, a shorter one perhaps.
    """

    def __init__(self, source: str, anchor: int = 8) -> None:
        self.source, self.anchor = source, anchor
        self.places: dict[str, list[int]] = {}
        for at in range(0, len(source) - anchor + 1, anchor):
            self.places.setdefault(source[at : at + anchor], []).append(at)

    def longest(self, text: str) -> int:
        """Length in characters of the longest part of a text that occurs in the source."""
        best = 0
        for start in range(len(text) - self.anchor + 1):
            for at in self.places.get(text[start : start + self.anchor], ()):
                left, right = start, start + self.anchor
                shift = at - start
                while left > 0 and left + shift > 0 and text[left - 1] == self.source[left + shift - 1]:
                    left -= 1
                while (
                    right < len(text) and right + shift < len(self.source) and text[right] == self.source[right + shift]
                ):
                    right += 1
                best = max(best, right - left)
        return best


def cast_share(text: str, casts: Iterable[frozenset[str]]) -> float | None:
    """Share of the speeches whose speakers belong to the play that has most of them; None without a speech."""
    speakers = SPEAKER.findall(text)
    if not speakers:
        return None
    return max(sum(speaker in cast for speaker in speakers) for cast in casts) / len(speakers)


def syllable_patterns(word: str, sounds: Pronunciations) -> set[str]:
    """The stresses of a word's syllables, such as "01"; "?" for a monosyllable, which takes any. Empty if unknown."""
    word = word.lower()
    spelt = [word, word.strip("'"), word.replace("'d", "ed"), word.replace("'", ""), word.replace("'er", "ver")]
    for form in spelt:
        if form in sounds:
            found = {"".join(p[-1] for p in phonemes if p[-1].isdigit()) for phonemes in sounds[form]}
            return {"?" if len(pattern) == 1 else pattern for pattern in found if pattern}
    return set()


def is_pentameter(line: str, sounds: Pronunciations) -> bool | None:
    """Whether a line scans as iambic pentameter; None if a word of it is unknown.

    Ten syllables, or eleven with the last one weak; the main stress of a longer word falls on an even place, except
    at the beginning of the line or after a comma, where a trochee may stand.
    """
    options: list[list[str]] = []
    turns: list[bool] = []  # whether a trochee may stand at the word
    after_break = True
    for match in re.finditer(r"([A-Za-z]+(?:'[A-Za-z]+)*)|([,;:.?!-])", line):
        if match[2]:
            after_break = True
            continue
        patterns = syllable_patterns(match[1], sounds)
        if not patterns:
            return None
        options.append(sorted(patterns))
        turns.append(after_break)
        after_break = False
    if not 3 <= len(options) <= 11:
        return False
    return any(_scans(choice, turns) for choice in product(*(each[:3] for each in options)))


def _scans(patterns: Sequence[str], turns: Sequence[bool]) -> bool:
    length = sum(map(len, patterns))
    if length not in (10, 11):
        return False
    place = 0
    for pattern, turn in zip(patterns, turns, strict=True):
        for offset, stress in enumerate(pattern):
            number = place + offset + 1
            weak_place = number % 2 == 1
            if stress == "1" and weak_place and not (turn and offset == 0):
                return False
        place += len(pattern)
    return not (length == 11 and patterns[-1].endswith("1"))


def verse_lines(text: str) -> list[str]:
    """The lines of speeches that are not speaker names, with at least four words, each beginning with a capital."""
    return [
        line
        for line in text.split("\n")
        if line[:1].isupper() and not line.endswith(":") and len(WORD.findall(line)) >= 4
    ]


def pentameter_share(text: str, sounds: Pronunciations) -> float:
    """Share of the lines with known words only that scan."""
    found = [scans for line in verse_lines(text) if (scans := is_pentameter(line, sounds)) is not None]
    return sum(found) / max(1, len(found))


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences that differ in one word; the first is Early Modern grammar, the second is not."""

    right: str
    wrong: str


_SENTENCES = (
    ("Thou hast no cause to weep.", "Thou has no cause to weep."),
    ("Thou art a villain, sir.", "Thou are a villain, sir."),
    ("Thou wilt not go to-night.", "Thou will not go to-night."),
    ("Thou shalt not stay with me.", "Thou shall not stay with me."),
    ("Thou canst not tell me why.", "Thou can not tell me why."),
    ("Thou dost not know the man.", "Thou does not know the man."),
    ("Thou wert a noble prince.", "Thou was a noble prince."),
    ("What dost thou say to me?", "What does thou say to me?"),
    ("Where hast thou been so long?", "Where has thou been so long?"),
    ("How art thou now, my lord?", "How is thou now, my lord?"),
    ("He hath no love for me.", "He have no love for me."),
    ("He doth not love the king.", "He dost not love the king."),
    ("She hath a gentle heart.", "She hast a gentle heart."),
    ("They do not love the king.", "They doth not love the king."),
    ("They have no cause to weep.", "They hath no cause to weep."),
    ("We have been long away.", "We hast been long away."),
    ("I am thy father's spirit.", "I art thy father's spirit."),
    ("I have no more to say.", "I hast no more to say."),
    ("You are a gentleman.", "You art a gentleman."),
    ("You have my word, my lord.", "You hast my word, my lord."),
    ("I love thee with my heart.", "I love thou with my heart."),
    ("I pray thee, tell me true.", "I pray thou, tell me true."),
    ("Give me thy hand, good friend.", "Give me thou hand, good friend."),
    ("By thine own eyes I swear.", "By thee own eyes I swear."),
    ("Farewell to thee, my lord.", "Farewell to thou, my lord."),
    ("Let him be brought to me.", "Let he be brought to me."),
    ("Let us go in together.", "Let we go in together."),
    ("Were I a king, I would be kind.", "Am I a king, I would be kind."),
    # Words stand between, or another noun or pronoun is nearer.
    ("Thou that wast once my friend hast done me wrong.", "Thou that wast once my friend has done me wrong."),
    ("Thou and thy brother have no cause to weep.", "Thou and thy brother hast no cause to weep."),
    ("The king, whom thou dost serve, hath sent for me.", "The king, whom thou dost serve, hast sent for me."),
    ("The lords that serve the king have sent for me.", "The lords that serve the king hath sent for me."),
    ("He whom thou lovest loves another now.", "He whom thou lovest lovest another now."),
    ("O thou that dost deny the gods, kneel down.", "O thou that does deny the gods, kneel down."),
    ("Tell me, thou villain, why thou hast betray'd me.", "Tell me, thou villain, why thou has betray'd me."),
    ("Your father and your mother are both dead.", "Your father and your mother is both dead."),
    ("The letters that the messenger brought are lost.", "The letters that the messenger brought is lost."),
    ("What my poor heart hath suffer'd, none can tell.", "What my poor heart hast suffer'd, none can tell."),
    ("Why dost thou ask me what thy father does?", "Why dost thou ask me what thy father dost?"),
    (
        "Though thou shouldst kill me, I should love thee still.",
        "Though thou shouldst kill me, I should love thou still.",
    ),
    ("Between my brother and thee there is no love.", "Between my brother and thou there is no love."),
    ("Who is it that hath done thee so much wrong?", "Who is it that hath done thou so much wrong?"),
    ("It was the queen that bade thee come to court.", "It was the queen that bade thou come to court."),
    ("Thou speak'st as if thou wert a king thyself.", "Thou speak'st as if thou wert a king himself."),
    ("She that was once a queen hath lost herself.", "She that was once a queen hath lost himself."),
    ("The men have wash'd themselves, and so are clean.", "The men have wash'd himself, and so are clean."),
    ("Would I had never seen thee, nor thou me.", "Would I had never seen thee, nor thou I."),
    ("The sun, that sees all these our griefs, is set.", "The sun, that sees all these our griefs, are set."),
    ("How many of thy friends are slain to-day?", "How many of thy friends is slain to-day?"),
    ("I would the gods had made thee what I am.", "I would the gods had made thee what I are."),
    ("Ye gods, give ear, and pity these my tears.", "Ye gods, give ear, and pity this my tears."),
    ("These are the men that kill'd thy father, boy.", "This are the men that kill'd thy father, boy."),
)

PAIRS: tuple[MinimalPair, ...] = tuple(MinimalPair(right, wrong) for right, wrong in _SENTENCES)


def grammar_share(logprob: Callable[[str], float], pairs: Sequence[MinimalPair] = PAIRS) -> float:
    """Share of the pairs whose right sentence is more likely; ties count half.

    Args:
        logprob: log-probability of a text.
    """
    points = 0.0
    for pair in pairs:
        right, wrong = logprob(pair.right), logprob(pair.wrong)
        points += 1.0 if right > wrong else 0.5 if right == wrong else 0.0
    return points / len(pairs)
