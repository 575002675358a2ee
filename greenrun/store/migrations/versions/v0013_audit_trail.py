"""Where changes come from and what they change; events can only be added, and deleted only with an event of that."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

APPEND_ONLY = (
    """CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are only added, never changed'); END""",
    # without recursive triggers, INSERT OR REPLACE deletes what it replaces unseen; and none is put between others
    """CREATE TRIGGER events_are_added_last BEFORE INSERT ON events
    WHEN NEW.id BETWEEN 0 AND (SELECT max(id) FROM events)
    BEGIN SELECT RAISE(ABORT, 'events are only added, after all others'); END""",
    """CREATE TRIGGER events_are_kept BEFORE DELETE ON events
    WHEN NOT EXISTS (
        SELECT 1 FROM events WHERE kind = 'events_deleted' AND id > OLD.id AND json_extract(detail, '$.before') > OLD.at
    )
    BEGIN SELECT RAISE(ABORT, 'events are deleted only once they are older than the site keeps them'); END""",
)


def upgrade() -> None:
    """Add the columns, which earlier events do not have, the triggers, and what was last found."""
    for name, kind in (("uid", sa.Integer), ("pid", sa.Integer), ("address", sa.String)):
        op.add_column("events", sa.Column(name, kind(), nullable=True))
    for name in ("before", "after"):
        op.add_column("events", sa.Column(name, sa.Text(), nullable=True))
    op.create_index("ix_events_deleted", "events", ["id"], sqlite_where=sa.text("kind = 'events_deleted'"))
    op.create_table(
        "known_values",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "name"),
    )
    for trigger in APPEND_ONLY:
        op.get_bind().exec_driver_sql(trigger)
