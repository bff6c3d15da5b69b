"""Names of speakers in full: what a play abbreviates, misprints or prints in more than one way.

Persons are in capitals (`KING LEAR`), those who are only a trade, a rank or a number are not (`First Citizen`): tiny
Shakespeare's way. Kings whom several plays call by the same name bear their number, as in tiny.
"""

import re
from collections.abc import Mapping

_ROMEO = (
    "Romeo|Juliet|Nurse|Benvolio|Mercutio|Capulet|Lady Capulet|Paris|Sampson|Tybalt|Prince|Gregory|Peter|Balthasar"
    "|Montague|Lady Montague|1 Musician|2 Musician|3 Musician|Servant|1 Servant|2 Servant|1 Watch|2 Watch|3 Watch"
    "|Abraham|Apothecary|Friar John|Friar Lawrence|1 Citizen|Page|2 Capulet|Chorus|Boy"
)

NAMES: Mapping[str, Mapping[str, str]] = {
    "the-merry-wives-of-windsor": {
        "MRS. PAGE": "MISTRESS PAGE",
        "MRS. FORD": "MISTRESS FORD",
        "QUICKLY": "MISTRESS QUICKLY",
    },
    "much-ado-about-nothing": {"A LORD": "LORD"},
    "the-merchant-of-venice": {"DUKE OF VENICE": "DUKE", "ARRAGON": "PRINCE OF ARRAGON"},
    "a-midsummer-nights-dream": {"MOON": "MOONSHINE"},
    "twelfth-night": {"AGUE-CHEEK": "SIR ANDREW"},
    "king-john": {"PEMBROKE. and BIGOT": "PEMBROKE AND BIGOT"},
    "richard-ii": {"KING RICHARD": "KING RICHARD II", "PERCY": "HENRY PERCY"},
    "henry-iv-part-1": {
        "KING": "KING HENRY IV",
        "PRINCE": "PRINCE HENRY",
        "FAL": "FALSTAFF",
        "FALS, GADS., &C": "THIEVES",
        "HOT": "HOTSPUR",
        "WOR": "WORCESTER",
        "GLEND": "GLENDOWER",
        "HOST": "HOSTESS",
        "DOUG": "DOUGLAS",
        "GADS": "GADSHILL",
        "BARD": "BARDOLPH",
        "FRAN": "FRANCIS",
        "MORT": "MORTIMER",
        "VER": "VERNON",
        "NORTH": "NORTHUMBERLAND",
        "WEST": "WESTMORELAND",
        "1. CAR": "FIRST CARRIER",
        "2. CAR": "SECOND CARRIER",
        "CAR": "CARRIER",
        "LADY": "LADY PERCY",
        "LADY P": "LADY PERCY",
        "CHAM": "CHAMBERLAIN",
        "MESS": "MESSENGER",
        "SHER": "SHERIFF",
        "ARCH": "ARCHBISHOP",
        "SIR M": "SIR MICHAEL",
        "LAN": "LANCASTER",
        "SERV": "SERVANT",
        "OST": "OSTLER",
        "VINT": "VINTNER",
    },
    "henry-iv-part-2": {"PRINCE": "PRINCE HENRY", "PRINCE & POINS": "PRINCE HENRY AND POINS"},
    "henry-v": {"KING HENRY": "KING HENRY V", "KING": "KING HENRY V"},
    "henry-vi-part-1": {"KING": "KING HENRY VI"},
    "henry-vi-part-2": {
        "KING": "KING HENRY VI",
        "KING HENRY": "KING HENRY VI",
        "QUEEN": "QUEEN MARGARET",
        "M. JOURDAIN": "MARGERY JOURDAIN",
    },
    "henry-vi-part-3": {
        "KING HENRY": "KING HENRY VI",
        "KING EDWARD": "KING EDWARD IV",
        "KING LEWIS": "KING LEWIS XI",
        "LEWIS": "KING LEWIS XI",
    },
    "richard-iii": {"KING RICHARD": "KING RICHARD III", "KING EDWARD": "KING EDWARD IV"},
    "henry-viii": {"KING": "KING HENRY VIII", "KATHERINE": "QUEEN KATHERINE"},
    "troilus-and-cressida": {"ANDARUS": "PANDARUS", "AGAME": "AGAMEMNON"},
    "coriolanus": {"TITUS LARTIUS": "LARTIUS"},
    # This play, Hamlet and Lear print names with small letters, so that each has to be listed.
    "romeo-and-juliet": {name: name for name in _ROMEO.split("|")} | {"Friar": "FRIAR LAWRENCE", "Chor": "CHORUS"},
    "timon-of-athens": {"LUCULLIUS": "LUCULLUS", "SOME SPEAK": "SOME", "SOME OTHER": "OTHERS"},
    "julius-caesar": {"VARRO. CLAUDIUS": "VARRO AND CLAUDIUS", "TITINIUS. MESSALA": "TITINIUS AND MESSALA"},
    "hamlet": {
        "Ham": "HAMLET",
        "Hor": "HORATIO",
        "King": "KING CLAUDIUS",
        "Queen": "QUEEN GERTRUDE",
        "Pol": "POLONIUS",
        "Laer": "LAERTES",
        "Oph": "OPHELIA",
        "Ros": "ROSENCRANTZ",
        "Guil": "GUILDENSTERN",
        "Ros. and Guil": "ROSENCRANTZ AND GUILDENSTERN",
        "Ros and Guil": "ROSENCRANTZ AND GUILDENSTERN",
        "Ros. and Guild": "ROSENCRANTZ AND GUILDENSTERN",
        "Mar": "MARCELLUS",
        "Mar. and Ber": "MARCELLUS AND BERNARDO",
        "Hor. and Mar": "HORATIO AND MARCELLUS",
        "Ber": "BERNARDO",
        "Fran": "FRANCISCO",
        "Ghost": "GHOST",
        "Rey": "REYNALDO",
        "Osr": "OSRIC",
        "Osric and Lords": "OSRIC AND LORDS",
        "Cor. and Volt": "CORNELIUS AND VOLTIMAND",
        "Volt": "VOLTIMAND",
        "Fort": "FORTINBRAS",
        "For": "FORTINBRAS",
        "1 Clown": "FIRST CLOWN",
        "2 Clown": "SECOND CLOWN",
        "Capt": "CAPTAIN",
        "I Play": "FIRST PLAYER",
        "I Player": "FIRST PLAYER",
        "P. King": "PLAYER KING",
        "P. Queen": "PLAYER QUEEN",
        "Pro": "PROLOGUE",
        "Luc": "LUCIANUS",
        "Gent": "GENTLEMAN",
        "Danes": "DANES",
        "Lord": "LORD",
        "Mess": "MESSENGER",
        "1 Priest": "FIRST PRIEST",
        "Servant": "SERVANT",
        "I Sailor": "FIRST SAILOR",
        "Sailor": "FIRST SAILOR",
        "1 Ambassador": "FIRST AMBASSADOR",
        "All": "ALL",
        "Both": "BOTH",
    },
    "king-lear": {
        "Lear": "KING LEAR",
        "Kent": "KENT",
        "Glou": "GLOSTER",
        "Edg": "EDGAR",
        "Edm": "EDMUND",
        "Reg": "REGAN",
        "Gon": "GONERIL",
        "Cor": "CORDELIA",
        "Fool": "FOOL",
        "Alb": "ALBANY",
        "Corn": "CORNWALL",
        "Alb. and Corn": "ALBANY AND CORNWALL",
        "Osw": "OSWALD",
        "Gent": "GENTLEMAN",
        "Old Man": "OLD MAN",
        "Mess": "MESSENGER",
        "Phys": "PHYSICIAN",
        "Doct": "PHYSICIAN",
        "Bur": "BURGUNDY",
        "France": "FRANCE",
        "Knight": "KNIGHT",
        "Cur": "CURAN",
        "First Serv": "FIRST SERVANT",
        "Second Serv": "SECOND SERVANT",
        "Third Serv": "THIRD SERVANT",
        "Her": "HERALD",
        "Capt": "CAPTAIN",
        "Off": "OFFICER",
        "Officer": "OFFICER",
    },
    "othello": {"DUKE OF VENICE": "DUKE"},
    "antony-and-cleopatra": {"THYMUS": "THYREUS"},
    "pericles": {
        "PERACLES": "PERICLES",
        "HELICANE": "HELICANUS",
        "HELCANUS": "HELICANUS",
        "MARSHALL": "MARSHAL",
        "BARD": "BAWD",
    },
}

