"""Front ends in development: npm, yarn, pnpm and bun scripts, and the dev servers they start. They need nothing and reload themselves."""

from __future__ import annotations

import re

from devstack.core.model import ProbeSpec
from devstack.kinds import Context, Kind

MANAGERS = {"npm", "yarn", "pnpm", "bun"}
RUNNERS = {"npx", "bunx", "pnpx"}
SCRIPTS = {"dev", "start", "serve", "develop", "preview"}
DEV_SERVERS = {
    "vite",
    "next",
    "nuxt",
    "nuxi",
    "astro",
    "webpack-dev-server",
    "ng",
    "vue-cli-service",
    "react-scripts",
    "remix",
    "parcel",
}
NOT_SERVING = {"build", "lint", "test", "generate", "prepare", "export"}


def recognise(argv: list[str], context: Context) -> Kind | None:
    name = _name(argv[0]) if argv else ""
    words = [word for word in argv[1:] if not word.startswith("-")]
    if name in RUNNERS or (name in MANAGERS and words[:1] in (["exec"], ["dlx"], ["x"])):
        words = words[1:] if name in MANAGERS else words
        return recognise(words, context) if words and _name(words[0]) in DEV_SERVERS else _quiet(name)
    if name in MANAGERS:
        script = words[1] if words[:1] in (["run"], ["run-script"]) and len(words) > 1 else (words or [""])[0]
        return _server(name) if script.split(":")[0] in SCRIPTS else _quiet(name)
    if name in DEV_SERVERS:
        return _quiet(name) if words and words[0] in NOT_SERVING else _server(name)
    return (
        _quiet(name)
        if name in ("node", "deno", "tsx", "webpack", "esbuild", "tailwindcss", "nodemon", "tsc", "sass")
        else None
    )


def _server(name: str) -> Kind:
    # Which port is in a configuration that only node can read: whichever the tree opens.
    return Kind(name, "web", ProbeSpec("tcp", {"port": None}), after=(), grace=5.0)


def _quiet(name: str) -> Kind:
    return Kind(name, after=(), grace=5.0)


def _name(word: str) -> str:
    return re.sub(r"(?i)\.(exe|cmd|js)$", "", re.split(r"[/\\]", word)[-1])
