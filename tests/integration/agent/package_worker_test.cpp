// The thread that brings packages: what the session hears of it, and how it ends.
#include "agent/runtime/package_worker.hpp"

#include <chrono>
#include <sys/stat.h>

#include <doctest/doctest.h>

#include "agent/apply/package_store.hpp"
#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "tests/support/http_server.hpp"
#include "tests/support/tar.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::file_reply;
using test::HttpReply;
using test::HttpRequest;
using test::HttpServer;

struct Bench {
  test::TempFolder folder, outside;
  boost::asio::io_context io;
  std::vector<Event> events;
  Bytes archive;
  std::unique_ptr<PackageWorker> worker;

  Bench() {
    test::Tar(outside / "a.tar.gz").file("bin/app", "content", 0755);
    archive = *read_file(outside / "a.tar.gz");
    worker = std::make_unique<PackageWorker>(io, settings(), [this](Event event) {
      events.push_back(std::move(event));
      io.stop();
    });
  }
  PackageWorkerSettings settings() const {
    PackageWorkerSettings settings;
    settings.state_folder = folder.path();
    settings.download.first_pause = Millis(10);
    settings.download.barren_tries = 1;
    settings.download.stall = Seconds(20);
    return settings;
  }
  FetchPackage job(const std::string& key, const std::string& uri) const {
    return {key, {{"app", "1.0"}, to_hex(crypto::sha256(archive))}, uri, "", "", true};
  }
  // Runs until an event of that kind comes.
  template <typename T>
  T await() {
    for (std::size_t seen = 0;;) {
      for (; seen < events.size(); ++seen) {
        if (const auto* event = std::get_if<T>(&events[seen])) return *event;
      }
      io.restart();
      const auto guard = boost::asio::make_work_guard(io);
      REQUIRE(io.run_for(20s) > 0);
    }
  }
};

TEST_CASE("a package is fetched, unpacked and told of; the second time it is there already") {
  Bench bench;
  HttpServer server([&](const HttpRequest& request) { return file_reply(request, bench.archive); });
  const FetchPackage job = bench.job("r1", server.url("/app.tar.gz"));
  bench.worker->fetch(job, wall_now());
  const auto done = bench.await<PackageDone>();
  CHECK(done.key == "r1");
  CHECK_FALSE(done.already);
  CHECK(read_file(package_folder(bench.folder.path(), job.package) / "bin/app").value_or("") == "content");
  CHECK_FALSE(fs::exists(download_file(bench.folder.path(), job.package)));

  bench.events.clear();
  bench.worker->fetch(job, wall_now());
  CHECK(bench.await<PackageDone>().already);
  CHECK(server.requests().size() == 1);
}

TEST_CASE("a download without installation waits for it, and is not fetched twice") {
  Bench bench;
  HttpServer server([&](const HttpRequest& request) { return file_reply(request, bench.archive); });
  FetchPackage job = bench.job("r1", server.url("/app.tar.gz"));
  job.install = false;
  bench.worker->fetch(job, wall_now());
  bench.await<PackageDone>();
  CHECK_FALSE(has_package(bench.folder.path(), job.package));
  bench.events.clear();
  job.install = true;
  job.key = "r2";
  bench.worker->fetch(job, wall_now());
  CHECK_FALSE(bench.await<PackageDone>().already);
  CHECK(has_package(bench.folder.path(), job.package));
  CHECK(server.requests().size() == 1);
}

TEST_CASE("an inline package comes from the request itself") {
  Bench bench;
  FetchPackage job = bench.job("r1", "");
  job.content = bench.archive;
  job.file_name = "app_1.0.tar.gz";
  bench.worker->fetch(job, wall_now());
  bench.await<PackageDone>();
  CHECK(has_package(bench.folder.path(), job.package));
}

TEST_CASE("a failure says in which stage and why, and the next package is brought all the same") {
  Bench bench;
  HttpServer server([&](const HttpRequest& request) {
    if (request.target == "/missing") return HttpReply{.status = 404};
    return file_reply(request, request.target == "/broken.tar.gz" ? "no archive" : bench.archive);
  });
  FetchPackage broken = bench.job("r2", server.url("/broken.tar.gz"));
  broken.package.sha256 = to_hex(crypto::sha256("no archive"));
  bench.worker->fetch(bench.job("r1", server.url("/missing")), wall_now());
  bench.worker->fetch(broken, wall_now());
  bench.worker->fetch(bench.job("r3", server.url("/app.tar.gz")), wall_now());
  CHECK(bench.await<PackageDone>().key == "r3");
  std::vector<PackageFailed> failures;
  for (const Event& event : bench.events) {
    if (const auto* failure = std::get_if<PackageFailed>(&event)) failures.push_back(*failure);
  }
  REQUIRE(failures.size() == 2);
  CHECK(failures[0].key == "r1");
  CHECK(failures[0].stage == protocol::DeployStage::kDownload);
  CHECK(failures[0].error.message.find("404") != std::string::npos);
  CHECK(failures[1].key == "r2");
  CHECK(failures[1].stage == protocol::DeployStage::kInstall);
  CHECK(failures[1].error.message.find("not a tar archive") != std::string::npos);
}

