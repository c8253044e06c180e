// A store in a folder of its own, and sample rows for it. The same tests run on both stores: on PostgreSQL if
// FLEET_TEST_STORE=postgres.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "provisioner/store/sqlite.hpp"
#include "provisioner/store/store.hpp"
#include "provisioner/store_postgres/store.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::provisioner {

inline const WallTime kNow = from_unix_millis(1'800'000'000'000);

inline std::string why(const Result<void>& result) {
  return result ? "" : result.error().message;
}
inline ErrorCode code(const Result<void>& result) {
  REQUIRE_FALSE(result);
  return result.error().code;
}

inline ProvisionRequest sample_request(const std::string& name) {
  ProvisionRequest request;
  request.name = name;
  request.profile = "gateway";
  request.client_id = "cid-" + name;
  request.username = "user-" + name;
  request.connect_verifier = Bytes(32, 'c');
  request.username_verifier = Bytes(32, 'u');
  request.created_at = request.updated_at = kNow;
  return request;
}

inline Attempt sample_attempt(std::int64_t request_id, int number) {
  Attempt attempt;
  attempt.request_id = request_id;
  attempt.number = number;
  attempt.nonce = Bytes("\0nonce\xff", 7);
  attempt.hello_id = "hello-" + std::to_string(number);
  attempt.started_at = attempt.moved_at = kNow;
  attempt.due_at = kNow + Seconds(10);
  return attempt;
}

inline Step sample_step(std::int64_t attempt_id, int ordinal) {
  Step step;
  step.attempt_id = attempt_id;
  step.ordinal = ordinal;
  step.kind = StepKind::kDeviceCertificate;
  step.rid = random_id();
  step.summary = "device certificate";
  step.topic = "$EDC/provision/cid/KEYS-V2/POST/keystores/entries/privatekey";
  step.payload = Bytes("\x1f\x8b\0payload", 10);
  step.sent_at = kNow;
  return step;
}

inline bool on_postgres() {
  const char* const wanted = std::getenv("FLEET_TEST_STORE");
  return wanted != nullptr && std::string_view(wanted) == "postgres";
}
// For test cases about the file or the queries of the one store.
inline doctest::skip sqlite_only() {
  return doctest::skip(on_postgres());
}
// One server for all tests of the program, one database for each.
inline test::PostgresServer& postgres_server() {
  static test::PostgresServer server;
  return server;
}

// Runs `post`ed functions at once, on the writer thread.
inline void post_inline(std::function<void()> function) {
  function();
}

class StoreFixture {
 public:
  StoreFixture() {
    if (on_postgres()) url = postgres_server().create_database();
    open();
  }

  StoreSettings settings() const {
    return {.database = folder / "provisioner.db", .admission = folder / "admission.db"};
  }
  void open() { open(settings()); }
  void open(const StoreSettings& with) {
    store.reset();
    auto opened = try_open(with);
    REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().message));
    store = std::move(*opened);
  }
  Result<std::unique_ptr<Store>> try_open(const StoreSettings& with) const {
    return url.empty() ? Store::open(with, post_inline) : open_postgres_store({.url = url, .cell = "one"}, with, post_inline);
  }
  void close() { store.reset(); }

  Result<void> run(const Work& work) { return store->run(work); }
  // As run(), and must succeed.
  void must(const Work& work) {
    const Result<void> done = store->run(work);
    REQUIRE_MESSAGE(done.has_value(), why(done));
  }
  ProvisionRequest insert(ProvisionRequest request) {
    must([&](Transaction& tx) { return tx.insert_request(request); });
    return request;
  }
  // Requests "r0", "r1", … in one commit.
  void insert_many(int count) {
    must([&](Transaction& tx) -> Result<void> {
      for (int i = 0; i < count; ++i) {
        ProvisionRequest request = sample_request("r" + std::to_string(i));
        TRY(tx.insert_request(request));
      }
      return {};
    });
  }
  Result<void> update(ProvisionRequest& request) {
    return run([&](Transaction& tx) { return tx.update_request(request); });
  }
  std::optional<ProvisionRequest> find(const std::string& name) {
    std::optional<ProvisionRequest> found;
    must([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(found, tx.find_request_by_name(name));
      return {};
    });
    return found;
  }

  // What the plugin would see.
  std::optional<AdmissionRow> admission(const std::string& client_id) const {
    auto database = sqlite::Database::open(folder / "admission.db", {.read_only = true});
    REQUIRE(database);
    auto query =
        database->prepare("SELECT username, verifier, state, opens_ms, closes_ms FROM device WHERE client_id = ?1");
    REQUIRE(query);
    query->bind(1, client_id);
    const auto row = query->next();
    REQUIRE(row);
    if (!*row) return std::nullopt;
    return AdmissionRow{client_id,         query->text(0),   query->blob(1), static_cast<Admission>(query->integer(2)),
                        query->integer(3), query->integer(4)};
  }
  // A number from either database, read by another connection.
  std::int64_t number(const std::string& file, const std::string& sql) const {
    if (!url.empty() && file == "provisioner.db") return std::stoll(test::PostgresServer::query(url, sql));
    auto database = sqlite::Database::open(folder / file, {.read_only = true});
    REQUIRE(database);
    auto query = database->prepare(sql);
    REQUIRE(query);
    const auto row = query->next();
    REQUIRE(row);
    return *row ? query->integer(0) : -1000;
  }
  std::int64_t store_generation() const {
    if (!url.empty()) return number("provisioner.db", "SELECT generation FROM feed ORDER BY number DESC LIMIT 1");
    return number("provisioner.db", "SELECT value FROM counter WHERE name = 'admission_generation'");
  }
  std::int64_t projection_generation() const {
    return number("admission.db", "SELECT value FROM meta WHERE key = 'generation'");
  }

  test::TempFolder folder;
  std::string url;  // of the database; empty: the store is on SQLite
  std::unique_ptr<Store> store;
};

}  // namespace fleet::provisioner
