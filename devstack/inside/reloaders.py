"""The reloader of a server stays off where devstack does its work, however it was switched on, and the program sees what it would see then.

`boot` runs this file when the program has imported one of the modules in RELOADERS. A server that keeps its reloader has no channel, so
none of this happens in it. (gunicorn's is in `servers.py`.)

    uvicorn   a variable may switch it on, which no option switches off
    flask     WERKZEUG_RUN_MAIN is what its reloader sets for the process that serves, and what programs ask for before they start what must
              run once. `kinds` sets it to MARK, which means nothing to anybody where we are not. With "true" werkzeug itself would look for
              a socket of its parent's, and flask go on with a program that cannot be imported: the two do not see it.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MARK = "devstack"


def attach(channel: "Any", module: "Any") -> None:
    RELOADERS[module.__name__](module)


def uvicorn(module: "Any") -> None:
    plain = module.Config.__init__

    def init(self: "Any", *words: "Any", **named: "Any") -> None:
        if named.get("reload"):
            # With a reloader it ignores how many workers it is told to have.
            named.update(reload=False, reload_dirs=None, reload_includes=None, reload_excludes=None, workers=1)
        plain(self, *words, **named)

    module.Config.__init__ = init


def werkzeug(module: "Any") -> None:
    if os.environ.get("WERKZEUG_RUN_MAIN") != MARK:
        return
    os.environ["WERKZEUG_RUN_MAIN"] = "true"
    plain = module.run_simple

    def run_simple(*words: "Any", **named: "Any") -> "Any":
        seen = dict(vars(module), is_running_from_reloader=lambda: False)
        own = type(plain)(plain.__code__, seen, plain.__name__, plain.__defaults__, plain.__closure__)
        own.__kwdefaults__ = plain.__kwdefaults__
        return own(*words, **named)

    module.run_simple = run_simple


def flask(module: "Any") -> None:
    if os.environ.get("WERKZEUG_RUN_MAIN") in (MARK, "true") and hasattr(module, "is_running_from_reloader"):
        module.is_running_from_reloader = lambda: False


RELOADERS: "dict[str, Callable[[Any], None]]" = {
    "uvicorn.config": uvicorn,
    "werkzeug.serving": werkzeug,
    "flask.cli": flask,
}
