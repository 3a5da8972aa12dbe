"""The windows that were open when an organization changed its timezone."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COLUMNS = ("moved_at", "moved_day", "moved_month")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("organizations", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for name in reversed(_COLUMNS):
        op.drop_column("organizations", name)
