"""The cloud: ingest, locate, worker, api and migrate, one package and one image."""
