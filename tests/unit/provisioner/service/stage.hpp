// The conductor against a real store whose work the test lets through by hand, and a session that never connects.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "core/crypto/key.hpp"
#include "provisioner/edc/dialect.hpp"
#include "provisioner/service/conductor.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::provisioner::test {

// Holds every piece of work until the test lets it through.
class HoldingStore final : public Store {
 public:
  HoldingStore();
  void submit(Work work, Done done) override { held_.emplace_back(std::move(work), std::move(done)); }
  void read(Work work, Done done) override { store_->read(std::move(work), std::move(done)); }
  Result<void> run(Work work) override { return store_->run(std::move(work)); }
  std::size_t backlog() const override { return held_.size(); }

  // The oldest piece runs and commits, or fails with `error` without having run.
  void let_through(std::optional<Error> error = {});
  void let_all_through();
  // The oldest piece runs, and its commit fails.
  void fail_commit();
  // For another connection, which sees what is committed and no more.
  std::filesystem::path database() const { return folder_ / "provisioner.db"; }

 private:
  fleet::test::TempFolder folder_;
  std::unique_ptr<Store> store_;
  std::deque<std::pair<Work, Done>> held_;
};

// One request "gw1" with the client id GW1.
struct Stage {
  Stage();
  static ConductorSettings settings();

  void run(const Work& work);
  // Lets timers pass until so many pieces of work are held; false if they do not come.
  bool until_held(std::size_t count);
  void open_attempt(WallTime moved_at, Millis timeout);
  Attempt attempt();
  std::vector<AuditEntry> audit();
  // "kind: text", oldest first.
  std::vector<std::string> timeline();

  boost::asio::io_context io;
  HoldingStore store;
  EdcDialect dialect{"provision", "provisioner", crypto::PrivateKey::generate().value()};
  Executor executor{ExecutorSettings{Bytes(32, 'k'), "", "", {}}, dialect};
  BrokerSession session{io, "/nowhere", "provisioner", {}};
  Conductor conductor{io, settings(), store, executor, dialect};
  std::int64_t request_id = 0;
};

}  // namespace fleet::provisioner::test
