// A PostgreSQL server of a test's own, in a temporary folder, reached by a socket there; as root it runs as the user
// `postgres`, which is the only one that it accepts.
#pragma once

#include <optional>
#include <string>

#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::test {

class PostgresServer {
 public:
  // Makes the cluster and starts it. `durable`: commits reach the disk, as they do where it counts.
  explicit PostgresServer(bool durable = false);
  ~PostgresServer();

  // A new, empty database; its URL.
  std::string create_database();
  // A value of an SQL query on a database, as psql shows it; throws if there is an error.
  static std::string query(const std::string& url, const std::string& sql);

  void stop();  // as a restart of the service does it
  void kill();  // as a power cut of the database alone does it
  void start();
  pid_t pid() const { return server_->pid(); }
  std::string log() const;

 private:
  Command as_its_user(std::vector<std::string> arguments) const;

  TempFolder folder_;
  bool durable_;
  std::optional<Process> server_;
  int databases_ = 0;
};

}  // namespace fleet::test
