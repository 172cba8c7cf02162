"""First schema: imports, wastes, exchanges, batches of codings."""

from __future__ import annotations

revision = "0001"
down_revision = None
TEXTS = (
    "kind", "source", "licence", "source_id", "donor_text", "donor_scheme", "donor_codes", "waste_text", "ewc",
    "ewc_stat", "treatment_text", "dr_code", "receiver_text", "receiver_scheme", "receiver_codes", "status", "use",
    "citation", "unit", "place", "country",
)  # fmt: skip


def upgrade() -> None:
    """Make the tables."""
    import sqlalchemy as sa
    from alembic import op

    op.create_table(
        "imports",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("new", sa.Integer, nullable=False),
    )
    op.create_table(
        "wastes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("ewc", sa.String(16), nullable=False),
        sa.Column("ewc_stat", sa.String(16), nullable=False),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("coder", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("undone", sa.Boolean, nullable=False),
    )
    op.create_table(
        "exchanges",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(32), nullable=False, unique=True),
        sa.Column("import_id", sa.Integer, sa.ForeignKey("imports.id"), nullable=False),
        sa.Column("waste_id", sa.Integer, sa.ForeignKey("wastes.id"), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in TEXTS),
        sa.Column("shareable", sa.Boolean, nullable=False),
        sa.Column("hazardous", sa.Boolean),
        sa.Column("quantity", sa.Float),
        sa.Column("year", sa.Integer),
        sa.Column("route", sa.SmallInteger, nullable=False),
        sa.Column("donor_isic", sa.Text, nullable=False),
        sa.Column("receiver_isic", sa.Text, nullable=False),
    )
    op.create_index("ix_exchanges_link", "exchanges", ["waste_id", "donor_isic", "receiver_isic", "route"])
    op.create_table(
        "codings",
        sa.Column("exchange_id", sa.Integer, sa.ForeignKey("exchanges.id"), primary_key=True),
        sa.Column("batch_id", sa.Integer, sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("side", sa.String(8), primary_key=True),
        sa.Column("isic", sa.Text, nullable=False),
        sa.Column("how", sa.String(16), nullable=False),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("ix_codings_batch", "codings", ["batch_id"])


def downgrade() -> None:
    """There is nothing before the first schema: records are never dropped by a step back."""
    raise RuntimeError("the first schema has no older one; copy the database instead")
