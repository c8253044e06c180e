// A YAML text of any length in pieces that a YamlReader takes.
#pragma once

#include <optional>
#include <string>

#include "core/base/result.hpp"
#include "core/config/text_source.hpp"

namespace fleet::config {

// Whole documents: cut where a line begins with "---", which YAML 1.2 §9.1.2 keeps for this even within quotes and blocks.
struct YamlPiece {
  std::string text;
  int first_line = 1;
};

class YamlPieces {
 public:
  // Pieces are about `size` bytes, or one document if that is longer.
  YamlPieces(TextSource source, std::size_t size, std::size_t longest_document)
      : source_(std::move(source)), size_(size), longest_(longest_document) {}

  // nullopt at the end. kLimitExceeded "line:column: why" for a document that is too long, or the error of the source;
  // nothing can be read after that.
  Result<std::optional<YamlPiece>> next();

 private:
  Result<bool> fill();
  YamlPiece take(std::size_t bytes);

  TextSource source_;
  std::size_t size_, longest_;
  std::string text_;           // read, and not yet given out
  std::size_t searched_ = 0;   // in it, up to which there is no cut behind last_cut_
  std::size_t last_cut_ = 0;   // in it; 0: none
  int line_ = 1;               // of its first byte
  bool ended_ = false;
};

}  // namespace fleet::config
