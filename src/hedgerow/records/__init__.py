"""Records that people share: waste-to-resource exchanges in one database, SQLite by default or PostgreSQL by URL.

``exchange.py`` says what a record is and checks it; ``store.py`` keeps records, imports and the history of their
codings; ``tables.py`` are the tables, ``migrations/`` the steps from an older schema to this one. SQLAlchemy and
Alembic (extra ``records``) are imported when a store is opened, never before.
"""

from __future__ import annotations

from hedgerow.records.exchange import KINDS, Coding, Exchange, Kind, check_ewc, plain_waste
from hedgerow.records.store import Imported, Link, Store, default_url, open_store

__all__ = [
    "KINDS",
    "Coding",
    "Exchange",
    "Imported",
    "Kind",
    "Link",
    "Store",
    "check_ewc",
    "default_url",
    "open_store",
    "plain_waste",
]
