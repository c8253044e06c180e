// A cell's projection when nobody can tell at once what became of its own commit.
#include "provisioner/store_postgres/follower.hpp"

#include "provisioner/store_postgres/heart.hpp"
#include "provisioner/store_postgres/migrations.hpp"
#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner::postgres {
namespace {

// A session, and what it may do.
struct Hand {
  std::unique_ptr<Connection> connection;
  PgTransaction transaction;
  Hand(const std::string& url, const CellIdentity& cell)
      : connection(std::move(*Connection::open({url, "test"}))), transaction(*connection, PgTransaction::Access::kWrite, cell) {}

  // Commits `work` as a change of that cell, whatever the cell has heard of it.
  void commit(const Work& work, const std::string& holder, const std::string& client_id) {
    connection->begin();
    transaction.begin_piece();
    const Result<void> worked = work(transaction);
    REQUIRE_MESSAGE(worked.has_value(), why(worked));
    transaction.end_piece();
    append_change(*connection, holder, new_generation(), {client_id}, {});
    connection->control("COMMIT");
    const Result<void> done = connection->sync();
    REQUIRE_MESSAGE(done.has_value(), why(done));
    transaction.take_touched();
  }
};

TEST_CASE("a cell's own commit that shows after it was given up is not passed over") {
  const std::string url = postgres_server().create_database();
  const CellIdentity cell{"a", "a#1"};
  {
    auto connection = Connection::open({url, "test"});
    REQUIRE(connection);
    REQUIRE(migrate(**connection));
  }
  Hand own(url, cell), late(url, cell);
  test::TempFolder folder;
  auto projection = AdmissionProjection::open({.database = {}, .admission = folder / "admission.db"});
  REQUIRE(projection);
  Follower follower(std::move(*projection), cell.holder, [](const Tidings&) {});
  REQUIRE(follower.begin(*own.connection, own.transaction));
  const auto state = [&]() -> std::optional<std::int64_t> {
    auto database = sqlite::Database::open(folder / "admission.db", {.read_only = true});
    REQUIRE(database);
    auto query = database->prepare("SELECT state FROM device WHERE client_id = 'cid-one'");
    REQUIRE(query);
    const auto row = query->next();
    REQUIRE(row);
    return *row ? std::optional(query->integer(0)) : std::nullopt;
  };
  ProvisionRequest request = sample_request("one");
  late.commit([&](Transaction& tx) { return tx.insert_request(request); }, cell.holder, "cid-one");
  follower.settle(*own.connection, own.transaction, true);
  CHECK(state() == static_cast<std::int64_t>(Admission::kOpen));

  // about to be disabled; nobody can say whether it was; and it was not, so far
  request.enabled = false;
  const auto closed = follower.prepare({{"cid-one", admission_of(request)}});
  REQUIRE(closed);
  CHECK(*closed);
  CHECK(state() == static_cast<std::int64_t>(Admission::kDisabled));
  follower.settle(*own.connection, own.transaction, false);
  CHECK(state() == static_cast<std::int64_t>(Admission::kOpen));

  late.commit([&](Transaction& tx) { return tx.update_request(request); }, cell.holder, "cid-one");
  follower.settle(*own.connection, own.transaction, true);
  CHECK(state() == static_cast<std::int64_t>(Admission::kDisabled));
}

}  // namespace
}  // namespace fleet::provisioner::postgres
