// Keeps one C++ client for many calls, which its command line cannot. For tests.
//
//   session HOST:PORT TIMEOUT_MS [CERT KEY CA]
//
// CERT, KEY and CA are the files of mutual TLS. Each line of the standard input is a call, `create ID EMAIL NAME`,
// `create_many ID EMAIL NAME ID EMAIL NAME ...` or `get ID`. Each line of the standard output is the outcome of one, or
// the outcomes of many users.

#include <algorithm>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "users-client.h"

// Users of a call, as the contract says.
constexpr size_t MAX_USERS = 500;

struct Row {
  std::string id, email, name;
};

std::string nameOf(CreateUserResponse::Reader response) {
  switch (response.which()) {
    case CreateUserResponse::USER: return response.getReplayed() ? "replayed" : "created";
    case CreateUserResponse::INVALID: return "invalid";
    case CreateUserResponse::EMAIL_TAKEN: return "emailTaken";
    case CreateUserResponse::ID_CONFLICT: return "idConflict";
  }
  return "unknown";  // An outcome of a later version.
}

std::string nameOf(CreateUsersResult::Reader result) {
  switch (result.which()) {
    case CreateUsersResult::DONE: return nameOf(result.getDone());
    case CreateUsersResult::OVERLOADED: return "unavailable";
    case CreateUsersResult::FAILED: return "unknown";
  }
  return "unknown";
}

std::string nameOf(Failure failure) {
  switch (failure) {
    case Failure::UNAVAILABLE: return "unavailable";
    case Failure::UNKNOWN: return "unknown";
    case Failure::UNIMPLEMENTED: return "unimplemented";
    case Failure::TOO_LARGE: return "invalid";
  }
  KJ_UNREACHABLE;
}

std::string create(UsersClient& users, std::istream& arguments) {
  std::string id, email, name;
  arguments >> id >> email >> name;
  return users.call(
      Effect::WRITE,
      [&](Users::Client& service) {
        auto request = service.createUserRequest();
        request.setId(id);
        request.setEmail(email);
        request.setName(name);
        return request;
      },
      [](CreateUserResponse::Reader response) { return nameOf(response); });
}

// The outcomes of the rows of one call.
std::string createTogether(UsersClient& users, const Row* rows, size_t count) {
  auto repeated = [count](const std::string& outcome) {
    std::string line;
    for (size_t i = 0; i < count; i++) line += outcome + " ";
    return line;
  };
  try {
    return users.call(
        Effect::WRITE,
        [&](Users::Client& service) {
          auto request = service.createUsersRequest();
          auto list = request.initUsers(count);
          for (size_t i = 0; i < count; i++) {
            list[i].setId(rows[i].id);
            list[i].setEmail(rows[i].email);
            list[i].setName(rows[i].name);
          }
          return request;
        },
        [&](CreateUsersResponse::Reader response) -> std::string {
          if (response.isInvalid()) return repeated("invalid");
          if (!response.isResults() || response.getResults().size() != count) return repeated("unknown");
          std::string line;
          for (auto result : response.getResults()) line += nameOf(result) + " ";
          return line;
        });
  } catch (const CallError& error) {
    return repeated(nameOf(error.failure));
  }
}

std::string createMany(UsersClient& users, std::istream& arguments) {
  std::vector<Row> rows;
  for (Row row; arguments >> row.id >> row.email >> row.name;) rows.push_back(row);
  std::string line;
  for (size_t i = 0; i < rows.size(); i += MAX_USERS) {
    line += createTogether(users, &rows[i], std::min(MAX_USERS, rows.size() - i));
  }
  return line;
}

std::string get(UsersClient& users, std::istream& arguments) {
  std::string id;
  arguments >> id;
  return users.call(
      Effect::READ,
      [&](auto& service) {
        auto request = service.getUserRequest();
        request.setId(id);
        return request;
      },
      [](GetUserResponse::Reader response) -> std::string { return response.isUser() ? "found" : "notFound"; });
}

std::string outcomeOf(UsersClient& users, const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  try {
    if (verb == "create") return create(users, words);
    if (verb == "create_many") return createMany(users, words);
    return get(users, words);
  } catch (const CallError& error) {
    return nameOf(error.failure);
  }
}

int main(int argc, char* argv[]) {
  if (argc != 3 && argc != 6) return 2;
  std::optional<TlsFiles> tls;
  if (argc == 6) tls = TlsFiles{argv[3], argv[4], argv[5]};
  auto io = kj::setupAsyncIo();
  UsersClient users(io, argv[1], std::stoul(argv[2]), tls);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << outcomeOf(users, line) << std::endl;
  }
}
