// Several cells on loopback, all real: a PostgreSQL, provisioners with their brokers, and HAProxy in front of them.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/postgres.hpp"
#include "tests/system/rig.hpp"

namespace fleet::test {

class CellsRig {
 public:
  // Cells "a", "b", … with the same keys; starts PostgreSQL, and nothing else.
  explicit CellsRig(int cells);
  ~CellsRig();

  void start_cell(std::size_t cell);
  // kill -9; its broker goes with it.
  void kill_cell(std::size_t cell);
  void start_haproxy();
  // Everything up, an account and a profile applied.
  void start_all();

  Outcome cli(std::size_t cell, std::vector<std::string> arguments) const;
  // Requests PREFIX-1 … for client ids PREFIX1 …; the file with their secrets.
  std::string roster(const std::string& prefix, int count);
  // `fleet-sim run` through HAProxy, in the background; what it says goes to sim.json.
  std::unique_ptr<Process> simulate(const std::string& roster, std::vector<std::string> options) const;
  std::string simulated() const;

  std::string sql(const std::string& query) const { return PostgresServer::query(url_, query); }
  PostgresServer& postgres() { return postgres_; }
  std::string log(std::size_t cell) const;
  int port(std::size_t cell) const { return cells_[cell].port; }
  std::filesystem::path root_certificate() const { return cells_.front().data / "pki" / "root.crt"; }

 private:
  struct Cell {
    std::string name;
    std::filesystem::path data;
    int port = free_port();
    int packages_port = free_port();
    std::optional<Process> provisioner{};
  };
  TempFolder folder_;
  PostgresServer postgres_;
  std::string url_;
  std::vector<Cell> cells_;
  int haproxy_port_ = free_port();
  std::optional<Process> haproxy_;
};

}  // namespace fleet::test
