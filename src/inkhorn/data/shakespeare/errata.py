"""Corrections to the printed texts: misprints, and what a page shows that a list of speeches cannot.

Of five kinds: brackets and headings out of place; letters or digits in place of others; words that the editor put in
brackets because he supplied them; speakers whom the page names in a direction only, or forgets; and two lost lines.
"""

import re
from collections.abc import Mapping

from inkhorn.errors import CorpusError

_ERRATA: Mapping[str, tuple[tuple[str, str], ...]] = {
    "the-tempest": (
        ("they join]\n", "they join\n"),
        ("[ARIEL'S SONG.]", "ARIEL."),
        ("[ARIEL sings]", "\nARIEL."),
        ("EPILOGUE\n\n[Spoken by PROSPERO]", "PROSPERO."),
    ),
    "the-two-gentlemen-of-verona": (
        ("[SPEED] Ay.", "SPEED.\nAy."),
        ("[SONG]", "MUSICIANS."),
        ("'     To her", "     To her"),
    ),
    "the-merry-wives-of-windsor": (("SONG.", "FAIRIES."), ("SHALLOW, PAGE, &c.", "ALL.")),
    "measure-for-measure": (("     SONG", "BOY."),),
    "much-ado-about-nothing": (
        ("[Balthasar sings.]", "\nBALTHAZAR."),
        ("     SONG.", "\nBALTHAZAR."),
        ("Hero;s he's", "Hero; she's"),
        ("said she,a wise", "said she, 'a wise"),
        ("theforehand", "the forehand"),
        # A line that is lost in print, from the quarto.
        ("[Kisses her.]\n", "[Kisses her.]\n\nDON PEDRO.\nHow dost thou, Benedick, the married man?\n"),
        ("gutsshould", "guts should"),
        ("ifa' could", "if a' could"),
    ),
    "loves-labours-lost": (
        ("\n\nEnter HOLOFERNES, SIR NATHANIEL, and DULL.", ""),
        ("MOTH [Singing.]", "MOTH."),
        ("I sthe deer", "I said the deer"),
    ),
    "a-midsummer-nights-dream": (("&egrave;", "e"),),
    "the-merchant-of-venice": (
        ("(you counsel well.'", "'you counsel well.'"),
        ("book,\nI\nshall", "book, I\nshall"),
        ("to himself.]\n", "to himself.]\n\nMUSICIANS."),
        ("[ALL.]", "ALL."),
        ("alearned", "a learned"),
        ("\nYOU hear", "\nYou hear"),
        ("PRINCE OF Morocco", "PRINCE OF MOROCCO"),
    ),
    "as-you-like-it": (
        ("      SONG\n[All together here.]", "ALL."),
        ("[AMIENS sings.]", "\nAMIENS."),
        ("     SONG.\n\n  1. What", "FORESTERS.\n  What"),
        ("2. His", "His"),
        ("1. Then", "Then"),
        ("1. Thy", "Thy"),
        ("2. And", "And"),
        ("All.  The horn", "The horn"),
        ("    SONG.\n      I.\n", "BOTH PAGES.\n"),
        ("     SONG\n  Wedding", "HYMEN.\n  Wedding"),
    ),
    "the-taming-of-the-shrew": (
        ("fatherbe", "father be"),
        ("Master, master! News", "BIONDELLO.\nMaster, master! News"),
    ),
    "richard-ii": (("s,ad", "sad"),),
    "king-john": (("LADY FalcoNBRIDGE", "LADY FALCONBRIDGE"), ("LouIS", "LOUIS"), ("--w now", "--How now")),
    "henry-iv-part-1": (
        ("shall we be gone?\nGLEND.", "shall we be gone?\n\nGLEND."),
        ("old,--(the more", "old,--the more"),
        # The First Folio has Roman figures here, and they spare the alphabet five digits.
        ("A capon, . . . . . . . . .  2s. 2d.", "A capon, ii s. ii d."),
        ("Sauce, . . . . . . . . . . . . . . 4d.", "Sauce, iv d."),
        ("Sack two gallons ,. . . 5s. 8d.", "Sack two gallons, v s. viii d."),
        ("supper,  2s. 6d.", "supper, ii s. vi d."),
        ("Bread, . . . . . . . . . . . . . .ob.", "Bread, ob."),
    ),
    "henry-iv-part-2": (
        ("INDUCTION\n\nWarkworth. Before the castle.", "INDUCTION"),
        ("Shrewsbury?\nMORTON.", "Shrewsbury?\n\nMORTON."),
        ("EPILOGUE.\n\nSpoken by a Dancer.\n\n", "EPILOGUE.\n"),
        ("the\nurpose", "the\npurpose"),
    ),
    "henry-v": (
        ("[and they were as cold as any stone;]", "and they were as cold as any stone;"),
        ("[Hampton]", "Hampton"),
        ("[never]", "never"),
    ),
    "henry-vi-part-1": (
        ("[Exit Sergeant.", "[Exit Sergeant.]"),
        ("[A noise within, 'Down with the tawny-coats!'", "[A noise within.]"),
        ("Here alarum; they are beaten back by the English, with\n", "["),
        ("great loss. Re-enter Charles, Alencon, and Reignier.", "]"),
        ("Here they fight, and Joan La Pucelle overcomes.", ""),
        ("Gloucester's men rush at the Tower Gates, and Woodvile the\nLieutenant speaks within.", ""),
        ("Here Gloucester's men beat out the Cardinal's\nmen, and", "["),
        ("enter in the hurly-burly the Mayor of\nLondon and his Officers.", "]"),
        ("Here they skirmish again.", ""),
        ("Here sound an English march. Enter, and pass over\nat a distance, Talbot and his forces.", ""),
    ),
    "henry-vi-part-2": (("Lay hands upon these", "YORK.\nLay hands upon these"),),
    "henry-vi-part-3": (("threatEning", "threatening"), ("Gloster.\n", "GLOSTER.\n")),
    "richard-iii": (
        ("rises\nbetween the two tents.]\n\nGHOST.", "rises\nbetween the two tents.]\n\nGHOST OF PRINCE EDWARD."),
        ("HENRY THE SIXTH rises.]\n\nGHOST.", "HENRY THE SIXTH rises.]\n\nGHOST OF KING HENRY VI."),
        ("CLARENCE rises.]\n\nGHOST.", "CLARENCE rises.]\n\nGHOST OF CLARENCE."),
        ("HASTINGS rises.]\n\nGHOST.", "HASTINGS rises.]\n\nGHOST OF HASTINGS."),
        ("PRINCES rise.]\n\nGHOSTS.", "PRINCES rise.]\n\nGHOSTS OF YOUNG PRINCES."),
        ("ANNE rises.]\n\nGHOST.", "ANNE rises.]\n\nGHOST OF ANNE."),
        ("BUCKINGHAM rises.]\n\nGHOST.", "BUCKINGHAM rises.]\n\nGHOST OF BUCKINGHAM."),
    ),
    "henry-viii": (
        ("THE PROLOGUE.\n\nI COME", "PROLOGUE.\nI come"),
        ("in France?\nNORFOLK.", "in France?\n\nNORFOLK."),
        ("                SONG", "GENTLEWOMAN."),
        ("THE ORDER OF THE CORONATION.\n\n", "["),
        ("without flowers.", "without flowers.]"),
    ),
    "troilus-and-cressida": (
        ("PROLOGUE\n\nTROILUS AND CRESSIDA\n\n", "PROLOGUE\n"),
        ("come.Exit Boy", "come."),
        ("all! Exit", "all!"),
        ("thee.Exeunt", "thee."),
        ("chance my brothe\n", "chance my brother\nTroilus went not?\n"),  # a lost line, from the First Folio
    ),
    "coriolanus": (("Senators\n\ntake", "Senators\ntake"), ("people?\nCITIZENS.", "people?\n\nCITIZENS.")),
    "titus-andronicus": (("tTo", "to"), ("House.]", "House.")),
    "romeo-and-juliet": (
        ("doth she/", "doth she?"),
        ("Peter.  I saw", "Peter.\nI saw"),
        ("Servant.Find", "Servant.\nFind"),
        ("-What, have", "What, have"),
    ),
    "timon-of-athens": (("and etc.].]", "and etc.]"), ("[ALCIBIADES reads the Epitaph.]", "ALCIBIADES.")),
    "julius-caesar": (("& c.", "&c."),),
    "macbeth": (("passag tTill", "passage till"), ("Song.\n", ""), ("APPARITION.--", "APPARITION.")),
    "hamlet": (("hi;m", "him"), ("wastein", "waste in")),
    "king-lear": (("at once!)", "at once!"), ("Osw. Ay,", "Osw.\nAy,"), ("Fool. Let", "Fool.\nLet")),
    "othello": (("\n[Within.] A sail", "\nVOICE.\nA sail"),),
    "antony-and-cleopatra": (
        ("[Within.] Make way", "VOICE.\nMake way"),
        ("[Within.] A way", "VOICE.\nA way"),
        ("       SONG.", "BOY."),
        ("thefield", "the field"),
        ("theearth", "the earth"),
        ("theadulterous", "the adulterous"),
        ("thecourt", "the court"),
        ("theashes", "the ashes"),
        ("theadvice", "the advice"),
        ("theworld", "the world"),
        ("Theundoing", "The undoing"),
        ("ano.n", "anon"),
    ),
    "cymbeline": (
        ("[not]", "not"),
        ("[but]", "but"),
        ("SONG\n", "MUSICIANS."),
        ("So, get you gone. If", "CLOTEN.\nSo, get you gone. If"),
        ("GHOSTS] vanish", "GHOSTS vanish"),
    ),
    "pericles": (
        ("[Before the palace of Antioch.]", "GOWER."),
        ("he'11", "he'll"),
        ("I'11", "I'll"),
        ("sumMers", "summers"),
        ("DUMB SHOW.", ""),
        ("1abour", "labour"),
        ("you1 my", "you, my"),
        ("Enter Simonides, reading a letter at one door: the Knights meet\nhim.]", ""),
        ("FIRST KNIGHT.]", "FIRST KNIGHT."),
        ("go on board the\nbarge.\n\nEnter", "go on board the\nbarge. Enter"),
        ("0 lady", "O lady"),
        ("\nome, I'll do", "\nCome, I'll do"),
    ),
    "twelfth-night": (("mad/", "mad,"),),
    "the-rape-of-lucrece": (
        ("                THE RAPE OF LUCRECE\n\n\n\n                      TO THE\n", ""),
        ("          RIGHT HONOURABLE HENRY WRIOTHESLY,\n", ""),
        ("        EARL OF SOUTHAMPTON, AND BARON OF TITCHFIELD.\n", ""),
        ("THE love", "The love"),
        ("                        THE ARGUMENT.\n", ""),
        ("LUCIUS TARQUINIUS", "Lucius Tarquinius"),
    ),
    "sonnets": (("ghastly night,", "ghastly night),"), ("th;heart", "thy heart"), ("n:motion", "no motion")),
}

