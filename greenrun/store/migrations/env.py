"""What Alembic runs: the migrations, in the transaction that greenrun.store.migrate began."""

from alembic import context

from greenrun.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
