"""Steps from one schema of the records to the next, for Alembic."""
