"""A runserver without its own reloader still shows what was saved in a template.

Since Django 4.1 templates are cached under DEBUG too, and it is Django's reloader who forgets them when their files change. Where devstack
has taken its place, each look into the cache first compares the file with what was read.

`boot` runs this file when the program has imported `django.template.loaders.cached`.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def attach(channel: "Any", cached: "Any") -> None:
    if "--noreload" not in sys.argv:
        return
    plain = cached.Loader.get_template

    def get_template(self: "Any", template_name: "Any", skip: "Any" = None) -> "Any":
        try:
            key = self.cache_key(template_name, skip)
            if key in self.get_template_cache and changed(self, template_name, skip, self.get_template_cache[key]):
                self.get_template_cache.pop(key, None)
        except Exception:
            pass
        found = plain(self, template_name, skip)
        try:
            if not hasattr(found, "_devstack_stamp"):
                found._devstack_stamp = stamp(found.origin.name)
        except Exception:
            pass
        return found

    cached.Loader.get_template = get_template


def changed(loader: "Any", name: "Any", skip: "Any", found: "Any") -> bool:
    """Whether a template that was looked up before would be another one now. What was not found may be there now."""
    if not hasattr(found, "origin"):
        return True
    for origin in loader.get_template_sources(name):
        if origin.name == found.origin.name:
            return bool(stamp(origin.name) != found._devstack_stamp)
        if origin not in (skip or ()) and os.path.exists(origin.name):
            return True
    return True


def stamp(file: str) -> "tuple[int, int, int] | None":
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
