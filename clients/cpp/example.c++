// Creates a user; when it is run again, the same user is there already.
//
//   example [HOST:PORT]

#include <capnp/ez-rpc.h>

#include <iostream>
#include <string>

#include "users.capnp.h"

void createUser(const std::string& address) {
  capnp::EzRpcClient client(address);
  Users::Client users = client.getMain<Users>();

  auto request = users.createUserRequest();
  request.setId("0190a3f4-7c3e-7cc8-a1b2-0242ac120002");  // makes repeating safe
  request.setEmail("jane.doe@example.com");
  request.setName("Jane Doe");
  auto response = request.send().wait(client.getWaitScope());
  switch (response.which()) {
    case CreateUserResponse::USER:
      std::cout << (response.getReplayed() ? "replayed " : "created ") << response.getUser().getId().cStr() << "\n";
      break;
    case CreateUserResponse::INVALID:
      for (auto error : response.getInvalid()) {
        std::cout << error.getField().cStr() << " " << error.getReason().cStr() << "\n";
      }
      break;
    case CreateUserResponse::EMAIL_TAKEN: std::cout << "e-mail address taken\n"; break;
    case CreateUserResponse::ID_CONFLICT: std::cout << "id belongs to another user\n"; break;
  }
}

int main(int argc, char* argv[]) {
  const std::string address = argc > 1 ? argv[1] : "127.0.0.1:4001";
  if (argc > 2 || address == "-h" || address == "--help") {
    std::cout << "usage: example [HOST:PORT]\nCreates a user at the users service, otherwise at 127.0.0.1:4001.\n";
    return argc > 2 ? 2 : 0;
  }

  try {
    createUser(address);
    return 0;
  } catch (const kj::Exception& error) {
    // Overloaded: nothing was written. Otherwise it may have been, and creating again with the same id settles it.
    std::cerr << "example: the users service at " << address << ": " << error.getDescription().cStr() << "\n";
    return 1;
  }
}
