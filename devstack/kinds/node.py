"""Node's development servers: `npm run dev`, `npx vite`, `next dev` …

Rule 1: they listen where package.json and their own settings say, or on the next port that is free; so they are ready when they have
opened one.
Rule 2: what a script of package.json does is not known. One that sounds like a server and opens no port is not given up.
Rule 3: the whole tree is signalled: npm passes no signal on to what it started (measured with npm 11).
"""

from __future__ import annotations

import re

from devstack.core.model import ProbeSpec
from devstack.core.record import replace
from devstack.kinds import Context, Kind
from devstack.kinds.arguments import base_name, positionals

RUNNERS = {"npm", "yarn", "pnpm", "bun"}
EXECUTORS = {"npx", "pnpx", "bunx"}
_RUN_VERBS = {"run", "run-script", "exec", "dlx", "x"}
_WITH_VALUE = {
    "--prefix",
    "-C",
    "--dir",
    "--cwd",
    "--filter",
    "-F",
    "-w",
    "--workspace",
    "-p",
    "--package",
    "--loglevel",
}
# Compiled by whoever needs it, not at each start.
_SOUNDS_LIKE_A_SERVER = r"(?:dev|start|serve|develop|preview|storybook)(?:[:._-].*)?"
TOOLS: dict[str, set[str]] = {
    "astro": {"dev", "preview"},
    "browser-sync": {"start"},
    "gatsby": {"develop", "serve"},
    "http-server": set(),
    "live-server": set(),
    "next": {"dev", "start"},
    "ng": {"serve"},
    "nuxi": {"dev", "preview"},
    "nuxt": {"dev", "start", "preview"},
    "parcel": {"serve"},
    "react-scripts": {"start"},
    "remix": {"dev"},
    "rsbuild": {"dev", "preview"},
    "storybook": {"dev"},
    "vite": {"dev", "serve", "preview"},
    "vue-cli-service": {"serve"},
    "webpack": {"serve"},
    "webpack-dev-server": set(),
}
"""With the verbs that make them serve. `vite` and `parcel` serve without one too, and `next` alone is `next dev`."""
_SERVE_BY_DEFAULT = {"vite", "parcel", "next"}
_DO_NOT_SERVE = {"build", "watch", "optimize", "lint", "info", "telemetry"}
BUILDERS = {"esbuild", "rollup", "sass", "tailwindcss", "tsc"}


def recognise(argv: list[str], context: Context) -> Kind | None:
    kind = _recognise(argv)
    # Several watchers (esbuild, tailwindcss) take the end of their standard input as the wish to end.
    return replace(kind, open_stdin=True) if kind else None


def _recognise(argv: list[str]) -> Kind | None:
    words = [re.sub(r"(?i)\.(cmd|ps1)$", "", base_name(argv[0])), *argv[1:]] if argv else [""]
    if words[0] not in RUNNERS | EXECUTORS:
        return _tool(words)
    runs_scripts = words[0] in RUNNERS
    words = positionals(words[1:], _WITH_VALUE)
    if runs_scripts and words[:1] and words[0] in _RUN_VERBS:
        words = words[1:]
    if not words:
        return None
    if runs_scripts and words[0] not in TOOLS and re.fullmatch(_SOUNDS_LIKE_A_SERVER, words[0]):
        return _server(after=("redis",), ready_within=None)
    return _tool(words) or Kind(name="node")


def _tool(words: list[str]) -> Kind | None:
    """A program of which we know what it does; it needs nothing of ours."""
    if words[0] in BUILDERS or (words[0] in TOOLS and not _serves(words)):
        return Kind(name="node", after=())
    return _server(after=()) if words[0] in TOOLS else None


def _serves(words: list[str]) -> bool:
    """Whether one of the tools is told to serve."""
    tool, verb = words[0], next((each for each in words[1:] if not each.startswith("-")), "")
    verbs = TOOLS[tool]
    return not verbs or verb in verbs or (tool in _SERVE_BY_DEFAULT and verb not in _DO_NOT_SERVE)


def _server(after: tuple[str, ...], ready_within: float | None = 60.0) -> Kind:
    return Kind(name="node", role="web", probe=ProbeSpec("tcp", {"port": None}), after=after, ready_within=ready_within)
