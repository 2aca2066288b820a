"""Runs a Python program unchanged, with a private line to devstack.

`python [flags] boot.py script X args…` is `python [flags] X args…`; `python [flags] boot.py module M args…` is `python [flags] -m M args…`.

Rule 1: nothing in here may raise into the program, block it, or outlive the supervisor: what goes wrong costs the line, never the program.
Rule 2: the program sees what it would see without us. The exceptions, kept short by a test (`test_inside_boot.py`):
  one open descriptor more, close-on-exec, when a channel is given; `_socket` is loaded when more than hello is said on it: with
  DEVSTACK_ROOTS that is before the first project file is read (at once when it is a TCP one; `encodings.ascii` too, with -X dev);
  one finder more on `sys.meta_path`; two frames more below the first one of the program;
  what our hooks wrap once the program has imported it: `bind` and `listen` of sockets, the selector of `socketserver` (`listen.py`);
  the command line that the operating system shows (`sys.argv` and `sys.orig_argv` are the program's own).
Rule 3: import next to nothing. `socket`, `threading` and the like belong to the program, which may want to patch them first (gevent).

DEVSTACK_CHANNEL is `fd:N` (one end of a socket pair) or `tcp:PORT:TOKEN` (loopback); it is taken out of the environment at once. What
is said there are JSON objects, one a line, each with a "type"; `beacon.py` says most of them. What comes
back are orders: plain lines of words.
DEVSTACK_NODE is what sets a Celery worker's node name apart from that of an older run, DEVSTACK_LISTEN the listening sockets that an
older run lends this one (`fd:3,fd:4`), DEVSTACK_ROOTS says which directories are the project (`imports.py`), DEVSTACK_STANDBY that this
is a spare (`gate.py`, with what else a program out of a spare can see). All are taken out of the environment too.
"""

pristine = dict(globals())  # What the interpreter gives the main module of a script, in this version.

import _thread  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_WAITING = 256
LONGEST_ORDER = 1 << 20
MOST_DESCRIPTORS = 16
HOOKS = {
    "celery.signals": "beacon.py",
    "celery.apps.worker": "worker.py",
    "celery.worker.consumer.mingle": "mingle.py",
    "socket": "listen.py",
    "gevent._socket3": "listen.py",
    "socketserver": "threaded.py",
    "uvloop": "servers.py",
    "gunicorn.workers.base": "servers.py",
    "gunicorn.workers.gthread": "servers.py",
    "daphne.server": "servers.py",
    "django.template.loaders.cached": "templates.py",
}
"""When the program has imported the module, our file is run, and its `attach(channel, module)` called."""
READY = ("worker_ready", "beat_ready", "listening")
"""Before one of these is said, so is what else there is to say about imports."""


