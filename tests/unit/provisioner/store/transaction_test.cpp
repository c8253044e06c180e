// What is written comes back: accounts, profiles, attempts, steps, certificates, the timeline.
#include "provisioner/store/sql_transaction.hpp"
#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

TEST_CASE("accounts and profiles come back whole and are replaced by name") {
  StoreFixture fixture;
  Account account{"acme", "mqtts://broker.acme.example:8883", {"-----BEGIN\n\"quoted\"\n", "second"}};
  Profile profile;
  profile.name = "gateway";
  profile.account = "acme";
  profile.configuration = {{"org.acme.Modem",
                            {{"apn", protocol::PropertyType::kString, false, false, {"${params.apn}"}},
                             {"password", protocol::PropertyType::kPassword, false, true, {"p\"\\\x01\xc3\xa4"}},
                             {"empty", protocol::PropertyType::kInteger, true, false, {}}}},
                           {"org.acme.Nothing", {}}};
  profile.certificate_validity = Millis(1234);
  profile.retry_max_attempts = -1;
  profile.attempt_timeout = Millis(1);
  profile.packages = {{"app", "1.2", PackageSource::kUrl, "https://x/${clientId}", "", std::string(64, 'a'), 0, true},
                      {"driver", "3", PackageSource::kInline, "", "driver.tgz", std::string(64, 'b'), 1234, false}};
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.put_account(account));
    account.broker_url = "mqtts://other.example";
    TRY(tx.put_account(account));
    return tx.put_profile(profile);
  });
  fixture.open();
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto found, tx.find_account("acme"));
    REQUIRE(found);
    CHECK(found->broker_url == "mqtts://other.example");
    CHECK(found->ca_pem == account.ca_pem);
    TRY_ASSIGN(const auto accounts, tx.list_accounts());
    CHECK(accounts.size() == 1);
    TRY_ASSIGN(const auto stored, tx.find_profile("gateway"));
    REQUIRE(stored);
    CHECK(stored->configuration == profile.configuration);
    CHECK(stored->account == "acme");
    CHECK(stored->certificate_validity == Millis(1234));
    CHECK(stored->retry_max_attempts == -1);
    CHECK(stored->attempt_timeout == Millis(1));
    CHECK(stored->packages == profile.packages);
    TRY_ASSIGN(PackageFiles files, tx.package_files());
    CHECK(files.all == std::set<std::string>{std::string(64, 'b')});
    CHECK_FALSE(files.downloads);
    TRY_ASSIGN(const auto missing, tx.find_profile("GATEWAY"));
    CHECK_FALSE(missing);
    TRY_ASSIGN(const auto profiles, tx.list_profiles());
    CHECK(profiles.size() == 1);
    return {};
  });
}

