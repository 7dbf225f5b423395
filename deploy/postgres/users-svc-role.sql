-- Makes the role that the users service runs as. `users-svc migrate` grants it what it needs.
-- docker-compose.yml has PostgreSQL run this when it creates the database; it can be run again.
--   USERS_SVC_PASSWORD=… psql --dbname users --file users-svc-role.sql     (psql 15 or later)

\set ON_ERROR_STOP on
\getenv password USERS_SVC_PASSWORD

SELECT 'CREATE ROLE users_svc LOGIN'
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'users_svc') \gexec
ALTER ROLE users_svc PASSWORD :'password';

-- Otherwise everyone may make temporary tables and, before PostgreSQL 15, others too.
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO users_svc;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
