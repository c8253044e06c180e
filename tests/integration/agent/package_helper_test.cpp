// The package helper as the agent meets it: what it brings is tested with the worker; here is what it can do wrong.
#include <csignal>
#include <fstream>
#include <sstream>

#include <doctest/doctest.h>

#include "agent/apply/package_helper.hpp"
#include "core/base/file.hpp"
#include "tests/integration/mqtt/fixture.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// A helper of a few lines of shell.
struct Impostor {
  explicit Impostor(const std::string& script) {
    std::ofstream(program) << "#!/bin/sh\n" << script << "\n";
    fs::permissions(program, fs::perms(0755));
  }
  Result<bool> unpack(const UnpackProgress& progress = [](auto, auto) { return true; }) const {
    return PackageHelper(program).unpack("/nowhere/file", folder.path(), {}, progress);
  }
  test::TempFolder folder;
  fs::path program = folder / "helper";
};

// Neither running nor a zombie that somebody still has to fetch.
bool is_gone(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string id, name, state;
  return !(file >> id >> name >> state) || state == "Z";
}

}  // namespace

TEST_CASE("a job and its reports come over as they were said") {
  DownloadJob job;
  job.source = {"https://user:secret@example.org/a?b=\"c\"", std::string(64, 'a'), {}, from_unix_millis(1'700'000'000'123), true};
  job.limits = {1, 2, Millis(3), Millis(4), Millis(5), 6, Millis(7)};
  const auto same = parse_download_job(to_json(job));
  REQUIRE(same);
  CHECK(same->source.uri == job.source.uri);
  CHECK(same->source.sha256 == job.source.sha256);
  CHECK(same->source.verification_time == job.source.verification_time);
  CHECK(same->source.allow_file);
  CHECK(same->limits.max_size == 1);
  CHECK(same->limits.disk_reserve == 2);
  CHECK(same->limits.connect == Millis(3));
  CHECK(same->limits.stall == Millis(4));
  CHECK(same->limits.total == Millis(5));
  CHECK(same->limits.barren_tries == 6);
  CHECK(same->limits.first_pause == Millis(7));
  const auto limits = parse_unpack_job(to_json(UnpackLimits{1, 2, 3, 4}));
  REQUIRE(limits);
  CHECK(limits->max_size == 1);
  CHECK(limits->max_entries == 2);
  CHECK(limits->max_depth == 3);
  CHECK(limits->disk_reserve == 4);

  const auto outcome = [](const JobOutcome& said) {
    const auto report = parse_report(to_line(said));
    REQUIRE(report);
    return std::get<JobOutcome>(*report);
  };
  CHECK(*outcome(true));
  CHECK_FALSE(*outcome(false));
  for (const ErrorCode code : {ErrorCode::kInvalidArgument, ErrorCode::kNoSpace, ErrorCode::kInternal}) {
    CHECK(outcome(fail(code, "why")).error().code == code);
  }
  CHECK(outcome(fail(ErrorCode::kNotFound, "the server said \xff\n")).error().message == "the server said ?\n");
  const auto progress = parse_report(to_line(JobProgress{7, 1ULL << 40}));
  REQUIRE(progress);
  CHECK(std::get<JobProgress>(*progress).done == 7);
  CHECK(std::get<JobProgress>(*progress).total == 1ULL << 40);
  for (const char* bad : {"", "{", "[]", "{}", R"({"done":1})", R"({"outcome":"done"})", R"({"outcome":"failed"})"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_report(bad));
    CHECK_FALSE(parse_download_job(bad));
    CHECK_FALSE(parse_unpack_job(bad));
  }
}

TEST_CASE("a helper that is not there is an error that names it") {
  const test::TempFolder folder;
  const auto done = PackageHelper(folder / "missing").unpack("a", "b", {}, [](auto, auto) { return true; });
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ErrorCode::kInternal);
  CHECK(done.error().message.find((folder / "missing").string() + ": No such file") == 0);
}

TEST_CASE("a helper that does not do its work is told as what it did") {
  const auto check = [](const std::string& script, ErrorCode code, std::string_view why) {
    CAPTURE(script);
    const auto done = Impostor(script).unpack();
    REQUIRE_FALSE(done);
    CHECK(done.error().code == code);
    CHECK_MESSAGE(done.error().message.find(why) != std::string::npos, done.error().message);
  };
  check("cat >/dev/null; exit 3", ErrorCode::kInternal, "ended with exit code 3 and no word");
  check("exit 3", ErrorCode::kInternal, "ended with exit code 3");  // without hearing the job out
  check("cat >/dev/null; echo '{\"done\":1,\"total\":2}'; kill -9 $$", ErrorCode::kUnavailable, "killed by signal 9");
  check("cat >/dev/null; echo good morning; sleep 60", ErrorCode::kInternal, "not a JSON object");
  check("cat >/dev/null; yes | tr -d '\\n'", ErrorCode::kInternal, "says too much");
}

TEST_CASE("a helper that is cancelled is gone before anything goes on, however stuck it is") {
  const Impostor stuck("trap '' TERM INT HUP; cat >/dev/null; echo $$ >\"$3/pid\"; echo '{\"done\":1,\"total\":2}'; exec sleep 60");
  int told = 0;
  const auto begun = std::chrono::steady_clock::now();
  const auto done = stuck.unpack([&](std::uint64_t at, std::uint64_t of) {
    CHECK(at == 1);
    CHECK(of == 2);
    return ++told < 3;
  });
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ErrorCode::kUnavailable);
  CHECK(done.error().message == "cancelled");
  CHECK(told == 3);
  CHECK(std::chrono::steady_clock::now() - begun < 10s);
  pid_t pid = 0;
  std::ifstream(stuck.folder / "pid") >> pid;
  REQUIRE(pid > 0);
  CHECK(::kill(pid, 0) != 0);
}

TEST_CASE("a helper goes with the agent that it works for, also when that is killed") {
  const test::TempFolder folder;
  test::SilentServer server;  // takes the connection, and never answers
  DownloadJob job;
  job.source.uri = "http://127.0.0.1:" + std::to_string(server.port()) + "/file";
  job.source.sha256 = std::string(64, 'a');
  job.source.verification_time = wall_now();
  REQUIRE(write_file(folder / "job", to_json(job)));
  const std::string helper = PackageHelper::installed().string();
  test::Process agent({{"sh", "-c",
                        helper + " download " + (folder / "file").string() + " <" + (folder / "job").string() +
                            " & echo $! >" + (folder / "pid").string() + "; wait"}});
  pid_t pid = 0;
  REQUIRE(test::eventually([&] {
    std::ifstream(folder / "pid") >> pid;
    return pid > 0 && agent.output().find("\"done\":0") != std::string::npos;
  }));
  CHECK_FALSE(is_gone(pid));
  agent.kill();
  CHECK(test::eventually([&] { return is_gone(pid); }));
}

TEST_CASE("the helper tells people that it is not for them") {
  const test::Outcome outcome = test::run({PackageHelper::installed().string()});
  CHECK(outcome.exit_code == 64);
  CHECK(outcome.errors == "provision-agent-packages is run by provision-agent\n");
}

}  // namespace fleet::agent
