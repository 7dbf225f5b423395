// The words of a command line, and the settings that the environment may give instead.

#pragma once

#include <capnp/schema.h>

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "users-connection.h"

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

constexpr const char* HELP =
    "The users service at a terminal.\n"
    "\n"
    "usage: users-client [OPTION]... VERB\n"
    "\n"
    "verbs:\n"
    "  create --email EMAIL --name NAME [--id UUID]  create a user; an id makes repeating safe\n"
    "  get ID                                        read a user\n"
    "  find EMAIL                                    read the user with an e-mail address\n"
    "  list [--page-size N] [--page-token TOKEN]     read a page of 1 to 100 users, otherwise 50\n"
    "\n"
    "options:\n"
    "  --users-addr HOST:PORT  the users service (variable USERS_ADDR; otherwise 127.0.0.1:4001)\n"
    "  --timeout-ms N          milliseconds that a call may take in all (5000)\n"
    "  --tls-cert FILE         the caller's certificate in PEM, for mutual TLS (variable USERS_TLS_CERT)\n"
    "  --tls-key FILE          its private key in PEM, for mutual TLS (variable USERS_TLS_KEY)\n"
    "  --tls-ca FILE           the CA of the service's certificate in PEM, for mutual TLS (variable USERS_TLS_CA)\n"
    "  -h, --help              print this\n"
    "\n"
    "Prints an object of JSON. Exit status:\n"
    "  0  done\n"
    "  1  nothing can be printed, or a fault of this program\n"
    "  2  wrong usage, or files that cannot be used\n"
    "  3  refused: invalid, e-mail address taken, id of another user, not found\n"
    "  4  unavailable: nothing was written\n"
    "  5  unknown: creating again with the same id settles it\n"
    "  6  the service has no such method, or the caller may not use it\n";

// Options of every verb.
inline const std::set<std::string> SETTINGS = {"users-addr", "timeout-ms", "tls-cert", "tls-key", "tls-ca"};

[[noreturn]] inline void usage(const std::string& mistake) {
  std::cerr << "users-client: " << mistake << " (see --help)\n";
  std::exit(2);
}

inline Command parse(const std::vector<std::string>& words) {
  Command command;
  for (size_t i = 0; i < words.size(); i++) {
    const std::string& word = words[i];
    if (word == "-h" || word == "--help") {
      std::cout << HELP;
      std::exit(0);
    }

    if (word.compare(0, 2, "--") == 0) {
      const size_t equals = word.find('=');
      const bool needsWord = equals == std::string::npos;
      if (needsWord && i + 1 == words.size()) usage(word + " needs a value");
      const std::string name = word.substr(2, needsWord ? equals : equals - 2);
      command.options[name] = needsWord ? words[++i] : word.substr(equals + 1);
    } else if (command.verb.empty()) {
      command.verb = word;
    } else {
      command.values.push_back(word);
    }
  }
  return command;
}

// Makes sure that a verb gets its own values and options, and no others.
inline void checkUsage(const Command& command, const std::vector<std::string>& values,
                       const std::set<std::string>& options = {}) {
  if (command.values.size() < values.size()) usage(command.verb + " needs " + values[command.values.size()]);
  if (command.values.size() > values.size()) usage(command.verb + " takes no " + command.values[values.size()]);
  for (auto& option : command.options) {
    if (!SETTINGS.count(option.first) && !options.count(option.first)) {
      usage(command.verb + " has no option --" + option.first);
    }
  }
}

inline uint32_t number(const std::string& option, const std::string& text) {
  char* end = nullptr;
  unsigned long value = std::strtoul(text.c_str(), &end, 10);
  if (text.empty() || !std::isdigit(text[0]) || *end != '\0' || value > UINT32_MAX) {
    usage("--" + option + " must be a number, not '" + text + "'");
  }
  return value;
}

// The option that sets a field of a request: `page-size` for `pageSize`.
inline std::string optionFor(capnp::StructSchema::Field field) {
  std::string option;
  for (char c : field.getProto().getName()) {
    if (std::isupper(c)) option += '-';
    option += static_cast<char>(std::tolower(c));
  }
  return option;
}

// The options that set the fields of a request.
inline std::set<std::string> optionsFor(capnp::StructSchema request) {
  std::set<std::string> options;
  for (auto field : request.getNonUnionFields()) {
    if (field.getType().isText() || field.getType().isUInt32()) options.insert(optionFor(field));
  }
  return options;
}

// The value of an option, or else of the environment variable that stands for it: USERS_ADDR for
// --users-addr. Empty without both.
inline std::string setting(const Command& command, const std::string& option) {
  std::string variable = option.compare(0, 3, "tls") == 0 ? "USERS_" : "";
  for (char c : option) variable += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  const char* fromEnvironment = std::getenv(variable.c_str());
  return command.option(option, fromEnvironment ? fromEnvironment : "");
}

inline std::optional<TlsFiles> tlsFiles(const Command& command) {
  TlsFiles files{setting(command, "tls-cert"), setting(command, "tls-key"), setting(command, "tls-ca")};
  if (files.cert.empty() && files.key.empty() && files.ca.empty()) return std::nullopt;
  if (files.cert.empty()) usage("mutual TLS also needs --tls-cert (USERS_TLS_CERT)");
  if (files.key.empty()) usage("mutual TLS also needs --tls-key (USERS_TLS_KEY)");
  if (files.ca.empty()) usage("mutual TLS also needs --tls-ca (USERS_TLS_CA)");
  return files;
}
