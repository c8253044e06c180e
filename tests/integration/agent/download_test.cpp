// Downloads from a real server that does not always do its best.
#include "agent/apply/download.hpp"

#include <chrono>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/base/secret.hpp"
#include "core/crypto/digest.hpp"
#include "tests/support/http_server.hpp"
#include "tests/unit/core/crypto/pki.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::file_reply;
using test::HttpReply;
using test::HttpRequest;
using test::HttpServer;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

struct Downloads {
  test::TempFolder folder;
  Bytes content = random_bytes(200'000);
  DownloadLimits limits;
  std::vector<crypto::Certificate> roots;
  bool allow_file = false;
  DownloadProgress progress = [](std::uint64_t, std::uint64_t) { return true; };

  Downloads() {
    limits.first_pause = Millis(10);
    limits.stall = Millis(1'000);
    limits.connect = Millis(5'000);
  }
  fs::path file() const { return folder / "downloads/file"; }
  fs::path part() const { return folder / "downloads/file.part"; }
  Result<void> get(const std::string& uri) {
    return download({uri, to_hex(crypto::sha256(content)), roots, wall_now(), allow_file}, file(), limits, progress);
  }
  void check_got() const {
    CHECK(read_file(file()).value_or("") == content);
    CHECK_FALSE(fs::exists(part()));
  }
  void check_failed(const Result<void>& result, ErrorCode code, std::string_view why) const {
    REQUIRE_FALSE(result);
    CHECK_MESSAGE(result.error().code == code, result.error().message);
    CHECK_MESSAGE(contains(result.error().message, why), result.error().message);
    CHECK_FALSE(fs::exists(file()));
  }
};

TEST_CASE("a file arrives whole, and its progress is told") {
  Downloads downloads;
  std::uint64_t last = 0, whole = 0;
  downloads.progress = [&](std::uint64_t got, std::uint64_t total) {
    CHECK(got >= last);
    last = got;
    if (total != 0) whole = total;
    return true;
  };
  HttpServer server([&](const HttpRequest& request) { return file_reply(request, downloads.content); });
  const auto got = downloads.get(server.url("/p/app.tar.gz?sig=x"));
  REQUIRE_MESSAGE(got, (got ? "" : got.error().message));
  downloads.check_got();
  CHECK(last == downloads.content.size());
  CHECK(whole == downloads.content.size());
  CHECK(server.requests().at(0).target == "/p/app.tar.gz?sig=x");
  CHECK(server.requests().at(0).header("user-agent").starts_with("provision-agent/"));
}

TEST_CASE("a file of no bytes and one without a length arrive as well") {
  Downloads downloads;
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, downloads.content);
    reply.tells_length = request.target != "/unknown-length";
    return reply;
  });
  REQUIRE(downloads.get(server.url("/unknown-length")));
  downloads.check_got();
  fs::remove(downloads.file());
  downloads.content.clear();
  REQUIRE(downloads.get(server.url("/empty")));
  downloads.check_got();
}

TEST_CASE("a connection that is cut again and again is resumed where it was") {
  Downloads downloads;
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, downloads.content);
    reply.cut_after = 60'000;
    return reply;
  });
  REQUIRE(downloads.get(server.url("/f")));
  downloads.check_got();
  std::vector<std::size_t> starts;
  for (const HttpRequest& request : server.requests()) starts.push_back(request.range_start());
  CHECK(starts == std::vector<std::size_t>{0, 60'000, 120'000, 180'000});
}

TEST_CASE("what an earlier run of the agent has brought is not asked for again") {
  Downloads downloads;
  fs::create_directories(downloads.part().parent_path());
  REQUIRE(write_file(downloads.part(), downloads.content.substr(0, 150'000)));
  HttpServer server([&](const HttpRequest& request) { return file_reply(request, downloads.content); });
  REQUIRE(downloads.get(server.url("/f")));
  downloads.check_got();
  REQUIRE(server.requests().size() == 1);
  CHECK(server.requests()[0].header("range") == "bytes=150000-");
}

TEST_CASE("a part that is whole already is only checked") {
  Downloads downloads;
  fs::create_directories(downloads.part().parent_path());
  REQUIRE(write_file(downloads.part(), downloads.content));
  HttpServer server([&](const HttpRequest& request) { return file_reply(request, downloads.content); });
  REQUIRE(downloads.get(server.url("/f")));
  downloads.check_got();
}

TEST_CASE("a part of a file that has changed on the server meanwhile is thrown away, and the file fetched once more") {
  Downloads downloads;
  fs::create_directories(downloads.part().parent_path());
  REQUIRE(write_file(downloads.part(), std::string(150'000, 'x')));
  bool ranges = true;
  SUBCASE("by a server that resumes") {}
  SUBCASE("by a server that does not") {
    ranges = false;
  }
  HttpServer server([&](const HttpRequest& request) {
    return ranges ? file_reply(request, downloads.content) : file_reply({}, downloads.content);
  });
  REQUIRE(downloads.get(server.url("/f")));
  downloads.check_got();
  CHECK(server.requests().size() == (ranges ? 2 : 1));
}

TEST_CASE("a file with another hash is not kept, not even in part") {
  Downloads downloads;
  HttpServer server([&](const HttpRequest&) { return HttpReply{.body = "something else"}; });
  downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kMalformed, "its SHA-256 is");
  CHECK_FALSE(fs::exists(downloads.part()));
  CHECK(server.requests().size() == 1);
}

TEST_CASE("a server that always stops at the same byte is given up, and what it has sent is kept") {
  Downloads downloads;
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, downloads.content);
    reply.cut_after = request.range_start() == 0 ? 50'000 : 0;
    return reply;
  });
  downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kUnavailable, "http://localhost");
  CHECK(fs::file_size(downloads.part()) == 50'000);
  CHECK(server.requests().size() == 4);  // the first, and three in a row that brought nothing
}

TEST_CASE("a server that stalls is given up in bounded time") {
  Downloads downloads;
  downloads.limits.barren_tries = 1;
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, downloads.content);
    reply.stall_after = request.range_start() == 0 ? 1'000 : 0;
    return reply;
  });
  const auto begin = std::chrono::steady_clock::now();
  downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kTimedOut, "too slow");
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
}