TEST_CASE("an attempt and its steps come back whole, and the messages are forgotten without a trace in the file") {
  StoreFixture fixture;
  const ProvisionRequest request = fixture.insert(sample_request("one"));
  Attempt attempt = sample_attempt(request.id, 1);
  Step step;
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.insert_attempt(attempt));
    step = sample_step(attempt.id, 0);
    step.payload = "Correct-Horse-Battery-Staple";
    TRY(tx.insert_steps({step}));
    step.reply_code = 400;
    step.reply_error = "no such keystore";
    step.replied_at = kNow + Millis(7);
    step.send_count = 3;
    TRY(tx.update_step(step));
    attempt.state = AttemptState::kFailed;
    attempt.ended_at = kNow + Millis(8);
    attempt.due_at = std::nullopt;
    attempt.error = "device refused";
    return tx.update_attempt(attempt);
  });
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto found, tx.find_attempt(attempt.id));
    REQUIRE(found);
    CHECK(found->request_id == request.id);
    CHECK(found->number == 1);
    CHECK(found->nonce == attempt.nonce);
    CHECK(found->hello_id == attempt.hello_id);
    CHECK(found->state == AttemptState::kFailed);
    CHECK(found->timeout == attempt.timeout);
    CHECK(found->started_at == attempt.started_at);
    CHECK(found->moved_at == attempt.moved_at);
    CHECK(found->ended_at == attempt.ended_at);
    CHECK_FALSE(found->due_at);
    CHECK(found->error == "device refused");
    TRY_ASSIGN(const auto by_rid, tx.find_step(request.id, step.rid));
    REQUIRE(by_rid);
    CHECK(by_rid->kind == step.kind);
    CHECK(by_rid->summary == step.summary);
    CHECK(by_rid->sent_at == step.sent_at);
    CHECK(by_rid->send_count == 3);
    CHECK(by_rid->reply_code == 400);
    CHECK(by_rid->reply_error == "no such keystore");
    CHECK(by_rid->replied_at == step.replied_at);
    TRY_ASSIGN(const auto whole, tx.steps_of(attempt.id));
    REQUIRE(whole.size() == 1);
    CHECK(whole[0].topic == step.topic);
    CHECK(whole[0].payload == step.payload);
    CHECK(whole[0].send_count == 3);
    TRY(tx.forget_messages(attempt.id));
    TRY_ASSIGN(const auto steps, tx.steps_of(attempt.id));
    REQUIRE(steps.size() == 1);
    CHECK(steps[0].topic.empty());
    CHECK(steps[0].payload.empty());
    CHECK(steps[0].rid == step.rid);
    return {};
  });
  fixture.close();
  if (on_postgres()) return;  // its pages are rewritten when it vacuums
  CHECK(test::run({"grep", "-c", "Correct-Horse", (fixture.folder / "provisioner.db").string()}).output == "0\n");
}

TEST_CASE("a step that was read without its message, and changed, keeps it until it is forgotten") {
  StoreFixture fixture;
  const ProvisionRequest request = fixture.insert(sample_request("one"));
  Attempt attempt = sample_attempt(request.id, 1);
  std::vector<Step> sent;
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.insert_attempt(attempt));
    sent = {sample_step(attempt.id, 0), sample_step(attempt.id, 1)};
    return tx.insert_steps(sent);
  });
  const auto check_messages = [&](Transaction& tx, int send_count) -> Result<void> {
    TRY_ASSIGN(const auto found, tx.steps_of(attempt.id));
    REQUIRE(found.size() == sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i) {
      CHECK(found[i].topic == sent[i].topic);
      CHECK(found[i].payload == sent[i].payload);
      CHECK(found[i].send_count == send_count);
    }
    return {};
  };
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto steps, tx.steps_without_messages(attempt.id));
    REQUIRE(steps.size() == sent.size());
    for (Step& step : steps) {
      step.topic.clear();  // as a store may leave them
      step.payload.clear();
      step.send_count = 7;
      TRY(tx.update_step(step));
    }
    return check_messages(tx, 7);  // also within the same piece of work
  });
  fixture.must([&](Transaction& tx) { return check_messages(tx, 7); });
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto steps, tx.steps_without_messages(attempt.id));
    for (const Step& step : steps) TRY(tx.update_last(step));
    TRY(tx.forget_messages(attempt.id));
    TRY_ASSIGN(const auto found, tx.steps_of(attempt.id));
    for (const Step& step : found) CHECK((step.topic.empty() && step.payload.empty()));
    return {};
  });
}

// Inserted in two goes, and read back whole.
void check_steps_come_back(std::size_t first, std::size_t then, std::size_t payload_grows_by) {
  StoreFixture fixture;
  const ProvisionRequest request = fixture.insert(sample_request("one"));
  Attempt attempt = sample_attempt(request.id, 1);
  std::vector<Step> steps;
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.insert_attempt(attempt));
    for (std::size_t i = 0; i < first + then; ++i) {
      steps.push_back(sample_step(attempt.id, static_cast<int>(i)));
      steps.back().payload += std::to_string(i) + std::string(i * payload_grows_by, 'p');
    }
    TRY(tx.insert_steps({}));
    return tx.insert_steps({steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(first)});
  });
  fixture.must([&](Transaction& tx) { return tx.insert_steps({steps.begin() + static_cast<std::ptrdiff_t>(first), steps.end()}); });
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto found, tx.steps_of(attempt.id));
    REQUIRE(found.size() == steps.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      CHECK(found[i].ordinal == static_cast<int>(i));
      CHECK(found[i].rid == steps[i].rid);
      CHECK(found[i].topic == steps[i].topic);
      CHECK(found[i].payload == steps[i].payload);
    }
    return {};
  });
}

