#include <algorithm>
#include <set>

#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

constexpr int kCount = 10'000;

TEST_CASE("a request comes back whole, also after the store was closed") {
  StoreFixture fixture;
  ProvisionRequest request = sample_request("one");
  request.activation_key_verifier = Bytes(32, '\0');
  request.activation_key_used = true;
  request.labels = {{"site", "muc"}, {"quote\"d", "\n\\"}};
  request.params = {{"apn", "internet"}};
  request.enabled = false;
  request.activates_on = kNow;
  request.expires_on = kNow + Seconds(5);
  request.retry_max_attempts = -1;
  request.status = JobStatus::kFailed;
  request.failures = 2;
  request.last_error = "device refused: try again";
  request.facts = {{"serial_number", "42"}};
  request.completed_at = kNow + Seconds(1);
  request.secure_url = false;
  request.tight = CredentialsTight::kLoose;
  request = fixture.insert(request);
  CHECK(request.id > 0);
  fixture.open();
  const auto found = fixture.find("one");
  REQUIRE(found);
  CHECK(found->id == request.id);
  CHECK(found->profile == "gateway");
  CHECK(found->client_id == request.client_id);
  CHECK(found->username == request.username);
  CHECK(found->connect_verifier == request.connect_verifier);
  CHECK(found->username_verifier == request.username_verifier);
  CHECK(found->activation_key_verifier == request.activation_key_verifier);
  CHECK(found->activation_key_used);
  CHECK(found->labels == request.labels);
  CHECK(found->params == request.params);
  CHECK_FALSE(found->enabled);
  CHECK(found->activates_on == request.activates_on);
  CHECK(found->expires_on == request.expires_on);
  CHECK(found->retry_max_attempts == -1);
  CHECK(found->status == JobStatus::kFailed);
  CHECK(found->failures == 2);
  CHECK(found->last_error == request.last_error);
  CHECK(found->facts == request.facts);
  CHECK(found->optlock == 1);
  CHECK(found->created_at == kNow);
  CHECK(found->updated_at == kNow);
  CHECK(found->completed_at == request.completed_at);
  CHECK_FALSE(found->secure_url);
  CHECK(found->tight == CredentialsTight::kLoose);
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto by_id, tx.find_request(request.id));
    TRY_ASSIGN(const auto by_client, tx.find_request_by_client_id(request.client_id));
    TRY_ASSIGN(const auto by_user, tx.find_request_by_username(request.username));
    TRY_ASSIGN(const auto none, tx.find_request_by_client_id("CID-one"));
    CHECK((by_id && by_client && by_user && !none));
    return {};
  });
}

TEST_CASE("every job status survives the round trip") {
  StoreFixture fixture;
  ProvisionRequest request = fixture.insert(sample_request("one"));
  for (int i = 0; i <= static_cast<int>(JobStatus::kStopped); ++i) {
    request.status = static_cast<JobStatus>(i);
    REQUIRE(fixture.update(request));
    CHECK(fixture.find("one")->status == request.status);
  }
}

TEST_CASE("of two changes that start from the same version the second conflicts and changes nothing") {
  StoreFixture fixture;
  ProvisionRequest mine = fixture.insert(sample_request("one"));
  ProvisionRequest theirs = mine;
  mine.last_error = "mine";
  REQUIRE(fixture.update(mine));
  CHECK(mine.optlock == 2);
  theirs.last_error = "theirs";
  CHECK(code(fixture.update(theirs)) == ErrorCode::kConflict);
  CHECK(fixture.find("one")->last_error == "mine");
  CHECK(fixture.find("one")->optlock == 2);
  theirs.id = 999;
  CHECK(code(fixture.update(theirs)) == ErrorCode::kNotFound);
}

