// A connection to the users service: over TCP, and over mutual TLS when there are files for it.

#pragma once

#include <arpa/inet.h>
#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <kj/compat/tls.h>
#include <kj/vector.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

#include "users.capnp.h"

// What mutual TLS needs: paths of files in PEM. The first two may be one file.
struct TlsFiles {
  std::string cert;  // The caller's certificate, and those that lead to its CA.
  std::string key;   // Its private key, not encrypted.
  std::string ca;    // The CAs that the service's certificate may be of.
};

inline std::string readFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream content;
  if (!file) throw std::invalid_argument(path + " cannot be read: " + std::strerror(errno));
  if (!(content << file.rdbuf())) throw std::invalid_argument(path + " is empty, or is no file");
  return content.str();
}

// What there is in the PEM of a file. Throws std::invalid_argument, which names the file.
template <typename T>
T parsePem(const std::string& pem, const std::string& path, const char* what) {
  try {
    return T(kj::StringPtr(pem.c_str()));
  } catch (const kj::Exception&) {
    throw std::invalid_argument(path + " has no " + what);
  }
}

// Reads the files. Throws std::invalid_argument when they cannot be used.
inline kj::Own<kj::TlsContext> readTlsFiles(const TlsFiles& files) {
  const kj::TlsKeypair identity = {
      parsePem<kj::TlsPrivateKey>(readFile(files.key), files.key, "private key in PEM, or one that is encrypted"),
      parsePem<kj::TlsCertificate>(readFile(files.cert), files.cert, "certificate in PEM")};

  // One by one, because of a chain the library trusts only the first.
  kj::Vector<kj::TlsCertificate> authorities;
  const std::string pem = readFile(files.ca), begin = "-----BEGIN CERTIFICATE-----";
  size_t at = pem.find(begin);
  do {
    const size_t next = at == std::string::npos ? at : pem.find(begin, at + 1);
    const std::string one = at == std::string::npos ? "" : pem.substr(at, next - at);
    authorities.add(parsePem<kj::TlsCertificate>(one, files.ca, "certificate in PEM"));
    at = next;
  } while (at != std::string::npos);

  kj::TlsContext::Options options;
  options.useSystemTrustStore = false;
  options.trustedCertificates = authorities;
  options.defaultKeypair = identity;
  // TLS 1.3. It has a name only since version 1.0 of the library.
  options.minVersion = static_cast<kj::TlsVersion>(static_cast<int>(kj::TlsVersion::TLS_1_2) + 1);
  return kj::heap<kj::TlsContext>(options);
}

// The host of host:port. Throws std::invalid_argument when the address has another form.
inline std::string hostOf(const std::string& address) {
  const size_t colon = std::min(address.rfind(':'), address.size());
  std::string host = address.substr(0, colon);
  const std::string port = address.substr(std::min(colon + 1, address.size()));
  const bool hasBrackets = host.size() > 1 && host.front() == '[' && host.back() == ']';
  if (hasBrackets) host = host.substr(1, host.size() - 2);

  const bool isPort = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos &&
                      std::stoul(port) > 0 && std::stoul(port) < 65536;
  // The library takes more than hosts, such as paths of sockets, by a prefix with a colon.
  const bool isHost = !host.empty() && (hasBrackets || host.find_first_of(":/[] ") == std::string::npos);
  if (!isHost || !isPort) {
    throw std::invalid_argument("the address '" + address + "' must be host:port, for example 127.0.0.1:4001");
  }
  return host;
}

// Why a connection failed, out of the library's text.
inline std::string reasonOf(const kj::Exception& error) {
  const std::string text = error.getDescription().cStr();
  auto after = [&text](const char* label) -> std::optional<std::string> {
    const size_t at = text.find(label);
    if (at == std::string::npos) return std::nullopt;
    return text.substr(at + std::string(label).size());
  };
  if (auto reason = after("gai_strerror(status) = ")) return "its name has no address (" + *reason + ")";
  if (auto reason = after("certificate is not trusted; reason = ")) {
    return "its certificate is not accepted (" + *reason + ")";
  }
  if (auto reason = after("SSL routines::")) return "it does not speak TLS as expected (" + *reason + ")";
  if (auto reason = after("connect(): ")) return static_cast<char>(std::tolower(reason->front())) + reason->substr(1);
  return text;
}

// Throws std::invalid_argument when the library cannot check that a certificate is for this host.
inline void checkHost(const std::string& host) {
  in6_addr ip;
  const bool isIp = inet_pton(AF_INET, host.c_str(), &ip) == 1 || inet_pton(AF_INET6, host.c_str(), &ip) == 1;
  if (isIp && CAPNP_VERSION < 1000000) {
    throw std::invalid_argument("with TLS, the address must have a DNS name instead of " + host +
                                ": Cap'n Proto checks IP addresses only since version 1.0");
  }
}

// Connects to host:port, and makes the handshake of TLS when `tls` is not null.
inline kj::Promise<kj::Own<kj::AsyncIoStream>> openStream(kj::Network& network, const std::string& address,
                                                          kj::TlsContext* tls) {
  using Stream = kj::Own<kj::AsyncIoStream>;
  return network.parseAddress(address.c_str())
      .then([](kj::Own<kj::NetworkAddress> target) {
        auto connecting = target->connect();
        return connecting.attach(kj::mv(target));
      })
      .then([host = hostOf(address), tls](Stream stream) -> kj::Promise<Stream> {
        if (tls == nullptr) return kj::mv(stream);
        return tls->wrapClient(kj::mv(stream), host.c_str());
      });
}

// What is at the other end of a stream: a `Users`, or a `UserDirectory` for callers that may only read.
struct UsersConnection {
  explicit UsersConnection(kj::Own<kj::AsyncIoStream> stream)
      : stream(kj::mv(stream)),
        rpc(*this->stream),
        users(rpc.bootstrap().castAs<Users>()),
        directory(rpc.bootstrap().castAs<UserDirectory>()) {}

  kj::Own<kj::AsyncIoStream> stream;
  capnp::TwoPartyClient rpc;
  Users::Client users;
  UserDirectory::Client directory;
  bool isDirectory = false;
};
