#include "tests/system/cells_rig.hpp"

#include <fstream>
#include <iterator>
#include <stdexcept>

namespace fleet::test {
namespace fs = std::filesystem;
namespace {

const std::string kProvisioner = (fs::path(FLEET_TEST_BIN) / "provisioner-crashtest").string();

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

CellsRig::CellsRig(int cells) : url_(postgres_.create_database()) {
  for (int i = 0; i < cells; ++i) {
    Cell cell;
    cell.name = std::string(1, static_cast<char>('a' + i));
    cell.data = folder_ / ("cell-" + cell.name);
    cells_.push_back(std::move(cell));
  }
  const Cell& first = cells_.front();
  expect_ok(run({kProvisioner, "init", "--data", first.data.string(), "--host", "localhost", "--host", "127.0.0.1"}), "provisioner init");
  // the same CAs, signing key and verifier key everywhere
  for (std::size_t i = 1; i < cells_.size(); ++i) fs::copy(first.data, cells_[i].data, fs::copy_options::recursive);
  for (const Cell& cell : cells_) {
    std::ofstream(cell.data / "provisioner.yaml") << "store: \"" << url_ << "\"\ncell: " << cell.name << "\nbroker:\n  listen: \"127.0.0.1:"
                                                  << cell.port << "\"\npackages:\n  listen: \"127.0.0.1:" << cell.packages_port << "\"\n";
  }
}

CellsRig::~CellsRig() {
  haproxy_.reset();
  // in order, so that the managed brokers go with their provisioners
  for (Cell& cell : cells_) {
    if (cell.provisioner) cell.provisioner->stop();
  }
}

Outcome CellsRig::cli(std::size_t cell, std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), kProvisioner);
  return run(std::move(arguments), {}, 60s, {{"PROVISIONER_DATA", cells_[cell].data.string()}});
}

std::string CellsRig::log(std::size_t cell) const {
  return read_text(folder_ / ("cell-" + cells_[cell].name + ".log"));
}

void CellsRig::start_cell(std::size_t cell) {
  Cell& one = cells_[cell];
  one.provisioner.emplace(Command{{kProvisioner, "serve"},
                                  {{"PROVISIONER_DATA", one.data.string()}},
                                  folder_ / ("cell-" + one.name + ".log")});
  const bool up = eventually([&] { return holds(cli(cell, {"status"}).output, "running"); }, 30s);
  const bool admits = up && eventually([&] { return holds(log(cell), "devices are admitted"); }, 30s);
  if (!admits) throw std::runtime_error("cell " + one.name + " did not start: " + log(cell));
}

void CellsRig::kill_cell(std::size_t cell) {
  cells_[cell].provisioner.reset();
}

void CellsRig::start_haproxy() {
  std::string conf =
      "global\n  maxconn 6000\ndefaults\n  mode tcp\n  timeout connect 3s\n  timeout client 10m\n  timeout server 10m\n  retries 3\n"
      "  option redispatch 1\nfrontend provision\n  bind 127.0.0.1:" +
      std::to_string(haproxy_port_) +
      "\n  default_backend cells\nbackend cells\n  balance leastconn\n"
      "  default-server check inter 500ms fall 2 rise 2 on-marked-down shutdown-sessions\n";
  for (const Cell& cell : cells_) conf += "  server " + cell.name + " 127.0.0.1:" + std::to_string(cell.port) + "\n";
  std::ofstream(folder_ / "haproxy.cfg") << conf;
  haproxy_.emplace(Command{{"/usr/sbin/haproxy", "-db", "-f", (folder_ / "haproxy.cfg").string()}, {}, folder_ / "haproxy.log"});
  const std::string address = "/dev/tcp/127.0.0.1/" + std::to_string(haproxy_port_);
  if (!eventually([&] { return run({"bash", "-c", "exec 3<>" + address}).exit_code == 0; })) {
    throw std::runtime_error("HAProxy did not start: " + read_text(folder_ / "haproxy.log"));
  }
}

void CellsRig::start_all() {
  for (std::size_t i = 0; i < cells_.size(); ++i) start_cell(i);
  start_haproxy();
  std::ofstream(folder_ / "base.yaml")
      << "apiVersion: provisioner/v1\nkind: Account\nmetadata: {name: acme}\nspec:\n  broker: {url: \"mqtts://localhost:1\", caFile: "
      << root_certificate().string() << "}\n  credentials: x509\n---\napiVersion: provisioner/v1\nkind: Profile\nmetadata: {name: gateway}\n"
      << "spec: {account: acme, attemptTimeout: 60s, retryMaxAttempts: -1, configuration: {org.example.Site: {name: \"${clientId}\"}}}\n";
  expect_ok(cli(0, {"apply", "-f", (folder_ / "base.yaml").string()}), "apply");
}

std::string CellsRig::roster(const std::string& prefix, int count) {
  const fs::path file = folder_ / (prefix + ".yaml"), secrets = folder_ / (prefix + ".csv");
  {
    std::ofstream yaml(file);
    for (int i = 1; i <= count; ++i) {
      yaml << "---\napiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: " << prefix << "-" << i
           << "}\nspec: {profile: gateway, clientId: " << prefix << i << ", provisionUserUsername: " << prefix << i << "-SN}\n";
    }
  }
  // through the last cell, so that the others hear of it by the feed
  expect_ok(cli(cells_.size() - 1, {"apply", "-f", file.string(), "--secrets-out", secrets.string()}), "apply");
  return secrets.string();
}

std::unique_ptr<Process> CellsRig::simulate(const std::string& roster, std::vector<std::string> options) const {
  std::vector<std::string> command{FLEET_SIM, "run", "--quiet", "-o", "json", "--broker-url", "mqtts://localhost:" + std::to_string(haproxy_port_),
                                   "--platform-root-file", root_certificate().string(), "--roster", roster, "--no-owner"};
  command.insert(command.end(), options.begin(), options.end());
  return std::make_unique<Process>(Command{std::move(command), {}, folder_ / "sim.json"});
}

std::string CellsRig::simulated() const {
  return read_text(folder_ / "sim.json");
}

}  // namespace fleet::test
