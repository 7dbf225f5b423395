CREATE TABLE users (
    id    uuid PRIMARY KEY,
    email text NOT NULL,
    name  text NOT NULL
);

-- Without regard to case, and by bytes: the folding must not depend on the server's locale.
CREATE UNIQUE INDEX users_email_key ON users (lower(email COLLATE "C"));
