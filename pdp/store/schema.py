"""The tables. Money is BIGINT nano-USD, times BIGINT ns, documents JSON text.

Nothing here that PostgreSQL cannot take.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _text(name: str, length: int = 256) -> Column[str]:
    return Column(name, String(length), nullable=False, server_default="")


_LISTED = ("team_id", "user_id", "status", "key_type")

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

organizations = Table(
    "organizations",
    metadata,
    Column("id", String(128), primary_key=True),
    _text("name"),
    Column("timezone", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("moved_at", BigInteger),
    Column("moved_day", BigInteger),
    Column("moved_month", BigInteger),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("organization_id", ForeignKey("organizations.id"), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("key_type", String(16), nullable=False),
    _text("name"),
    Column("description", Text, nullable=False, server_default=""),
    _text("team_id", 128),
    _text("user_id", 128),
    Column("parent_key_id", ForeignKey("api_keys.id")),
    Column("granted_by", ForeignKey("api_keys.id")),
    Column("temporary", Integer, nullable=False, server_default="0"),
    _text("permissions_apply_to", 16),
    _text("environment", 16),
    # The authored documents: access, permissions, policy, limits, alerts, metadata ...
    Column("document", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("rotated_at", BigInteger),
    Column("last_used_at", BigInteger),
    Index(None, "organization_id", "created_at", "id"),
    Index(None, "parent_key_id", "organization_id"),
    Index(None, "team_id", "key_type"),
    # A page of a list is read in its order from one of these, whatever it is filtered by.
    *(
        Index(f"ix_api_keys_{name}", "organization_id", name, "created_at", "id")
        for name in _LISTED
    ),
    Index(
        "ix_api_keys_ending",
        *("organization_id", "created_at", "id"),
        sqlite_where=text("expires_at IS NOT NULL"),
    ),
)


def name_partial_indices() -> None:
    """Say to PostgreSQL's dialect what SQLite's has been told.

    To name it above would load it, 50 ms and 2 MB, also where there is only SQLite.
    """
    for index in api_keys.indexes:
        where = index.dialect_options["sqlite"]["where"]
        if where is not None:
            index.dialect_options["postgresql"]["where"] = where


secrets = Table(
    "secrets",
    metadata,
    Column("hash", LargeBinary(32), primary_key=True),
    Column("key_id", ForeignKey("api_keys.id"), nullable=False),
    Column("prefix", String(32), nullable=False),
    Column("last_four", String(4), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index(None, "key_id", "created_at"),
)

# Requests with an Idempotency-Key, for a day.
idempotency = Table(
    "idempotency",
    metadata,
    Column("actor_key_id", String(64), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("fingerprint", LargeBinary(32), nullable=False),
    Column("target_key_id", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
)

# One row. Every change bumps it in its own transaction, so that no number is lost.
revision = Table(
    "revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", String(64), primary_key=True),
    Column("secret_hash", LargeBinary(32)),
)

# The operator's prices, with those to come and those that were. No organization: the
# installation has one, and what a provider charges is the same for all.
prices = Table(
    "prices",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("provider", String(256), nullable=False),
    Column("model", String(256), nullable=False),
    Column("document", Text, nullable=False),
    Column("effective_from", BigInteger, nullable=False),
    Column("effective_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("removed_at", BigInteger),
    Column("version", BigInteger, nullable=False),
    Index("ix_prices_created_at", "created_at", "id"),
    Index("ix_prices_provider", "provider", "created_at", "id"),
    Index("ix_prices_model", "model", "created_at", "id"),
)

audit = Table(
    "audit",
    metadata,
    Column("decision_id", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("key_id", String(64), nullable=False),
    _text("key_name"),
    _text("request_id"),
    _text("organization_id", 128),
    _text("team_id", 128),
    _text("user_id", 128),
    _text("action", 64),
    _text("model"),
    _text("provider"),
    Column("status", String(16), nullable=False),
    _text("reason", 32),
    Column("http_status", Integer, nullable=False, server_default="0"),
    _count("latency_ms"),
    _count("prompt_tokens"),
    _count("completion_tokens"),
    _count("cached_tokens"),
    # What was paid: NULL where nobody knows. `charged_*` is what the counters took.
    Column("cost", BigInteger),
    _count("charged_cost"),
    _count("charged_tokens"),
    _count("held_cost"),
    _count("held_tokens"),
    _text("reservation_id", 64),
    _text("usage_source", 16),
    _text("client_ip", 64),
    _text("user_agent", 512),
    Column("metadata", Text, nullable=False, server_default="{}"),
    Column("ancestors", Text, nullable=False, server_default="[]"),
    Index(None, "organization_id", "at"),
    # One for each column that the log is asked by (pdp.store.audit), newest first within it.
    Index(None, "organization_id", "key_id", "at"),
    Index(None, "organization_id", "team_id", "at"),
    Index(None, "organization_id", "request_id", "at"),
    Index(None, "organization_id", "model", "at"),
    Index(None, "organization_id", "provider", "at"),
    Index(None, "organization_id", "status", "at"),
    Index(None, "organization_id", "action", "at"),
)

# What the counters hold, for every key with its descendants: the ledger's own sums.
key_spend = Table(
    "key_spend",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("period", String(8), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    _count("cost"),
    _count("tokens"),
    _count("requests"),
    _count("held_cost"),
    _count("held_tokens"),
)

# What each key used itself, by the day of its organization's timezone; whose it was then.
usage_daily = Table(
    "usage_daily",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("model", String(256), primary_key=True),
    Column("provider", String(256), primary_key=True),
    Column("team_id", String(128), primary_key=True),
    Column("user_id", String(128), primary_key=True),
    _text("organization_id", 128),
    _count("requests"),
    _count("prompt_tokens"),
    _count("completion_tokens"),
    _count("cached_tokens"),
    _count("cost"),
    Index(None, "organization_id", "day"),
)

spools = Table(
    "spools",
    metadata,
    Column("spool_id", String(64), primary_key=True),
    Column("next_sequence", BigInteger, nullable=False),
)

# Data planes of all control planes: at which one each is, and where it counts; '' in memory.
data_planes = Table(
    "data_planes",
    metadata,
    Column("spool_id", String(128), primary_key=True),
    Column("control_plane", String(64), nullable=False),
    Column("counters", Text, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)
