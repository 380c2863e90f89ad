"""The system under test: a small platform, real code with the weaknesses that its runbooks speak of.

Every connection to PostgreSQL takes host, database, account and password from libpq's own environment (PGHOST,
PGPORT, PGDATABASE, PGUSER, PGPASSWORD), so that no address and no secret stands in an URL, an argument or a log.
"""
