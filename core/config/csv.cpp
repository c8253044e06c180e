#include "core/config/csv.hpp"

#include <utility>

#include "core/base/bytes.hpp"

namespace fleet::config {
namespace {

constexpr std::size_t kBuffer = 64 * 1024;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

Result<std::optional<CsvRow>> CsvReader::next() {
  if (failure_) return fail(*failure_);
  if (!std::exchange(begun_, true) && peek() != kEnd && std::string_view(buffer_).starts_with(kByteOrderMark)) {
    position_ = kByteOrderMark.size();
  }
  while (peek() == '\n' || peek() == '\r') {
    if (auto ended = end_line(); !ended) failure_ = ended.error();
  }
  if (failure_) return fail(*failure_);
  if (peek() == kEnd) return failure_ ? Result<std::optional<CsvRow>>(fail(*failure_)) : std::nullopt;
  CsvRow row;
  auto read = read_row(row);
  // an end that is none: the source broke
  if (failure_) return fail(*failure_);
  if (!read) {
    failure_ = read.error();
    return fail(*failure_);
  }
  return row;
}

int CsvReader::peek() {
  if (position_ == buffer_.size()) {
    if (ended_) return kEnd;
    buffer_.resize(kBuffer);
    auto got = source_(buffer_.data(), buffer_.size());
    buffer_.resize(got ? *got : 0);
    position_ = 0;
    if (!got) failure_ = std::move(got).error();
    ended_ = buffer_.empty();
    if (ended_) return kEnd;
  }
  return static_cast<unsigned char>(buffer_[position_]);
}

void CsvReader::skip() {
  const auto byte = static_cast<unsigned char>(buffer_[position_++]);
  if (byte == '\n') {
    mark_ = {mark_.line + 1, 1};
  } else if ((byte & 0xc0U) != 0x80) {
    ++mark_.column;
  }
}

Result<void> CsvReader::read_row(CsvRow& row) {
  row.mark = mark_;
  row_size_ = 0;
  while (true) {
    CsvCell& cell = row.cells.emplace_back();
    cell.mark = mark_;
    TRY(peek() == '"' ? read_quoted(cell) : read_bare(cell));
    if (!is_utf8(cell.text)) return malformed(cell.mark, "this is not UTF-8");
    if (peek() != ',') return end_line();
    skip();
  }
}

Result<void> CsvReader::read_bare(CsvCell& cell) {
  while (true) {
    const int byte = peek();
    if (byte == kEnd || byte == ',' || byte == '\n' || byte == '\r') return {};
    if (byte == '"') return malformed(mark_, "a quote within a cell: put the cell in quotes, and its quotes twice");
    TRY(add(cell));
  }
}

Result<void> CsvReader::read_quoted(CsvCell& cell) {
  skip();
  while (true) {
    const int byte = peek();
    if (byte == kEnd) return malformed(cell.mark, "the closing quote is missing");
    if (byte == '"') {
      skip();
      if (peek() != '"') break;
    }
    TRY(add(cell));
  }
  const int behind = peek();
  if (behind == kEnd || behind == ',' || behind == '\n' || behind == '\r') return {};
  return malformed(mark_, "text behind a closing quote: a comma or the end of the line belongs here");
}

Result<void> CsvReader::add(CsvCell& cell) {
  const auto byte = static_cast<unsigned char>(buffer_[position_]);
  if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f) {
    return malformed(mark_, fmt::format("the control character 0x{:02x} is not allowed", byte));
  }
  if (++row_size_ > kMaxCsvRow) {
    return fail(ErrorCode::kLimitExceeded, "{}:{}: this row is longer than {} bytes: is a closing quote missing?",
                cell.mark.line, cell.mark.column, kMaxCsvRow);
  }
  cell.text += buffer_[position_];
  skip();
  return {};
}

Result<void> CsvReader::end_line() {
  if (peek() == kEnd) return {};
  const Mark mark = mark_;
  if (peek() == '\r') {
    skip();
    if (peek() != '\n') return malformed(mark, "a carriage return without a line feed");
  }
  skip();
  return {};
}

Failure CsvReader::malformed(Mark mark, std::string_view why) const {
  return fail(ErrorCode::kMalformed, "{}:{}: {}", mark.line, mark.column, why);
}

}  // namespace fleet::config