TEST_CASE("steps that come later keep their messages beside those of the first ones") { check_steps_come_back(1, 3, 3'000); }

TEST_CASE("more steps than go into one statement all come back") { check_steps_come_back(19, 8, 1); }

TEST_CASE("only open attempts that are due are swept, the longest due first") {
  StoreFixture fixture;
  fixture.must([](Transaction& tx) -> Result<void> {
    for (int i = 0; i < 5; ++i) {
      ProvisionRequest request = sample_request("r" + std::to_string(i));
      TRY(tx.insert_request(request));
      Attempt attempt = sample_attempt(request.id, 1);
      attempt.due_at = kNow - Seconds(i);
      if (i == 3) attempt.state = AttemptState::kCompleted;
      if (i == 4) attempt.due_at = std::nullopt;
      TRY(tx.insert_attempt(attempt));
    }
    TRY_ASSIGN(const auto due, tx.due_attempts(kNow - Seconds(1), 10));
    REQUIRE(due.size() == 2);
    CHECK(due[0].due_at == kNow - Seconds(2));
    CHECK(due[1].due_at == kNow - Seconds(1));
    TRY_ASSIGN(const auto limited, tx.due_attempts(kNow, 1));
    REQUIRE(limited.size() == 1);
    CHECK(limited[0].due_at == kNow - Seconds(2));
    return {};
  });
}

TEST_CASE("a request has one open attempt, its numbers are unique, and a step is found among its own") {
  StoreFixture fixture;
  const ProvisionRequest request = fixture.insert(sample_request("one"));
  const ProvisionRequest other = fixture.insert(sample_request("two"));
  Attempt first = sample_attempt(request.id, 1);
  Step step;
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.insert_attempt(first));
    step = sample_step(first.id, 0);
    return tx.insert_steps({step});
  });
  Attempt second = sample_attempt(request.id, 2);
  const auto insert_second = [&](Transaction& tx) { return tx.insert_attempt(second); };
  CHECK(code(fixture.run(insert_second)) == ErrorCode::kAlreadyExists);
  fixture.must([&](Transaction& tx) {
    first.state = AttemptState::kSuperseded;
    return tx.update_attempt(first);
  });
  second.number = 1;
  CHECK(code(fixture.run(insert_second)) == ErrorCode::kAlreadyExists);
  second.number = 2;
  fixture.must(insert_second);
  fixture.must([&](Transaction& tx) -> Result<void> {
    // of an earlier attempt of this request, and of no other request
    TRY_ASSIGN(const auto found, tx.find_step(request.id, step.rid));
    REQUIRE(found);
    CHECK(found->attempt_id == first.id);
    TRY_ASSIGN(const auto of_other, tx.find_step(other.id, step.rid));
    CHECK_FALSE(of_other);
    TRY_ASSIGN(const auto guessed, tx.find_step(request.id, "guessed"));
    CHECK_FALSE(guessed);
    return {};
  });
  CHECK(code(fixture.run([&](Transaction& tx) { return tx.insert_steps({sample_step(first.id, 0)}); })) == ErrorCode::kAlreadyExists);
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto latest, tx.latest_attempt(request.id));
    REQUIRE(latest);
    CHECK(latest->number == 2);
    TRY_ASSIGN(const auto all, tx.attempts_of(request.id));
    CHECK(all.size() == 2);
    return {};
  });
}