class Channel:
    """The line to the supervisor: `say` never blocks and never raises.

    Only the process that opened it speaks; its forks (a prefork pool) leave a `note`. A program may close descriptors that it does not know
    (daemons do): before each use we look whether ours is still the same socket, so that a file which got its number is never written to.
    """

    def __init__(self, descriptor: int, program: str, node: str = "", listen: str = "") -> None:
        self.descriptor = descriptor
        self.program = program
        self.identity = self.look()
        self.pid = os.getpid()
        self.waiting = [b""][:0]
        self.unread = b""
        self.arrived = [0][:0]
        """Descriptors that came with the first part of an order."""
        self.shared = False
        """Whether forks have something to say."""
        self.before_ready: Callable[[], None] | None = None
        self.node = node
        self.listeners = [int(each[3:]) for each in listen.split(",") if each.startswith("fd:")]
        for each in self.listeners:
            os.set_inheritable(each, False)
        self.lock = _thread.allocate_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def look(self) -> "tuple[int, int] | None":
        if sys.platform == "win32":  # A socket is no descriptor there, and nobody closes what is not his.
            return None
        found = os.fstat(self.descriptor)
        return found.st_dev, found.st_ino

    def forget(self) -> None:
        """In a fork: the line belongs to the process that opened it; what others may say is a `note`."""
        self.pid = -1
        self.waiting = []
        try:
            if not self.shared and self.look() == self.identity:
                os.close(self.descriptor)
        except Exception:
            pass

    def adopt(self, descriptor: int) -> None:
        """Speak on another line from now on: a fork of a spare has got one of its own."""
        os.dup2(descriptor, self.descriptor, inheritable=False)
        os.close(descriptor)
        self.identity = self.look()
        self.pid = os.getpid()
        self.waiting = []
        self.unread = b""
        self.arrived = []

    def note(self, type: str, **fields: object) -> bool:
        """One short message, sent whole and at once, or not at all: False. Forks may send such ones too."""
        if os.getpid() == self.pid:
            return self.say(type, **fields)
        try:
            if type in READY and self.before_ready:
                self.before_ready()
            if self.look() != self.identity:
                return False
            line, flags = self.line()
            try:
                line.send(as_json(dict(fields, type=type)).encode("utf-8", "replace") + b"\n", flags)
                return True
            finally:
                line.detach()
        except Exception:
            return False

    def say(self, type: str, **fields: object) -> bool:
        """Hand over one message; dropped when nobody reads for long: False. Callable from any thread and from signal handlers."""
        try:
            if os.getpid() != self.pid:
                return False
            if type in READY and self.before_ready:
                self.before_ready()
            if len(self.waiting) >= MAX_WAITING:
                self.send_waiting()  # The reader may be awake again.
            if len(self.waiting) < MAX_WAITING:
                self.waiting.append(as_json(dict(fields, type=type)).encode("utf-8", "replace") + b"\n")
                self.send_waiting()
                return True
        except Exception:
            self.pid = -1
        return False

    def say_with(self, descriptors: "list[int]", type: str, **fields: object) -> None:
        """Hand over one message with copies of descriptors, where the line can carry any; it is sent at once or not at all."""
        try:
            import _socket

            if sys.platform == "win32" or os.getpid() != self.pid or self.look() != self.identity:
                return
            if type in READY and self.before_ready:
                self.before_ready()
            self.send_waiting()
            if self.waiting:
                return
            data = as_json(dict(fields, type=type)).encode("utf-8", "replace") + b"\n"
            packed = b"".join(each.to_bytes(4, sys.byteorder) for each in descriptors)
            line, flags = self.line()
            try:
                line.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)], flags)
            finally:
                line.detach()
        except Exception:
            pass

    def receive(self, block: bool = False) -> "list[tuple[list[str], list[int]]]":
        """The orders that have come, each as its words and the descriptors that came with it. EOFError when the supervisor is gone."""
        import _socket

        if os.getpid() != self.pid or self.look() != self.identity:
            raise EOFError
        line, _ = self.line()
        try:
            if block:
                line.settimeout(None)
            if sys.platform == "win32":
                data = line.recv(LONGEST_ORDER)
            else:
                data, extra, _, _ = line.recvmsg(LONGEST_ORDER, _socket.CMSG_SPACE(4 * MOST_DESCRIPTORS))
                for _, _, packed in extra:
                    found = [packed[at : at + 4] for at in range(0, len(packed) - 3, 4)]
                    self.arrived += [int.from_bytes(each, sys.byteorder) for each in found]
        except (BlockingIOError, InterruptedError):
            return []
        except ConnectionError:
            raise EOFError from None
        finally:
            line.detach()
        if not data:
            raise EOFError
        for each in self.arrived:
            os.set_inheritable(each, False)
        *whole, self.unread = (self.unread + data).split(b"\n")
        orders: list[tuple[list[str], list[int]]] = [(each.decode("utf-8", "replace").split(), []) for each in whole]
        if orders:  # The system does not join what comes after descriptors to what came with them.
            orders[-1] = (orders[-1][0], self.arrived)
            self.arrived = []
        return orders

    def line(self) -> "tuple[Any, int]":
        """Our descriptor as a socket that does not block, whatever the program's default is, to be detached; and flags to send with."""
        import _socket

        line = _socket.socket(fileno=self.descriptor)
        line.settimeout(0)
        # MSG_NOSIGNAL: a program may have given SIGPIPE its deadly default back.
        return line, getattr(_socket, "MSG_DONTWAIT", 0) | getattr(_socket, "MSG_NOSIGNAL", 0)

    def send_waiting(self) -> None:
        while self.waiting and self.lock.acquire(False):  # Whoever holds the lock sends ours too.
            try:
                drained = self.drain()
            finally:
                self.lock.release()
            if not drained:
                return

    def drain(self) -> bool:
        if self.look() != self.identity:
            raise OSError("the program closed the channel")
        line, flags = self.line()
        try:
            while self.waiting:
                sent = line.send(self.waiting[0], flags)
                rest = self.waiting[0][sent:]
                if rest:
                    self.waiting[0] = rest
                    return False
                del self.waiting[0]
            return True
        except (BlockingIOError, InterruptedError):
            return False
        finally:
            line.detach()