TEST_CASE("a download as a whole has a limit of time") {
  Downloads downloads;
  downloads.limits.total = Millis(700);
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, downloads.content);
    reply.bytes_a_second = 20'000;
    return reply;
  });
  downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kTimedOut, "");
}

TEST_CASE("a file that is too large is not written to the disk") {
  Downloads downloads;
  downloads.limits.max_size = 100'000;
  bool tells_length = true;
  SUBCASE("and says so") {}
  SUBCASE("and does not say so") {
    tells_length = false;
  }
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, downloads.content);
    reply.tells_length = tells_length;
    return reply;
  });
  downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kLimitExceeded, "more than 100000 (package-max-size)");
  CHECK_FALSE(fs::exists(downloads.part()));
}

TEST_CASE("the disk is not filled to its last byte") {
  Downloads downloads;
  downloads.limits.disk_reserve = std::uint64_t{1} << 60;
  HttpServer server([&](const HttpRequest& request) { return file_reply(request, downloads.content); });
  downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kNoSpace, "No space left");
  CHECK_FALSE(fs::exists(downloads.part()));
}

TEST_CASE("an answer that says no is an error of its kind, and its text never becomes the file") {
  Downloads downloads;
  int status = 0;
  ErrorCode code{};
  std::size_t tries = 1;
  SUBCASE("404") {
    status = 404, code = ErrorCode::kNotFound;
  }
  SUBCASE("403") {
    status = 403, code = ErrorCode::kPermissionDenied;
  }
  SUBCASE("400") {
    status = 400, code = ErrorCode::kInvalidArgument;
  }
  SUBCASE("503 is tried again") {
    status = 503, code = ErrorCode::kUnavailable, tries = 3;
  }
  HttpServer server([&](const HttpRequest&) { return HttpReply{.status = status, .body = "no"}; });
  downloads.check_failed(downloads.get(server.url("/f?secret=1")), code, "answered " + std::to_string(status));
  CHECK_FALSE(contains(downloads.get(server.url("/f?secret=1")).error().message, "secret"));
  CHECK(server.requests().size() == 2 * tries);
}

TEST_CASE("a server that comes back is found again") {
  Downloads downloads;
  int requests = 0;
  HttpServer server([&](const HttpRequest& request) {
    return ++requests <= 2 ? HttpReply{.status = 503} : file_reply(request, downloads.content);
  });
  REQUIRE(downloads.get(server.url("/f")));
  downloads.check_got();
}

TEST_CASE("redirects are followed, but neither to files nor without end") {
  Downloads downloads;
  std::string location;
  REQUIRE(write_file(downloads.folder / "local", downloads.content));
  HttpServer server([&](const HttpRequest& request) {
    if (request.target == "/f") return HttpReply{.status = 302, .headers = {{"Location", location}}, .body = "moved"};
    if (request.target == "/loop") return HttpReply{.status = 302, .headers = {{"Location", "/loop"}}};
    return file_reply(request, downloads.content);
  });
  SUBCASE("on the same host") {
    location = "/g";
    REQUIRE(downloads.get(server.url("/f")));
    downloads.check_got();
  }
  SUBCASE("resumed behind it") {
    location = "/g";
    fs::create_directories(downloads.part().parent_path());
    REQUIRE(write_file(downloads.part(), downloads.content.substr(0, 100'000)));
    REQUIRE(downloads.get(server.url("/f")));
    downloads.check_got();
  }
  SUBCASE("to a file") {
    location = "file://" + (downloads.folder / "local").string();
    downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kInvalidArgument, "only http and https");
  }
  SUBCASE("to another protocol") {
    location = "ftp://localhost/f";
    downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kInvalidArgument, "only http and https");
  }
  SUBCASE("in a circle") {
    location = "/loop";
    downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kInvalidArgument, "redirects");
    CHECK(server.requests().size() < 10);
  }
}

