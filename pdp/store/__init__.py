"""SQL: models, repositories, migrations. Control plane only."""
