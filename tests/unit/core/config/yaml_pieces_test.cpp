#include <algorithm>
#include <memory>

#include <doctest/doctest.h>

#include "core/config/node.hpp"
#include "core/config/yaml_pieces.hpp"

using namespace fleet;
using namespace fleet::config;

namespace {

TextSource source_of(std::string text, std::size_t size) {
  auto at = std::make_shared<std::size_t>(0);
  return [text = std::move(text), size, at](char* buffer, std::size_t most) -> Result<std::size_t> {
    const std::size_t part = std::min({size, most, text.size() - *at});
    text.copy(buffer, part, *at);
    *at += part;
    return part;
  };
}

std::vector<YamlPiece> pieces_of(const std::string& text, std::size_t piece, std::size_t read) {
  YamlPieces pieces(source_of(text, read), piece, 1 << 20);
  std::vector<YamlPiece> found;
  while (true) {
    auto next = pieces.next();
    REQUIRE(next.has_value());
    if (!*next) return found;
    found.push_back(std::move(**next));
  }
}

}  // namespace

TEST_CASE("pieces are whole documents, and together the text, however it is read") {
  std::string text = "# a comment\n# ---\n";
  for (int i = 0; i < 40; ++i) {
    text += "---\nname: n" + std::to_string(i) + "\ntext: |\n  --- not a marker\n  x\n" + std::string(i % 3, '\n');
    if (i % 5 == 0) text += "...\n";
    if (i % 7 == 0) text += "--- # with a comment\nname: m\n";
  }
  for (const std::size_t read : {1, 2, 3, 7, 64, 4096}) {
    for (const std::size_t size : {1, 50, 200, 100000}) {
      std::string whole;
      int documents = 0;
      for (const YamlPiece& piece : pieces_of(text, size, read)) {
        CHECK(piece.first_line == 1 + std::count(whole.begin(), whole.end(), '\n'));
        CHECK((whole.empty() || piece.text.starts_with("---")));
        whole += piece.text;
        YamlReader reader(piece.text, piece.first_line);
        while (true) {
          auto node = reader.next();
          REQUIRE_MESSAGE(node.has_value(), (node ? "" : node.error().message));
          if (!*node) break;
          ++documents;
        }
      }
      CHECK(whole == text);
      CHECK(documents == 46);
    }
  }
}

TEST_CASE("lines are those of the whole text in every piece, for values and for errors") {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "---\na: 1\nb: 2\n";
  for (const YamlPiece& piece : pieces_of(text + "---\na: \"open\n", 100, 64)) {
    YamlReader reader(piece.text, piece.first_line);
    int line = piece.first_line;
    while (true) {
      const auto node = reader.next();
      if (!node) {
        CHECK(node.error().message.starts_with("302:4: "));
        break;
      }
      if (!*node) break;
      CHECK((*node)->find("b")->mark.line == line + 2);
      line += 3;
    }
  }
  const YamlPiece tab = pieces_of("a: 1\n---\nb: \x01\n", 1, 64).at(1);
  CHECK(YamlReader(tab.text, tab.first_line).next().error().message.starts_with("3:4: the control character"));
}

TEST_CASE("a document that is too long is an error at its first line") {
  YamlPieces pieces(source_of("a: 1\n---\n" + std::string(3 << 20, '#'), 4096), 1000, 1 << 20);
  CHECK(pieces.next().value()->text == "a: 1\n");
  const auto error = pieces.next();
  REQUIRE_FALSE(error.has_value());
  CHECK(error.error().code == ErrorCode::kLimitExceeded);
  CHECK(error.error().message == "2:1: a document of more than 1 MiB");
}
