#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include "core/config/csv.hpp"

using namespace fleet;
using namespace fleet::config;

namespace {

// The text in pieces of `size` bytes.
TextSource source_of(std::string text, std::size_t size = 3) {
  auto at = std::make_shared<std::size_t>(0);
  return [text = std::move(text), size, at](char* buffer, std::size_t most) -> Result<std::size_t> {
    const std::size_t part = std::min({size, most, text.size() - *at});
    text.copy(buffer, part, *at);
    *at += part;
    return part;
  };
}

std::vector<CsvRow> rows_of(const std::string& text) {
  CsvReader reader(source_of(text));
  std::vector<CsvRow> rows;
  while (true) {
    auto row = reader.next();
    REQUIRE_MESSAGE(row.has_value(), (row ? "" : row.error().message));
    if (!*row) return rows;
    rows.push_back(std::move(**row));
  }
}

std::string texts(const CsvRow& row) {
  std::string text;
  for (const CsvCell& cell : row.cells) text += "<" + cell.text + ">";
  return text;
}

std::string error_of(const std::string& text) {
  CsvReader reader(source_of(text));
  while (true) {
    auto row = reader.next();
    if (!row) {
      CHECK(reader.next().error().message == row.error().message);  // it stays
      return row.error().message;
    }
    if (!*row) return "";
  }
}

}  // namespace

TEST_CASE("cells are what RFC 4180 has them be, whatever pieces the text comes in") {
  const auto rows = rows_of("a,b,c\r\n\"x, y\",\"say \"\"hi\"\"\",\"two\r\nlines\"\n,,\n\n\"\",1");
  REQUIRE(rows.size() == 4);
  CHECK(texts(rows[0]) == "<a><b><c>");
  CHECK(texts(rows[1]) == "<x, y><say \"hi\"><two\r\nlines>");
  CHECK(texts(rows[2]) == "<><><>");
  CHECK(texts(rows[3]) == "<><1>");
}

TEST_CASE("every cell knows its line and column, also behind quoted line ends and characters of several bytes") {
  const auto rows = rows_of("\xef\xbb\xbfn,\"ä\n ö\",x\nüü,z\n");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].cells[0].mark.column == 1);
  CHECK(rows[0].cells[1].mark.column == 3);
  CHECK(rows[0].cells[2].mark.line == 2);
  CHECK(rows[0].cells[2].mark.column == 5);
  CHECK(rows[1].mark.line == 3);
  CHECK(rows[1].cells[1].mark.column == 4);
}

TEST_CASE("what readers would understand differently is an error, with its place") {
  CHECK(error_of("a,b\n1,x\"y\n") == "2:4: a quote within a cell: put the cell in quotes, and its quotes twice");
  CHECK(error_of("a\n\"x\"y\n") == "2:4: text behind a closing quote: a comma or the end of the line belongs here");
  CHECK(error_of("a,b\n1,\"open\n2,3\n") == "2:3: the closing quote is missing");
  CHECK(error_of("a\rb\n") == "1:2: a carriage return without a line feed");
  CHECK(error_of(std::string("a\nx\0y\n", 6)) == "2:2: the control character 0x00 is not allowed");
  CHECK(error_of("a\nb,\xff\xfe\n") == "2:3: this is not UTF-8");
  CHECK(error_of("\"" + std::string(kMaxCsvRow + 1, 'x') + "\"").starts_with("1:1: this row is longer than"));
}

TEST_CASE("an empty text has no rows, and a source that breaks is no end") {
  CHECK(rows_of("").empty());
  CHECK(rows_of("\r\n\n").empty());
  int calls = 0;
  CsvReader reader([&](char* buffer, std::size_t) -> Result<std::size_t> {
    if (calls++ > 0) return fail(ErrorCode::kIo, "gone");
    buffer[0] = 'a';
    return 1;
  });
  CHECK(reader.next().error().message == "gone");
}
