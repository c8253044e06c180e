#include "provisioner/store_postgres/feed.hpp"

#include "core/base/secret.hpp"
#include "provisioner/store/columns.hpp"

namespace fleet::provisioner::postgres {
namespace {

constexpr std::int64_t kPage = 500;

Result<Change> read_change(RowReader& row) {
  Change change;
  change.number = row.integer();
  change.generation = row.integer();
  change.holder = row.text();
  TRY_ASSIGN(change.client_ids, list_from_json(row.text()));
  change.everything = row.flag();
  TRY_ASSIGN(change.tidings.kick, list_from_json(row.text()));
  TRY_ASSIGN(change.tidings.forgiven, list_from_json(row.text()));
  change.tidings.applied = row.flag();
  return change;
}

Result<Position> read_position(RowReader& row) {
  Position position;
  position.number = row.integer();
  position.generation = row.integer();
  return position;
}

}  // namespace

bool is_empty(const Tidings& tidings) {
  return tidings.kick.empty() && tidings.forgiven.empty() && !tidings.applied;
}

std::int64_t new_generation() {
  std::int64_t value = 0;
  for (const char byte : random_bytes(8)) value = static_cast<std::int64_t>((static_cast<std::uint64_t>(value) << 8) | static_cast<unsigned char>(byte));
  return value & INT64_MAX;
}

Connection::Ticket append_change(Connection& connection, const std::string& holder, std::int64_t generation,
                                 const std::vector<std::string>& client_ids, const Tidings& tidings) {
  const bool everything = client_ids.size() > kAdmissionsNamed;
  connection.send("SELECT pg_notify('fleet_provisioner_feed', $1)", Parameters().text(holder));
  return connection.ask("WITH head AS (UPDATE feed_head SET number = number + 1 RETURNING number) "
                        "INSERT INTO feed (number, generation, cell, client_ids, everything, kick, forgiven, applied) "
                        "SELECT number, $1, $2, $3::text[], $4, $5::text[], $6::text[], $7 FROM head RETURNING number",
                        Parameters()
                            .integer(generation)
                            .text(holder)
                            .texts(everything ? std::vector<std::string>() : client_ids)
                            .flag(everything)
                            .texts(tidings.kick)
                            .texts(tidings.forgiven)
                            .flag(tidings.applied));
}

Result<std::optional<std::vector<Change>>> changes_behind(Connection& connection, std::int64_t number) {
  TRY_ASSIGN(const Rows rows,
             connection.query("SELECT number, generation, cell, array_to_json(client_ids)::text, everything, array_to_json(kick)::text, "
                              "array_to_json(forgiven)::text, applied FROM feed WHERE number > $1 ORDER BY number LIMIT $2",
                              Parameters().integer(number).integer(kPage)));
  TRY_ASSIGN(std::vector<Change> changes, read_all<Change>(rows, read_change));
  if (!changes.empty() && changes.front().number != number + 1) return std::optional<std::vector<Change>>();
  return std::optional(std::move(changes));
}

Result<Position> newest_position(Connection& connection) {
  TRY_ASSIGN(const Rows rows, connection.query("SELECT number, generation FROM feed ORDER BY number DESC LIMIT 1"));
  TRY_ASSIGN(const auto newest, read_one<Position>(rows, read_position));
  return newest.value_or(Position{});
}

Result<std::optional<Position>> position_of(Connection& connection, std::int64_t generation) {
  TRY_ASSIGN(const Rows rows, connection.query("SELECT number, generation FROM feed WHERE generation = $1", Parameters().integer(generation)));
  return read_one<Position>(rows, read_position);
}

}  // namespace fleet::provisioner::postgres
