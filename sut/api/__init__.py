"""The platform's API: projects, kept in PostgreSQL or MariaDB, in three releases that differ in their schema."""
