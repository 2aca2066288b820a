"""What a spare trips over before it comes to its project by way of an import: a file that it opens or runs, a socket, a fork.

Functions that lead there are replaced by ones that ask the gate first. At the gate all of them are put back, everywhere.

Rule 1: nothing is left of this when the program goes on. (What cannot be taken back, `os.register_at_fork`, does nothing then.)
Rule 2: they call what they replace, with the same words, also when somebody has kept one of them.
"""

import builtins
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Wire:
    """In place of a built-in function: like one it does not become a method where a class has it for an attribute."""

    def __init__(self, trip: "Callable[[Any], object]", real: "Callable[..., Any]") -> None:
        self.trip, self.real = trip, real

    def __call__(self, file: "Any", *words: "Any", **named: "Any") -> "Any":
        self.trip(file)
        return self.real(file, *words, **named)

    def __getattr__(self, name: str) -> "Any":
        return getattr(self.real, name)


class Wires:
    """Laid at once; `lift()` takes them away. `finder.reach(place)` waits at the gate, or raises while the spare is being warmed."""

    def __init__(self, finder: "Any") -> None:
        self.finder = finder
        self.lifted = False
        self.laid: list[tuple[Any, str, Any, Any]] = []
        """Owner, name, what belongs there, what we have put there."""
        self.lay_on_files()
        self.after_import("socket", self.lay_on_sockets)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.before_fork)

    def after_import(self, name: str, then: "Callable[[Any], None]") -> None:
        """Also when `name` is imported only later; on top of what our other files make of it."""
        hooks = self.finder.hooks
        if name in sys.modules:
            then(sys.modules[name])
            return
        other = hooks.get(name)

        def both(module: "Any") -> None:
            if other:
                other(module)
            then(module)

        hooks[name] = both

    def trip(self, place: str) -> None:
        if not self.lifted:
            self.finder.reach(place)

    def before_fork(self) -> None:
        """Nothing can be raised in there."""
        warming = self.finder.gate and self.finder.gate.warming
        if warming:
            warming.touched = "it asks for a fork"
        else:
            self.trip("a fork")

    def put(self, owner: "Any", name: str, new: "Any") -> None:
        if self.lifted:
            return
        self.laid.append((owner, name, vars(owner).get(name), new))
        setattr(owner, name, new)

    def lift(self) -> None:
        """Once. Also from the modules that have taken one of ours for the function of that name (`from io import open`)."""
        if self.lifted:
            return
        belongs = {id(new): old for _, _, old, new in self.laid if old is not None}
        for owner, name, old, new in reversed(self.laid):
            if vars(owner).get(name) is not new:  # Somebody has wrapped it.
                continue
            if old is None:
                delattr(owner, name)
            else:
                setattr(owner, name, old)
        self.lifted = True
        for module in list(sys.modules.values()):
            names: dict[str, Any] = module.__dict__ if isinstance(module, type(sys)) else {}
            for name, value in list(names.items()):
                if id(value) in belongs:
                    names[name] = belongs[id(value)]
                elif type(value) is type:
                    for key, kept in list(vars(value).items()):
                        if id(kept) in belongs:
                            setattr(value, key, belongs[id(kept)])

    # Files

    def lay_on_files(self) -> None:
        for name, owners in (("open", (builtins, io)), ("open_code", (io,))):
            wire = Wire(self.before_reading, getattr(io, name))
            for owner in (*owners, sys.modules["_io"]):
                self.put(owner, name, wire)
        loader: Any = sys.modules["_frozen_importlib_external"].SourceLoader
        real_get_code = loader.get_code

        def get_code(this: "Any", fullname: str) -> "Any":
            # Before it looks when the file was saved. A configuration file is mostly imported like this, by its path.
            path = this.get_filename(fullname)
            if self.before_reading(path):
                self.finder.refresh(this, path)
                self.finder.use(os.path.abspath(path))
            return real_get_code(this, fullname)

        self.put(loader, "get_code", get_code)

    def before_reading(self, path: "Any") -> bool:
        if self.lifted:
            return False
        try:
            file = os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ""
            ours = bool(file) and self.finder.is_project(file)
        except Exception:
            return False
        if ours:
            self.trip(file)
        return ours

    # Sockets

    def lay_on_sockets(self, socket: "Any") -> None:
        """Except for a port that the system chooses: libraries find out in this way whether there is IPv6."""

        real_bind, real_connect = socket.socket.bind, socket.socket.connect

        def bind(this: "Any", address: "Any") -> None:
            if not (isinstance(address, tuple) and address[1:2] == (0,)):
                self.trip(f"a socket bound to {address}")
            real_bind(this, address)

        def connect(this: "Any", address: "Any") -> None:
            self.trip(f"a connection to {address}")
            real_connect(this, address)

        self.put(socket.socket, "bind", bind)
        self.put(socket.socket, "connect", connect)
