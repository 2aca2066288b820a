"""What is checked without running the code: ruff's lint and format, mypy for each system. Exits 1 when one of them objects.

    python scripts/check.py

Needs the development dependencies: `python scripts/test.py` makes an environment that has them and runs this, too.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("linux", "darwin", "win32")
CHECKS = [
    ("ruff check", ["ruff", "check", "--quiet", "."]),
    ("ruff format", ["ruff", "format", "--check", "--quiet", "."]),
    *((f"mypy for {system}", ["mypy", "--no-error-summary", "--platform", system]) for system in SYSTEMS),
    (
        "mypy for scripts",
        ["mypy", "--no-error-summary", *sorted(str(file) for file in (ROOT / "scripts").glob("*.py"))],
    ),
]


def main() -> int:
    failed = []
    for name, command in CHECKS:
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode
        print(f"{name}: {'failed' if code else 'ok'}", flush=True)
        if code:
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
