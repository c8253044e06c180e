#include "provisioner/store_postgres/values.hpp"

#include <libpq-fe.h>

namespace fleet::provisioner::postgres {

bool is_storable(std::string_view text) {
  return text.find('\0') == std::string_view::npos && is_utf8(text);
}

Parameters& Parameters::null() {
  values_.push_back({.bytes = {}, .null = true});
  return *this;
}

Parameters& Parameters::integer(std::int64_t value) {
  values_.push_back({.bytes = std::to_string(value)});
  return *this;
}

Parameters& Parameters::integer(std::optional<std::int64_t> value) {
  return value ? integer(*value) : null();
}

Parameters& Parameters::flag(bool value) {
  values_.push_back({.bytes = value ? "t" : "f"});
  return *this;
}

Parameters& Parameters::flag(std::optional<bool> value) {
  return value ? flag(*value) : null();
}

Parameters& Parameters::text(std::string_view value) {
  if (!is_storable(value)) unstorable_ = true;
  values_.push_back({.bytes = std::string(value)});
  return *this;
}

Parameters& Parameters::maybe_text(const std::optional<std::string>& value) {
  return value ? text(*value) : null();
}

Parameters& Parameters::texts(const std::vector<std::string>& values) {
  std::string array = "{";
  for (const std::string& value : values) {
    array += array.size() > 1 ? ",\"" : "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') array += '\\';
      array += c;
    }
    array += '"';
  }
  return text(array + "}");
}

Parameters& Parameters::blob(std::string_view value) {
  values_.push_back({.bytes = std::string(value), .binary = true});
  return *this;
}

Parameters& Parameters::maybe_blob(const std::optional<Bytes>& value) {
  return value ? blob(*value) : null();
}

Parameters& Parameters::time(std::optional<WallTime> value) {
  return integer(value ? std::optional(to_unix_millis(*value)) : std::nullopt);
}

std::size_t Rows::size() const {
  return result_ == nullptr ? 0 : static_cast<std::size_t>(PQntuples(result_.get()));
}

bool RowReader::null() const {
  return PQgetisnull(result_, row_, next_) != 0;
}

std::string_view RowReader::bytes() {
  const int column = next_++;
  return {PQgetvalue(result_, row_, column), static_cast<std::size_t>(PQgetlength(result_, row_, column))};
}

std::int64_t RowReader::integer() {
  const std::string_view value = bytes();
  if (value.empty()) return 0;
  // most significant byte first, of two's complement
  std::uint64_t number = (static_cast<unsigned char>(value.front()) & 0x80) != 0 ? ~std::uint64_t{0} : 0;
  for (const char byte : value) number = (number << 8) | static_cast<unsigned char>(byte);
  return static_cast<std::int64_t>(number);
}

bool RowReader::flag() {
  const std::string_view value = bytes();
  return !value.empty() && value.front() != 0;
}

std::string RowReader::text() {
  return std::string(bytes());
}

std::optional<std::int64_t> RowReader::maybe_integer() {
  if (null()) return ++next_, std::nullopt;
  return integer();
}

std::optional<bool> RowReader::maybe_flag() {
  if (null()) return ++next_, std::nullopt;
  return flag();
}

std::optional<std::string> RowReader::maybe_text() {
  if (null()) return ++next_, std::nullopt;
  return text();
}

std::optional<WallTime> RowReader::maybe_time() {
  const std::optional<std::int64_t> millis = maybe_integer();
  return millis ? std::optional(from_unix_millis(*millis)) : std::nullopt;
}

}  // namespace fleet::provisioner::postgres
