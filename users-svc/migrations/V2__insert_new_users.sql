-- Inserts users, or none of them and returns false where something keeps one out: a row that is there, or a trigger of
-- yours. Inside a function, because the error of an INSERT would go into the server's log together with the e-mail
-- address.
CREATE FUNCTION insert_new_users(ids uuid[], emails text[], names text[]) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    inserted bigint;
BEGIN
    INSERT INTO users (id, email, name) SELECT * FROM unnest(ids, emails, names);
    GET DIAGNOSTICS inserted = ROW_COUNT;
    IF inserted <> cardinality(ids) THEN
        RAISE unique_violation;
    END IF;
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    RETURN false;
END
$$;
