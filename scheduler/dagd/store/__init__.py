"""Floor 3: the only importer of SQLAlchemy. One verb, one statement with an address; rows have no behaviour."""
