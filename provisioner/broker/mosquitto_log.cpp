#include "provisioner/broker/mosquitto_log.hpp"

#include <array>

namespace fleet::provisioner {
namespace {

constexpr std::string_view kTlsError = "OpenSSL Error";
constexpr int kTlsFailuresShown = 10;
constexpr Seconds kMinute{60};

// TLS alerts by which a client says that it does not take the broker's certificate (RFC 8446 §6.2).
constexpr std::array<std::string_view, 5> kRefusals{"unknown ca", "bad certificate", "certificate unknown",
                                                    "certificate expired", "unsupported certificate"};

// "OpenSSL Error[0]: error:0A000418:SSL routines::tlsv1 alert unknown ca"
std::string tls_failure(std::string_view line) {
  for (const std::string_view refusal : kRefusals) {
    if (!line.ends_with(fmt::format("alert {}", refusal))) continue;
    return fmt::format("a client refused our certificate ({}): does it have the platform's root?", refusal);
  }
  const std::size_t colon = line.rfind(':');
  return fmt::format("TLS with a client failed: {}", line.substr(colon == std::string_view::npos ? 0 : colon + 1));
}

}  // namespace

BrokerLogLine read_broker_log(std::string_view line) {
  // its own unix socket, which has no such option
  if (line.starts_with("Warning: Unable to set TCP_NODELAY")) return {log::Level::kDebug, std::string(line)};
  if (line.starts_with(kTlsError)) return {log::Level::kWarn, tls_failure(line)};
  if (line.starts_with("Error")) return {log::Level::kError, std::string(line)};
  if (line.starts_with("Warning")) return {log::Level::kWarn, std::string(line)};
  return {log::Level::kInfo, std::string(line)};
}

std::vector<BrokerLogLine> BrokerLog::read(std::string_view line, SteadyTime now) {
  std::vector<BrokerLogLine> lines;
  if (now - minute_ >= kMinute) {
    if (left_out_ > 0) lines.push_back({log::Level::kWarn, fmt::format("{} more failures of TLS", left_out_)});
    minute_ = now;
    shown_ = 0;
    left_out_ = 0;
  }
  if (line.starts_with(kTlsError) && ++shown_ > kTlsFailuresShown) {
    ++left_out_;
    return lines;
  }
  lines.push_back(read_broker_log(line));
  return lines;
}

}  // namespace fleet::provisioner
