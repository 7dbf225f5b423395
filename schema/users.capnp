# The contract of the users service: what objects of type `Users` and `UserDirectory` promise to their callers.
#
# Usage. The bootstrap capability of TCP port 4001 is a `Users` (Cap'n Proto RPC, level 1, two-party,
# unpacked), or a `UserDirectory` for callers that may only read. With TLS, the certificate that a caller
# shows decides which. Clients to copy are in `clients/`. In Python (pycapnp), inside `capnp.run`:
#
#   stream = await capnp.AsyncIoStream.create_connection(host="127.0.0.1", port=4001)
#   users = capnp.TwoPartyClient(stream).bootstrap().cast_as(schema.Users)
#   request = users.createUser_request()
#   request.id, request.email, request.name = str(uuid4()), "jane@example.com", "Jane Doe"
#   reply = await request.send()
#   print(reply.which(), reply.user.id)
#
# Errors. Outcomes that a caller can expect are data: the union of each response. Exceptions are
# failures. Their type says what to do, and their text is for logs:
#
#   overloaded      nothing was written; try again later, or at another replica
#   failed          the write may or may not have happened
#   disconnected    the connection broke; a call that was in flight on it has `failed`
#   unimplemented   this version of the service has no such method; nothing was written
#
# In the results of `createUsers`, `overloaded` and `failed` say the same of one user.
#
# Retries. Every call may be repeated after any failure. Reads have no effect, and `createUser` or
# `createUsers` with the same id, email and name has its effect once, however often and on whichever replica
# it is repeated. Repeating a create that `failed` is also the way to find out what became of it; until an
# attempt settles it, a later `overloaded` does not mean that nothing was written. Repeat a few times, after
# a partly random pause, longer after each repetition. Never repeat a create without an id of your own.
#
# Limits. A message to the service has at most 128 KiB, a message from it at most 1 MiB. A message must
# arrive within 10 seconds of its first byte, and the first message of a connection within 10 seconds of
# connecting. Between messages a connection may be idle for ever. Answers come in the order in which the
# calls are done, so send many at once, up to a thousand on a connection, and four `createUsers`. Calls
# beyond a connection's share of the service are answered `overloaded`. When too much is unanswered the
# service pauses reading, and after 40 seconds of that it ends the connection. A call that its caller
# abandons, or whose answer it never finishes, leaves something behind: after some thousands of them the
# service answers what is in flight and ends the connection. So does a `UserDirectory` that is never
# released. A call must pass no capabilities and have its results sent to its caller; any other call ends
# the connection. Text is UTF-8. In a create, text that is not is a fault of its field.
#
# A message that is too long ends the connection, and with it every other call on it. So bound what you
# send: our clients send at most 96 KiB of text in a request, and those in Rust and Python spread many users
# over several calls of `createUsers`.
#
# Evolution. Add fields to structs, methods with the next number, and members to unions; callers must treat
# a member that they do not know as `failed`. Never renumber, retype, reuse or remove. A field that is not
# sent has its default, which must mean what its absence meant. After a change, run the command that
# `tests/compiler_request.rs` names. The tests keep the first published version, whose clients must work
# for ever.
@0xd3dbd68c315e4e00;

interface Users {
  # Creates, reads and lists users.

  createUser @0 CreateUserRequest -> CreateUserResponse;
  # Stores a user, exactly once. Answers once the row is durable: flushed to disk by PostgreSQL, and by its
  # synchronous standbys if it has any, unless its operator has turned off `fsync` or `synchronous_commit`. Calls
  # that arrive together share a commit.

  getUser @1 GetUserRequest -> GetUserResponse;
  # Reads one user. Sees every create that was answered before this call, as long as PostgreSQL has one primary.

  listUsers @2 ListUsersRequest -> ListUsersResponse;
  # Reads all users, a page at a time, in the order of their ids. No user is listed twice. A user that is
  # created meanwhile is missed when its id lies before the page.

  health @3 HealthRequest -> HealthResponse;
  # Tells whether calls can succeed now: the service is not stopping, and its database answers and takes
  # writes. Answers within about half a second, whatever the database does.

  findUser @4 FindUserRequest -> FindUserResponse;
  # Reads the user who has an e-mail address. Sees what `getUser` sees.

  directory @5 DirectoryRequest -> DirectoryResponse;
  # Makes a `UserDirectory` to hand on to someone who may read users and not create any.

  createUsers @6 CreateUsersRequest -> CreateUsersResponse;
  # Stores many users, each exactly once and with an outcome of its own, as if each had its own `createUser`.
  # One user's fault is not another's, and neither is its failure. A user that someone else is writing at that
  # moment is `overloaded` at once, instead of holding up the call. Users of one call may share a commit with
  # those of other calls, and need not share one with each other.
}

interface UserDirectory {
  # Reads users. It is no base of `Users`: a `Users` that was cast to its base would still be a `Users`, and
  # whoever got it could cast it back. A call to a method of `Users` is answered `unimplemented`.

