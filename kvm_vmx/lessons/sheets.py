# SPDX-License-Identifier: GPL-2.0-only
"""Sheets that a course hands out, and the key that made them: nobody else knows their seeds.

The key is a file of the instructor's: a secret, and for each sheet what its run has answered. A
sheet's seed is the secret's HMAC of the lesson and of whom it is for, and so is its number; it
holds what a student is to see and no seed, so that whoever has the package cannot run it again.
"""

import dataclasses
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from typing import Any

from kvm_vmx.console import Trouble
from kvm_vmx.lessons.record import Record

KEY, SHEET = "kvm_vmx.key/1", "kvm_vmx.sheet/1"
BYTES, DIGITS = 32, 20
LONGEST = 1 << 24


def read(path: str, schema: str) -> dict[str, Any]:
    """A file of ours; Trouble where it is none."""
    what = {KEY: "a key that kvm-vmx grade --new has made", SHEET: "a sheet"}[schema]
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > LONGEST:
            raise Trouble(f"{path}: give {what}")
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "no JSON"
        raise Trouble(f"{path}: {reason}: give {what}") from error
    if not isinstance(found, dict) or found.get("schema") != schema:
        raise Trouble(f"{path}: no {schema}: give {what}")
    return found


class Key:
    """An instructor's key: path, secret, and the answers of the sheets that it has made."""

    def __init__(self, path: str):
        self.path = path
        found = read(path, KEY)
        try:
            self.secret = bytes.fromhex(found["secret"])
            self.sheets = dict(found["sheets"])
        except (KeyError, TypeError, ValueError) as error:
            raise Trouble(f"{path}: a key without a secret or its sheets: take the one that made "
                          "them, or make another with kvm-vmx grade --new") from error

    @staticmethod
    def new(path: str) -> None:
        """Make a key that there is not yet, for its owner alone to read."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Trouble(f"{path}: {reason}: give the name of a new file for the key") from error
        with open(handle, "w", encoding="utf-8") as file:
            json.dump({"schema": KEY, "secret": secrets.token_hex(BYTES), "sheets": {}}, file)

    def word(self, *about: str) -> bytes:
        """What the secret says of these words, and of no others."""
        return hmac.new(self.secret, json.dumps(about).encode(), hashlib.sha256).digest()

    def seed(self, lesson: str, assign: str) -> int:
        """The seed of a sheet."""
        return int.from_bytes(self.word("seed", lesson, assign)[:8], "big")

    def number(self, lesson: str, assign: str) -> str:
        """The number of a sheet, which tells nothing of its seed."""
        return self.word("sheet", lesson, assign).hex()[:DIGITS]

    def keep(self, number: str, lesson: str, assign: str, answers: dict[str, Any]) -> None:
        """Write a sheet's answers into the key; the file is whole at any moment."""
        self.sheets[number] = {"lesson": lesson, "assign": assign, "answers": answers}
        text = json.dumps({"schema": KEY, "secret": self.secret.hex(), "sheets": self.sheets},
                          indent=1)
        try:
            folder = os.path.dirname(os.path.abspath(self.path))
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False,
                                             encoding="utf-8") as file:
                file.write(text)
            os.replace(file.name, self.path)
        except OSError as error:
            raise Trouble(f"{self.path}: {error.strerror}: the key must be writable where its "
                          "sheets are made") from error


def sealed(record: Record, number: str) -> Record:
    """The record as a sheet shows it: no seed, and nothing to run again."""
    return dataclasses.replace(record, seed=-1, number=number, change=[], solved=None)


def graded(record: Record) -> dict[str, Any]:
    """The answers that a sheet asks for: those that differ from seed to seed."""
    return {name: value for name, value in record.values.items() if name not in record.constant}


def sheet(record: Record, number: str, assign: str) -> dict[str, Any]:
    """What a student gets, with room for the answers."""
    shown = record.shown(False)
    titles, rows = shown.timeline()
    return {
        "schema": SHEET, "sheet": number, "for": assign, "lesson": record.name,
        "title": record.title, "about": record.about, "run": record.run,
        "picture": [list(titles), *([cell.text for cell in row] for row in rows)],
        "question": record.question, "given": record.given,
        "answers": dict.fromkeys(graded(record), ""),
    }


@dataclasses.dataclass
class SheetResult:
    """What a sheet is worth: how many answers are right, and what is to be said of the others."""

    path: str
    number: str = ""
    lesson: str = ""
    assign: str = ""
    right: int = 0
    total: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    unknown: list[str] = dataclasses.field(default_factory=list)
    trouble: str = ""


def judged(path: str, key: Key) -> SheetResult:
    """A sheet that was handed in; whatever is in it, a mark comes of it."""
    try:
        handed_in = read(path, SHEET)
    except Trouble as error:
        return SheetResult(path, trouble=str(error).removeprefix(f"{path}: "))
    number = str(handed_in.get("sheet"))
    made = key.sheets.get(number)
    if made is None:
        return SheetResult(path, number, trouble="this key has made no sheet of this number")
    truth, answers = made["answers"], handed_in.get("answers")
    mark = SheetResult(path, number, made["lesson"], made["assign"], total=len(truth))
    if not isinstance(answers, dict):
        mark.trouble, answers = "its answers are no object: give {name: value}", {}
    for name, value in truth.items():
        if answers.get(name, "") == "":
            mark.missing.append(name)
        elif name in answers and same(answers[name], value):
            mark.right += 1
        else:
            mark.wrong.append(name)
    mark.unknown = [str(name) for name in answers if name not in truth]
    return mark


def same(given: object, wanted: object) -> bool:
    """Is an answer right? A number may be written in hex, as text; true is no 1."""
    if isinstance(given, str) and isinstance(wanted, int) and not isinstance(wanted, bool):
        try:
            given = int(given, 0)
        except ValueError:
            return False
    if isinstance(given, list) and isinstance(wanted, list):
        return len(given) == len(wanted) and all(map(same, given, wanted))
    return type(given) is type(wanted) and given == wanted
