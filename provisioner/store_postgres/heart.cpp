#include "provisioner/store_postgres/heart.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/base/backoff.hpp"
#include "core/base/log.hpp"
#include "core/base/secret.hpp"
#include "provisioner/store_postgres/feed.hpp"

namespace fleet::provisioner::postgres {
namespace {

constexpr std::string_view kLog = "cell";
constexpr Millis kBeatEvery{1000};
constexpr int kBeatsBetweenPrunings = 600;
// In a rush the other cells' changes are looked at together. The first one after a silence is heard at once.
constexpr Millis kHearEvery{250};

}  // namespace

Result<CellIdentity> claim_cell(Connection& connection, const std::string& name) {
  const Parameters values = Parameters().text(name).integer(kLeaseSeconds);
  TRY_ASSIGN(const Rows rows,
             connection.query("WITH older AS (UPDATE cell SET lease_until = '-infinity' WHERE name = $1 RETURNING incarnation), "
                              "newer AS (SELECT coalesce(max(incarnation), 0) + 1 AS incarnation FROM older) INSERT INTO cell (holder, name, "
                              "incarnation, lease_until) SELECT $1 || '#' || incarnation, $1, incarnation, clock_timestamp() + "
                              "make_interval(secs => $2) FROM newer RETURNING holder",
                              values));
  if (rows.empty()) return fail(ErrorCode::kInternal, "{}: the cell {} cannot be claimed", connection.name(), name);
  return CellIdentity{name, RowReader(rows, 0).text()};
}

Heart::Heart(Address address, CellIdentity cell, std::function<void()> on_change)
    : address_(std::move(address)),
      cell_(std::move(cell)),
      on_change_(std::move(on_change)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { run(); }) {}

Heart::~Heart() {
  stopping_ = true;
  const std::uint64_t one = 1;
  static_cast<void>(::write(wake_.get(), &one, sizeof one));
  thread_.join();
}

void Heart::wait(const Connection* connection, Millis limit) {
  pollfd polled[2] = {{.fd = wake_.get(), .events = POLLIN, .revents = 0}, {.fd = -1, .events = POLLIN, .revents = 0}};
  if (connection != nullptr) polled[1].fd = connection->socket();
  ::poll(polled, connection != nullptr ? 2 : 1, static_cast<int>(limit.count()));
}

Result<void> Heart::beat(Connection& connection) {
  TRY_ASSIGN(const Rows rows, connection.query("UPDATE cell SET lease_until = clock_timestamp() + make_interval(secs => $2) WHERE holder = $1 "
                                               "AND lease_until > '-infinity' RETURNING TRUE",
                                               Parameters().text(cell_.holder).integer(kLeaseSeconds)));
  if (rows.empty() && !deposed_.exchange(true)) {
    log::error(kLog, "another provisioner has started as this cell: nothing is recorded here any more; give each its own name (cell) and "
                     "restart this one",
               {{"cell", cell_.name}});
  }
  if (++beats_ % kBeatsBetweenPrunings != 0) return {};
  connection.send("DELETE FROM feed WHERE number < (SELECT number FROM feed_head) AND (at < now() - interval '1 day' OR number < "
                  "(SELECT number - 100000 FROM feed_head))");
  // runs whose work has all been taken over; the newest of each cell stays, for its number
  connection.send("DELETE FROM cell WHERE lease_until <= clock_timestamp() AND NOT EXISTS (SELECT 1 FROM attempt WHERE state = 'OPEN' AND "
                  "attempt.cell = cell.holder) AND NOT EXISTS (SELECT 1 FROM given_login WHERE given_login.cell = cell.holder AND given_up) AND "
                  "EXISTS (SELECT 1 FROM cell AS newer WHERE newer.name = cell.name AND newer.incarnation > cell.incarnation)");
  return connection.sync();
}

void Heart::run() {
  std::unique_ptr<Connection> connection;
  Backoff backoff{.first = Millis(250), .limit = Millis(2000)};
  SteadyTime next_beat{}, next_hearing{};
  while (!stopping_) {
    if (!connection) {
      auto opened = Connection::open(address_);
      if (opened) {
        connection = std::move(*opened);
        if (auto listening = connection->execute(std::string("LISTEN ") + kFeedChannel); !listening) connection.reset();
      }
      if (!connection) {
        const std::string bytes = random_bytes(1);
        wait(nullptr, backoff.next(static_cast<unsigned char>(bytes[0]) * 0x0101010101010101ULL));
        continue;
      }
      backoff.reset();
      next_beat = {};
      on_change_();  // whatever was missed
    }
    if (std::chrono::steady_clock::now() >= next_beat) {
      next_beat = std::chrono::steady_clock::now() + kBeatEvery;
      if (auto beaten = beat(*connection); !beaten) {
        log::warn(kLog, "the lease was not renewed", {{"why", beaten.error().message}});
        connection->clear_failure();
        if (connection->broken()) connection.reset();
        continue;
      }
    }
    // before the wait: a beat may have read some with its answer
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_hearing) {
      const auto heard = connection->notifications();
      if (!heard) {
        connection.reset();
        continue;
      }
      const auto is_foreign = [this](const std::string& holder) { return holder != cell_.holder; };
      if (std::any_of(heard->begin(), heard->end(), is_foreign)) {
        on_change_();
        next_hearing = now + kHearEvery;
      }
    }
    const bool hears = now >= next_hearing;
    const auto left = std::chrono::ceil<Millis>((hears ? next_beat : std::min(next_beat, next_hearing)) - now);
    wait(hears ? connection.get() : nullptr, std::max(left, Millis(0)));
  }
  if (!connection || deposed_) return;
  connection->send("UPDATE cell SET lease_until = '-infinity' WHERE holder = $1", Parameters().text(cell_.holder));
  if (auto given_back = connection->sync(); !given_back) {
    log::info(kLog, "the lease was not given back; it runs out", {{"why", given_back.error().message}});
  }
}

}  // namespace fleet::provisioner::postgres
