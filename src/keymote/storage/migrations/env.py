"""Alembic's entry: runs the steps on the connection, and within the transaction, of whoever opens the database."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
