#include "provisioner/packages/links.hpp"

#include <charconv>
#include <optional>

#include "core/base/secret.hpp"
#include "core/crypto/digest.hpp"
#include "provisioner/packages/folder.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::string_view kPrefix = "/p/";

// What stands in `text` before `separator`, which is removed with it; nullopt if it is not there.
std::optional<std::string_view> take_until(std::string_view& text, std::string_view separator) {
  const std::size_t at = text.find(separator);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(at + separator.size());
  return taken;
}

template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

}  // namespace

std::string PackageLinks::sign(std::string_view sha256, std::string_view attempt, std::string_view expiry) const {
  return to_hex(crypto::hmac_sha256(key_, fmt::format("package link\n{}\n{}\n{}", sha256, attempt, expiry)));
}

std::string PackageLinks::make(const PackageLink& link, std::string_view file_name, WallTime now) const {
  const std::string attempt = fmt::format("{}.{}", link.request_id, link.attempt_number);
  const std::string expiry = std::to_string(to_unix_millis(now + kLinkValidity) / 1000);
  return fmt::format("{}{}{}/{}?a={}&e={}&s={}", base_url_, kPrefix, link.sha256, file_name, attempt, expiry,
                     sign(link.sha256, attempt, expiry));
}

Result<PackageLink> PackageLinks::read(std::string_view target, WallTime now) const {
  const auto nothing = [] { return fail(ErrorCode::kNotFound, "nothing here"); };
  if (!target.starts_with(kPrefix)) return nothing();
  target.remove_prefix(kPrefix.size());
  const auto sha256 = take_until(target, "/");
  const auto file_name = take_until(target, "?a=");
  const auto attempt = take_until(target, "&e=");
  const auto expiry = take_until(target, "&s=");
  if (!sha256 || !is_sha256_text(*sha256) || !file_name || !attempt || !expiry) return nothing();
  if (!constant_time_equal(sign(*sha256, *attempt, *expiry), target)) {
    return fail(ErrorCode::kUnauthenticated, "the link's signature is wrong");
  }
  // what we have signed has its form
  std::string_view numbers = *attempt;
  const auto request_id = number_of<std::int64_t>(take_until(numbers, ".").value_or(""));
  const auto attempt_number = number_of<int>(numbers);
  const auto expires_s = number_of<std::int64_t>(*expiry);
  if (!request_id || !attempt_number || !expires_s) return nothing();
  if (to_unix_millis(now) / 1000 >= *expires_s) return fail(ErrorCode::kExpired, "the link has expired");
  return PackageLink{std::string(*sha256), *request_id, *attempt_number};
}

}  // namespace fleet::provisioner
