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


npm, command, dist = sys.argv[1:]
if not (WEB / "node_modules/.package-lock.json").exists():
    skip("the page's packages are missing: run 'npm ci' in web/")
if command == "e2e":
    browser = os.environ.get("CHROMIUM") or next(filter(shutil.which, BROWSERS), None)
    if browser is None:
        skip("there is no Chromium: install the package chromium, or name one in CHROMIUM")
    if not (pathlib.Path(dist) / "index.html").exists():
        skip("the page was not built: build the target ddpm_site")
run = subprocess.run([npm, "run", command], cwd=WEB, env={**os.environ, "DDPM_SITE_DIST": dist})
sys.exit(run.returncode)