TEST_CASE("a name or client id that is taken is refused by its column, and a shared username is fine") {
  StoreFixture fixture;
  fixture.insert(sample_request("one"));
  ProvisionRequest same_name = sample_request("two");
  same_name.name = "one";
  const auto by_name = fixture.run([&](Transaction& tx) { return tx.insert_request(same_name); });
  CHECK(code(by_name) == ErrorCode::kAlreadyExists);
  CHECK(by_name.error().message.find("request.name") != std::string::npos);
  ProvisionRequest same_client = sample_request("three");
  same_client.client_id = "cid-one";
  const auto by_client = fixture.run([&](Transaction& tx) { return tx.insert_request(same_client); });
  CHECK(code(by_client) == ErrorCode::kAlreadyExists);
  CHECK(by_client.error().message.find("request.client_id") != std::string::npos);
  ProvisionRequest same_user = sample_request("four");
  same_user.username = "user-one";
  fixture.insert(same_user);
  ProvisionRequest renamed = *fixture.find("four");
  renamed.client_id = "cid-one";
  CHECK(code(fixture.update(renamed)) == ErrorCode::kAlreadyExists);
}

TEST_CASE("what could not be read back is not stored") {
  StoreFixture fixture;
  ProvisionRequest request = sample_request("one");
  SUBCASE("facts that are not UTF-8") {
    request.facts = {{"os", "\xff\xfe"}};
  }
  SUBCASE("a label name that is not UTF-8") {
    request.labels = {{"\xc3", "x"}};
  }
  SUBCASE("a verifier of another length") {
    request.connect_verifier = "short";
  }
  SUBCASE("an activation key verifier of another length") {
    request.activation_key_verifier = "";
  }
  CHECK(code(fixture.run([&](Transaction& tx) { return tx.insert_request(request); })) == ErrorCode::kInvalidArgument);
  CHECK_FALSE(fixture.find("one"));
}

TEST_CASE("ten thousand requests are listed by pages and filtered by status, labels and text") {
  StoreFixture fixture;
  fixture.must([](Transaction& tx) -> Result<void> {
    for (int i = 0; i < kCount; ++i) {
      ProvisionRequest request = sample_request(fmt::format("gw-{:05}", (i * 7919) % kCount));
      request.labels = {{"site", i % 2 == 0 ? "muc" : "ber"}, {"rack.no", std::to_string(i % 10)}};
      if (i % 100 == 0) request.status = JobStatus::kCompleted;
      TRY(tx.insert_request(request));
    }
    return {};
  });
  fixture.must([](Transaction& tx) -> Result<void> {
    RequestFilter page;
    page.limit = 999;
    std::vector<std::string> names;
    while (true) {
      TRY_ASSIGN(const auto requests, tx.list_requests(page));
      for (const ProvisionRequest& request : requests) names.push_back(request.name);
      if (requests.size() < page.limit) break;
      page.after = names.back();
    }
    CHECK(names.size() == kCount);
    CHECK(std::is_sorted(names.begin(), names.end()));
    CHECK(std::set<std::string>(names.begin(), names.end()).size() == kCount);

    const auto count = [&](const RequestFilter& filter) -> std::size_t {
      const auto found = tx.list_requests(filter);
      return found ? found->size() : 0;
    };
    CHECK(count({}) == 1000);
    CHECK(count({.limit = 0}) == 0);
    CHECK(count({.labels = {{"site", "muc"}}, .limit = 20'000}) == kCount / 2);
    CHECK(count({.labels = {{"site", "muc"}, {"rack.no", "4"}}, .limit = 20'000}) == kCount / 10);
    CHECK(count({.labels = {{"site", "muc"}, {"rack.no", "5"}}, .limit = 20'000}) == 0);
    CHECK(count({.labels = {{"site\") OR 1=1 --", "muc"}}}) == 0);
    CHECK(count({.statuses = {JobStatus::kCompleted}, .limit = 20'000}) == kCount / 100);
    CHECK(count({.statuses = {JobStatus::kCompleted}, .labels = {{"site", "ber"}}}) == 0);
    CHECK(count({.text = "gw-0123", .limit = 20'000}) == 10);
    CHECK(count({.text = "user-GW-01234"}) == 1);
    CHECK(count({.text = "%"}) == 0);
    TRY_ASSIGN(const auto counts, tx.count_requests());
    CHECK(counts.at(JobStatus::kCompleted) == kCount / 100);
    CHECK(counts.at(JobStatus::kCreated) == kCount - kCount / 100);
    CHECK(counts.size() == 2);
    return {};
  });
}

}  // namespace
}  // namespace fleet::provisioner
