// The users service from C++: a client that connects again after a break and bounds each call by a
// deadline.
//
// A project of yours gets it by CMake, as the target `users::client`: from an installation, by
// `find_package(users-client)`, or from a copy of this repository, by `add_subdirectory`. A call takes two
// functions: one builds the request, the other one reads the response.
//
//   auto io = kj::setupAsyncIo();
//   UsersClient users(io, "127.0.0.1:4001", 5000);
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
//
// A call that builds a `createUsersRequest()` creates up to 500 users, and reads what became of each in the results of
// a `CreateUsersResponse`, in the same order. Create those again, with the same ids, that are `overloaded` (nothing was
// written) or `failed` (unknown).
//
// A service that wants mutual TLS gets it with TlsFiles. A caller whose certificate is a reader's is met
// by a `UserDirectory`: a function that builds a read takes its service by `auto&`, and works with both.

#pragma once

#include <capnp/dynamic.h>
#include <capnp/message.h>
#include <kj/async-io.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <type_traits>

#include "users-connection.h"

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
  std::string detail;
  std::string field = "";  // With TOO_LARGE: the list of the request, or else its longest text.
};

// Bytes of a request, which are nearly all text. The contract says so ("Limits"): a longer message would
// cost the connection.
constexpr uint64_t MAX_REQUEST_BYTES = 96 * 1024;

// The users service at an address. It connects with the first call, and again when the connection
// breaks. It makes one call at a time, on one thread.
class UsersClient {
public:
  // `address` is host:port. A call may take `timeoutMs` milliseconds in all. The files of `tls` are read
  // anew for each connection, so that they may be replaced. Throws std::invalid_argument when they cannot
  // be used now, and for another form of address.
  UsersClient(kj::AsyncIoContext& io, std::string address, uint32_t timeoutMs, std::optional<TlsFiles> tls = {})
      : io(io), address(std::move(address)), timeout(timeoutMs), tlsFiles(std::move(tls)) {
    const std::string host = hostOf(this->address);
    if (!tlsFiles) return;
    checkHost(host);
    tlsContext = readTlsFiles(*tlsFiles);
  }

  // Makes the call that `build` builds, and returns what `read` makes of its response, which must not
  // point into the response. When the connection breaks, makes the call once more on a new one: ids
  // make that safe. Throws CallError.
  template <typename Build, typename Read>
  auto call(Effect effect, Build&& build, Read&& read) {
    // The library's clock stands still while its loop does not run, as in a program that does something else.
    // A timer would end at once then.
    io.waitScope.poll();
    deadline = Clock::now() + timeout;
    const bool writes = effect == Effect::WRITE;
    bool mayHaveWritten = false;

    for (bool isLastAttempt : {false, true}) {
      if (auto fault = connect()) {
        throw callError(mayHaveWritten, Failure::UNAVAILABLE, service() + " cannot be reached: " + *fault);
      }
      try {
        return attempt(build, read, mayHaveWritten);
      } catch (const TimedOut&) {
        connection = nullptr;
        throw CallError{writes || mayHaveWritten ? Failure::UNKNOWN : Failure::UNAVAILABLE,
                        service() + " does not answer in time"};
      } catch (const kj::Exception& error) {
        switch (error.getType()) {
          case kj::Exception::Type::UNIMPLEMENTED:
            throw callError(mayHaveWritten, Failure::UNIMPLEMENTED, service() + " has no such method");
          case kj::Exception::Type::OVERLOADED:
            throw callError(mayHaveWritten, Failure::UNAVAILABLE, service() + " is overloaded; nothing was written");
          default: break;
        }
        mayHaveWritten |= writes;
        const bool isBroken = error.getType() == kj::Exception::Type::DISCONNECTED;
        if (isBroken) connection = nullptr;
        if (!isBroken || isLastAttempt) {
          throw callError(mayHaveWritten, Failure::UNAVAILABLE, "the call of " + service() + " failed");
        }
      }
    }
    KJ_UNREACHABLE;
  }

private:
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::milliseconds;

  struct TimedOut {};

  template <typename Build, typename Read>
  auto attempt(Build&& build, Read&& read, bool followsWrite) {
    if constexpr (std::is_invocable_v<Build&, UserDirectory::Client&>) {
      if (connection->isDirectory) return send(build(connection->directory), read, followsWrite);
    }
    return send(build(connection->users), read, followsWrite);
  }

  template <typename Request, typename Read>
  auto send(Request request, Read&& read, bool followsWrite) {
    checkSize(request.asReader());
    // The service gets less time than the caller waits, so that its own "dropped" still arrives.
    const Milliseconds reserve = std::clamp(timeout / 10, Milliseconds(5), Milliseconds(100));
    const auto left = std::chrono::duration_cast<Milliseconds>(deadline - reserve - Clock::now()).count();
    if (left < 1) throw callError(followsWrite, Failure::UNAVAILABLE, "no time is left");
    request.initContext().setTimeoutMs(left);

    auto response = wait(request.send());
    lastResponseAt = Clock::now();
    using Struct = capnp::FromReader<decltype(response)>;
    if constexpr (std::is_same_v<Struct, CreateUserResponse> || std::is_same_v<Struct, CreateUsersResponse>) {
      capnp::MallocMessageBuilder message;
      message.setRoot(static_cast<typename Struct::Reader>(response));
      auto corrected = message.getRoot<Struct>();
      if (followsWrite) correctRepeated(corrected);
      return read(corrected.asReader());
    } else {
      return read(response);
    }
  }

