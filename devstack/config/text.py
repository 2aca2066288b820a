"""Reading a text file that a person wrote: what is wrong with its bytes becomes a sentence.

Rule 1: UTF-8, with or without a BOM; CRLF and CR count as line ends; everything else is refused by its name, never guessed.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from devstack.errors import DevstackError

LINE_END = re.compile(r"\r\n|\n|\r")
"""Not str.splitlines(), which also splits at form feeds and at U+0085."""
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(path: Path, where: str, fix_missing: str = "") -> str:
    """The text of `path` with "\\n" as its line end. `where` is how the file is called in errors ("Procfile")."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DevstackError(f"{where} does not exist", why=f"looked for {path}", fix=fix_missing) from None
    except IsADirectoryError:
        raise DevstackError(f"{where} is a directory, not a file", why=str(path)) from None
    except PermissionError as error:
        if path.is_dir():  # Windows answers EACCES for a directory.
            raise DevstackError(f"{where} is a directory, not a file", why=str(path)) from None
        raise DevstackError(f"{where} cannot be read", why=str(error), fix="make it readable for you") from None
    except (OSError, ValueError) as error:
        raise DevstackError(f"{where} cannot be read", why=str(error)) from None
    return decode(data, where)


def decode(data: bytes, where: str) -> str:
    save = "save it as UTF-8 (PowerShell: Set-Content -Encoding utf8; Notepad: Save as, Encoding UTF-8)"
    if data.startswith(_WIDE) or any(half.count(0) > len(half) // 2 > 0 for half in (data[0:40:2], data[1:40:2])):
        raise DevstackError(f"{where} is UTF-16, not UTF-8", why="PowerShell's > writes UTF-16", fix=save, where=where)
    if b"\0" in data:
        raise DevstackError(f"{where} is not a text file", why="it holds zero bytes", where=where)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = len(LINE_END.findall(data[: error.start].decode("latin-1"))) + 1
        why = f"byte 0x{data[error.start]:02x} in line {number}"
        raise DevstackError(f"{where} is not UTF-8", why=why, fix=save, where=f"{where}:{number}") from None
    return LINE_END.sub("\n", text)
