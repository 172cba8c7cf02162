"""A stand-in for pip, npm and apt-get, run as a child process: it writes a package slowly, or fails as they do.

    python stand_in_client.py LOG PACKAGE FOLDER [--seconds S] [--say TEXT] [--exit CODE]

Every run appends a line to LOG, so that a test can count downloads.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("log", type=Path)
parser.add_argument("package", type=Path)
parser.add_argument("folder", type=Path)
parser.add_argument("--seconds", type=float, default=0)
parser.add_argument("--say", default="")
parser.add_argument("--exit", type=int, default=0)
given = parser.parse_args()

with open(given.log, "a") as f:
    f.write(f"{os.getpid()}\n")
if given.say:
    print(given.say, file=sys.stderr)
if given.exit:
    sys.exit(given.exit)
data = given.package.read_bytes()
with open(given.folder / given.package.name, "wb", buffering=0) as out:
    half = len(data) // 2
    out.write(data[:half])
    time.sleep(given.seconds)
    out.write(data[half:])