TEST_CASE("credentials go to the host that they are for and to no other") {
  Downloads downloads;
  HttpServer other([&](const HttpRequest& request) { return file_reply(request, downloads.content); });
  HttpServer server([&](const HttpRequest& request) {
    if (request.target == "/here") return file_reply(request, downloads.content);
    return HttpReply{.status = 302,
                     .headers = {{"Location", "http://127.0.0.1:" + std::to_string(other.port()) + "/f"}}};
  });
  const std::string authority = "http://user:secret@localhost:" + std::to_string(server.port());
  REQUIRE(downloads.get(authority + "/here"));
  CHECK(server.requests().at(0).header("authorization").starts_with("Basic "));
  fs::remove(downloads.file());
  REQUIRE(downloads.get(authority + "/there"));
  downloads.check_got();
  REQUIRE(other.requests().size() == 1);
  CHECK(other.requests()[0].header("authorization").empty());

  const auto failed = downloads.get("http://user:secret@localhost:1/f");
  REQUIRE_FALSE(failed);
  CHECK_FALSE(contains(failed.error().message, "secret"));
}

TEST_CASE("files of this machine are fetched only when the settings allow it") {
  Downloads downloads;
  REQUIRE(write_file(downloads.folder / "local", downloads.content));
  const std::string uri = "file://" + (downloads.folder / "local").string();
  downloads.check_failed(downloads.get(uri), ErrorCode::kInvalidArgument, "only http and https");
  downloads.allow_file = true;
  REQUIRE(downloads.get(uri));
  downloads.check_got();
  fs::remove(downloads.file());
  downloads.check_failed(downloads.get("file:///nowhere/at/all"), ErrorCode::kNotFound, "file:///nowhere");
}

TEST_CASE("no other protocol is spoken, whatever the settings say") {
  Downloads downloads;
  downloads.allow_file = true;
  for (const char* uri : {"ftp://localhost/f", "gopher://localhost/f", "smb://localhost/f", "nonsense", "http://"}) {
    CAPTURE(uri);
    const auto got = downloads.get(uri);
    REQUIRE_FALSE(got);
    CHECK_MESSAGE((got.error().code == ErrorCode::kInvalidArgument || got.error().code == ErrorCode::kUnavailable),
                  got.error().message);
  }
}

TEST_CASE("an https server is trusted by the CAs that were given, for its own name and time") {
  const test::Pki pki;
  Downloads downloads;
  REQUIRE(
      write_file(downloads.folder / "chain.pem", crypto::to_pem({pki.server.certificate, pki.broker_ca.certificate})));
  REQUIRE(write_file(downloads.folder / "key.pem", pki.server.key.to_pem().reveal()));
  HttpServer server([&](const HttpRequest& request) { return file_reply(request, downloads.content); },
                    downloads.folder / "chain.pem", downloads.folder / "key.pem");
  SUBCASE("given") {
    downloads.roots = {pki.root.certificate};
    const auto got = downloads.get(server.url("/f"));
    REQUIRE_MESSAGE(got, (got ? "" : got.error().message));
    downloads.check_got();
  }
  SUBCASE("not given") {
    downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kUnauthenticated, "certificate");
  }
  SUBCASE("another one") {
    downloads.roots = {test::make_root("Other", wall_now()).certificate};
    downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kUnauthenticated, "certificate");
  }
  SUBCASE("by a clock that is behind") {
    downloads.roots = {pki.root.certificate};
    const auto got = download(
        {server.url("/f"), to_hex(crypto::sha256(downloads.content)), downloads.roots, from_unix_millis(0), false},
        downloads.file(), downloads.limits, downloads.progress);
    CHECK_MESSAGE(got, (got ? "" : got.error().message));
  }
  SUBCASE("expired") {
    downloads.roots = {pki.root.certificate};
    const auto got = download({server.url("/f"), to_hex(crypto::sha256(downloads.content)), downloads.roots,
                               wall_now() + std::chrono::hours(24 * 365 * 20), false},
                              downloads.file(), downloads.limits, downloads.progress);
    downloads.check_failed(got, ErrorCode::kUnauthenticated, "expired");
  }
}

TEST_CASE("a download is cancelled at once and goes on from there later") {
  Downloads downloads;
  std::atomic<bool> slow{true};
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, downloads.content);
    if (slow) reply.bytes_a_second = 20'000;
    return reply;
  });
  downloads.progress = [](std::uint64_t got, std::uint64_t) { return got < 4'000; };
  downloads.check_failed(downloads.get(server.url("/f")), ErrorCode::kUnavailable, "cancelled");
  CHECK(fs::file_size(downloads.part()) >= 4'000);
  CHECK(fs::file_size(downloads.part()) < 100'000);
  slow = false;
  downloads.progress = [](std::uint64_t, std::uint64_t) { return true; };
  REQUIRE(downloads.get(server.url("/f")));
  downloads.check_got();
  CHECK(server.requests().back().range_start() >= 4'000);
}

}  // namespace
}  // namespace fleet::agent
