// Tables as RFC 4180 has them: cells between commas; in double quotes, and their quotes doubled, those that hold commas,
// quotes or line ends.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/config/node.hpp"
#include "core/config/text_source.hpp"

namespace fleet::config {

struct CsvCell {
  std::string text;
  Mark mark;
};

struct CsvRow {
  Mark mark;
  std::vector<CsvCell> cells;
};

// The largest row.
inline constexpr std::size_t kMaxCsvRow = 1024 * 1024;

// Reads rows in constant memory. Lines end with LF or CRLF, the last one may end with the text; a byte order mark and
// empty lines are passed over. Strict where readers differ and data would get lost: a quote within a bare cell, text
// behind a closing quote, a quote that is not closed, control characters other than tabs and quoted line ends, and what is
// not UTF-8 are errors. How many cells a row should have is for the caller to say.
class CsvReader {
 public:
  explicit CsvReader(TextSource source) : source_(std::move(source)) {}

  // nullopt at the end. kMalformed or kLimitExceeded "line:column: why", or the error of the source; nothing can be read
  // after that.
  Result<std::optional<CsvRow>> next();

 private:
  // The next byte, or kEnd. What the source fails with is kept in failure_, and is an end too.
  static constexpr int kEnd = -1;
  int peek();
  void skip();
  Result<void> read_row(CsvRow& row);
  Result<void> read_bare(CsvCell& cell);
  Result<void> read_quoted(CsvCell& cell);
  Result<void> add(CsvCell& cell);
  Result<void> end_line();
  Failure malformed(Mark mark, std::string_view why) const;

  TextSource source_;
  std::string buffer_;
  std::size_t position_ = 0;
  Mark mark_{1, 1};
  std::size_t row_size_ = 0;
  bool begun_ = false;
  bool ended_ = false;
  std::optional<Error> failure_;
};

}  // namespace fleet::config
