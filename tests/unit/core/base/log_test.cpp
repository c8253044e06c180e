#include "core/base/log.hpp"

#include <doctest/doctest.h>

#include "tests/unit/core/base/self.hpp"

using namespace fleet;
using fleet::test::run_skipped_case;

TEST_CASE("child: a few lines are logged" * doctest::skip()) {
  log::debug("part", "not to be seen");
  log::warn("part", "plain", {{"number", 5}, {"text", "word"}});
  log::error("part", "two\nlines\x1b[31m",
             {{"a", "two words"},
              {"b", "x\ny"},
              {"c", "say \"hi\" \\"},
              {"d", ""},
              {"e", "k=v"},
              {"f", std::string("Zürich")}});
  log::set_level(log::Level::kDebug);
  log::debug("part", "now to be seen");
  log::set_level(log::Level::kError);
  log::warn("part", "too little");
}

TEST_CASE("an event is one line with its fields, and a peer's text cannot forge another") {
  const auto outcome = run_skipped_case("child: a few lines are logged", {{"JOURNAL_STREAM", "8:1"}});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.errors ==
        "<4>part: plain number=5 text=word\n"
        "<3>part: two lines [31m a=\"two words\" b=\"x\\x0ay\" c=\"say \\\"hi\\\" \\\\\" d=\"\" e=\"k=v\" f=Zürich\n"
        "<7>part: now to be seen\n");
}

TEST_CASE("levels are known by name") {
  CHECK(log::parse_level("debug").value() == log::Level::kDebug);
  CHECK(log::parse_level("info").value() == log::Level::kInfo);
  CHECK(log::parse_level("warn").value() == log::Level::kWarn);
  CHECK(log::parse_level("error").value() == log::Level::kError);
  for (const auto* bad : {"", "Info", "warning", "7"}) {
    REQUIRE_FALSE(log::parse_level(bad));
    CHECK(log::parse_level(bad).error().code == ErrorCode::kInvalidArgument);
  }
}
