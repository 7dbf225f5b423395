# The contract of the users service: what an object of type `Users` promises to its callers.
#
# The bootstrap capability of TCP port 4001 is a `Users`. A call in Python (pycapnp):
#
#   users = capnp.TwoPartyClient(stream).bootstrap().cast_as(schema.Users)
#   reply = await users.createUser(id=str(uuid4()), email="jane@example.com", name="Jane Doe")
#   print(reply.which(), reply.user.id)
#
# Outcomes that a caller can expect are data: the union of each response. Exceptions are for
# failures, and two kinds of them leave the service:
#
#   overloaded   nothing was written; try again, later
#   failed       the write may or may not have happened; create again with the same id to find out
#
# A connection that breaks during a call means the same as `failed`.
#
# To evolve this file, add: fields to structs, methods with the next number, members to a union
# (old callers must treat a member they do not know as a failure). Never renumber, retype, reuse
# or remove. After any change run the command that `tests/contract.rs` names.
@0xd3dbd68c315e4e00;

interface Users {
  # Creates, reads and lists users.

  createUser @0 CreateUserRequest -> CreateUserResponse;
  # Stores a user, exactly once. Answers after the row is durable.

  getUser @1 GetUserRequest -> GetUserResponse;
  # Reads one user.

  listUsers @2 ListUsersRequest -> ListUsersResponse;
  # Reads all users, a page at a time, in the order of their ids.

  health @3 HealthRequest -> HealthResponse;
  # Tells whether calls can succeed now: the service is not stopping and its database answers.
}

struct User {
  # A stored user.

  id @0 :Text;
  # A UUID (RFC 9562) in its canonical form: 36 characters, lower case, with hyphens.

  email @1 :Text;
  # Trimmed, in the case it was given. Unique without regard to case.

  name @2 :Text;
  # Trimmed, otherwise as it was given.
}

struct CallContext {
  # What travels with every call, whichever method it is.

  timeoutMs @0 :UInt32;
  # How long the caller will wait, in milliseconds from when the service reads the call. A call
  # that is still queued then is dropped, with `overloaded`. 0: as long as the service allows.

  traceparent @1 :Text;
  # The caller's position in its trace, in the form of W3C Trace Context. Empty: no trace.
}

struct FieldError {
  # One fault of a request.

  field @0 :Text;
  # Name of the field at fault: "id", "email", "name", "pageSize" or "pageToken". Empty: the request
  # as a whole.

  reason @1 :Text;
  # What a right value looks like, as the rest of a sentence that starts with the field's name.
}

struct CreateUserRequest {
  id @0 :Text;
  # The new user's id, a UUID that the caller picks. It makes the call safe to repeat: creating again
  # with the same id, email and name is a replay, with the same answer and no second row.
  # Empty: the service mints a UUIDv7, and the call is not safe to repeat.

  email @1 :Text;
  # ASCII, at most 254 bytes after trimming, a local part, "@" and a domain with a dot.

  name @2 :Text;
  # 1 to 200 characters after trimming, none of them a control or bidi override character.

  context @3 :CallContext;
}

struct CreateUserResponse {
  union {
    user @0 :User;
    # It is stored.

    invalid @1 :List(FieldError);
    # The request breaks rules; all faults are listed. Nothing was stored.

    emailTaken @2 :Void;
    # Another user has this e-mail address. Nothing was stored.

    idConflict @3 :Void;
    # A user with this id exists and has another email or name. Nothing was stored.
  }

  replayed @4 :Bool;
  # With `user`: it was stored by an earlier call with the same id, email and name.
}

struct GetUserRequest {
  id @0 :Text;
  # The user's id. Text that is not a UUID is no user's id: `notFound`.

  context @1 :CallContext;
}

struct GetUserResponse {
  union {
    user @0 :User;
    notFound @1 :Void;
  }
}

struct ListUsersRequest {
  pageSize @0 :UInt32 = 50;
  # How many users to return, 1 to 100.

  pageToken @1 :Text;
  # `nextPageToken` of the page before. Empty: the first page.

  context @2 :CallContext;
}

struct ListUsersResponse {
  union {
    page :group {
      users @0 :List(User);

      nextPageToken @1 :Text;
      # Opaque. Empty: this is the last page.
    }

    invalid @2 :List(FieldError);
    # The request breaks rules; all faults are listed.
  }
}

struct HealthRequest {
}

struct HealthResponse {
  serving @0 :Bool;
}
