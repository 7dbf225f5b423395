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

#include <capnp/dynamic.h>
#include <capnp/ez-rpc.h>
#include <capnp/message.h>
#include <kj/async-io.h>

#include <algorithm>
#include <chrono>
#include <type_traits>

#include "users.capnp.h"

// What a call may leave behind in the service.
enum class Effect { READ, WRITE };

// How a call ended without a response.
enum class Failure {
  UNAVAILABLE,   // Nothing was written. Another attempt, later, may succeed.
  UNKNOWN,       // It may or may not have had its effect. Creating again with the same id settles it.
  UNIMPLEMENTED, // This version of the service has no such method. Nothing was written.
  TOO_LARGE      // `CallError::field` must be shorter. Nothing was sent.
};

// What `UsersClient::call` throws.
struct CallError {
  Failure failure;
  kj::StringPtr detail;
  kj::StringPtr field = nullptr;  // With TOO_LARGE: the longest text of the request.
};

// Bytes of a request, which are nearly all text. The contract says so ("Limits"): a longer message would
// cost the connection.
constexpr uint64_t MAX_REQUEST_BYTES = 96 * 1024;

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
    const bool writes = effect == Effect::WRITE;
    bool mayHaveWritten = false;

    for (bool isLastAttempt : {false, true}) {
      if (!connect()) throw notExecuted(mayHaveWritten, Failure::UNAVAILABLE, "the users service cannot be reached");
      try {
        return attempt(build, read, mayHaveWritten);
      } catch (const TimedOut&) {
        connection = nullptr;
        throw CallError{writes || mayHaveWritten ? Failure::UNKNOWN : Failure::UNAVAILABLE, "no answer in time"};
      } catch (const kj::Exception& error) {
        switch (error.getType()) {
          case kj::Exception::Type::UNIMPLEMENTED:
            throw notExecuted(mayHaveWritten, Failure::UNIMPLEMENTED, "the users service has no such method");
          case kj::Exception::Type::OVERLOADED:
            throw notExecuted(mayHaveWritten, Failure::UNAVAILABLE,
                              "the users service is overloaded; nothing was written");
          default: break;
        }
        mayHaveWritten |= writes;
        const bool isBroken = error.getType() == kj::Exception::Type::DISCONNECTED;
        if (isBroken) connection = nullptr;
        if (!isBroken || isLastAttempt) throw notExecuted(mayHaveWritten, Failure::UNAVAILABLE, "the call failed");
      }
    }
    KJ_UNREACHABLE;
  }

private:
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::milliseconds;

  struct TimedOut {};

  struct Connection {
    explicit Connection(kj::StringPtr address) : rpc(address), service(rpc.getMain<Users>()) {}
    capnp::EzRpcClient rpc;
    Users::Client service;
  };

  template <typename Build, typename Read>
  auto attempt(Build&& build, Read&& read, bool followsWrite) {
    auto request = build(connection->service);
    checkSize(request.asReader());
    // The service gets less time than the caller waits, so that its own "dropped" still arrives.
    const Milliseconds reserve = std::clamp(timeout / 10, Milliseconds(5), Milliseconds(100));
    const auto left = std::chrono::duration_cast<Milliseconds>(deadline - reserve - Clock::now()).count();
    if (left < 1) throw notExecuted(followsWrite, Failure::UNAVAILABLE, "no time is left");
    request.initContext().setTimeoutMs(left);

    auto response = wait(request.send());
    lastResponseAt = Clock::now();
    if constexpr (std::is_same_v<decltype(response), capnp::Response<CreateUserResponse>>) {
      // The service may mean an attempt of this very call by `replayed`.
      capnp::MallocMessageBuilder message;
      message.setRoot(static_cast<CreateUserResponse::Reader>(response));
      auto corrected = message.getRoot<CreateUserResponse>();
      corrected.setReplayed(response.getReplayed() && !followsWrite);
      return read(corrected.asReader());
    } else {
      return read(response);
    }
  }

  // The error of a call whose last attempt was not carried out. Once an attempt may have written, the
  // outcome is unknown until an attempt settles it.
  static CallError notExecuted(bool mayHaveWritten, Failure failure, kj::StringPtr detail) {
    if (mayHaveWritten) return {Failure::UNKNOWN, "the call failed, and may or may not have had its effect"};
    return {failure, detail};
  }

  static void checkSize(capnp::DynamicStruct::Reader request) {
    if (request.totalSize().wordCount * sizeof(capnp::word) <= MAX_REQUEST_BYTES) return;
    CallError error{Failure::TOO_LARGE, "must be shorter: the texts of a request have at most 98304 bytes in all"};
    size_t longest = 0;
    for (auto field : request.getSchema().getNonUnionFields()) {
      if (!field.getType().isText() || !request.has(field)) continue;
      const size_t size = request.get(field).as<capnp::Text>().size();
      if (size > longest) error.field = field.getProto().getName();
      longest = std::max(longest, size);
    }
    throw error;
  }

  // Makes sure that there is a connection to a service that answers. EzRpcClient does not tell whether
  // a new connection came about, or an idle one has ended, so both are tried by a question that has no
  // effect. Returns false when there is no answer.
  bool connect() {
    if (connection.get() != nullptr) {
      const bool isFresh = Clock::now() - lastResponseAt < Milliseconds(100);
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
    auto remaining = std::chrono::duration_cast<Milliseconds>(deadline - Clock::now()).count();
    return remaining > 1 ? remaining : 1;
  }

  kj::String address;
  Milliseconds timeout;
  kj::Own<Connection> connection;     // Null until the first call, and after a break.
  Clock::time_point deadline;         // Of the call that is being made.
  Clock::time_point lastResponseAt;   // On any connection.
};
