#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <netinet/in.h>
#include <optional>

#include "core/mqtt/options.hpp"

namespace fleet::mqtt {
namespace {

constexpr int kPlainPort = 1883;
constexpr int kTlsPort = 8883;
constexpr std::size_t kLongestHost = 253;        // RFC 1035 §2.3.4, without the final dot
constexpr std::size_t kLongestSocketPath = 107;  // sockaddr_un::sun_path with its final NUL

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_ipv4(const std::string& text) {
  in_addr address{};
  return ::inet_pton(AF_INET, text.c_str(), &address) == 1;
}

bool is_ipv6(const std::string& text) {
  in6_addr address{};
  return ::inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

// A DNS name (underscores are seen in the wild) or an IPv4 address.
bool is_host(const std::string& text) {
  if (text.empty() || text.size() > kLongestHost) return false;
  std::size_t start = 0;
  std::string_view label;
  while (start <= text.size()) {
    const std::size_t dot = std::min(text.find('.', start), text.size());
    label = std::string_view(text).substr(start, dot - start);
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') return false;
    if (!std::all_of(label.begin(), label.end(),
                     [](char c) { return is_digit(c) || is_letter(c) || c == '-' || c == '_'; })) {
      return false;
    }
    start = dot + 1;
  }
  // no top-level domain is a number: this is an address, and has to be a good one
  return !std::all_of(label.begin(), label.end(), is_digit) || is_ipv4(text);
}

std::optional<int> parse_port(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || !is_digit(text.front())) return std::nullopt;
  if (port < 1 || port > 65535) return std::nullopt;
  return port;
}

// What stands before "://", in lower case and without it; `rest` is left with what follows.
std::string take_scheme(std::string_view& rest) {
  const std::size_t colon = rest.find(':');
  if (colon == std::string_view::npos) return {};
  std::string scheme(rest.substr(0, colon));
  for (char& c : scheme) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  rest.remove_prefix(colon + 1);
  return scheme;
}

}  // namespace

Result<BrokerUrl> BrokerUrl::parse(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    // what stands before '@' may be a password
    const std::size_t at = text.rfind('@');
    const std::string shown = at == std::string_view::npos ? std::string(text) : "…" + std::string(text.substr(at));
    return fail(ErrorCode::kInvalidArgument,
                "broker URL '{}': {}; write it as mqtts://broker.example:8883, mqtt://broker.example or "
                "unix:/run/broker.sock",
                shown, why);
  };
  if (std::any_of(text.begin(), text.end(), [](char c) { return c >= 0 && (c <= ' ' || c == 0x7f); })) {
    return bad("spaces and control characters are not allowed");
  }
  std::string_view rest = text;
  const std::string scheme = take_scheme(rest);
  BrokerUrl url;
  if (scheme == "unix") {
    if (rest.empty() || rest.front() != '/') return bad("the socket's path must begin with '/'");
    if (rest.size() > kLongestSocketPath) return bad("a socket's path has at most 107 bytes");
    url.scheme = Scheme::kUnix;
    url.host = rest;
    return url;
  }
  if (scheme == "mqtts") {
    url.scheme = Scheme::kMqtts;
    url.port = kTlsPort;
  } else if (scheme == "mqtt") {
    url.scheme = Scheme::kMqtt;
    url.port = kPlainPort;
  } else {
    return bad("it must begin with mqtts://, mqtt:// or unix:");
  }
  if (!rest.starts_with("//")) return bad("'//' is missing after the scheme");
  rest.remove_prefix(2);
  if (rest.find('@') != std::string_view::npos) return bad("user name and password do not belong in it");
  if (rest.find_first_of("/?#") != std::string_view::npos) return bad("nothing may follow the host and port");

  if (rest.starts_with('[')) {
    const std::size_t close = rest.find(']');
    if (close == std::string_view::npos) return bad("']' is missing after the IPv6 address");
    url.host = rest.substr(1, close - 1);
    if (!is_ipv6(url.host)) return bad("that is not an IPv6 address");
    rest.remove_prefix(close + 1);
    if (!rest.empty() && rest.front() != ':') return bad("only ':port' may follow ']'");
  } else {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    url.host = rest.substr(0, colon);
    if (url.host.empty()) return bad("the host is missing");
    rest.remove_prefix(colon);
    if (rest.find(':', 1) != std::string_view::npos) return bad("an IPv6 address stands in brackets");
    if (!is_host(url.host)) return bad("that is not a host name or an IP address");
  }
  if (!rest.empty()) {
    rest.remove_prefix(1);
    const auto port = rest.empty() ? std::nullopt : parse_port(rest);
    if (!port) return bad("the port is a number from 1 to 65535");
    url.port = *port;
  }
  return url;
}

std::string BrokerUrl::str() const {
  if (scheme == Scheme::kUnix) return "unix:" + host;
  const bool ipv6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", scheme == Scheme::kMqtts ? "mqtts" : "mqtt", ipv6 ? "[" : "", host,
                     ipv6 ? "]" : "", port);
}

}  // namespace fleet::mqtt
