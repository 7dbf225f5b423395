-- One user per commit, for pgbench: what there is without group commit.
INSERT INTO users (id, email, name)
VALUES (gen_random_uuid(), gen_random_uuid() || '@example.com', 'User 0000000001')
ON CONFLICT DO NOTHING RETURNING id;
