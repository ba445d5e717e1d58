-- The product's roles and database, on a PostgreSQL 15 or later that one administers. Run once with psql as superuser,
-- the three passwords in the environment; docker-compose.yml does it at the database's first start. Migrations make
-- everything inside the database.
\set ON_ERROR_STOP on
\getenv owner_password AISLE_OWNER_PASSWORD
\getenv app_password AISLE_APP_PASSWORD
\getenv service_password AISLE_SERVICE_PASSWORD

-- None may pass row security, none is a superuser, only the owner makes tables.
CREATE ROLE aisle_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'owner_password';
CREATE ROLE aisle_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'app_password';
CREATE ROLE aisle_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'service_password';
GRANT aisle_owner TO CURRENT_USER; -- an administrator who is no superuser must be a member to give it a database

CREATE DATABASE aisle OWNER aisle_owner;
REVOKE ALL ON DATABASE aisle FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE aisle TO aisle_app, aisle_service;

-- With the extension the migrations take their TimescaleDB twins, without it the plain ones.
\connect aisle
SELECT count(*) > 0 AS has_timescale FROM pg_available_extensions WHERE name = 'timescaledb'
\gset
\if :has_timescale
CREATE EXTENSION IF NOT EXISTS timescaledb;
\endif
