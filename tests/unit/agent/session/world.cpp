#include "tests/unit/agent/session/world.hpp"

#include <doctest/doctest.h>

namespace fleet::agent::test {

SessionConfig default_config() {
  SessionConfig config;
  config.account = kAccount;
  config.client_id = kClientId;
  config.username = "02FC00000001-SN0001";
  config.password = Secret("hello-password");
  config.activation_key = Secret("activation-key");
  config.platform_roots = {pki().root.certificate};
  config.facts = {{"serial_number", "SN0001"}};
  config.build_time = kToday - std::chrono::days(30);
  return config;
}

World::World(SessionConfig session_config, SessionState state) : config(std::move(session_config)) {
  saved = to_json(state);
  session.emplace(config, std::move(state));
  now = {kToday, SteadyTime(std::chrono::hours(1000)), 1 << 20};  // this `random` makes with_jitter() exact
}

void World::start() {
  feed(Started{pki().csr_der});
}

void World::reboot() {
  queue_.clear();
  platform.outbox.clear();
  alarm.reset();
  auto state = parse_session_state(saved);
  REQUIRE_MESSAGE(state.has_value(), (state ? "" : state.error().message));
  session.emplace(config, *state);
  queue_.push_back(Started{pki().csr_der});
}

void World::feed(const Event& event) {
  const std::string before = to_json(state());
  const Effects step = session->handle(event, now);
  inspect(step, before);
  for (const Effect& effect : step) {
    if (!carry_out(effect)) break;
  }
}

bool World::carry_out(const Effect& effect) {
  if (!std::holds_alternative<SaveState>(effect) || !disk_full) effects.push_back(effect);
  if (std::holds_alternative<SaveState>(effect)) {
    if (disk_full) {
      queue_.push_front(SaveFailed{{ErrorCode::kNoSpace, "no space left on device"}});
      return false;
    }
    saved = to_json(state());
    if (++saves == crash_at_save) {
      reboot();
      return false;
    }
  } else if (std::holds_alternative<ConnectProvision>(effect)) {
    queue_.push_back(connect());
  } else if (const auto* subscribe = std::get_if<SubscribeProvision>(&effect)) {
    CHECK(subscribe->filter == "$EDC/provision/02FC00000001/#");
    if (answers_subscribe) queue_.push_back(ProvisionSubscribed{});
  } else if (const auto* publish = std::get_if<PublishProvision>(&effect)) {
    published.push_back({publish->topic, publish->payload});
    platform.receive(published.back());
    for (Message& message : platform.outbox)
      queue_.push_back(ProvisionMessage{message.topic, std::move(message.payload)});
    platform.outbox.clear();
  } else if (const auto* generation = std::get_if<InstallGeneration>(&effect)) {
    const auto error = install();
    if (!error) generations.push_back(generation->content);
    installs.push_back({generation->generation, error});
    if (answers_install) queue_.push_back(installs.back());
  } else if (const auto* package = std::get_if<FetchPackage>(&effect)) {
    for (Event& event : fetch(*package)) queue_.push_back(std::move(event));
  } else if (std::holds_alternative<ConnectOwner>(effect)) {
    queue_.push_back(owner());
  } else if (const auto* wake = std::get_if<WakeAt>(&effect)) {
    CHECK(wake->at >= now.steady + Millis(100));
    alarm = wake->at;
  }
  return true;
}

void World::settle() {
  for (int events = 0; !queue_.empty(); ++events) {
    REQUIRE_MESSAGE(events < 10'000, "the session is busy without end");
    const Event event = std::move(queue_.front());
    queue_.pop_front();
    feed(event);
  }
}

bool World::run_until(const std::function<bool()>& done, Millis limit) {
  const SteadyTime end = now.steady + limit;
  for (;;) {
    settle();
    if (done()) return true;
    if (!alarm || *alarm > end) {
      now.wall += std::chrono::duration_cast<Millis>(end - now.steady);
      now.steady = end;
      return false;
    }
    now.wall += std::chrono::ceil<Millis>(*alarm - now.steady);
    now.steady = *alarm;
    alarm.reset();
    feed(TimerFired{});
  }
}

bool World::run_until(Phase phase, Millis limit) {
  return run_until([&] { return state().phase == phase; }, limit);
}

bool World::reported(std::string_view text) const {
  for (const Effect& effect : effects) {
    const auto* report = std::get_if<Report>(&effect);
    if (report != nullptr && report->text.find(text) != std::string::npos) return true;
  }
  return false;
}

Bytes World::reply_to(const std::string& rid) const {
  const auto reply = platform.replies.find(rid);
  return reply == platform.replies.end() ? Bytes() : reply->second;
}

std::int32_t World::code_of(const std::string& rid) const {
  const auto code = platform.codes.find(rid);
  return code == platform.codes.end() ? 0 : code->second;
}

void World::say_hello() {
  platform.silent = true;
  start();
  settle();
  REQUIRE(state().phase == Phase::kHello);
}

void World::accept_certificate() {
  say_hello();
  deliver(request(cert_draft(pki().signer), "cert", attempt().nonce));
  settle();
  REQUIRE(code_of("cert") == 200);
  REQUIRE(state().phase == Phase::kInstalling);
}

}  // namespace fleet::agent::test
