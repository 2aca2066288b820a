"""Prints the Celery settings of a project, as one line of JSON. Run by the project's interpreter, in its directory and environment.

    python ask.py --app shop [--broker URL] [--config MODULE] [--loader NAME] [--result-backend URL] [--workdir DIR] [--fd N]
    python ask.py --django shop.settings [--fd N]

The app is loaded as `celery -A` loads it; without --app and --django it is the default one (celeryconfig.py). The line goes to descriptor
N, or to standard output after MARKER; whatever the project prints meanwhile goes to standard error.

Rule 1: a project that cannot be loaded is an answer too: "error" is one sentence with the file and line to look at, "where" that place
(when it is in the project), and "path" are the directories in which modules were looked for.
Rule 2: the broker's URL is whole, with its password: the line is for a private pipe.
"""

import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec

MARKER = "devstack-ask:"
OPENED: "set[str]" = set()
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def main() -> "NoReturn":
    options = parse(sys.argv[1:])
    sys.addaudithook(note_opening)
    if "fd" in options:
        out, start = int(options["fd"]), b""
    else:
        out, start = os.dup(1), MARKER.encode()
    os.dup2(2, 1)  # Projects print while they are imported.
    if options.get("workdir"):
        os.chdir(options["workdir"])
    here = os.getcwd()
    if getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, here)
    else:
        sys.path[0] = here  # It named the directory of this file.
    answer: dict[str, Any] = {"python": ".".join(map(str, sys.version_info[:3]))}
    try:
        answer.update(settings_of(load(options)))
    except BaseException as caught:
        error = reason(caught, options)
        answer.update(error=sentence(error, here), where=where(error, here))
        answer["path"] = sorted({os.path.abspath(each) for each in sys.path if os.path.isdir(each or ".")})
        # They are not among the modules, and the source of one that has been compiled before was not opened.
        OPENED.update(os.path.abspath(path) for path, _ in lines(error))
    answer.update(versions=versions(), files=files(here))
    line = start + json.dumps(answer, default=str).encode() + b"\n"
    while line:
        line = line[os.write(out, line) :]
    sys.stderr.flush()
    os._exit(0)  # A project may have started threads that never end.


def parse(words: "list[str]") -> "dict[str, str]":
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        sys.exit("usage: ask.py [--app APP | --django SETTINGS] [--fd N] …")
    return {name[2:]: value for name, value in zip(words[::2], words[1::2])}  # noqa: B905 (3.8)


def load(options: "dict[str, str]") -> "Any":
    for option, variable in (
        ("broker", "CELERY_BROKER_URL"),
        ("result-backend", "CELERY_RESULT_BACKEND"),
        ("loader", "CELERY_LOADER"),
        ("config", "CELERY_CONFIG_MODULE"),
    ):
        if options.get(option):
            os.environ[variable] = options[option]
    if "django" in options:
        return of_django(options["django"])
    from celery import Celery, current_app
    from celery.app.utils import find_app

    name = options.get("app") or os.environ.get("APP")
    if not name:
        return current_app._get_current_object()
    app = find_app(name)
    if not isinstance(app, Celery) and not hasattr(app, "conf"):
        raise ValueError(f"{name} is a {type(app).__name__}, not a Celery app")
    return app


def reason(error: BaseException, options: "dict[str, str]") -> BaseException:
    """What really went wrong. Celery hides two things: an exception of the Django settings, and an ImportError in `<app>.celery`."""
    name = options.get("app") or os.environ.get("APP") or ""
    if not isinstance(error, (AttributeError, KeyError)):
        return error
    for hidden in (import_settings, lambda: import_celery_of(name)):
        try:
            hidden()
        except BaseException as found:
            return found
    return error


def import_settings() -> None:
    """The Django settings, which the app may have named itself: Celery takes a KeyError in them for a setting that is not there."""
    if os.environ.get("DJANGO_SETTINGS_MODULE") and find_spec("django"):
        import_module(os.environ["DJANGO_SETTINGS_MODULE"])


def import_celery_of(name: str) -> None:
    """`shop/celery.py`, when there is one: for `-A shop` Celery looks there, and goes on when it cannot be imported."""
    if hasattr(sys.modules.get(name), "__path__") and find_spec(f"{name}.celery"):
        import_module(f"{name}.celery")