TEST_CASE("the newest hundred ended attempts of a request are kept, with their steps, and the open one") {
  StoreFixture fixture;
  const ProvisionRequest noisy = fixture.insert(sample_request("noisy"));
  const ProvisionRequest quiet = fixture.insert(sample_request("quiet"));
  fixture.must([&](Transaction& tx) -> Result<void> {
    Attempt only = sample_attempt(quiet.id, 1);
    TRY(tx.insert_attempt(only));
    for (int number = 1; number <= 250; ++number) {
      Attempt attempt = sample_attempt(noisy.id, number);
      TRY(tx.insert_attempt(attempt));
      TRY(tx.insert_steps({sample_step(attempt.id, 0)}));
      if (number == 250) break;
      attempt.state = AttemptState::kFailed;
      attempt.ended_at = kNow;
      attempt.due_at.reset();
      TRY(tx.update_attempt(attempt));
    }
    TRY_ASSIGN(const auto kept, tx.attempts_of(noisy.id));
    CHECK(kept.size() == 101);
    CHECK(kept.front().number == 150);
    CHECK(kept.back().number == 250);
    TRY_ASSIGN(const auto others, tx.attempts_of(quiet.id));
    CHECK(others.size() == 1);
    return {};
  });
  CHECK(fixture.number("provisioner.db", "SELECT count(*) FROM step") == 101);
}

TEST_CASE("a change of a row that is not there is not found, and one for a missing parent is refused") {
  StoreFixture fixture;
  CHECK(code(fixture.run([](Transaction& tx) { return tx.update_attempt(sample_attempt(1, 1)); })) ==
        ErrorCode::kNotFound);
  CHECK(code(fixture.run([](Transaction& tx) { return tx.update_step(sample_step(1, 0)); })) == ErrorCode::kNotFound);
  CHECK(code(fixture.run([](Transaction& tx) { return tx.delete_request(77); })) == ErrorCode::kNotFound);
  CHECK(code(fixture.run([](Transaction& tx) {
          Attempt orphan = sample_attempt(77, 1);
          return tx.insert_attempt(orphan);
        })) == ErrorCode::kInvalidArgument);
}

TEST_CASE("the newest certificate of a key is found, serials are unique, and deleting the request keeps them") {
  StoreFixture fixture;
  const ProvisionRequest request = fixture.insert(sample_request("one"));
  IssuedCertificate certificate{.serial = "0a",
                                .spki_sha256 = Bytes(32, 'k'),
                                .client_id = request.client_id,
                                .request_id = request.id,
                                .pem = "PEM",
                                .not_before = kNow,
                                .not_after = kNow + Seconds(60),
                                .issued_at = kNow};
  const auto insert = [&](Transaction& tx) { return tx.insert_certificate(certificate); };
  fixture.must(insert);
  CHECK(code(fixture.run(insert)) == ErrorCode::kAlreadyExists);
  certificate.serial = "0b";
  certificate.issued_at = kNow + Seconds(1);
  fixture.must(insert);
  certificate.spki_sha256 = Bytes(31, 'k');
  certificate.serial = "0c";
  CHECK(code(fixture.run(insert)) == ErrorCode::kInvalidArgument);
  fixture.must([&](Transaction& tx) { return tx.delete_request(request.id); });
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto newest, tx.certificate_of_key(Bytes(32, 'k')));
    REQUIRE(newest);
    CHECK(newest->serial == "0b");
    CHECK(newest->request_id == request.id);
    CHECK(newest->not_after == kNow + Seconds(60));
    TRY_ASSIGN(const auto all, tx.certificates_of(request.client_id));
    REQUIRE(all.size() == 2);
    CHECK(all[0].serial == "0a");
    TRY_ASSIGN(const auto none, tx.certificate_of_key(Bytes(32, 'x')));
    CHECK_FALSE(none);
    return {};
  });
  CHECK(fixture.insert(sample_request("two")).id > request.id);
}

