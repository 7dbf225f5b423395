// The users service from C++: a client on EzRpcClient, and a command line.
//
//   users-client [--users-addr HOST:PORT] [--timeout-ms N] VERB
//     create --email EMAIL --name NAME [--id UUID]
//     get ID
//     list [--page-size N] [--page-token TOKEN]
//     session        commands from standard input, a JSON list of words on each line
//
// Prints an object of JSON. Exit status: 0 done; 2 wrong usage; 3 refused; 4 unavailable, nothing was
// written; 5 unknown, creating again with the same id settles it; 6 the service has no such method.

#include <capnp/compat/json.h>
#include <capnp/ez-rpc.h>
#include <capnp/message.h>
#include <kj/async-io.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "users.capnp.h"

// How a call ended without an outcome.
enum class Failure {
  UNAVAILABLE,   // Nothing was written; another try, later, may succeed.
  UNKNOWN,       // It may or may not have had its effect; creating again with the same id settles it.
  UNIMPLEMENTED  // The service is of a version that has no such method.
};

struct CallError {
  Failure failure;
  kj::StringPtr detail;
};

// The users service at an address. Connects when it is called, and again after a break.
class UsersClient {
public:
  UsersClient(kj::String address, uint32_t timeoutMs) : address(kj::mv(address)), timeoutMs(timeoutMs) {}

  // Makes the call that `build` builds on a Users::Client, and hands its response to `use`; once more,
  // on a new connection, if the old one breaks: ids make that safe. Throws CallError.
  template <typename Build, typename Use>
  void call(bool writes, Build&& build, Use&& use) {
    end = Clock::now() + std::chrono::milliseconds(timeoutMs);
    const Failure broken = writes ? Failure::UNKNOWN : Failure::UNAVAILABLE;
    for (bool last : {false, true}) {
      try {
        connect();
      } catch (const CallError&) {
        if (last) throw CallError{broken, "the call failed"};
        throw;
      }
      bool timedOut = false;
      KJ_IF_MAYBE(error, kj::runCatchingExceptions([&]() {
        auto request = build(rpc->client);
        request.initContext().setTimeoutMs(left());
        auto response = within(request.send(), timedOut);
        lastUsed = Clock::now();
        use(response);
      })) {
        if (timedOut) {
          rpc = nullptr;
          throw CallError{broken, "no answer in time"};
        }
        switch (error->getType()) {
          case kj::Exception::Type::UNIMPLEMENTED:
            throw CallError{Failure::UNIMPLEMENTED, "the users service has no such method"};
          case kj::Exception::Type::OVERLOADED:
            throw CallError{Failure::UNAVAILABLE, "the users service is overloaded; nothing was written"};
          case kj::Exception::Type::DISCONNECTED:
            rpc = nullptr;
            if (!last) continue;
            KJ_FALLTHROUGH;
          default:
            throw CallError{broken, "the call failed"};
        }
      }
      return;
    }
  }

private:
  struct Rpc {
    explicit Rpc(kj::StringPtr address) : ez(address), client(ez.getMain<Users>()) {}
    capnp::EzRpcClient ez;
    Users::Client client;
  };

  // Makes sure of a service that answers: on a new connection, and on one that has rested and may have
  // ended meanwhile. EzRpcClient connects with its first call; one that fails has written nothing.
  void connect() {
    if (rpc.get() != nullptr) {
      if (Clock::now() - lastUsed < std::chrono::milliseconds(100) || answers()) return;
    }
    rpc = kj::heap<Rpc>(address);
    if (!answers()) {
      rpc = nullptr;
      throw CallError{Failure::UNAVAILABLE, "the users service cannot be reached"};
    }
  }

  bool answers() {
    bool timedOut = false;
    KJ_IF_MAYBE(error, kj::runCatchingExceptions([&]() {
      within(rpc->client.healthRequest().send(), timedOut);
    })) {
      // A service from before there was this question is one too.
      return error->getType() == kj::Exception::Type::UNIMPLEMENTED;
    }
    return true;
  }

  // Milliseconds until the call's deadline.
  uint32_t left() const {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    return left > 1 ? left : 1;
  }

  // Waits for a response, until the call's deadline.
  template <typename Results>
  capnp::Response<Results> within(capnp::RemotePromise<Results> promise, bool& timedOut) {
    kj::Promise<capnp::Response<Results>> answered = kj::mv(promise);
    auto late = rpc->ez.getIoProvider().getTimer().afterDelay(left() * kj::MILLISECONDS);
    return answered
        .exclusiveJoin(late.then([&timedOut]() -> kj::Promise<capnp::Response<Results>> {
          timedOut = true;
          return KJ_EXCEPTION(FAILED, "no answer in time");
        }))
        .wait(rpc->ez.getWaitScope());
  }

  using Clock = std::chrono::steady_clock;

  kj::String address;
  uint32_t timeoutMs;
  kj::Own<Rpc> rpc;
  Clock::time_point end;       // Of the call that is being made.
  Clock::time_point lastUsed;  // When the connection last brought an answer.
};

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

// What a command line asks for: a verb, values without and with a name.
struct Command {
  std::string verb;
  std::vector<std::string> values;
  std::map<std::string, std::string> named;

  std::string get(const std::string& name, const std::string& otherwise) const {
    auto found = named.find(name);
    return found == named.end() ? otherwise : found->second;
  }
};

