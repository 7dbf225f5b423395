// The users service at a terminal, in C++: the verbs, and what they print. `--help` lists them.

#include "users-client.h"

#include <capnp/compat/json.h>
#include <capnp/dynamic.h>

#include <iostream>
#include <random>
#include <string>

#include "command-line.h"

// What a command prints, and its exit status.
struct Outcome {
  std::string json;
  int status;
};

// Sets the fields of a request that the command has options for. The fields come from the schema, so
// that a new one needs no change here.
void fill(capnp::DynamicStruct::Builder request, const Command& command) {
  for (auto field : request.getSchema().getNonUnionFields()) {
    auto option = command.options.find(optionFor(field));
    if (option == command.options.end()) continue;
    if (field.getType().isText()) request.set(field, option->second.c_str());
    if (field.getType().isUInt32()) request.set(field, number(option->first, option->second));
  }
}

// A UUID of version 4 (RFC 9562).
std::string freshId() {
  std::random_device random;
  std::uniform_int_distribution<int> digit(0, 15);
  std::string id = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
  for (char& c : id) {
    if (c == 'x') c = "0123456789abcdef"[digit(random)];
    if (c == 'y') c = "89ab"[digit(random) % 4];
  }
  return id;
}

template <typename Structs>
std::string jsonList(Structs structs) {
  capnp::JsonCodec json;
  std::string list = "[";
  for (auto item : structs) {
    if (list.size() > 1) list += ",";
    list += json.encode(item).cStr();
  }
  return list + "]";
}

Outcome withUser(const std::string& outcome, User::Reader user) {
  std::string json = capnp::JsonCodec().encode(user).cStr();
  return {"{\"outcome\":\"" + outcome + "\",\"user\":" + json + "}", 0};
}

Outcome refused(const std::string& outcome) { return {"{\"outcome\":\"" + outcome + "\"}", 3}; }

Outcome invalid(capnp::List<FieldError>::Reader errors) {
  return {"{\"outcome\":\"invalid\",\"errors\":" + jsonList(errors) + "}", 3};
}

std::string quoted(const std::string& text) {
  return capnp::JsonCodec().encode(capnp::Text::Reader(text.c_str())).cStr();
}

Outcome failed(const CallError& error, const Command& command) {
  const std::string detail = quoted(error.detail);
  const std::string id = quoted(command.option("id", ""));
  switch (error.failure) {
    case Failure::UNAVAILABLE: return {"{\"outcome\":\"unavailable\",\"detail\":" + detail + "}", 4};
    case Failure::UNKNOWN: return {"{\"outcome\":\"unknown\",\"detail\":" + detail + ",\"id\":" + id + "}", 5};
    case Failure::UNIMPLEMENTED: return {"{\"outcome\":\"unimplemented\",\"detail\":" + detail + "}", 6};
    case Failure::TOO_LARGE: break;
  }
  // Text that is no UUID, or no e-mail address, is no user's.
  if (command.verb == "get" || command.verb == "find") return refused("notFound");
  const std::string fault = "{\"field\":" + quoted(error.field) + ",\"reason\":" + detail + "}";
  return {"{\"outcome\":\"invalid\",\"errors\":[" + fault + "]}", 3};
}

Outcome create(UsersClient& users, const Command& command) {
  checkUsage(command, {}, optionsFor(capnp::Schema::from<CreateUserRequest>()));
  if (!command.options.count("email") || !command.options.count("name")) usage("create needs --email and --name");
  return users.call(
      Effect::WRITE,
      [&](Users::Client& service) {
        auto request = service.createUserRequest();
        fill(CreateUserRequest::Builder(request), command);
        return request;
      },
      [](CreateUserResponse::Reader response) {
        switch (response.which()) {
          case CreateUserResponse::USER:
            return withUser(response.getReplayed() ? "replayed" : "created", response.getUser());
          case CreateUserResponse::INVALID: return invalid(response.getInvalid());
          case CreateUserResponse::EMAIL_TAKEN: return refused("emailTaken");
          case CreateUserResponse::ID_CONFLICT: return refused("idConflict");
        }
        throw CallError{Failure::UNKNOWN, "an outcome of a later version"};
      });
}

