"""``python -m hedgerow.cli``."""

import sys

from hedgerow.cli import main

sys.exit(main())