  getUser @0 GetUserRequest -> GetUserResponse;
  listUsers @1 ListUsersRequest -> ListUsersResponse;
  findUser @2 FindUserRequest -> FindUserResponse;
  # As in `Users`. Once the directory is revoked, all three answer `revoked`.
}

interface DirectoryHandle {
  # Keeps a `UserDirectory` alive. It has no methods: releasing it, or the end of the connection on which it was
  # given out, revokes the directory for good, whoever holds it.
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
  # Travels with every call, whichever method it is.

  timeoutMs @0 :UInt32;
  # How long the caller waits, in milliseconds from when the service reads the call. A call that is still
  # queued then is dropped and answered `overloaded`. 0: as long as the service allows.

  traceparent @1 :Text;
  # The caller's span, as a `traceparent` of W3C Trace Context. Empty: no trace.
}

struct FieldError {
  # One fault of a request.

  field @0 :Text;
  # The field at fault: "id", "email", "name", "users", "pageSize" or "pageToken". Empty: the request as a whole.

  reason @1 :Text;
  # What a right value looks like, as the rest of a sentence that starts with the field's name.
}

struct CreateUserRequest {
  id @0 :Text;
  # The new user's id, a UUID that the caller picks, in its 36-character form, and not the nil UUID. It makes
  # the call safe to repeat: creating again with the same id, email and name is a replay, with the same answer
  # and no second row. Empty: the service mints a UUIDv7, and the call is not safe to repeat.

  email @1 :Text;
  # ASCII, at most 254 bytes after trimming: a local part without quotes of at most 64 bytes, "@", and a domain
  # name with a dot.

  name @2 :Text;
  # 1 to 200 characters after trimming, none of them a control character, a line separator, or a character that
  # embeds, overrides or isolates a direction of text.

  context @3 :CallContext;
}

struct CreateUserResponse {
  union {
    user @0 :User;
    # It is stored.

    invalid @1 :List(FieldError);
    # The request breaks rules. All faults are listed. Nothing was stored.

    emailTaken @2 :Void;
    # Another user has this e-mail address. Nothing was stored.

    idConflict @3 :Void;
    # A user with this id exists and has another email or name. Nothing was stored.
  }

  replayed @4 :Bool;
  # With `user`: an earlier call with the same id, email and name stored it. False where the service cannot
  # tell whether this call stored it. After an attempt of yours that may have written, true does not mean
  # that someone else stored it: that attempt may be the earlier call.
}

struct NewUser {
  # A user to create. The fields are those of `CreateUserRequest`, with the same rules.

  id @0 :Text;
  email @1 :Text;
  name @2 :Text;
}

struct CreateUsersRequest {
  users @0 :List(NewUser);
  # 1 to 500 users. Keep their texts within 88 KiB in all, or the message may be too long (see "Limits").

  context @1 :CallContext;
}

struct CreateUsersResponse {
  union {
    results @0 :List(CreateUsersResult);
    # What became of each user, in the order of the request. A call that ends with an exception has failed in
    # this way for each of its users.

    invalid @1 :List(FieldError);
    # The request as a whole breaks rules. Nothing was stored.
  }
}

struct CreateUsersResult {
  # What became of one user of many.

  union {
    done @0 :CreateUserResponse;
    # What `createUser` would have answered.

    overloaded @1 :Void;
    # Nothing was written of this user; try again later. After an attempt of yours that may have written, this
    # does not mean that nothing was written.

    failed @2 :Void;
    # This user may or may not have been stored. Repeating it with the same id settles it.
  }
}

struct GetUserRequest {
  id @0 :Text;
  # The user's id. Text that is not a UUID is no user's id: `notFound`.

  context @1 :CallContext;
}

struct GetUserResponse {
  union {
    user @0 :User;
    # It is stored.

    notFound @1 :Void;
    # No user has this id.

    revoked @2 :Void;
    # This directory has been revoked. Only a `UserDirectory` answers so.
  }
}

struct FindUserRequest {
  email @0 :Text;
  # The user's e-mail address, in any letter case. Text that is no e-mail address is no user's: `notFound`.

  context @1 :CallContext;
}

struct FindUserResponse {
  union {
    user @0 :User;
    # It is stored.

    notFound @1 :Void;
    # No user has this e-mail address.

    revoked @2 :Void;
    # This directory has been revoked. Only a `UserDirectory` answers so.
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
      # At most `pageSize` users, by ascending id. Empty only when there are no more.

      nextPageToken @1 :Text;
      # Opaque. Empty: this is the last page.
    }

    invalid @2 :List(FieldError);
    # The request breaks rules. All faults are listed.

    revoked @3 :Void;
    # This directory has been revoked. Only a `UserDirectory` answers so.
  }
}

struct DirectoryRequest {
  context @0 :CallContext;
}

struct DirectoryResponse {
  directory @0 :UserDirectory;
  # To hand on.

  handle @1 :DirectoryHandle;
  # To keep, and to release when nobody is to use the directory any more.
}

struct HealthRequest {
  # Nothing to ask, yet.
}

struct HealthResponse {
  serving @0 :Bool;
  # Whether calls can succeed now.
}
