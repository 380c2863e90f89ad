"""The platform's API: projects, kept in PostgreSQL."""