// Of `get` and of `find`, whose responses have the same members.
template <typename Response>
Outcome found(Response response) {
  switch (response.which()) {
    case Response::Reads::USER: return withUser("found", response.getUser());
    case Response::Reads::NOT_FOUND: return refused("notFound");
    case Response::Reads::REVOKED: return refused("revoked");
  }
  throw CallError{Failure::UNAVAILABLE, "an outcome of a later version"};
}

Outcome get(UsersClient& users, const Command& command) {
  checkUsage(command, {"an id"});
  return users.call(
      Effect::READ,
      [&](auto& service) {
        auto request = service.getUserRequest();
        request.setId(command.values[0]);
        return request;
      },
      [](GetUserResponse::Reader response) { return found(response); });
}

Outcome find(UsersClient& users, const Command& command) {
  checkUsage(command, {"an e-mail address"});
  return users.call(
      Effect::READ,
      [&](auto& service) {
        auto request = service.findUserRequest();
        request.setEmail(command.values[0]);
        return request;
      },
      [](FindUserResponse::Reader response) { return found(response); });
}

Outcome list(UsersClient& users, const Command& command) {
  checkUsage(command, {}, optionsFor(capnp::Schema::from<ListUsersRequest>()));
  // A wrong number ends here, before there is a connection.
  capnp::MallocMessageBuilder checked;
  fill(checked.initRoot<ListUsersRequest>(), command);
  return users.call(
      Effect::READ,
      [&](auto& service) {
        auto request = service.listUsersRequest();
        fill(ListUsersRequest::Builder(request), command);
        return request;
      },
      [](ListUsersResponse::Reader response) -> Outcome {
        if (response.isInvalid()) return invalid(response.getInvalid());
        if (response.isRevoked()) return refused("revoked");
        if (!response.isPage()) throw CallError{Failure::UNAVAILABLE, "an outcome of a later version"};
        auto page = response.getPage();
        // A token is made of characters that mean nothing to JSON.
        std::string users = jsonList(page.getUsers()), token = page.getNextPageToken().cStr();
        return {"{\"outcome\":\"page\",\"users\":" + users + ",\"nextPageToken\":\"" + token + "\"}", 0};
      });
}

Outcome run(UsersClient& users, Command command) {
  // Picked here, and not for each attempt; the one that is given stays.
  if (command.verb == "create") command.options.emplace("id", freshId());
  try {
    if (command.verb == "create") return create(users, command);
    if (command.verb == "get") return get(users, command);
    if (command.verb == "find") return find(users, command);
    if (command.verb == "list") return list(users, command);
  } catch (const CallError& error) {
    return failed(error, command);
  }
  usage(command.verb.empty() ? "a verb is missing" : "there is no verb " + command.verb);
}

int main(int argc, char* argv[]) {
  try {
    Command command = parse(std::vector<std::string>(argv + 1, argv + argc));
    std::string address = setting(command, "users-addr");
    if (address.empty()) address = "127.0.0.1:4001";
    const uint32_t timeoutMs = number("timeout-ms", command.option("timeout-ms", "5000"));
    if (timeoutMs == 0) usage("--timeout-ms must be at least 1");

    auto io = kj::setupAsyncIo();
    UsersClient users(io, address, timeoutMs, tlsFiles(command));
    Outcome outcome = run(users, command);
    std::cout << outcome.json << std::endl;
    return std::cout ? outcome.status : 1;
  } catch (const std::invalid_argument& error) {
    usage(error.what());
  } catch (const kj::Exception& error) {
    std::cerr << "users-client: " << error.getDescription().cStr() << "\n";
  } catch (const std::exception& error) {
    std::cerr << "users-client: " << error.what() << "\n";
  }
  return 1;
}
