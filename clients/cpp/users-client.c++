// The users service at a terminal, in C++.
//
//   users-client [--users-addr HOST:PORT] [--timeout-ms N] [--tls-cert FILE --tls-key FILE --tls-ca FILE] VERB
//     create --email EMAIL --name NAME [--id UUID]
//     get ID
//     find EMAIL
//     list [--page-size N] [--page-token TOKEN]
//
// Prints an object of JSON. Exit status: 0 done; 2 wrong usage; 3 refused; 4 unavailable, nothing was
// written; 5 unknown, creating again with the same id settles it; 6 the service has no such method.

#include "users-client.h"

#include <capnp/compat/json.h>
#include <capnp/dynamic.h>

#include <cctype>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

// A command line: a verb, options with a value each, and values by themselves.
struct Command {
  std::string verb;
  std::vector<std::string> values;
  std::map<std::string, std::string> options;

  std::string option(const std::string& name, const std::string& otherwise) const {
    auto found = options.find(name);
    return found == options.end() ? otherwise : found->second;
  }
};

// What a command prints, and its exit status.
struct Outcome {
  std::string json;
  int status;
};

[[noreturn]] void usage(const std::string& mistake) {
  std::cerr << "users-client: " << mistake << "\n"
            << "usage: users-client [--users-addr HOST:PORT] [--timeout-ms N] "
               "[--tls-cert FILE --tls-key FILE --tls-ca FILE] "
               "create --email EMAIL --name NAME [--id UUID] | get ID | find EMAIL | "
               "list [--page-size N] [--page-token TOKEN]\n";
  std::exit(2);
}

Command parse(const std::vector<std::string>& words) {
  Command command;
  for (size_t i = 0; i < words.size(); i++) {
    if (words[i].compare(0, 2, "--") == 0) {
      if (i + 1 == words.size()) usage(words[i] + " needs a value");
      command.options[words[i].substr(2)] = words[i + 1];
      i++;
    } else if (command.verb.empty()) {
      command.verb = words[i];
    } else {
      command.values.push_back(words[i]);
    }
  }
  return command;
}

uint32_t number(const std::string& option, const std::string& text) {
  char* end = nullptr;
  unsigned long value = std::strtoul(text.c_str(), &end, 10);
  if (text.empty() || text[0] == '-' || *end != '\0' || value > UINT32_MAX) {
    usage("--" + option + " must be a number");
  }
  return value;
}

// The option that sets a field: `page-size` for `pageSize`.
std::string optionFor(kj::StringPtr field) {
  std::string option;
  for (char c : field) {
    if (std::isupper(c)) option += '-';
    option += static_cast<char>(std::tolower(c));
  }
  return option;
}

// Sets the fields of a request that the command has options for. The fields come from the schema, so
// that a new one needs no change here.
void fill(capnp::DynamicStruct::Builder request, const Command& command) {
  for (auto field : request.getSchema().getNonUnionFields()) {
    auto option = command.options.find(optionFor(field.getProto().getName()));
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
  if (command.values.size() != 1) usage("get needs an id");
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
  if (command.values.size() != 1) usage("find needs an e-mail address");
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
  usage("there is no " + (command.verb.empty() ? std::string("verb") : command.verb));
}

// The value of an option, or else of the environment variable that stands for it: USERS_ADDR for
// --users-addr. Empty without both.
std::string setting(const Command& command, const std::string& option) {
  std::string variable = option.compare(0, 3, "tls") == 0 ? "USERS_" : "";
  for (char c : option) variable += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  const char* fromEnvironment = std::getenv(variable.c_str());
  return command.option(option, fromEnvironment ? fromEnvironment : "");
}

std::optional<TlsFiles> tlsFiles(const Command& command) {
  TlsFiles files{setting(command, "tls-cert"), setting(command, "tls-key"), setting(command, "tls-ca")};
  if (files.cert.empty() && files.key.empty() && files.ca.empty()) return std::nullopt;
  if (files.cert.empty()) usage("mutual TLS also needs --tls-cert (USERS_TLS_CERT)");
  if (files.key.empty()) usage("mutual TLS also needs --tls-key (USERS_TLS_KEY)");
  if (files.ca.empty()) usage("mutual TLS also needs --tls-ca (USERS_TLS_CA)");
  return files;
}

int main(int argc, char* argv[]) {
  Command command = parse(std::vector<std::string>(argv + 1, argv + argc));
  std::string address = setting(command, "users-addr");
  if (address.empty()) address = "127.0.0.1:4001";
  if (address.find(':') == std::string::npos) usage("--users-addr must be HOST:PORT, such as 127.0.0.1:4001");
  const uint32_t timeoutMs = number("timeout-ms", command.option("timeout-ms", "5000"));

  auto io = kj::setupAsyncIo();
  try {
    UsersClient users(io, address, timeoutMs, tlsFiles(command));
    Outcome outcome = run(users, command);
    std::cout << outcome.json << std::endl;
    return outcome.status;
  } catch (const std::invalid_argument& error) {
    usage(error.what());
  }
}
