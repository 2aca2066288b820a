"""A customer of the demo shop: orders something in the web and waits for what the tasks did. Standard library only, over HTTP alone.

Rule: what it raises is a `Disappointed` with one sentence; it never waits beyond the seconds it was given.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urljoin

_PAUSE = 0.25
_NO_PROXY = urllib.request.ProxyHandler({})
"""HTTP_PROXY is for the world outside; proxies do not reach 127.0.0.1 of this machine."""


class Disappointed(Exception):
    """The shop did not do what it should."""


@dataclass(frozen=True, slots=True)
class Order:
    number: int
    result: str
    """What the last task of the order returned."""
    took: float
    """Seconds from the click to the result on the page."""


class Customer:
    """Somebody with a browser at the shop at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._browser = urllib.request.build_opener(_NO_PROXY, urllib.request.HTTPCookieProcessor(CookieJar()))

    def order(self, quantity: int = 1, within: float = 30.0) -> Order:
        """Buy the first product of the page, and stay until the result of both tasks is there."""
        page, _ = self._get(self.url)
        form = {
            "csrfmiddlewaretoken": _in(page, r'name="csrfmiddlewaretoken" value="([^"]+)"'),
            "product": _in(page, r'name="product" value="(\d+)"'),
            "quantity": quantity,
            "email": "ada@example.com",
        }
        began = time.monotonic()
        _, place = self._get(urljoin(self.url, "orders/"), urlencode(form).encode())
        while (answer := self._result(place))["state"] not in ("SUCCESS", "FAILURE"):
            if time.monotonic() - began > within:
                why = f"its task is {answer['state']}"
                raise Disappointed(f"the order at {place} has no result after {within:.0f} s: {why}")
            time.sleep(_PAUSE)
        if answer["state"] != "SUCCESS":
            raise Disappointed(f"the task of the order at {place} failed: {answer['result']}")
        number = int(place.rstrip("/").rpartition("/")[2])
        return Order(number, answer["result"], time.monotonic() - began)

    def sees_restocking(self, times: int = 2, within: float = 20.0) -> None:
        """Wait until the scheduled task has run so many times; the page says when it last did."""
        seen = [self._restocked()]
        began = time.monotonic()
        while len(seen) <= times:
            if time.monotonic() - began > within:
                raise Disappointed(
                    f"the scheduled task ran {len(seen) - 1} times in {within:.0f} s, it should every 2 s"
                )
            time.sleep(_PAUSE)
            if (now := self._restocked()) != seen[-1]:
                seen.append(now)

    def _restocked(self) -> str:
        page, _ = self._get(self.url)
        return _in(page, r'<time datetime="([^"]*)"')

    def _result(self, place: str) -> dict[str, str]:
        text, _ = self._get(urljoin(place, "result"))
        found: dict[str, str] = json.loads(text)
        return found

    def _get(self, url: str, data: bytes | None = None) -> tuple[str, str]:
        """The text and the final address of a page."""
        try:
            with self._browser.open(url, data, timeout=20) as answer:
                return answer.read().decode(), answer.url
        except urllib.error.HTTPError as error:
            first = re.search(r"<title>\s*(.*?)\s*</title>", error.read().decode(errors="replace"), re.S)
            raise Disappointed(
                f"{url} answered {error.code}" + (f": {' '.join(first[1].split())}" if first else "")
            ) from None
        except (OSError, HTTPException, ValueError) as error:
            raise Disappointed(f"{url} did not answer: {error}") from None


def _in(page: str, pattern: str) -> str:
    match = re.search(pattern, page)
    if match is None:
        raise Disappointed(f"the page of the shop has nothing like {pattern}")
    return match[1]