def of_django(settings: str) -> "Any":
    """The app beside the settings (`shop.celery` for `shop.settings`), else one made of the settings' own names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings)
    from celery import Celery
    from celery.app.utils import find_app

    django_settings = import_module("django.conf").settings
    package = settings.partition(".")[0]
    try:
        app = find_app(package)
        if hasattr(app, "conf"):
            return app
    except (ImportError, AttributeError):
        pass
    app = Celery(package, set_as_current=False)
    old_names = hasattr(django_settings, "BROKER_URL") and not hasattr(django_settings, "CELERY_BROKER_URL")
    app.config_from_object("django.conf:settings", namespace=None if old_names else "CELERY")
    return app


def settings_of(app: "Any") -> "dict[str, Any]":
    conf = app.conf
    broker = first(conf.broker_read_url)
    return {
        "app": app.main,
        "broker_url": broker or app.connection_for_read().as_uri(include_password=True),
        "broker_set": bool(broker),
        "broker_transport_options": jsonable(conf.broker_transport_options),
        "result_backend": first(conf.result_backend),
        "control_exchange": conf.control_exchange,
        "task_default_queue": conf.task_default_queue,
        "queues": list(app.amqp.queues),
        "beat_scheduler": conf.beat_scheduler,
        "beat_entries": len(conf.beat_schedule or {}),
        "task_always_eager": bool(conf.task_always_eager),
        "worker_pool": conf.worker_pool,
        "timezone": str(conf.timezone) if conf.timezone else None,
        "enable_utc": bool(conf.enable_utc),
    }


def first(url: "Any") -> "str | None":
    """Celery takes several brokers, as a list or with semicolons, and tries them in order."""
    if isinstance(url, (list, tuple)):
        url = url[0] if url else None
    if not url:
        return None
    return str(url) if str(url).startswith("sentinel") else str(url).split(";")[0]


def jsonable(value: "Any") -> "Any":
    """The part of it that JSON can hold."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items() if isinstance(key, str) and keeps(item)}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value if keeps(item)]
    return value


def keeps(value: "Any") -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, tuple, dict))


def sentence(error: BaseException, here: str) -> str:
    """`KeyError: 'SECRET_KEY' (shop/settings.py:12)`: what happened, and the project's innermost line."""
    what = str(error).strip().splitlines()
    text, at = what[0] if what else "", where(error, here)
    if isinstance(error, SyntaxError) and error.filename:
        text = error.msg
    if isinstance(error, ModuleNotFoundError) and error.name in ("celery", "django"):
        text = f"{error.name} is not installed for {sys.executable}"
    elif isinstance(error, AttributeError) and not at:
        text = f"no Celery app there: {text}"  # find_app's own.
    elif not isinstance(error, (ImportError, AttributeError, ValueError)) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{text} ({at})" if at else text


def where(error: BaseException, here: str) -> str:
    """The project's innermost line that has to do with it; empty when there is none."""
    places = [place(path, line, here) for path, line in lines(error)]
    if isinstance(error, SyntaxError) and error.filename:
        return places[-1]
    return next((each for each in reversed(places) if each), "")


def lines(error: BaseException) -> "list[tuple[str, int | None]]":
    """The file and line of each frame, the innermost last; behind them what could not be compiled."""
    found: list[tuple[str, int | None]] = []
    trace = error.__traceback__
    while trace is not None:
        found.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return found + ([(error.filename, error.lineno)] if isinstance(error, SyntaxError) and error.filename else [])


def place(path: str, line: "int | None", here: str) -> str:
    return f"{os.path.relpath(path, here)}:{line}" if is_project(path, here) else ""


def is_project(path: str, here: str) -> bool:
    """A file below the working directory that no package manager has put there."""
    if path.startswith("<"):
        return False
    path = os.path.abspath(path)
    if not path.startswith(os.path.join(here, "")) or path.startswith(os.path.join(os.path.abspath(sys.prefix), "")):
        return False
    return "site-packages" not in path and path != os.path.abspath(__file__)


def note_opening(event: str, details: "tuple[Any, ...]") -> None:
    """Settings come from more than modules: .env, .ini and .json files are opened on the way."""
    if event == "open" and isinstance(details[0], str) and not details[2] & (os.O_WRONLY | os.O_RDWR):
        OPENED.add(os.path.abspath(details[0]))


def is_input(path: str) -> bool:
    """A file that was read and that neither Python, a package manager nor the kernel keeps."""
    kept = (
        os.path.join(os.path.abspath(place), "") for place in (sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev")
    )
    return (
        not path.endswith(".pyc")
        and "-packages" not in path
        and not path.startswith(tuple(kept))
        and path != os.path.abspath(__file__)
    )


def files(here: str) -> "dict[str, list[int]]":
    """What the answer came from, the project's modules and the files that they read: path → [mtime_ns, size]."""
    modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    paths = {os.path.abspath(path) for path in modules if isinstance(path, str) and is_project(path, here)}
    found = {}
    for path in sorted(paths | {path for path in list(OPENED) if is_input(path)}):
        try:
            facts = os.stat(path)
        except OSError:
            continue
        found[path] = [facts.st_mtime_ns, facts.st_size]
    return found


def versions() -> "dict[str, str | None]":
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for name in ("celery", "kombu", "redis", "django"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


if __name__ == "__main__":
    main()
