"""The schema of the platform's database as Alembic revisions, and the ways to apply them."""
