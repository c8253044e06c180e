#include "core/protocol/gzip.hpp"

#include <algorithm>
#include <limits>
#include <new>

#include <zlib.h>

namespace fleet::protocol {
namespace {

constexpr int kGzipWindow = 15 + 16;  // zlib: largest window, gzip header
constexpr int kMemoryLevel = 8;
constexpr std::size_t kFirstBuffer = 4096;

// zlib counts its input in an unsigned int and takes it as non-const, but does not write to it.
bool set_input(z_stream& stream, std::string_view bytes) {
  if (bytes.size() > std::numeric_limits<uInt>::max()) return false;
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  return true;
}

void set_output(z_stream& stream, Bytes& buffer, std::size_t used) {
  stream.next_out = reinterpret_cast<Bytef*>(buffer.data()) + used;
  stream.avail_out = static_cast<uInt>(std::min<std::size_t>(buffer.size() - used, std::numeric_limits<uInt>::max()));
}

// A string that grows by itself takes twice what it had, and so more than the limit.
Bytes grown(std::string_view bytes, std::size_t size) {
  Bytes larger;
  larger.reserve(size);
  larger = bytes;
  larger.resize(size);
  return larger;
}

struct Inflater {
  z_stream stream{};
  bool ready = inflateInit2(&stream, kGzipWindow) == Z_OK;

  Inflater() = default;
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() {
    if (ready) inflateEnd(&stream);
  }
};

}  // namespace

bool is_gzip(std::string_view bytes) {
  return bytes.substr(0, 2) == "\x1f\x8b";
}

Bytes gzip(std::string_view bytes) {
  z_stream stream{};
  // All that can fail here is memory: the input is a message of ours, the output fits by deflateBound.
  if (!set_input(stream, bytes) ||
      deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kGzipWindow, kMemoryLevel, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::bad_alloc();
  }
  Bytes out(deflateBound(&stream, stream.avail_in), '\0');
  set_output(stream, out, 0);
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

Result<Bytes> gunzip(std::string_view bytes, std::size_t limit) {
  Inflater inflater;
  z_stream& stream = inflater.stream;
  if (!inflater.ready) return fail(ErrorCode::kUnavailable, "gzip: out of memory");
  if (!set_input(stream, bytes)) return fail(ErrorCode::kLimitExceeded, "gzip: too large");
  Bytes out(std::min(limit, std::max(kFirstBuffer, bytes.size() * 4)), '\0');
  std::size_t used = 0;
  while (true) {
    set_output(stream, out, used);
    // With the buffer full at the limit this call has no room left: it succeeds only if nothing but the trailer
    // follows.
    const int state = inflate(&stream, Z_NO_FLUSH);
    used = out.size() - stream.avail_out;
    if (state == Z_STREAM_END) break;
    if (state == Z_MEM_ERROR) return fail(ErrorCode::kUnavailable, "gzip: out of memory");
    if (state != Z_OK && state != Z_BUF_ERROR) return fail(ErrorCode::kMalformed, "gzip: damaged");
    if (stream.avail_out > 0) return fail(ErrorCode::kMalformed, "gzip: cut short");
    if (state == Z_BUF_ERROR && used == limit) {
      return fail(ErrorCode::kLimitExceeded, "gzip: inflates to more than {} bytes", limit);
    }
    if (out.size() < limit) out = grown(out, std::min(limit, out.size() * 2));
  }
  if (stream.avail_in > 0) return fail(ErrorCode::kMalformed, "gzip: bytes behind its end");
  out.resize(used);
  return out;
}

}  // namespace fleet::protocol
