"""The local stack: PostgreSQL, a broker and the product's own processes, all on loopback and below one folder."""