[[noreturn]] void usage(const std::string& fault) {
  std::cerr << "users-client: " << fault << "\n"
            << "usage: users-client [--users-addr HOST:PORT] [--timeout-ms N] "
               "create --email EMAIL --name NAME [--id UUID] | get ID | "
               "list [--page-size N] [--page-token TOKEN] | session\n";
  std::exit(2);
}

Command parse(const std::vector<std::string>& words) {
  Command command;
  for (size_t i = 0; i < words.size(); i++) {
    if (words[i].compare(0, 2, "--") == 0) {
      if (i + 1 == words.size()) usage(words[i] + " needs a value");
      command.named[words[i].substr(2)] = words[i + 1];
      i++;
    } else if (command.verb.empty()) {
      command.verb = words[i];
    } else {
      command.values.push_back(words[i]);
    }
  }
  return command;
}

uint32_t number(const std::string& name, const std::string& text) {
  char* end = nullptr;
  unsigned long value = std::strtoul(text.c_str(), &end, 10);
  if (text.empty() || text[0] == '-' || *end != '\0' || value > UINT32_MAX) {
    usage("--" + name + " must be a number");
  }
  return value;
}

// Runs a command, prints what became of it, and returns the exit status.
int run(UsersClient& users, const Command& command) {
  capnp::JsonCodec json;
  std::string line;
  int status = 0;
  auto faults = [&](capnp::List<FieldError>::Reader errors) {
    line = "{\"outcome\":\"invalid\",\"errors\":[";
    for (auto error : errors) {
      if (line.back() != '[') line += ",";
      line += json.encode(error).cStr();
    }
    line += "]}";
    status = 3;
  };
  auto refused = [&](const char* outcome) {
    line = std::string("{\"outcome\":\"") + outcome + "\"}";
    status = 3;
  };
  auto user = [&](const char* outcome, User::Reader user) {
    line = std::string("{\"outcome\":\"") + outcome + "\",\"user\":" + json.encode(user).cStr() + "}";
  };
  try {
    if (command.verb == "create") {
      if (!command.named.count("email") || !command.named.count("name")) usage("create needs --email and --name");
      std::string id = command.get("id", freshId());
      users.call(
          true,
          [&](Users::Client& client) {
            auto request = client.createUserRequest();
            request.setId(id);
            request.setEmail(command.get("email", ""));
            request.setName(command.get("name", ""));
            return request;
          },
          [&](CreateUserResponse::Reader response) {
            switch (response.which()) {
              case CreateUserResponse::USER:
                return user(response.getReplayed() ? "replayed" : "created", response.getUser());
              case CreateUserResponse::INVALID: return faults(response.getInvalid());
              case CreateUserResponse::EMAIL_TAKEN: return refused("emailTaken");
              case CreateUserResponse::ID_CONFLICT: return refused("idConflict");
            }
            throw CallError{Failure::UNKNOWN, "an outcome of a later version"};
          });
    } else if (command.verb == "get") {
      if (command.values.size() != 1) usage("get needs an id");
      users.call(
          false,
          [&](Users::Client& client) {
            auto request = client.getUserRequest();
            request.setId(command.values[0]);
            return request;
          },
          [&](GetUserResponse::Reader response) {
            if (response.isUser()) return user("found", response.getUser());
            refused("notFound");
          });
    } else if (command.verb == "list") {
      users.call(
          false,
          [&](Users::Client& client) {
            auto request = client.listUsersRequest();
            request.setPageSize(number("page-size", command.get("page-size", "50")));
            request.setPageToken(command.get("page-token", ""));
            return request;
          },
          [&](ListUsersResponse::Reader response) {
            if (response.isInvalid()) return faults(response.getInvalid());
            auto page = response.getPage();
            line = "{\"outcome\":\"page\",\"users\":[";
            for (auto user : page.getUsers()) {
              if (line.back() != '[') line += ",";
              line += json.encode(user).cStr();
            }
            // A token is made of characters that mean nothing to JSON.
            line += std::string("],\"nextPageToken\":\"") + page.getNextPageToken().cStr() + "\"}";
          });
    } else {
      usage("there is no " + (command.verb.empty() ? std::string("verb") : command.verb));
    }
  } catch (const CallError& error) {
    const char* names[] = {"unavailable", "unknown", "unimplemented"};
    int failure = static_cast<int>(error.failure);
    line = std::string("{\"outcome\":\"") + names[failure] + "\",\"detail\":\"" + error.detail.cStr() + "\"}";
    status = 4 + failure;
  }
  std::cout << line << std::endl;
  return status;
}

int main(int argc, char* argv[]) {
  Command command = parse(std::vector<std::string>(argv + 1, argv + argc));
  const char* set = std::getenv("USERS_ADDR");
  std::string address = command.get("users-addr", set == nullptr ? "127.0.0.1:4001" : set);
  if (address.find(':') == std::string::npos) usage("--users-addr must be HOST:PORT, such as 127.0.0.1:4001");
  UsersClient users(kj::heapString(address.c_str()), number("timeout-ms", command.get("timeout-ms", "5000")));
  if (command.verb != "session") return run(users, command);

  int status = 0;
  capnp::JsonCodec json;
  for (std::string line; std::getline(std::cin, line);) {
    capnp::MallocMessageBuilder message;
    auto value = message.initRoot<capnp::JsonValue>();
    json.decodeRaw(kj::ArrayPtr<const char>(line.data(), line.size()), value);
    std::vector<std::string> words;
    for (auto word : value.asReader().getArray()) words.push_back(word.getString().cStr());
    status = run(users, parse(words));
  }
  return status;
}