def as_json(value: object) -> str:
    """JSON without the json module, which the program may never load."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value) if value - value == 0 else "null"
    if isinstance(value, dict):
        return "{" + ",".join(as_json(str(key)) + ":" + as_json(item) for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ",".join(map(as_json, value)) + "]"
    if type(value) is str and value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return '"' + value + '"'  # Nearly all of them.
    plain = (c if c >= " " and c not in '"\\' else f"\\u{ord(c):04x}" for c in str(value))
    return '"' + "".join(plain) + '"'


def is_socket(descriptor: int) -> bool:
    return os.fstat(descriptor).st_mode & 0o170000 == 0o140000


def greeting(program: str) -> bytes:
    version = ".".join(map(str, sys.version_info[:3]))
    said = {"type": "hello", "pid": os.getpid(), "python": version, "program": program}
    return as_json(said).encode("utf-8", "replace") + b"\n"


def greet(channel: Channel) -> None:
    os.write(channel.descriptor, greeting(channel.program))


def open_channel(program: str, address: str, node: str, listen: str) -> "Channel | None":
    if not address:
        return None
    try:
        how, _, rest = address.partition(":")
        if how == "fd":
            if not is_socket(int(rest)):
                return None
            channel = Channel(int(rest), program, node, listen)
            os.set_inheritable(channel.descriptor, False)
            # A fresh socket has room, and Python ignores SIGPIPE until somebody says otherwise: plain `write` will do.
            os.write(channel.descriptor, greeting(program))
            return channel
        if how == "tcp":
            import _socket

            port, _, token = rest.partition(":")
            line = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
            line.settimeout(2)
            line.connect(("127.0.0.1", int(port)))
            line.send(token.encode() + b"\n" + greeting(program))
            line.setblocking(False)
            return Channel(line.detach(), program, node, listen)
    except Exception:
        pass
    return None


def ours(file: str) -> "dict[str, Any]":
    """A file of ours, run. Not in sys.modules: a program that looks there finds nothing of ours."""
    name, path = "devstack.inside." + file[:-3], os.path.join(os.path.dirname(THIS_FILE), file)
    namespace: dict[str, Any] = {"__name__": name, "__file__": path}
    exec(pristine["__loader__"].__class__(name, path).get_code(name), namespace)
    return namespace


def hook(channel: Channel, file: str) -> "Callable[[object], None]":
    def attach(module: object) -> None:
        try:
            ours(file)["attach"](channel, module)
        except Exception:  # The program comes first.
            return

    return attach


def look_at_imports(channel: Channel, roots: "list[str]", standby: bool) -> "Any":
    """Our finder, first on sys.meta_path; None when that does not work."""
    try:
        hooks = {name: hook(channel, file) for name, file in HOOKS.items()}
        finder = ours("imports.py")["Finder"](channel, roots, hooks)
        channel.shared = bool(roots)
        channel.before_ready = finder.tell
        if standby:
            finder.gate = ours("gate.py")["Gate"](channel, finder, greet, ours)
        sys.meta_path.insert(0, finder)
        for name in list(finder.hooks):
            if name in sys.modules:  # A sitecustomize may have been here.
                finder.hooks.pop(name)(sys.modules[name])
        return finder
    except Exception:
        return None


def fresh_main(path: str = "") -> object:
    """A `__main__` as the interpreter makes it, for the script at `path` or for `-m`."""
    main = type(sys)("__main__")
    main.__dict__.clear()
    main.__dict__.update(pristine, __doc__=None)
    for name in ("__file__", "__cached__"):
        if not path:
            main.__dict__.pop(name, None)
    if path:
        main.__dict__["__file__"] = path
        loader: object = pristine["__loader__"].__class__("__main__", path)
        if path.endswith(".pyc"):
            loader = sys.modules["_frozen_importlib_external"].SourcelessFileLoader("__main__", path)
        main.__dict__["__loader__"] = loader
    else:
        main.__dict__["__loader__"] = sys.modules["_frozen_importlib"].BuiltinImporter
    sys.modules["__main__"] = main
    return main


def first_on_path(directory: "str | None") -> None:
    """The entry which the interpreter puts first on sys.path: it named our directory, the program's belongs there."""
    sys.path_importer_cache.pop(THIS_FILE, None)
    if sys.flags.isolated or getattr(sys.flags, "safe_path", False):
        return
    if directory is None:
        del sys.path[0]
    else:
        sys.path[0] = directory


