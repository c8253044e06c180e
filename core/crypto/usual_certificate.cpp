#include "core/crypto/usual_certificate.hpp"

#include <algorithm>
#include <array>

#include "core/crypto/der.hpp"
#include "core/crypto/openssl.hpp"

namespace fleet::crypto {
namespace {

constexpr std::size_t kMaxSerial = 20;
constexpr std::string_view kVersion3("\x02\x01\x02", 3);
constexpr std::string_view kCommonName("\x55\x04\x03", 3);  // 2.5.4.3
constexpr std::string_view kTrue("\xff", 1);

bool is_high(char byte) {
  return (static_cast<unsigned char>(byte) & 0x80U) != 0;
}

// Positive, and as short as it can be.
bool is_serial(std::string_view content) {
  if (content.empty() || content.size() > kMaxSerial || is_high(content[0])) return false;
  return content.size() == 1 || content[0] != '\0' || is_high(content[1]);
}

// Arcs of seven bits a byte, each as short as it can be (X.690 §8.19).
bool is_object_id(std::string_view content) {
  bool begins_arc = true;
  for (const char byte : content) {
    if (begins_arc && static_cast<unsigned char>(byte) == 0x80) return false;
    begins_arc = !is_high(byte);
  }
  return !content.empty() && begins_arc;
}

// X.680 §41.4.
bool is_printable_string(std::string_view text) {
  constexpr std::string_view kPrintable =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?";
  return text.find_first_not_of(kPrintable) == std::string_view::npos;
}

// The text of an attribute; nullopt if it is of another type.
std::optional<std::string_view> read_text(der::Reader& reader) {
  if (const auto text = reader.next(der::kUtf8String)) {
    return is_utf8(text->content) ? std::optional(text->content) : std::nullopt;
  }
  if (const auto text = reader.next(der::kPrintableString)) {
    return is_printable_string(text->content) ? std::optional(text->content) : std::nullopt;
  }
  return std::nullopt;
}

// The first common name of a Name (RFC 5280 §4.1.2.4), "" if it has none.
std::optional<std::string_view> read_name(std::string_view content) {
  std::optional<std::string_view> common_name;
  der::Reader sets(content);
  while (!sets.at_end()) {
    const auto set = sets.next(der::kSet);
    if (!set) return std::nullopt;
    der::Reader entries(set->content);
    const auto entry = entries.next(der::kSequence);
    if (!entry || !entries.at_end()) return std::nullopt;
    der::Reader parts(entry->content);
    const auto type = parts.next(der::kObjectId);
    if (!type || !is_object_id(type->content)) return std::nullopt;
    const auto text = read_text(parts);
    if (!text || !parts.at_end()) return std::nullopt;
    if (!common_name && type->content == kCommonName) common_name = text;
  }
  return common_name.value_or("");
}

// Two digits, taken from the front; -1 if they are none.
int take_pair(std::string_view& text) {
  if (text.size() < 2 || text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9') return -1;
  const int value = (text[0] - '0') * 10 + (text[1] - '0');
  text.remove_prefix(2);
  return value;
}

// A Time in one of the two forms that RFC 5280 §4.1.2.5 allows: YYMMDDHHMMSSZ and YYYYMMDDHHMMSSZ.
std::optional<WallTime> read_time(der::Reader& reader) {
  auto time = reader.next(der::kUtcTime);
  const bool has_century = !time;
  if (!time) time = reader.next(der::kGeneralizedTime);
  if (!time) return std::nullopt;
  std::string_view text = time->content;
  const int century = has_century ? take_pair(text) : 0;
  const int year = take_pair(text);
  const int month = take_pair(text), day = take_pair(text);
  const int hour = take_pair(text), minute = take_pair(text), second = take_pair(text);
  if (text != "Z" || std::min({century, year, month, day, hour, minute, second}) < 0) return std::nullopt;
  const int first_year = has_century ? century * 100 : year < 50 ? 2000 : 1900;
  const std::chrono::year_month_day date{std::chrono::year(first_year + year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) + Seconds(second);
}

bool are_extensions(std::string_view content) {
  der::Reader wrapper(content);
  const auto list = wrapper.next(der::kSequence);
  if (!list || !wrapper.at_end()) return false;
  der::Reader extensions(list->content);
  while (!extensions.at_end()) {
    const auto extension = extensions.next(der::kSequence);
    if (!extension) return false;
    der::Reader parts(extension->content);
    const auto id = parts.next(der::kObjectId);
    if (!id || !is_object_id(id->content)) return false;
    if (const auto critical = parts.next(der::kBoolean); critical && critical->content != kTrue) return false;
    if (!parts.next(der::kOctetString) || !parts.at_end()) return false;
  }
  return true;
}

bool is_usual_algorithm(std::string_view whole) {
  constexpr std::array<std::string_view, 4> kAlgorithms{"ES256", "ES384", "EdDSA", "RS256"};
  return std::any_of(kAlgorithms.begin(), kAlgorithms.end(),
                     [&](std::string_view algorithm) { return whole == signature_algorithm(algorithm); });
}

}  // namespace

std::optional<UsualCertificate> read_usual_certificate(std::string_view der) {
  der::Reader text(der);
  const auto certificate = text.next(der::kSequence);
  if (!certificate || !text.at_end()) return std::nullopt;
  der::Reader parts(certificate->content);
  const auto signed_part = parts.next(der::kSequence);
  const auto algorithm = parts.next(der::kSequence);
  const auto signature = parts.next(der::kBitString);
  if (!signed_part || !algorithm || !is_usual_algorithm(algorithm->whole) || !signature ||
      !signature->content.starts_with('\0') || !parts.at_end()) {
    return std::nullopt;
  }

  der::Reader fields(signed_part->content);
  const auto version = fields.next(der::context(0));
  const auto serial = fields.next(der::kInteger);
  const auto inner_algorithm = fields.next(der::kSequence);
  const auto issuer = fields.next(der::kSequence);
  const auto validity = fields.next(der::kSequence);
  const auto subject = fields.next(der::kSequence);
  const auto spki = fields.next(der::kSequence);
  const auto extensions = fields.next(der::context(3));
  if (!version || version->content != kVersion3 || !serial || !is_serial(serial->content) || !inner_algorithm ||
      inner_algorithm->whole != algorithm->whole || !issuer || !validity || !subject || !spki || !extensions ||
      !fields.at_end()) {
    return std::nullopt;
  }
  if (!read_name(issuer->content) || !are_extensions(extensions->content)) return std::nullopt;
  const auto common_name = read_name(subject->content);
  if (!common_name) return std::nullopt;
  der::Reader times(validity->content);
  const auto not_before = read_time(times);
  const auto not_after = read_time(times);
  if (!not_before || !not_after || !times.at_end()) return std::nullopt;
  if (!is_ec_spki(spki->whole)) return std::nullopt;  // its point may not be on the curve
  return UsualCertificate{std::string(*common_name), *not_before, *not_after, spki->whole};
}

}  // namespace fleet::crypto