_ORDINALS = {"1": "FIRST", "2": "SECOND", "3": "THIRD"}
_SMALL = {"AND": "and", "OF": "of"}
_ROLES = """
    ABBESS ABBOT AEDILE AEDILES ALL AMBASSADOR ANOTHER APOTHECARY APPARITION ATHENIAN ATTENDANT BANDIT BANDITTI BAWD
    BEADLE BOATSWAIN BOTH BOY BROTHER BROTHERS CAPTAIN CARRIER CHAMBERLAIN CHANCELLOR CHIEF CHILDREN CHORUS CITIZEN
    CITIZENS CLERK CLOWN COMMONS CONSPIRATOR CONSPIRATORS COURTEZAN CRIER DANES DAUGHTER DOCTOR DRAWER ENGLISH EPILOGUE
    FAIRIES FAIRY FATHER FIFTH FIRST FISHERMAN FOOL FORESTER FORESTERS FOURTH FRENCH FRENCHMAN GAOLER GARDENER GENERAL
    GENTLEMAN GENTLEMEN GENTLEWOMAN GHOST GHOSTS GOTH GOTHS GOVERNOR GROOM GUARD GUNNER HABERDASHER HERALD HOST HOSTESS
    HUNTSMAN JAILER JEWELLER JUSTICE KEEPER KNIGHT KNIGHTS LADIES LADY LAWYER LEGATE LIEUTENANT LORD LORDS MAN MARINER
    MARINERS MARSHAL MASTER MATE MAYOR MERCHANT MESSENGER MOTHER MURDERER MURDERERS MUSICIAN MUSICIANS MYRMIDON
    NEIGHBOUR NOBLEMAN NURSE OFFICER OLD OSTLER OTHER OTHERS OUTLAW PAINTER PANDAR PATRICIAN PATRICIANS PEDANT
    PETITIONER PHYSICIAN PIRATE PLAYER PLAYERS PLEBEIANS POET PORTER POST PRENTICE PRIEST PROLOGUE PROVOST PURSUIVANT
    ROMAN ROMANS SAILOR SCOUT SCRIBE SCRIVENER SECOND SECRETARY SENATOR SENATORS SENTINEL SERGEANT SERVANT SERVANTS
    SERVING-MAN SERVING-MEN SERVINGMEN SEXTON SHEPHERD SHERIFF SIXTH SOLDIER SOLDIERS SOME SON SOOTHSAYER SPIRIT
    STEWARD STRANGER SURVEYOR TAILOR THIEVES THIRD THREE TIME TOWNSMAN TRAVELLER TRIBUNES TUTOR TYRIAN USHER VINTNER
    VOICE VOLSCE WARDER WATCH WATCHMAN WIDOW WIFE WITCH
"""
_IN_SMALL_LETTERS = frozenset(_ROLES.split())


def full_name(printed: str, names: Mapping[str, str]) -> str:
    """The name to print for a speaker, or for several, as the play prints it without the full stop."""
    name = names.get(printed, printed).upper().replace("&", "AND")
    if number := re.fullmatch(r"([123])\.? (.+)", name):
        name = f"{_ORDINALS[number[1]]} {number[2]}"
    *others, last = re.split(r",? AND |, ", name)
    words = f"{', '.join(others)} AND {last}".split() if others else last.split()
    if all(word in _IN_SMALL_LETTERS or word in _SMALL for word in words):
        return " ".join(_SMALL.get(word, word.capitalize()) for word in words)
    return " ".join(words)
