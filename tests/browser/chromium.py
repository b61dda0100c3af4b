"""Where a Chromium or Chrome is on this machine, and how the tests start it."""

import os
import shutil
from pathlib import Path

ARGUMENTS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]
if hasattr(os, "geteuid") and os.geteuid() == 0:
    ARGUMENTS.append("--no-sandbox")  # Chromium refuses its sandbox to root


def find_installed() -> str | None:
    """Return the path of the browser that EDCHAT_CHROMIUM names, or of one on PATH."""
    named = os.environ.get("EDCHAT_CHROMIUM")
    if named:
        return named if Path(named).exists() else None
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def find() -> str | None:
    """Return the path of an installed browser, else of the one that Playwright downloaded."""
    if path := find_installed():
        return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None
