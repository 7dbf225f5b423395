#include <capnp/ez-rpc.h>

#include <iostream>

#include "users.capnp.h"

int main(int argc, char* argv[]) {
  capnp::EzRpcClient client(argc > 1 ? argv[1] : "127.0.0.1:4001");
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
