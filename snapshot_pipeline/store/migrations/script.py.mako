"""${message}.

Revision: ${up_revision}, after ${down_revision | comma,n}, of ${create_date}.
"""

import sqlalchemy as sa
from alembic import op, context

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Apply the change in the configured schema."""
    schema = context.config.attributes["schema"]
    ${upgrades if upgrades else "pass"}
