#!/usr/bin/env python3
"""Runs one of the page's own test commands: web_test.py NPM check|test|e2e DIST.

Skips (77) where its packages were not fetched, or for e2e where there is no Chromium.
"""
import os
import pathlib
import shutil
import subprocess
import sys

WEB = pathlib.Path(__file__).resolve().parents[2] / "web"
BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]


def skip(why):
    print(f"web_test: skipped, {why}")
    sys.exit(77)


def check_packages():
    if not (WEB / "node_modules/.package-lock.json").exists():
        skip("the page's packages are missing: run 'npm ci' in web/")


def check_browser():
    if not os.environ.get("CHROMIUM") and not any(map(shutil.which, BROWSERS)):
        skip("there is no Chromium: install the package chromium, or name one in CHROMIUM")


def main(npm, command, dist):
    check_packages()
    if command == "e2e":
        check_browser()
        if not (pathlib.Path(dist) / "index.html").exists():
            skip("the page was not built: build the target ddpm_site")
    return subprocess.run([npm, "run", command], cwd=WEB, env={**os.environ, "DDPM_SITE_DIST": dist}).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
