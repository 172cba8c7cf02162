"""Permit and place on the map, for the filters of a recommendation; unknown in every older record."""

from __future__ import annotations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Three columns, NULL = unknown."""
    import sqlalchemy as sa
    from alembic import op

    op.add_column("exchanges", sa.Column("permit", sa.Boolean))
    op.add_column("exchanges", sa.Column("latitude", sa.Float))
    op.add_column("exchanges", sa.Column("longitude", sa.Float))


def downgrade() -> None:
    """Take them away again."""
    from alembic import op

    for name in ("permit", "latitude", "longitude"):
        op.drop_column("exchanges", name)
