// What the real program says when something is wrong, and its exit codes.
#include <sys/stat.h>
#include <sysexits.h>

#include <doctest/doctest.h>

#include "tests/unit/provisioner/admin/prompt.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;
using fleet::test::TempFolder;
namespace fs = std::filesystem;

namespace {

// A line of shell in which "$P" is the program.
fleet::test::Outcome shell_at(const fs::path& data, const std::string& script, std::string_view input = {}) {
  return fleet::test::run({"bash", "-c", "set -o pipefail; " + script}, input, std::chrono::seconds(30),
                          {{"PROVISIONER_DATA", data.string()}, {"P", FLEET_PROVISIONER}});
}

constexpr std::string_view kDiskFull = "error: standard output: No space left on device\n";

// A data folder as `init` makes it.
struct DataFolder {
  DataFolder() { REQUIRE(cli_at(data, {"init", "--host", "h", "--listen", "127.0.0.1:18883"}).exit_code == EX_OK); }
  fleet::test::Outcome check() const { return cli_at(data, {"serve", "--check-config"}); }
  TempFolder folder;
  fs::path data = folder / "data";
};

}  // namespace

TEST_CASE("--data wins over PROVISIONER_DATA, whatever stands between them") {
  const TempFolder folder;
  const std::string meant = (folder / "meant").string();
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"status", "--data", meant}, {"get", "requests", "--data", meant}}) {
    const auto outcome = cli_at(folder / "not-meant", command);
    CHECK(has(outcome.errors, meant));
    CHECK_FALSE(has(outcome.errors, "not-meant"));
  }
  CHECK(has(cli_at(folder / "of-the-environment", {"status"}).errors, "of-the-environment"));
  CHECK(has(cli_at("", {"status"}).errors, "/var/lib/provisioner"));
}

TEST_CASE("output that does not get out is an error, but a reader that has gone is none") {
  Prompt prompt;
  prompt.apply_request("gw", "C1");
  const fs::path data = prompt.platform.folder.path();
  for (const char* const command : {"\"$P\" get requests", "\"$P\" describe request gw -o json", "\"$P\" --help"}) {
    const auto full = shell_at(data, std::string(command) + " >/dev/full");
    CHECK(full.exit_code == EX_IOERR);
    CHECK(full.errors == kDiskFull);
    const auto gone = shell_at(data, std::string(command) + " | true");
    CHECK(gone.exit_code == EX_OK);
    CHECK(gone.errors.empty());
  }
}

TEST_CASE("secrets that did not get out are told of, with the requests that have them and what to do") {
  Prompt prompt;
  prompt.apply_account_and_profile();
  const auto outcome =
      shell_at(prompt.platform.folder.path(), "\"$P\" apply -f - >/dev/full", request_yaml("gw", "C1"));
  CHECK(outcome.exit_code == EX_IOERR);
  CHECK(outcome.errors.starts_with(kDiskFull));
  CHECK(has(outcome.errors, "generated secrets did not get out"));
  CHECK(has(outcome.errors, "these requests have them: gw\n"));
  CHECK(has(outcome.errors, "hint: delete these requests and apply them again with --secrets-out FILE"));
  const auto lost = shell_at(prompt.platform.folder.path(), "\"$P\" apply -f - | true", request_yaml("gw2", "C2"));
  CHECK(lost.exit_code == EX_IOERR);
  CHECK(has(lost.errors, "these requests have them: gw2\n"));
}

TEST_CASE("an unknown word is named before all else, with the nearest one that is known") {
  const TempFolder folder;
  const auto errors = [&](std::vector<std::string> command) {
    const auto outcome = cli_at(folder.path(), std::move(command));
    CHECK(outcome.exit_code == EX_USAGE);
    return outcome.errors;
  };
  CHECK(has(errors({"bogus"}), "error: bogus: no such command; there are init, serve, "));
  CHECK(has(errors({"aply"}), "error: aply: no such command; did you mean apply?\n"));
  CHECK(has(errors({"get", "bogus"}), "error: bogus: no such command; there are requests, profiles, accounts, certificates\n"));
  CHECK(has(errors({"init", "--bogus"}), "error: --bogus: no such option\n"));
  CHECK(has(errors({"init", "--hots", "a"}), "error: --hots: no such option; did you mean --host?\n"));
  CHECK(has(errors({"apply", "--secrets-uot=secret"}),
            "error: --secrets-uot: no such option; did you mean --secrets-out?"));
  CHECK(
      has(errors({"--data", "x", "status"}), "error: --data: belongs behind the command: provisioner status --data\n"));
  CHECK(has(errors({"status", "now"}), "error: now: not expected here\n"));
}

TEST_CASE("all states are listed when one is wrong") {
  const TempFolder folder;
  const std::string errors = cli_at(folder.path(), {"get", "requests", "--status", "BOGUS"}).errors;
  for (const char* const state : {"CREATED", "COMPLETED", "ABANDONED", "STOPPED"}) CHECK(has(errors, state));
  CHECK(has(errors, "'BOGUS'"));
  CHECK_FALSE(has(errors, "…"));
}

TEST_CASE("a source that cannot be read has a code of its own, and no hint that does not fit") {
  const TempFolder folder;
  const auto outcome = cli_at(folder.path(), {"apply", "-f", "/nope"});
  CHECK(outcome.exit_code == EX_NOINPUT);
  CHECK(outcome.errors == "error: /nope: No such file or directory\n");
}

