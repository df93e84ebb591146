"""The rows of a table, whatever wrote it: .tsv, .csv, .jsonl and .json, by hand, by Excel, by pandas.

A row that does not fit its header is marked, never cut; a value that stands for nothing (NaN, None, null) is nothing;
and what is not UTF-8 is read where the file says what it is, else refused with the remedy.
"""

import csv
import gzip
import io
import json
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from cantowhisper.contracts import CantowhisperError

ENDINGS = (".tsv", ".csv", ".jsonl", ".ndjson", ".json")
DECADES = ("under ten", "teens", "twenties", "thirties", "forties")
DECADES += ("fifties", "sixties", "seventies", "eighties", "nineties")
ONE_SPELLING = {
    **dict.fromkeys(("f", "female_feminine", "feminine", "woman"), "female"),
    **dict.fromkeys(("m", "male_masculine", "masculine", "man"), "male"),
    "fourties": "forties",  # Common Voice's
}
WORDS = re.compile(r"[a-z][a-z _-]{1,30}")  # a number for a class, whose names are elsewhere, says nothing
NOT_SAID = ("other", "unknown", "do_not_wish_to_say", "none", "nan", "null", "na")
EXTRA = "\0extra"  # key of what a row has beyond its header's columns
DELIMITERS = {".tsv": "\t,;", ".csv": ",;\t"}  # the usual one first
ENCODINGS = ("big5hkscs", "gb18030", "cp1252")  # tried in this order, to name the likely one
MISSING = {"nan", "NaN", "NAN", "None", "null", "NULL", "<NA>", "N/A", "#N/A"}
SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "eval": "test", "testing": "test"}
SPLIT_NAMES |= dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation")
BROKEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # control characters, halves of surrogate pairs


def read_rows(table: Path, *, encoding: str | None = None) -> list[dict]:
    """The rows as {column: value}. Raises CantowhisperError when the table cannot be read as what its name says."""
    kind = [ending for ending in table.suffixes if ending.lower() != ".gz"][-1].lower()
    text = read_text(table, encoding=encoding)
    try:
        if kind in (".jsonl", ".ndjson", ".json"):
            return list(_json_rows(text, table))
        return list(delimited_rows(text, kind))
    except (csv.Error, RecursionError) as error:
        raise CantowhisperError(f"cannot read {table}: {error}") from error


def read_text(path: Path, *, encoding: str | None = None) -> str:
    """A text file, gzip-compressed or not. UTF-8, or UTF-16 and UTF-32 with the mark that says so, or `encoding`."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        return raw.decode(encoding or _encoding(raw))
    except (OSError, EOFError) as error:
        raise CantowhisperError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except (UnicodeDecodeError, LookupError) as error:
        likely = next((name for name in ENCODINGS if _decodes(raw, name)), "latin-1")
        wrong = f"not {encoding}" if encoding else "not UTF-8"
        raise CantowhisperError(
            f"cannot read {path}: it is {wrong} ({error}); save it as UTF-8, or say what it is: "
            f"SOURCE,encoding={likely} (or {', '.join(n for n in ENCODINGS if n != likely)}, …)"
        ) from error


def _encoding(raw: bytes) -> str:
    if raw[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    zeros = [raw[i:1000:2].count(0) for i in (0, 1)]  # without a mark: every second byte of a header is zero
    if max(zeros) > 20 and min(zeros) == 0:
        return "utf-16-le" if zeros[1] else "utf-16-be"
    return "utf-8-sig"


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def delimited_rows(text: str, kind: str) -> Iterator[dict]:
    """The rows of the text of a table. kind : the table's ending, .tsv or .csv"""
    header = text.split("\n", 1)[0]
    delimiter = next((mark for mark in DELIMITERS[kind] if mark in header), DELIMITERS[kind][0])
    quoted = kind == ".csv" if delimiter != "\t" else _is_quoted(text)
    how = {"strict": True} if quoted else {"quoting": csv.QUOTE_NONE}
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey=EXTRA, restval="", **how)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    for row in reader:
        if not any(cell.strip() for cell in row.pop(EXTRA, ())):  # a delimiter at the end of a line adds nothing
            yield row
        else:
            yield row | {EXTRA: True}


