"""Migrations, oldest first; they ship with the package."""
