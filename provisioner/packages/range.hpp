// The part of a file that an HTTP request asks for (RFC 9110 §14): one range; several are answered with the whole file.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fleet::provisioner {

struct ByteRange {
  std::int64_t first = 0;
  std::int64_t size = 0;
  bool partial = false;  // 206
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

// `header`: the value of Range, empty if there is none. The whole file for what cannot be read or is several ranges;
// nullopt if the range lies behind the file's end (416).
std::optional<ByteRange> choose_range(std::string_view header, std::int64_t file_size);

}  // namespace fleet::provisioner