# In any work; what stands before the `=` is not a word.
_WORDS = """
    Agamemmon=Agamemnon Andpholus=Antipholus Casaer=Caesar Gioucestershire=Gloucestershire Lavina=Lavinia Thery=They
    Wgy=Why Wlcome=Welcome agan=again attentivenes=attentiveness brethen=brethren bretheren=brethren busines=business
    cannout=cannot catepillar=caterpillar celestal=celestial childben=childbed cnemies=enemies conquring=conqu'ring
    disdnguish=distinguish emnity=enmity enanmour=enamour exceltent=excellent falln=fall'n fch=fetch fiits=fits
    forqet=forget heauties=beauties heavn=heaven herefter=hereafter honourible=honourable inveigb=inveigh leige=liege
    maidenhea=maidenhead mistresss=mistress patence=patience peflur=perjur prepard=prepar'd prlnce=prince rhough=though
    rne=me ruminaies=ruminates sistrs=sisters tattrring=tatt'ring villaiy=villainy villians=villains wealtlly=wealthy
    wfe=wife wretchcd=wretched yeasr=years
"""
_MISPRINTS: Mapping[str, str] = dict(pair.split("=") for pair in _WORDS.split())
_MISPRINT = re.compile(rf"\b(?:{'|'.join(_MISPRINTS)})\b")


def corrected(slug: str, text: str) -> str:
    """The text of a work with its errata put right; CorpusError if it does not hold what they correct."""
    text = text.replace("{", "[").replace("}", "]")
    for printed, read in _ERRATA.get(slug, ()):
        if printed not in text:
            raise CorpusError(f"the text of {slug} does not hold {printed!r}: it is not the text that Inkhorn knows")
        text = text.replace(printed, read)
    return _MISPRINT.sub(lambda word: _MISPRINTS[word[0]], text)
