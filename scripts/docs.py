"""Writes what the code knows into the documents: the settings into README.md, the phases of a process into CONTRIBUTING.md.

    python scripts/docs.py [--check]

--check writes nothing and fails when a document is out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from devstack.config.settings import reference  # noqa: E402
from devstack.core.table import TABLE  # noqa: E402


def diagram() -> str:
    """The table of `core/table.py` as a Mermaid state diagram; what changes no phase is left out."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, meaning), (after, _) in TABLE.items():
        if before is not after:
            arrows.setdefault((before.name, after.name), []).append(meaning)
    lines = [f"    {before} --> {after}: {', '.join(meanings)}" for (before, after), meanings in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> DOWN", *lines, "```"])


DOCUMENTS = {("README.md", "settings"): reference, ("CONTRIBUTING.md", "phases"): diagram}


def filled(document: str, marker: str, text: str) -> str:
    """The document with `text` between `<!-- marker -->` and `<!-- /marker -->`. LookupError when the markers are not there."""
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    if not pattern.search(document):
        raise LookupError(f"no <!-- {marker} --> … <!-- /{marker} -->")
    return pattern.sub(lambda match: f"{match[1]}{text.strip()}\n{match[2]}", document)


def main() -> int:
    stale = []
    for (name, marker), text in DOCUMENTS.items():
        path = ROOT / name
        before = path.read_text("utf-8")
        after = filled(before, marker, text())
        if after != before:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(after, "utf-8")
    if "--check" in sys.argv and stale:
        print(f"{', '.join(stale)} is out of date: python scripts/docs.py")
        return 1
    print(f"written: {', '.join(stale)}" if stale else "nothing to do: the documents are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