def importer(path: str) -> object:
    for hook in sys.path_hooks:
        try:
            return hook(path)
        except ImportError:
            pass
    return None


def run_script(path: str, finder: "Any") -> None:
    name = path
    if sys.version_info >= (3, 9) and not os.path.isabs(path):
        name = os.path.abspath(path) if sys.platform == "win32" or path == "." else os.path.join(os.getcwd(), path)
    if os.path.isdir(name):
        first_on_path(name)
    elif sys.platform == "win32":
        first_on_path(os.path.dirname(os.path.abspath(path)))
    else:
        first_on_path(os.path.dirname(os.path.realpath(path)))
    main = fresh_main(name)
    if finder is not None:
        finder.script(name)
    found = sys.path_importer_cache[name] = importer(name)  # type: ignore[assignment]
    if found is not None:  # A directory or zip file with a __main__.py.
        first_on_path(None)
        sys.path.insert(0, name)
        import runpy

        fresh_main()
        runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]
        return
    try:
        if path.endswith(".pyc"):
            code = main.__loader__.get_code("__main__")  # type: ignore[attr-defined]
        else:
            import io

            with io.open_code(name) as file:
                source = file.read()
            code = compile(source, name, "exec", dont_inherit=True)
    except OSError as error:
        program = getattr(sys, "orig_argv", [sys.executable])[0]
        sys.stderr.write(f"{program}: can't open file {name!r}: [Errno {error.errno}] {error.strerror}\n")
        sys.exit(2)
    exec(code, main.__dict__)
    for gone in (
        "__file__",
        "__cached__",
    ):  # As the interpreter does at the end of a script: atexit functions do not see them.
        main.__dict__.pop(gone, None)


def run_module(name: str, finder: "Any") -> None:
    sys.argv[0] = "-m"
    try:
        first_on_path(os.getcwd())
    except OSError:
        first_on_path(None)
    import runpy

    fresh_main()
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]


def without_us(error: BaseException) -> None:
    """Let the interpreter report `error` as usual, without the frames of this file."""
    rest = error.__traceback__
    while rest is not None and rest.tb_frame.f_code.co_filename == THIS_CODE:
        rest = rest.tb_next
    hook = sys.excepthook

    def report(kind: "type[BaseException]", value: BaseException, traceback: object) -> None:
        sys.excepthook = hook
        sys.last_traceback = rest
        hook(kind, value.with_traceback(rest), rest)

    sys.excepthook = report


THIS_FILE = sys.argv[0]
THIS_CODE = without_us.__code__.co_filename


def start() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in ("script", "module"):
        sys.exit("usage: python boot.py script FILE [ARGUMENT…] | module NAME [ARGUMENT…]")
    how, what = sys.argv[1:3]
    del sys.argv[:2]
    original = getattr(sys, "orig_argv", None)
    if original and THIS_FILE in original:
        at = original.index(THIS_FILE)
        original[at : at + 2] = ["-m"] if how == "module" else []
    told = {name: os.environ.pop("DEVSTACK_" + name, "") for name in ("CHANNEL", "NODE", "LISTEN", "ROOTS", "STANDBY")}
    channel = open_channel(what, told["CHANNEL"], told["NODE"], told["LISTEN"])
    roots = [each for each in told["ROOTS"].split(os.pathsep) if each]
    finder = look_at_imports(channel, roots, bool(told["STANDBY"])) if channel is not None else None
    if told["STANDBY"] and finder is None:
        os._exit(1)  # Nobody could tell this spare to wait: it must not become a second program.
    run = run_module if how == "module" else run_script
    try:
        run(what, finder)
    except SystemExit:
        raise
    except BaseException as error:
        without_us(error)
        raise


start()
