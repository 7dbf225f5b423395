// A client generated from the OpenAPI document creates a user, reads it, and tells problems apart by their types:
//   node openapi_client.ts http://127.0.0.1:3000
import assert from "node:assert/strict";

import createClient from "openapi-fetch";

import type { paths } from "./schema.js";

const gateway = createClient<paths>({ baseUrl: process.argv[2] });
const jane = { email: `jane.${crypto.randomUUID()}@example.com`, name: "Jane Doe" };

const { data: created } = await gateway.POST("/users", { body: jane });
assert(created);
assert.deepEqual(created, { id: created.id, ...jane });

const { data: found } = await gateway.GET("/users/{id}", { params: { path: { id: created.id } } });
assert.deepEqual(found, created);

const { error: taken } = await gateway.POST("/users", { body: jane });
assert(taken);
// @ts-expect-error: the types are those of the document, so that a slip of the pen does not compile.
assert(taken.type !== "urn:problem-type:users:mail-taken");
assert(taken.type === "urn:problem-type:users:email-taken");

const { error: invalid } = await gateway.POST("/users", { body: { email: "o@localhost", name: "" } });
assert(invalid?.type === "urn:problem-type:users:invalid");
assert.deepEqual(invalid.errors, [
  { pointer: "#/email", detail: "must have a dot in the domain, as in example.com" },
  { pointer: "#/name", detail: "must have 1 to 200 characters" },
]);