def _is_quoted(text: str) -> bool:
    """Whether a table with tabs was written by Excel or pandas, which put cells with quotes or line breaks in quotes.

    Others write cells as they are, and a bare " at the start of one would swallow the lines that follow. So all quotes
    must open and close whole cells, and every row must have as many cells as the header.
    """
    if '"' not in text:
        return False
    whole = re.sub(r'(?<![^\t\n])"(?:[^"]|"")*"(?=\t|\r?\n|$)', "", text)
    if '"' in whole:
        return False
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    try:
        return len({len(row) for row in rows if row}) == 1
    except csv.Error:
        return False


def _json_rows(text: str, table: Path) -> Iterator[dict]:
    for number, row in _json_values(text, table):
        if not isinstance(row, dict):
            raise CantowhisperError(f"{number} of {table} is no JSON object")
        yield row


def _json_values(text: str, table: Path) -> Iterator[tuple[str, object]]:
    """(where, value): the items of a JSON list, of lists named after splits, or one value a line."""
    try:
        whole = json.loads(text) if text.lstrip()[:1] in ("[", "{") and table.suffix.lower() == ".json" else None
    except json.JSONDecodeError:
        whole = None  # one object a line, under a name that promises a whole
    if isinstance(whole, list):
        yield from ((f"item {i}", row) for i, row in enumerate(whole, start=1))
    elif isinstance(whole, dict) and whole and all(isinstance(rows, list) for rows in whole.values()):
        for name, rows in whole.items():
            split = {"split": name} if name.lower() in SPLIT_NAMES else {}
            for i, row in enumerate(rows, start=1):
                yield f"item {i} of {name}", split | row if isinstance(row, dict) else row
    else:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line)
                except json.JSONDecodeError as error:
                    raise CantowhisperError(f"cannot read {table}: line {number}: {error}") from error


def as_text(value: object) -> str:
    """A cell as text: nothing for what stands for nothing, and 0 for a zero.

    >>> as_text(0), as_text(2.0), as_text(float("nan")), as_text(" NaN "), as_text(None), as_text({"path": "a.wav"})
    ('0', '2', '', '', '', 'a.wav')
    """
    if isinstance(value, dict):  # as `datasets` and Whisper-Finetune write a recording
        value = next((value[key] for key in ("path", "file", "url") if value.get(key)), None)
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    text = "" if value is None else str(value).strip()
    return "" if text in MISSING else text


def as_number(value: object) -> float | None:
    """A cell as a number; None for what is none, and for NaN and infinity."""
    try:
        number = float(as_text(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def printable(text: str) -> str:
    r"""With control characters, line breaks and halves of surrogate pairs spelled out: for names in reports.

    >>> printable("a\tb\n\ud800")
    'a\\tb\\n\\ud800'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@lru_cache(maxsize=4096)  # few pairs come again and again; a column of free text must not fill the memory
def traits_told(gender: str, age: str) -> tuple[str, str]:
    """What a source says of a speaker, in one spelling and ages in decades; "" where it says nothing that can be read.

    >>> traits_told("male_masculine", "fourties"), traits_told("F", "34.0"), traits_told("1", "?")
    (('male', 'forties'), ('female', 'thirties'), ('', ''))
    """
    years = as_number(age)
    if years is not None and 0 < years < 100:
        return traits_told(gender, DECADES[int(years // 10)])
    said = [text.strip().lower() for text in (gender, age)]
    said = [ONE_SPELLING.get(text, text) for text in said]
    gender, age = (text if WORDS.fullmatch(text) and text not in NOT_SAID else "" for text in said)
    return gender, age