TEST_CASE("deleting a request takes its attempts, steps and timeline along") {
  StoreFixture fixture;
  const ProvisionRequest request = fixture.insert(sample_request("one"));
  fixture.must([&](Transaction& tx) -> Result<void> {
    Attempt attempt = sample_attempt(request.id, 1);
    TRY(tx.insert_attempt(attempt));
    TRY(tx.insert_steps({sample_step(attempt.id, 0)}));
    TRY(tx.add_timeline({request.id, attempt.id, kNow, "hello", "said hello"}));
    return tx.delete_request(request.id);
  });
  for (const char* const table : {"request", "attempt", "step", "timeline"}) {
    CHECK(fixture.number("provisioner.db", std::string("SELECT count(*) FROM ") + table) == 0);
  }
}

TEST_CASE("steps of two attempts are not inserted in one go") {
  StoreFixture fixture;
  const ProvisionRequest request = fixture.insert(sample_request("one"));
  Attempt attempt = sample_attempt(request.id, 1);
  fixture.must([&](Transaction& tx) { return tx.insert_attempt(attempt); });
  const auto both = [&](Transaction& tx) { return tx.insert_steps({sample_step(attempt.id, 0), sample_step(attempt.id + 1, 1)}); };
  CHECK(code(fixture.run(both)) == ErrorCode::kInternal);
}

TEST_CASE("a timeline that grows for ever, a few lines at a time, does not fill the store") {
  StoreFixture fixture;
  const ProvisionRequest noisy = fixture.insert(sample_request("noisy"));
  constexpr int kPieces = 300, kLines = 40;
  for (int piece = 0; piece < kPieces; ++piece) {
    fixture.must([&](Transaction& tx) -> Result<void> {
      for (int i = 0; i < kLines; ++i) TRY(tx.add_timeline({noisy.id, std::nullopt, kNow, "denied", "again"}));
      return {};
    });
  }
  CHECK(fixture.number("provisioner.db", "SELECT count(*) FROM timeline") >= 1000);
  // on PostgreSQL one of sixteen pieces looks at it, by chance: none of 275 would be one run in 50 million
  CHECK(fixture.number("provisioner.db", "SELECT count(*) FROM timeline") < kPieces * kLines);
}

TEST_CASE("the timeline gives the newest entries, oldest first, and keeps about a thousand a request") {
  StoreFixture fixture;
  const ProvisionRequest noisy = fixture.insert(sample_request("noisy"));
  const ProvisionRequest quiet = fixture.insert(sample_request("quiet"));
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.add_timeline({quiet.id, std::nullopt, kNow, "operator", "created"}));
    for (int i = 0; i < 1100; ++i) TRY(tx.add_timeline({noisy.id, i, kNow + Millis(i), "denied", std::to_string(i)}));
    TRY_ASSIGN(const auto last, tx.timeline_of(noisy.id, 3));
    REQUIRE(last.size() == 3);
    CHECK(last[0].text == "1097");
    CHECK(last[2].text == "1099");
    CHECK(last[2].at == kNow + Millis(1099));
    CHECK(last[2].attempt_id == 1099);
    TRY_ASSIGN(const auto all, tx.timeline_of(noisy.id, 100'000));
    CHECK(all.size() >= 1000);
    CHECK(all.size() < 1000 + static_cast<std::size_t>(kTimelineSlack));
    CHECK(all.front().text == std::to_string(1100 - all.size()));
    TRY_ASSIGN(const auto other, tx.timeline_of(quiet.id, 10));
    REQUIRE(other.size() == 1);
    CHECK_FALSE(other[0].attempt_id);
    TRY_ASSIGN(const auto none, tx.timeline_of(quiet.id, 0));
    CHECK(none.empty());
    return {};
  });
}

TEST_CASE("what a request overrides comes back, and so does that it overrides nothing") {
  StoreFixture fixture;
  ProvisionRequest request = fixture.insert(sample_request("one"));
  request.configuration = protocol::Configurations{{"own.Pid", {}}};
  request.packages = std::vector<Package>{};
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto plain, tx.find_request_by_name("one"));
    CHECK_FALSE(plain->configuration);
    CHECK_FALSE(plain->packages);
    TRY(tx.update_request(request));
    TRY_ASSIGN(const auto own, tx.find_request_by_name("one"));
    CHECK(own->configuration == request.configuration);
    REQUIRE(own->packages);
    CHECK(own->packages->empty());
    request.packages->push_back({"app", "1", PackageSource::kFile, "", "a.tgz", std::string(64, 'c'), 1, true});
    TRY(tx.update_request(request));
    TRY_ASSIGN(const PackageFiles files, tx.package_files());
    CHECK(files.all == std::set<std::string>{std::string(64, 'c')});
    CHECK(files.downloads);
    return {};
  });
}

