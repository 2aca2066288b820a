"""Runs a Python program unchanged, with a private line to devstack.

`python [flags] boot.py script X args…` is `python [flags] X args…`; `python [flags] boot.py module M args…` is `python [flags] -m M args…`.

Rule 1: nothing in here may raise into the program, block it, or outlive the supervisor: what goes wrong costs the line, never the program.
Rule 2: the program sees what it would see without us. The exceptions, kept short by a test (`test_inside_boot.py`):
  one open descriptor more, close-on-exec, when a channel is given; `_socket` is loaded when more than hello is said on it: with
  DEVSTACK_ROOTS that is before the first project file is read (at once when it is a TCP one; `encodings.ascii` too, with -X dev);
  one finder more on `sys.meta_path`, which also finds `devstack` for a `breakpoint()` where it is not installed;
  two frames more below the first one of the program;
  what our hooks wrap once the program has imported it: `bind` and `listen` of sockets, the selector of `socketserver` (`listen.py`);
  the command line that the operating system shows (`sys.argv` and `sys.orig_argv` are the program's own).
Rule 3: import next to nothing. `socket`, `threading` and the like belong to the program, which may want to patch them first (gevent).

DEVSTACK_CHANNEL is the address of the line (`channel.py`); it is taken out of the environment at once.
DEVSTACK_NODE is what sets a Celery worker's node name apart from that of an older run, DEVSTACK_LISTEN the listening sockets that an
older run lends this one (`fd:3,fd:4`), DEVSTACK_ROOTS says which directories are the project (`imports.py`), DEVSTACK_STANDBY that this
is a spare (`gate.py`, with what else a program out of a spare can see). All are taken out of the environment too.
"""

pristine = dict(globals())  # What the interpreter gives the main module of a script, in this version.

import os  # noqa: E402
import sys  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

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
    "uvicorn.server": "servers.py",
    "uvicorn.config": "reloaders.py",
    "werkzeug.serving": "reloaders.py",
    "flask.cli": "reloaders.py",
    "daphne.server": "servers.py",
    "debugpy.public_api": "servers.py",
    "django.template.loaders.cached": "templates.py",
}
"""When the program has imported the module, our file is run, and its `attach(channel, module)` called."""


def ours(file: str) -> "dict[str, Any]":
    """A file of ours, run. Not in sys.modules: a program that looks there finds nothing of ours."""
    name, path = "devstack.inside." + file[:-3], os.path.join(os.path.dirname(THIS_FILE), file)
    namespace: dict[str, Any] = {"__name__": name, "__file__": path}
    exec(pristine["__loader__"].__class__(name, path).get_code(name), namespace)
    return namespace


def open_channel(program: str, address: str, node: str, listen: str) -> "Any":
    try:
        return ours("channel.py")["open_channel"](program, address, node, listen)
    except Exception:
        return None


def hook(channel: "Any", file: str) -> "Callable[[object], None]":
    def attach(module: object) -> None:
        try:
            ours(file)["attach"](channel, module)
        except Exception:  # The program comes first.
            return

    return attach


def look_at_imports(channel: "Any", roots: "list[str]", standby: bool) -> "Any":
    """Our finder, first on sys.meta_path; None when that does not work."""
    try:
        hooks = {name: hook(channel, file) for name, file in HOOKS.items()}
        finder = ours("imports.py")["Finder"](channel, roots, hooks)
        channel.shared = bool(roots)
        channel.before_ready = finder.tell
        if standby:
            finder.gate = ours("gate.py")["Gate"](channel, finder, ours)
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
    channel = open_channel(what, told["CHANNEL"], told["NODE"], told["LISTEN"]) if told["CHANNEL"] else None
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
