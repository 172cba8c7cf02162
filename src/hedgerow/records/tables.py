"""The tables of the newest schema, as SQLAlchemy Core objects; made when they are first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import MetaData, Table

NEWEST = "0002"  # the last step in migrations/versions; a test compares them
STEPS = ("0001", "0002")


@dataclass(frozen=True)
class Tables:
    """``imports`` and ``batches`` say who did what and when; ``codings`` is the history that ``exchanges`` sums up.

    ``exchanges.donor_isic`` and ``receiver_isic`` repeat the coding that counts now ('2410:0.5 2420:0.5'), so that a
    recommendation reads one table; they are written in the same transaction as the codings.
    """

    metadata: MetaData
    imports: Table
    wastes: Table
    exchanges: Table
    batches: Table
    codings: Table


@cache
def tables() -> Tables:
    """All tables."""
    import sqlalchemy as sa

    m = sa.MetaData()
    whole: Any = sa.Integer
    imports = sa.Table(
        "imports",
        m,
        sa.Column("id", whole, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("rows", whole, nullable=False),
        sa.Column("new", whole, nullable=False),
    )
    wastes = sa.Table(
        "wastes",
        m,
        sa.Column("id", whole, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("ewc", sa.String(16), nullable=False),
        sa.Column("ewc_stat", sa.String(16), nullable=False),
    )
    batches = sa.Table(
        "batches",
        m,
        sa.Column("id", whole, primary_key=True),
        sa.Column("coder", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("undone", sa.Boolean, nullable=False),
    )
    exchanges = _exchanges(sa, m)
    codings = sa.Table(
        "codings",
        m,
        sa.Column("exchange_id", whole, sa.ForeignKey("exchanges.id"), primary_key=True),
        sa.Column("batch_id", whole, sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("side", sa.String(8), primary_key=True),
        sa.Column("isic", sa.Text, nullable=False),
        sa.Column("how", sa.String(16), nullable=False),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    sa.Index("ix_codings_batch", codings.c.batch_id)
    return Tables(m, imports, wastes, exchanges, batches, codings)


TEXTS = (
    "kind", "source", "licence", "source_id", "donor_text", "donor_scheme", "donor_codes", "waste_text", "ewc",
    "ewc_stat", "treatment_text", "dr_code", "receiver_text", "receiver_scheme", "receiver_codes", "status", "use",
    "citation", "unit", "place", "country",
)  # fmt: skip


def _exchanges(sa: Any, m: MetaData) -> Table:
    table: Table = sa.Table(
        "exchanges",
        m,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(32), nullable=False, unique=True),
        sa.Column("import_id", sa.Integer, sa.ForeignKey("imports.id"), nullable=False),
        sa.Column("waste_id", sa.Integer, sa.ForeignKey("wastes.id"), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in TEXTS),
        sa.Column("shareable", sa.Boolean, nullable=False),
        sa.Column("hazardous", sa.Boolean),
        sa.Column("quantity", sa.Float),
        sa.Column("year", sa.Integer),
        sa.Column("permit", sa.Boolean),
        sa.Column("latitude", sa.Float),
        sa.Column("longitude", sa.Float),
        sa.Column("route", sa.SmallInteger, nullable=False),
        sa.Column("donor_isic", sa.Text, nullable=False),
        sa.Column("receiver_isic", sa.Text, nullable=False),
    )
    sa.Index("ix_exchanges_link", table.c.waste_id, table.c.donor_isic, table.c.receiver_isic, table.c.route)
    return table
