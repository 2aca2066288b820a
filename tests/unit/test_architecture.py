"""Who may import whom, where the system may be asked for, and the map in the package docstring."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import devstack

ROOT = Path(devstack.__file__).parent
ALLOWED = {
    "errors": set(),
    "core": {"core", "errors"},
    "config": {"config", "core", "errors", "kinds"},
    "host": {"host", "errors"},
    "probes": {"probes", "core", "errors"},
    "kinds": {"kinds", "core", "errors"},
    "runtime": {"runtime", "core", "errors", "host", "probes", "kinds"},
    "control": {"control", "core", "errors", "host", "config"},
    "inside": set(),
    "redisd": {"redisd"},
    "demo": {"demo", "core", "errors", "host"},
}
IMPURE = {"asyncio", "os", "time", "socket", "subprocess", "threading", "pathlib"}


def modules() -> Iterator[tuple[Path, str, ast.Module]]:
    """Every product module with its package (or its own name at the top)."""
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        if "project" not in relative.parts:
            yield relative, relative.parts[0].removesuffix(".py"), ast.parse(path.read_text("utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "devstack":
                yield from (f"devstack.{alias.name}" for alias in node.names)


def test_each_part_imports_only_what_lies_below_it() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, part, tree in modules()
        if part in ALLOWED
        for name in imported(tree)
        if name.startswith("devstack.") and name.split(".")[1] not in ALLOWED[part]
    ]
    assert not wrong


def test_nothing_imports_the_faces() -> None:
    faces = {"cli", "tui"}
    wrong = [
        f"{path} imports {name}"
        for path, part, tree in modules()
        if part not in {*faces, "__main__"}
        for name in imported(tree)
        if name.startswith("devstack.") and name.split(".")[1] in faces
    ]
    assert not wrong


def test_the_core_is_pure() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, part, tree in modules()
        if part == "core"
        for name in imported(tree)
        if name in IMPURE
    ]
    assert not wrong


def test_the_system_is_asked_for_only_in_host() -> None:
    wrong = [
        f"{path}:{node.lineno}"
        for path, part, tree in modules()
        if part not in ("host", "inside")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("sys", "platform"), ("os", "name")}
    ]
    assert not wrong


def test_a_heavy_library_is_imported_where_it_is_needed() -> None:
    heavy = {"celery", "kombu", "redis", "lupa", "psutil", "watchfiles", "honcho", "platformdirs"}
    wrong = [
        f"{path}:{node.lineno} imports {name}"
        for path, part, tree in modules()
        if part != "inside"
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in heavy
    ]
    assert not wrong


def test_the_map_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, set[str]] = {}
    for entry in re.split(r"^  (?=\w+/)", devstack.__doc__ or "", flags=re.MULTILINE)[1:]:
        lines = entry.splitlines()
        package, _, first = lines[0].partition("/")
        drawn[package] = {
            word for line in [first, *lines[1:]] if re.fullmatch(r"[a-z_ ]+", line) for word in line.split()
        }
    packages = [each for each in ROOT.iterdir() if (each / "__init__.py").exists()]
    real = {each.name: {module.stem for module in each.glob("*.py")} - {"__init__"} for each in packages}
    assert {name: modules & drawn.get(name, set()) for name, modules in real.items()} == real
    assert set(drawn) == set(real)


def test_every_module_that_the_map_names_is_there() -> None:
    words = [
        word
        for line in (devstack.__doc__ or "").splitlines()
        if re.fullmatch(r"  \w+/ +[a-z_ ]+", line)
        for word in line.split()[1:]
    ]
    assert words
    missing = [word for word in words if not list(ROOT.glob(f"*/{word}.py"))]
    assert not missing
