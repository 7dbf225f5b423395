-- Inserts users, or none of them and returns false where something stands in the way of one. Inside a function, because
-- the error of an INSERT would go into the server's log together with the e-mail address.
CREATE FUNCTION insert_new_users(ids uuid[], emails text[], names text[]) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO users (id, email, name) SELECT * FROM unnest(ids, emails, names);
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    RETURN false;
END
$$;
