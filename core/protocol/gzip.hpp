// gzip (RFC 1952) of whole messages. Internal to core/protocol.
#pragma once

#include <cstddef>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"

namespace fleet::protocol {

// True if `bytes` begin with gzip's magic, 1f 8b.
bool is_gzip(std::string_view bytes);

// One gzip member without a time stamp: equal bytes give equal results.
Bytes gzip(std::string_view bytes);

// The content of exactly one member. kLimitExceeded if it is longer than `limit`, found out without ever holding more
// than `limit` bytes of it; kMalformed if it is damaged, cut short or followed by anything.
Result<Bytes> gunzip(std::string_view bytes, std::size_t limit);

}  // namespace fleet::protocol