TEST_CASE("a step's package is found by its job, which is one step's only") {
  StoreFixture fixture;
  const ProvisionRequest request = fixture.insert(sample_request("one"));
  Attempt attempt = sample_attempt(request.id, 1);
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.insert_attempt(attempt));
    Step step = sample_step(attempt.id, 0);
    step.kind = StepKind::kPackage;
    step.job_id = (std::int64_t{1} << 53) - 1;
    step.optional = true;
    step.held = true;
    TRY(tx.insert_steps({step}));
    step.held = false;
    step.progress = 150;
    step.notified_at = kNow;
    step.installed = false;
    TRY(tx.update_step(step));
    TRY_ASSIGN(const auto found, tx.find_step_by_job(request.id, *step.job_id));
    REQUIRE(found);
    TRY(tx.update_step(*found));
    TRY_ASSIGN(const auto with_message, tx.steps_of(attempt.id));
    REQUIRE(with_message.size() == 1);
    CHECK(with_message[0].payload == step.payload);
    CHECK(found->rid == step.rid);
    CHECK(found->kind == StepKind::kPackage);
    CHECK(found->optional);
    CHECK_FALSE(found->held);
    CHECK(found->progress == 150);
    CHECK(found->notified_at == kNow);
    CHECK(found->installed == false);
    TRY_ASSIGN(const auto none, tx.find_step_by_job(request.id, 1));
    CHECK_FALSE(none);
    return {};
  });
}

TEST_CASE("an attempt is live while it is open, and for a while after it was completed") {
  StoreFixture fixture;
  const ProvisionRequest request = fixture.insert(sample_request("one"));
  const auto live = [&](WallTime begun, WallTime completed_after) {
    bool answer = false;
    fixture.must([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(answer, tx.has_live_attempt(begun, completed_after));
      return {};
    });
    return answer;
  };
  CHECK_FALSE(live(kNow, kNow));
  Attempt attempt = sample_attempt(request.id, 1);
  fixture.must([&](Transaction& tx) { return tx.insert_attempt(attempt); });
  CHECK(live(kNow, kNow));
  CHECK_FALSE(live(kNow - Seconds(1), kNow));
  attempt.ended_at = kNow + Seconds(5);
  for (const AttemptState state : {AttemptState::kCompleted, AttemptState::kFailed}) {
    attempt.state = state;
    fixture.must([&](Transaction& tx) { return tx.update_attempt(attempt); });
    CHECK(live(kNow, kNow + Seconds(4)) == (state == AttemptState::kCompleted));
    CHECK_FALSE(live(kNow, kNow + Seconds(5)));
    CHECK_FALSE(live(kNow - Seconds(1), kNow));
  }
}

TEST_CASE("whether an attempt is live is found without a walk over all that ever were" * sqlite_only()) {
  StoreFixture fixture;
  fixture.close();
  auto database = sqlite::Database::open(fixture.folder / "provisioner.db", {.read_only = true});
  REQUIRE(database);
  auto query = database->prepare("EXPLAIN QUERY PLAN " + std::string(kLiveAttemptQuery));
  REQUIRE(query);
  std::string plan;
  while (*query->next()) plan += query->text(3) + "\n";
  CAPTURE(plan);
  CHECK(plan.find("attempt USING INDEX attempt_one_open") != std::string::npos);
  CHECK(plan.find("SEARCH attempt USING INDEX attempt_completed (ended_at>?)") != std::string::npos);
  CHECK(plan.find("SCAN attempt\n") == std::string::npos);
}

}  // namespace
}  // namespace fleet::provisioner
