"""Which data planes are at which control plane: several may share this database."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "data_planes",
        sa.Column("spool_id", sa.String(128), nullable=False),
        sa.Column("control_plane", sa.String(64), nullable=False),
        sa.Column("counters", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("spool_id", name="pk_data_planes"),
    )


def downgrade() -> None:
    op.drop_table("data_planes")