TEST_CASE("progress is told while something arrives, and not while nothing does") {
  Bench bench;
  bench.archive = Bytes(100'000, 'x');
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, bench.archive);
    reply.bytes_a_second = 20'000;
    reply.stall_after = 40'000;
    return reply;
  });
  bench.worker->fetch(bench.job("r1", server.url("/slow")), wall_now());
  const auto first = bench.await<PackageProgress>();
  CHECK(first.key == "r1");
  CHECK(first.stage == protocol::DeployStage::kDownload);
  const auto guard = boost::asio::make_work_guard(bench.io);
  for (const auto end = std::chrono::steady_clock::now() + 4s; std::chrono::steady_clock::now() < end;) {
    bench.io.restart();
    bench.io.run_for(100ms);
  }
  const std::size_t told = bench.events.size();
  CHECK(told <= 6);  // two a second for two seconds
  bench.io.restart();
  bench.io.run_for(1500ms);
  CHECK(bench.events.size() == told);
}

TEST_CASE("a cancelled package is silent, and the worker is free for another one at once") {
  Bench bench;
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, bench.archive);
    if (request.target == "/stalls") reply.stall_after = 10;
    return reply;
  });
  bench.worker->fetch(bench.job("r1", server.url("/stalls")), wall_now());
  bench.worker->fetch(bench.job("r2", server.url("/stalls")), wall_now());
  while (server.requests().empty()) std::this_thread::sleep_for(10ms);
  bench.worker->cancel();
  bench.worker->fetch(bench.job("r3", server.url("/good")), wall_now());
  const auto begin = std::chrono::steady_clock::now();
  CHECK(bench.await<PackageDone>().key == "r3");
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  for (const Event& event : bench.events) CHECK_FALSE(std::holds_alternative<PackageFailed>(event));
}

TEST_CASE("an inline package has the same limit as a fetched one") {
  Bench bench;
  PackageWorkerSettings settings = bench.settings();
  settings.download.max_size = bench.archive.size() - 1;
  bench.worker->set_settings(settings);
  FetchPackage job = bench.job("r1", "");
  job.content = bench.archive;
  job.file_name = "app_1.0.tar.gz";
  bench.worker->fetch(job, wall_now());
  CHECK(bench.await<PackageFailed>().error.message.find("(package-max-size)") != std::string::npos);
}

TEST_CASE("what is retired is removed on the worker's thread, before the next package and whatever is cancelled") {
  Bench bench;
  HttpServer server([&](const HttpRequest& request) { return file_reply(request, bench.archive); });
  const fs::path old = bench.folder / "packages/.old.tmp";
  fs::create_directories(old / "deep/er");
  for (int i = 0; i < 500; ++i) REQUIRE(write_file(old / "deep" / std::to_string(i), "x"));
  bench.worker->remove({old, bench.folder / "not there"});
  bench.worker->cancel();
  bench.worker->fetch(bench.job("r1", server.url("/app.tar.gz")), wall_now());
  CHECK_FALSE(bench.await<PackageDone>().already);
  CHECK_FALSE(fs::exists(old));
}

TEST_CASE("a worker that ends does not wait until all is removed") {
  Bench bench;
  const fs::path old = bench.folder / ".old.tmp";
  fs::create_directories(old);
  std::vector<fs::path> retired;
  for (int i = 0; i < 5'000; ++i) {
    retired.push_back(old / std::to_string(i));
    REQUIRE(::mkfifo(retired.back().c_str(), 0600) == 0);
  }
  bench.worker->remove(retired);
  bench.worker.reset();
  CHECK_FALSE(fs::is_empty(old));
}

TEST_CASE("a worker ends within seconds, whatever it is waiting for") {
  Bench bench;
  HttpServer server([&](const HttpRequest& request) {
    HttpReply reply = file_reply(request, bench.archive);
    reply.stall_after = 10;
    return reply;
  });
  bench.worker->fetch(bench.job("r1", server.url("/stalls")), wall_now());
  while (server.requests().empty()) std::this_thread::sleep_for(10ms);
  const auto begin = std::chrono::steady_clock::now();
  bench.worker.reset();
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  bench.io.restart();
  bench.io.poll();
  CHECK(bench.events.empty());
}

}  // namespace
}  // namespace fleet::agent
