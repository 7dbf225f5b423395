//! What the role of the running service may do: select and insert users, and nothing else.

use anyhow::ensure;
use postgres::Client;
use postgres::types::Type;

/// What the role lacks of what it needs, as statements that grant it. The schema is the table's.
const MISSING_GRANTS: &str = "SELECT format('GRANT %s TO %I', rights, $1) \
    FROM pg_class, LATERAL (VALUES \
        (format('USAGE ON SCHEMA %s', relnamespace::regnamespace), \
            has_schema_privilege($1::name, relnamespace, 'USAGE')), \
        ('SELECT, INSERT ON users', \
            has_table_privilege($1::name, 'users', 'SELECT') \
            AND has_table_privilege($1::name, 'users', 'INSERT')), \
        ('EXECUTE ON FUNCTION insert_new_users(uuid[], text[], text[])', \
            has_function_privilege($1::name, 'insert_new_users(uuid[], text[], text[])', 'EXECUTE')), \
        ('SELECT ON refinery_schema_history', \
            has_table_privilege($1::name, 'refinery_schema_history', 'SELECT')) \
    ) AS needed (rights, is_there) \
    WHERE pg_class.oid = 'users'::regclass AND NOT is_there";

/// Whether the role that asks may do what the service does.
const IS_SUFFICIENT: &str = "SELECT has_table_privilege('users', 'SELECT') \
    AND has_table_privilege('users', 'INSERT') \
    AND has_function_privilege('insert_new_users(uuid[], text[], text[])', 'EXECUTE')";

/// Whether the role that asks may do what the service never does.
const IS_EXCESSIVE: &str = "SELECT has_table_privilege('users', 'UPDATE, DELETE, TRUNCATE')";

/// What to say of a role that may not do what the service does.
const TOO_LITTLE: &str = "the role of DATABASE_URL may not read and insert users: run `users-svc migrate` with \
    DATABASE_MIGRATE_URL, which grants it that";

/// Grants `role` what the service needs, as far as it lacks it. Fails when there is no such role, which is for
/// an administrator to make.
pub fn grant(client: &mut Client, role: &str) -> anyhow::Result<()> {
    let find = "SELECT quote_ident($1), EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
    let found = client.query_typed_one(find, &[(&role, Type::TEXT)])?;
    let (name, exists): (String, bool) = (found.try_get(0)?, found.try_get(1)?);
    ensure!(
        exists,
        "the role {name} of DATABASE_URL does not exist: \
         run CREATE ROLE {name} LOGIN PASSWORD '...' as an administrator of PostgreSQL"
    );

    let missing = client.query_typed(MISSING_GRANTS, &[(&role, Type::TEXT)])?;
    let grants = missing.iter().map(|row| row.try_get(0));
    let grants: Vec<String> = grants.collect::<Result<_, _>>()?;
    if !grants.is_empty() {
        client.batch_execute(&grants.join("; "))?;
        tracing::info!("granted the role of DATABASE_URL what the service needs");
    }
    Ok(())
}

/// Whether a table is there; fails when it is, and may not be read.
pub fn may_read(client: &mut Client, table: &str) -> anyhow::Result<bool> {
    let privilege = "SELECT has_table_privilege(to_regclass($1), 'SELECT')";
    let found = client.query_typed_one(privilege, &[(&table, Type::TEXT)])?;
    let may: Option<bool> = found.try_get(0)?;
    ensure!(may != Some(false), TOO_LITTLE);
    Ok(may.is_some())
}

/// Fails when the role of this connection may not do what the service does.
pub fn ensure_sufficient(client: &mut Client) -> anyhow::Result<()> {
    let is_sufficient: bool = client.query_typed_one(IS_SUFFICIENT, &[])?.try_get(0)?;
    ensure!(is_sufficient, TOO_LITTLE);
    Ok(())
}

/// Logs a warning when the role of this connection may do more.
pub fn warn_if_excessive(client: &mut Client) -> Result<(), postgres::Error> {
    if client.query_typed_one(IS_EXCESSIVE, &[])?.try_get(0)? {
        tracing::warn!(
            "the role of DATABASE_URL may change and delete users, which the service never does: \
             give it a role of its own (docs/OPERATIONS.md, Roles)"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
