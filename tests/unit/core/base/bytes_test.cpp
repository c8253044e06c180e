#include "core/base/bytes.hpp"

#include <doctest/doctest.h>

using namespace fleet;

namespace {

Bytes all_bytes() {
  Bytes bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  return bytes;
}

}  // namespace

TEST_CASE("hex comes back in both cases and refuses anything else") {
  CHECK(to_hex(std::string_view("\x00\xff\x1a", 3)) == "00ff1a");
  CHECK(from_hex(to_hex(all_bytes())).value() == all_bytes());
  CHECK(from_hex("FFaB").value() == "\xff\xab");
  CHECK(from_hex("").value().empty());
  for (const auto* bad : {"f", "fff", "0g", "0x", " 00", "00 ", "-1"}) {
    CAPTURE(bad);
    REQUIRE_FALSE(from_hex(bad));
    CHECK(from_hex(bad).error().code == ErrorCode::kMalformed);
  }
}

TEST_CASE("base64 gives the examples of RFC 4648 and reads them back") {
  const std::pair<std::string_view, std::string_view> examples[] = {{"", ""},
                                                                    {"f", "Zg=="},
                                                                    {"fo", "Zm8="},
                                                                    {"foo", "Zm9v"},
                                                                    {"foob", "Zm9vYg=="},
                                                                    {"fooba", "Zm9vYmE="},
                                                                    {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : examples) {
    CHECK(to_base64(bytes) == text);
    CHECK(from_base64(text).value() == bytes);
  }
  CHECK(from_base64(to_base64(all_bytes())).value() == all_bytes());
  for (const auto* bad : {"Z", "Zg", "Zg=", "Zg===", "=Zg=", "====", "Z===", "Zm9v\n", "Zm 9", "Zm-_", "Zg==Zg=="}) {
    CAPTURE(bad);
    REQUIRE_FALSE(from_base64(bad));
    CHECK(from_base64(bad).error().code == ErrorCode::kMalformed);
  }
}

TEST_CASE("base32 gives the examples of RFC 4648 without padding") {
  CHECK(to_base32("") == "");
  CHECK(to_base32("f") == "MY");
  CHECK(to_base32("fo") == "MZXQ");
  CHECK(to_base32("foo") == "MZXW6");
  CHECK(to_base32("foob") == "MZXW6YQ");
  CHECK(to_base32("fooba") == "MZXW6YTB");
  CHECK(to_base32("foobar") == "MZXW6YTBOI");
  CHECK(to_base32(Bytes(20, '\xff')) == std::string(32, '7'));
}

TEST_CASE("percent encoding makes one topic level of anything and back") {
  CHECK(percent_encode("aZ09-_~:@=") == "aZ09-_~:@=");
  CHECK(percent_encode("a/b+#$.%ü") == "a%2Fb%2B%23%24%2E%25%C3%BC");
  const std::string encoded = percent_encode(all_bytes());
  CHECK(encoded.find_first_of("/+#") == std::string::npos);
  CHECK(percent_decode(encoded).value() == all_bytes());
  CHECK(percent_decode("%2f").value() == "/");
  for (const auto* bad : {"%", "%2", "a%", "%zz", "%2g", "%%20"}) {
    CAPTURE(bad);
    CHECK_FALSE(percent_decode(bad));
  }
}

TEST_CASE("UTF-8 is told from what only looks like it") {
  for (const std::string_view good :
       {"", "ascii", "Zürich ☃ 😀", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CAPTURE(to_hex(good));
    CHECK(is_utf8(good));
  }
  for (const std::string_view bad : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x20", "\xe0\x9f\xbf",
                                     "\xe2\x98", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                                     "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\xfe", "\xff", "ok\xf0\x9f\x98"}) {
    CAPTURE(to_hex(bad));
    CHECK_FALSE(is_utf8(bad));
  }
}
