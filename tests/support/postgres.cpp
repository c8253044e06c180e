#include "tests/support/postgres.hpp"

#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace fleet::test {
namespace {

// Where Debian keeps what only administrators call.
const std::string kPrograms = "/usr/lib/postgresql/15/bin/";

const Outcome& expect_ok(const Outcome& outcome, const std::string& what) {
  if (outcome.exit_code != 0) throw std::runtime_error(what + ": " + outcome.output + outcome.errors);
  return outcome;
}

}  // namespace

PostgresServer::PostgresServer(bool durable) : durable_(durable) {
  if (::geteuid() == 0) {
    const passwd* const user = ::getpwnam("postgres");
    if (user == nullptr || ::chown(folder_.path().c_str(), user->pw_uid, user->pw_gid) != 0) {
      throw std::runtime_error("there is no user postgres that a server could run as");
    }
  }
  // libpq of any user finds the socket
  std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755));
  expect_ok(run(as_its_user({kPrograms + "initdb", "-D", (folder_ / "data").string(), "-A", "trust", "-U", "fleet", "-E", "UTF8",
                             "--locale=C", "--no-sync"})
                    .arguments),
            "initdb");
  start();
}

PostgresServer::~PostgresServer() {
  stop();
}

Command PostgresServer::as_its_user(std::vector<std::string> arguments) const {
  if (::geteuid() == 0) {
    const std::vector<std::string> user{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT"};
    arguments.insert(arguments.begin(), user.begin(), user.end());
  }
  return {std::move(arguments), {}, folder_ / "server.log"};
}

void PostgresServer::start() {
  const Command command = as_its_user({kPrograms + "postgres", "-D", (folder_ / "data").string(), "-k", folder_.path().string(), "-c",
                                       "listen_addresses=", "-c", durable_ ? "fsync=on" : "fsync=off"});
  server_.emplace(command);
  const std::string url = "postgresql:///postgres?user=fleet&host=" + folder_.path().string();
  const bool ready = eventually(
      [&] {
        // one that was killed leaves processes behind for a moment, beside which no other starts
        if (!server_->running()) server_.emplace(command);
        return run({"psql", "-XAtc", "SELECT 1", url}).exit_code == 0;
      },
      20s);
  if (!ready) throw std::runtime_error("PostgreSQL did not start: " + log());
}

void PostgresServer::stop() {
  if (!server_) return;
  server_->signal(SIGINT);  // disconnects everybody
  if (!server_->wait(20s)) server_->kill();
  server_.reset();
}

void PostgresServer::kill() {
  server_.reset();
}

std::string PostgresServer::create_database() {
  const std::string name = "fleet" + std::to_string(++databases_), host = folder_.path().string();
  query("postgresql:///postgres?user=fleet&host=" + host, "CREATE DATABASE " + name);
  return "postgresql:///" + name + "?user=fleet&host=" + host;
}

std::string PostgresServer::query(const std::string& url, const std::string& sql) {
  std::string output = expect_ok(run({"psql", "-XAtqc", sql, url}), sql).output;
  while (!output.empty() && output.back() == '\n') output.pop_back();
  return output;
}

std::string PostgresServer::log() const {
  std::ifstream file(folder_ / "server.log");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace fleet::test
