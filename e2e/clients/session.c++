// Keeps one C++ client for many calls, which its command line cannot. For tests.
//
//   session HOST:PORT TIMEOUT_MS [CERT KEY CA]
//
// CERT, KEY and CA are the files of mutual TLS. Each line of the standard input is a call, `create ID EMAIL NAME` or `get ID`. Each line of the
// standard output is the outcome of one.

#include <iostream>
#include <sstream>
#include <string>

#include "users-client.h"

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
      [](CreateUserResponse::Reader response) -> std::string {
        switch (response.which()) {
          case CreateUserResponse::USER: return response.getReplayed() ? "replayed" : "created";
          case CreateUserResponse::INVALID: return "invalid";
          case CreateUserResponse::EMAIL_TAKEN: return "emailTaken";
          case CreateUserResponse::ID_CONFLICT: return "idConflict";
        }
        throw CallError{Failure::UNKNOWN, "an outcome of a later version"};
      });
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
    return verb == "create" ? create(users, words) : get(users, words);
  } catch (const CallError& error) {
    switch (error.failure) {
      case Failure::UNAVAILABLE: return "unavailable";
      case Failure::UNKNOWN: return "unknown";
      case Failure::UNIMPLEMENTED: return "unimplemented";
      case Failure::TOO_LARGE: return "invalid";
    }
    throw;
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
