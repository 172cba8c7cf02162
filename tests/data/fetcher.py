"""Run in a child process: obtain the table of a package through the stand-in client, and print where it is.

python fetcher.py LOG PACKAGE SECONDS
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from packages import file_source

from hedgerow.data import clients, fetch

log, package, seconds = sys.argv[1:]
client = str(Path(__file__).with_name("stand_in_client.py"))
clients._command = lambda it, folder: [  # type: ignore[assignment]
    sys.executable, client, log, package, str(folder), "--seconds", seconds,
]  # fmt: skip
print(fetch.obtain(file_source()), flush=True)