  // An earlier attempt of the call may have written, and be the earlier call that the service means by `replayed`.
  static void correctRepeated(CreateUserResponse::Builder response) { response.setReplayed(false); }

  // Of a user that is `overloaded` now, the earlier attempt may have written, too.
  static void correctRepeated(CreateUsersResponse::Builder response) {
    if (!response.isResults()) return;
    for (auto result : response.getResults()) {
      if (result.isDone()) correctRepeated(result.getDone());
      if (result.isOverloaded()) result.setFailed();
    }
  }

  // The error of a call that failed. Once an attempt may have written, the outcome is unknown until an attempt
  // settles it.
  CallError callError(bool mayHaveWritten, Failure failure, std::string detail) const {
    if (mayHaveWritten) {
      return {Failure::UNKNOWN, "the call of " + service() + " failed, and may or may not have had its effect"};
    }
    return {failure, std::move(detail)};
  }

  static void checkSize(capnp::DynamicStruct::Reader request) {
    if (request.totalSize().wordCount * sizeof(capnp::word) <= MAX_REQUEST_BYTES) return;
    CallError error{Failure::TOO_LARGE, "must be shorter: the texts of a request have at most 98304 bytes in all"};
    size_t longest = 0;
    for (auto field : request.getSchema().getNonUnionFields()) {
      const bool isList = field.getType().isList();
      if (!(isList || field.getType().isText()) || !request.has(field)) continue;
      // A request that has a list has hardly anything else.
      const size_t size = isList ? SIZE_MAX : request.get(field).as<capnp::Text>().size();
      if (size > longest) error.field = field.getProto().getName().cStr();
      longest = std::max(longest, size);
    }
    throw error;
  }

  // Makes sure that there is a connection to a service that answers. A question that has no effect tells
  // whether an idle connection has ended meanwhile. Returns why there is no connection.
  std::optional<std::string> connect() {
    if (connection.get() != nullptr) {
      const bool isFresh = Clock::now() - lastResponseAt < Milliseconds(100);
      if (isFresh || isAnswering()) return std::nullopt;
    }
    connection = nullptr;
    try {
      if (tlsFiles) rereadTlsFiles();
      auto stream = wait(openStream(io.provider->getNetwork(), address, tlsContext.get()));
      connection = kj::heap<UsersConnection>(kj::mv(stream));
      // A service that is older than the first question, or a directory, which knows nobody with an empty id.
      connection->isDirectory = !isImplemented(connection->users.healthRequest().send()) &&
                                isImplemented(connection->directory.getUserRequest().send());
      return std::nullopt;
    } catch (const TimedOut&) {
      connection = nullptr;
      return "it does not answer in time";
    } catch (const kj::Exception& error) {
      std::string fault = faultOf(error);
      connection = nullptr;
      return fault;
    }
  }

  void rereadTlsFiles() {
    try {
      tlsContext = readTlsFiles(*tlsFiles);
    } catch (const std::invalid_argument&) {
      // They may be half replaced; those before still work.
    }
  }

  // Why there is no connection, for the person who has to mend it.
  std::string faultOf(const kj::Exception& error) const {
    const bool hasEnded = connection.get() != nullptr && error.getType() == kj::Exception::Type::DISCONNECTED;
    if (!hasEnded) return reasonOf(error);
    // Why it refuses a certificate, it says only after the handshake, and often too late to be heard.
    if (!tlsFiles) return "it ends the connection; it may want mutual TLS";
    return "it ends the connection; it may not accept the certificate in " + tlsFiles->cert + ", or " +
           tlsFiles->key + " is not its key";
  }

  bool isAnswering() {
    try {
      isImplemented(connection->users.healthRequest().send());
      return true;
    } catch (const TimedOut&) {
      return false;
    } catch (const kj::Exception&) {
      return false;
    }
  }

  template <typename Response>
  bool isImplemented(kj::Promise<Response> response) {
    try {
      wait(kj::mv(response));
      return true;
    } catch (const kj::Exception& error) {
      if (error.getType() != kj::Exception::Type::UNIMPLEMENTED) throw;
      return false;
    }
  }

  // Waits until the call's deadline. Throws TimedOut, or the promise's kj::Exception.
  template <typename T>
  T wait(kj::Promise<T> promise) {
    bool isLate = false;
    auto& timer = io.provider->getTimer();
    auto late = timer.afterDelay(remainingMs() * kj::MILLISECONDS).then([&isLate]() -> kj::Promise<T> {
      isLate = true;
      return KJ_EXCEPTION(FAILED, "no answer in time");
    });
    try {
      return promise.exclusiveJoin(kj::mv(late)).wait(io.waitScope);
    } catch (const kj::Exception&) {
      if (isLate) throw TimedOut();
      throw;
    }
  }

  std::string service() const { return "the users service at " + address; }

  // Milliseconds until the call's deadline, at least one.
  uint32_t remainingMs() const {
    auto remaining = std::chrono::duration_cast<Milliseconds>(deadline - Clock::now()).count();
    return remaining > 1 ? remaining : 1;
  }

  kj::AsyncIoContext& io;
  std::string address;
  Milliseconds timeout;
  std::optional<TlsFiles> tlsFiles;
  kj::Own<kj::TlsContext> tlsContext;    // As the files were read last.
  kj::Own<UsersConnection> connection;   // Null until the first call, and after a break.
  Clock::time_point deadline;            // Of the call that is being made.
  Clock::time_point lastResponseAt;      // On any connection.
};
