"""The table of `devstack ps`, from what the stack says of its processes. Imported by the instant client: nothing but strings."""

from __future__ import annotations

HEAD = ("NAME", "PHASE", "PID", "UP", "RESTARTS", "CPU", "MEM", "URL", "WHY")


def text(rows: list[dict[str, object]], width: int = 0) -> str:
    """With `width`, lines are cut there."""
    cells = [HEAD, *map(_cells, rows)]
    # The last column is as wide as it likes.
    widths = [max(len(row[n]) for row in cells) for n in range(len(HEAD) - 1)]
    lines = [
        "  ".join([*(cell.ljust(size) for cell, size in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in cells
    ]
    return "\n".join(line[:width] if width else line for line in lines)


def duration(value: float) -> str:
    """`5s`, `2m`, `3h`, `4d`."""
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if value >= size:
            return f"{value / size:.0f}{letter}"
    return f"{value:.0f}s"


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    port = row["port"]
    return (
        str(row["name"]),
        str(row["phase"]),
        str(row["pid"] or "-"),
        duration(up) if isinstance(up := row["up"], int | float) else "-",
        str(row["restarts"] or "-"),
        f"{cpu:.1f}%" if isinstance(cpu := row["cpu"], int | float) else "-",
        _size(memory) if isinstance(memory := row["memory"], int) else "-",
        str(row["url"] or (f":{port}" if port else "-")),
        " ".join(str(row["why"]).split()),
    )


def _size(value: int) -> str:
    return f"{value / 2**30:.1f}G" if value >= 2**30 else f"{value / 2**20:.0f}M"


def document(rows: list[dict[str, object]]) -> str:
    import json

    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
