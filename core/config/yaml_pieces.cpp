#include "core/config/yaml_pieces.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace fleet::config {
namespace {

constexpr std::size_t kRead = 64 * 1024;
constexpr std::string_view kMarker = "\n---";

}  // namespace

Result<std::optional<YamlPiece>> YamlPieces::next() {
  while (true) {
    // a marker counts with what stands behind it, so the last bytes are looked at again when there are more
    while (searched_ + kMarker.size() < text_.size()) {
      const std::size_t found = text_.find(kMarker, searched_);
      if (found == std::string::npos || found + kMarker.size() >= text_.size()) {
        searched_ = found == std::string::npos ? text_.size() - kMarker.size() : found;
        break;
      }
      searched_ = found + 1;
      const char behind = text_[found + kMarker.size()];
      if (behind == ' ' || behind == '\t' || behind == '\n' || behind == '\r') last_cut_ = found + 1;
      if (last_cut_ >= size_) return take(last_cut_);
    }
    if (text_.size() >= size_ && last_cut_ > 0) return take(last_cut_);
    if (text_.size() > longest_) {
      return fail(ErrorCode::kLimitExceeded, "{}:1: a document of more than {} MiB", line_, longest_ / (1024 * 1024));
    }
    TRY_ASSIGN(const bool more, fill());
    if (more) continue;
    if (text_.empty()) return std::nullopt;
    return take(text_.size());
  }
}

Result<bool> YamlPieces::fill() {
  if (ended_) return false;
  const std::size_t before = text_.size();
  text_.resize(before + kRead);
  auto got = source_(text_.data() + before, kRead);
  text_.resize(before + (got ? *got : 0));
  if (!got) return fail(std::move(got).error());
  ended_ = *got == 0;
  return !ended_;
}

YamlPiece YamlPieces::take(std::size_t bytes) {
  YamlPiece piece{text_.substr(0, bytes), line_};
  text_.erase(0, bytes);
  line_ += static_cast<int>(std::count(piece.text.begin(), piece.text.end(), '\n'));
  searched_ = searched_ > bytes ? searched_ - bytes : 0;
  last_cut_ = 0;
  return piece;
}

}  // namespace fleet::config
