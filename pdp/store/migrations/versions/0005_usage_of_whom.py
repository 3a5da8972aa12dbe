"""Whose key it was, in the sums of days: usage is told by them without looking keys up."""

from alembic import op
from sqlalchemy import BigInteger, Column, String

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SUMS = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "cost")
_UP = """
INSERT INTO usage_daily
SELECT key_id, day, model, provider,
       COALESCE(team_id, ''), COALESCE(user_id, ''), COALESCE(organization_id, ''),
       requests, prompt_tokens, completion_tokens, cached_tokens, cost
FROM usage_before LEFT JOIN api_keys ON api_keys.id = key_id
"""
_DOWN = """
INSERT INTO usage_daily
SELECT key_id, day, model, provider,
       CAST(SUM(requests) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT),
       CAST(SUM(completion_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
       CAST(SUM(cost) AS BIGINT)
FROM usage_before GROUP BY key_id, day, model, provider
"""


def upgrade() -> None:
    _remake(
        [
            Column("team_id", String(128), primary_key=True),
            Column("user_id", String(128), primary_key=True),
            Column("organization_id", String(128), nullable=False, server_default=""),
        ],
        _UP,
    )
    op.create_index(
        "ix_usage_daily_organization_id_usage_daily_day", "usage_daily", ["organization_id", "day"]
    )


def downgrade() -> None:
    _remake([], _DOWN)
    op.create_index("ix_usage_daily_day", "usage_daily", ["day"])


def _remake(more: list[Column[str]], fill: str) -> None:
    """Make the table again with `more` columns, and `fill` it from what it was."""
    op.execute("CREATE TABLE usage_before AS SELECT * FROM usage_daily")
    op.drop_table("usage_daily")
    op.create_table(
        "usage_daily",
        Column("key_id", String(64), primary_key=True),
        Column("day", BigInteger, primary_key=True, autoincrement=False),
        Column("model", String(256), primary_key=True),
        Column("provider", String(256), primary_key=True),
        *more,
        *(Column(name, BigInteger, nullable=False, server_default="0") for name in _SUMS),
    )
    op.execute(fill)
    op.execute("DROP TABLE usage_before")
