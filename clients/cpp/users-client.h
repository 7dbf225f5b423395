// The users service from C++: a client on EzRpcClient that connects again after a break and bounds
// each call by a deadline.
//
// To use it in a project of yours, copy this file and CMakeLists.txt, and put schema/users.capnp beside
// them. A call takes two functions: one builds the request, the other one reads the response.
//
//   UsersClient users(kj::str("127.0.0.1:4001"), 5000);
//   try {
//     bool isStored = users.call(
//         Effect::WRITE,
//         [](Users::Client& service) {
//           auto request = service.createUserRequest();
//           request.setId("0190a3f4-7c3e-7cc8-a1b2-0242ac120002");  // makes repeating safe
//           request.setEmail("jane@example.com");
//           request.setName("Jane Doe");
//           return request;
//         },
//         [](CreateUserResponse::Reader response) { return response.isUser(); });
//   } catch (const CallError& error) {
//     if (error.failure == Failure::UNKNOWN) ...  // Create again with the same id.
//   }

#pragma once

#include <capnp/ez-rpc.h>
#include <kj/async-io.h>

#include <chrono>

#include "users.capnp.h"

// What a call may leave behind in the service.
enum class Effect { READ, WRITE };

// How a call ended without a response.
enum class Failure {
  UNAVAILABLE,   // Nothing was written. Another attempt, later, may succeed.
  UNKNOWN,       // It may or may not have had its effect. Creating again with the same id settles it.
  UNIMPLEMENTED  // This version of the service has no such method. Nothing was written.
};

// What `UsersClient::call` throws.
struct CallError {
  Failure failure;
  kj::StringPtr detail;
};

// The users service at an address. It connects with the first call, and again when the connection
// breaks. It makes one call at a time, on one thread.
class UsersClient {
public:
  // `address` is host:port. A call may take `timeoutMs` milliseconds in all.
  UsersClient(kj::String address, uint32_t timeoutMs) : address(kj::mv(address)), timeout(timeoutMs) {}

  // Makes the call that `build` builds, and returns what `read` makes of its response, which must not
  // point into the response. When the connection breaks, makes the call once more on a new one: ids
  // make that safe. Throws CallError.
  template <typename Build, typename Read>
  auto call(Effect effect, Build&& build, Read&& read) {
    deadline = Clock::now() + timeout;
    const Failure lost = effect == Effect::WRITE ? Failure::UNKNOWN : Failure::UNAVAILABLE;

    for (bool isLastAttempt : {false, true}) {
      if (!connect()) {
        if (isLastAttempt) throw CallError{lost, "the call failed"};
        throw CallError{Failure::UNAVAILABLE, "the users service cannot be reached"};
      }
      try {
        return attempt(build, read);
      } catch (const TimedOut&) {
        connection = nullptr;
        throw CallError{lost, "no answer in time"};
      } catch (const kj::Exception& error) {
        const bool isBroken = error.getType() == kj::Exception::Type::DISCONNECTED;
        if (isBroken) connection = nullptr;
        if (!isBroken || isLastAttempt) throw failed(error, lost);
      }
    }
    KJ_UNREACHABLE;
  }

private:
  using Clock = std::chrono::steady_clock;

  struct TimedOut {};

  struct Connection {
    explicit Connection(kj::StringPtr address) : rpc(address), service(rpc.getMain<Users>()) {}
    capnp::EzRpcClient rpc;
    Users::Client service;
  };

  template <typename Build, typename Read>
  auto attempt(Build&& build, Read&& read) {
    auto request = build(connection->service);
    request.initContext().setTimeoutMs(remainingMs());
    auto response = wait(request.send());
    lastResponseAt = Clock::now();
    return read(response);
  }

  static CallError failed(const kj::Exception& error, Failure lost) {
    switch (error.getType()) {
      case kj::Exception::Type::UNIMPLEMENTED:
        return {Failure::UNIMPLEMENTED, "the users service has no such method"};
      case kj::Exception::Type::OVERLOADED:
        return {Failure::UNAVAILABLE, "the users service is overloaded; nothing was written"};
      default: return {lost, "the call failed"};
    }
  }

  // Makes sure that there is a connection to a service that answers. EzRpcClient does not tell whether
  // a new connection came about, or an idle one has ended, so both are tried by a question that has no
  // effect. Returns false when there is no answer.
  bool connect() {
    if (connection.get() != nullptr) {
      const bool isFresh = Clock::now() - lastResponseAt < std::chrono::milliseconds(100);
      if (isFresh || isAnswering()) return true;
    }
    connection = kj::heap<Connection>(address);
    if (isAnswering()) return true;
    connection = nullptr;
    return false;
  }

  bool isAnswering() {
    try {
      wait(connection->service.healthRequest().send());
      return true;
    } catch (const TimedOut&) {
      return false;
    } catch (const kj::Exception& error) {
      // A service that is older than this question answers too.
      return error.getType() == kj::Exception::Type::UNIMPLEMENTED;
    }
  }

  // Waits for a response until the call's deadline. Throws TimedOut, or the call's kj::Exception.
  template <typename Results>
  capnp::Response<Results> wait(capnp::RemotePromise<Results> promise) {
    using Response = capnp::Response<Results>;
    bool isLate = false;
    kj::Promise<Response> response = kj::mv(promise);
    auto& timer = connection->rpc.getIoProvider().getTimer();
    auto late = timer.afterDelay(remainingMs() * kj::MILLISECONDS).then([&isLate]() -> kj::Promise<Response> {
      isLate = true;
      return KJ_EXCEPTION(FAILED, "no answer in time");
    });
    try {
      return response.exclusiveJoin(kj::mv(late)).wait(connection->rpc.getWaitScope());
    } catch (const kj::Exception&) {
      if (isLate) throw TimedOut();
      throw;
    }
  }

  // Milliseconds until the call's deadline, at least one.
  uint32_t remainingMs() const {
    auto remaining = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    return remaining > 1 ? remaining : 1;
  }

  kj::String address;
  std::chrono::milliseconds timeout;
  kj::Own<Connection> connection;     // Null until the first call, and after a break.
  Clock::time_point deadline;         // Of the call that is being made.
  Clock::time_point lastResponseAt;   // On any connection.
};