TEST_CASE("what init and renew cannot make sense of is a usage error") {
  const TempFolder folder;
  const fs::path data = folder / "data";
  CHECK(cli_at(data, {"init", "--host", ""}).exit_code == EX_USAGE);
  CHECK(cli_at(data, {"init", "--host", "bad host!"}).exit_code == EX_USAGE);
  CHECK(cli_at(data, {"init", "--host", "h", "--account", "a/b#"}).exit_code == EX_USAGE);
  CHECK_FALSE(fs::exists(data));
  const DataFolder made;
  CHECK(cli_at(made.data, {"renew", "broker", "--host", "bad host!"}).exit_code == EX_USAGE);
}

TEST_CASE("what is missing from a PKI is to be restored") {
  const DataFolder data;
  fs::remove(data.data / "pki" / "device-ca.crt");
  const auto file = data.check();
  CHECK(file.exit_code == EX_CONFIG);
  CHECK(has(file.errors, "hint: restore pki/ from the backup of the data folder\n"));
  fs::remove_all(data.data / "pki");
  const auto folder = data.check();
  CHECK(folder.exit_code == EX_CONFIG);
  CHECK(has(folder.errors, "hint: restore pki/ from the backup of the data folder\n"));
  CHECK_FALSE(has(folder.errors, "init"));
}

TEST_CASE("a key of another certificate is a matter of configuration, and nobody is blamed for the data folder") {
  const DataFolder data;
  fs::copy_file(data.data / "pki" / "broker.key", data.data / "pki" / "signing.key",
                fs::copy_options::overwrite_existing);
  const auto outcome = data.check();
  CHECK(outcome.exit_code == EX_CONFIG);
  CHECK(has(outcome.errors, "restore the two files together"));
  CHECK_FALSE(has(outcome.errors, "hint: "));
}

TEST_CASE("a key that others may read is told with its remedy alone") {
  const DataFolder data;
  REQUIRE(::chmod((data.data / "pki" / "signing.key").c_str(), 0644) == 0);
  const auto outcome = data.check();
  CHECK(outcome.exit_code == EX_NOPERM);
  CHECK(has(outcome.errors, "chmod 600"));
  CHECK_FALSE(has(outcome.errors, "hint: "));
}

TEST_CASE("a folder that another provisioner holds is told of as such") {
  const DataFolder data;
  const auto lock = FileLock::acquire(data.data / "provisioner.lock");
  REQUIRE(lock.has_value());
  const auto outcome = cli_at(data.data, {"serve"});
  CHECK(outcome.exit_code == EX_TEMPFAIL);
  CHECK(has(outcome.errors, "hint: another provisioner works on this data folder: stop it first\n"));
}

TEST_CASE("what went wrong comes before what was done") {
  Prompt prompt;
  prompt.apply_request("gw", "C1");
  const auto outcome = shell_at(prompt.platform.folder.path(), "\"$P\" retry request gw nope 2>&1");
  CHECK(outcome.exit_code == EX_DATAERR);
  CHECK(outcome.output.starts_with("error: request nope: no such request\nhint: "));
  CHECK(outcome.output.ends_with("request gw: armed again\n"));
}

TEST_CASE("a device that comes back after it was completed is told of, until that is settled") {
  Prompt prompt;
  prompt.apply_request("gw", "C1");
  const auto next = [&] { return prompt.cli({"describe", "request", "gw"}).output; };
  const auto add = [&](const std::string& kind, const std::string& text) {
    const std::int64_t id = prompt.platform.request("gw").id;
    prompt.platform.run([&](Transaction& tx) { return tx.add_timeline({id, {}, wall_now(), kind, text}); });
  };
  ProvisionRequest request = prompt.platform.request("gw");
  request.status = JobStatus::kCompleted;
  prompt.platform.run([&](Transaction& tx) { return tx.update_request(request); });
  add("refused", "hello refused: wrong username or password");
  add("completed", "provisioned in attempt 1");
  CHECK(has(next(), "nothing: it is provisioned"));
  add("refused", "hello refused: already provisioned");
  CHECK(has(next(),
            "What next       the device came back after it was completed: it was reset, or it cannot reach its "
            "owner's broker. Check url and CA of account acme, then: provisioner retry request gw\n"));
  add("completed", "provisioned in attempt 2");
  CHECK(has(next(), "nothing: it is provisioned"));
}

TEST_CASE("an attempt that has ended waits for no replies") {
  Prompt prompt;
  prompt.apply_request("gw", "C1");
  prompt.platform.open_attempt("gw");
  Attempt attempt;
  const std::int64_t request_id = prompt.platform.request("gw").id;
  prompt.platform.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto attempts, tx.attempts_of(request_id));
    attempt = attempts.at(0);
    Step step;
    step.attempt_id = attempt.id;
    step.rid = "rid";
    step.summary = "configuration";
    step.sent_at = wall_now();
    return tx.insert_steps({step});
  });
  CHECK(has(prompt.cli({"describe", "request", "gw"}).output, "no reply yet"));
  attempt.state = AttemptState::kFailed;
  attempt.ended_at = wall_now();
  attempt.due_at.reset();
  prompt.platform.run([&](Transaction& tx) { return tx.update_attempt(attempt); });
  const std::string page = prompt.cli({"describe", "request", "gw"}).output;
  CHECK(has(page, "\nconfiguration  "));
  CHECK_FALSE(has(page, "no reply yet"));
}
