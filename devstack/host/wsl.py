"""Whether there is a Linux beside this Windows.

Rule: wsl.exe itself is not asked: it lies on machines without any Linux, too, where it offers to install one and waits for a key.
Source: "WSL-related Registry", https://www.patrickwu.space/2020/07/19/wsl-related-registry/; the key is not documented by Microsoft.
"""

from __future__ import annotations

import contextlib
import sys

KEY = r"Software\Microsoft\Windows\CurrentVersion\Lxss"


def distribution() -> str:
    """The name of the one in which wsl.exe runs things; empty where there is none."""
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_CURRENT_USER, KEY) as all_of_them:
            default, _ = winreg.QueryValueEx(all_of_them, "DefaultDistribution")
            with winreg.OpenKey(all_of_them, default) as one:
                return str(winreg.QueryValueEx(one, "DistributionName")[0])
    return ""
