// A provisioner without a broker: the real store, a real CA and the real dialect around the executor, and devices that
// read its messages as devices do. Time is a number that the test moves.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/crypto/certificate.hpp"
#include "provisioner/edc/dialect.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/store/store.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::provisioner::test {

// One message of the provisioner, its signature verified.
struct Heard {
  std::string client_id;
  std::string app;    // PROV-V1, CERT-V1, …
  std::string id;     // rid, or the hello id that it answers
  int code = 0;       // of an answer
  std::string error;  // of an answer
  std::optional<int> retry_after;
  std::optional<Bytes> nonce;
  Bytes raw;
  protocol::KuraPayload payload;
};

// Of different attempts.
inline const std::string kNonce1(16, '1');
inline const std::string kNonce2(16, '2');
inline const std::string kNonce3(16, '3');

struct Device {
  std::string client_id;
  std::string username;
  std::string password;
  crypto::PrivateKey key;
  Hello hello(const std::string& nonce, const std::string& hello_id) const;  // with a CSR; empty: none
  std::string request_pem() const;
};

class World {
 public:
  World();

  // A request for a new device, named as its client id in lower case.
  Device add_device(const std::string& client_id);
  void change_request(const std::string& name, const std::function<void(ProvisionRequest&)>& change);

  std::vector<Heard> hello(const Device& device, const Hello& hello);
  std::vector<Heard> hello(const Device& device, const std::string& nonce, const std::string& hello_id = "h");
  std::vector<Heard> reply(const Device& device, const Heard& to, int code = 200, const std::string& error = "");
  // Replies that came together.
  struct Said {
    Heard to;
    int code = 200;
    std::string error = {};
    std::string signing_request_pem = {};
  };
  std::vector<Heard> reply_at_once(const Device& device, const std::vector<Said>& all);
  // Replies 200 with that text as the signing request.
  std::vector<Heard> bring_request(const Device& device, const Heard& to, const std::string& pem);
  std::vector<Heard> reply_as(const Device& device, const std::string& rid, StepKind kind, int code);
  // News of the package that `of` (DEPLOY-V2) asked for.
  std::vector<Heard> notify(const Device& device, const Heard& of, JobNotice::Phase phase, JobNotice::State state,
                            int progress = 0, const std::string& error = "");
  std::vector<Heard> notify(const Device& device, const JobNotice& notice);
  // Downloaded and installed, all at once.
  std::vector<Heard> install(const Device& device, const Heard& of);
  // The owner's broker has taken the credentials of the request's latest attempt; or it has not, and why.
  std::vector<Heard> hand_over(const std::string& name);
  std::vector<Heard> fail_to_hand_over(const std::string& name, const std::string& why);
  void change_account(const std::function<void(Account&)>& change);
  void change_profile(const std::function<void(Profile&)>& change);
  // The profile's packages from now on.
  void set_packages(std::vector<Package> packages);
  // Replies 200 to all of `messages` that are requests; what is heard back.
  std::vector<Heard> accept_all(const Device& device, const std::vector<Heard>& messages);
  std::vector<Heard> sweep();
  // As when the provisioner comes back to its broker.
  void come_back();
  // The operator's side.
  std::vector<Heard> retry(const std::string& name);
  std::vector<Heard> set_enabled(const std::string& name, bool enabled);
  std::vector<Heard> remove(const std::string& name);

  ProvisionRequest request(const std::string& name);
  std::optional<ProvisionRequest> find_request(const std::string& name);
  std::vector<Attempt> attempts(const std::string& name);
  std::vector<Step> steps(std::int64_t attempt_id);
  std::vector<IssuedCertificate> certificates(const std::string& client_id);
  // "kind: text", oldest first.
  std::vector<std::string> timeline(const std::string& name);

  // Runs within a transaction, must succeed; kept only if `keep`.
  void run(const Work& work, bool keep = true);
  void reopen();  // the store, as after a restart

  WallTime now = from_unix_millis(1'800'000'000'000);
  int issued = 0;
  bool ca_works = true;
  std::map<std::string, Bytes> package_contents;  // of inline packages, by name
  int misses = 0;  // of all replies so far
  std::vector<std::string> kicked;
  std::vector<std::int64_t> to_hand_over;  // attempts, as asked for so far
  std::vector<std::int64_t> to_take_back;  // logins, the same
  Bytes verifier_key = Bytes(32, 'k');
  std::unique_ptr<Executor> executor;

 private:
  std::vector<Heard> take(const Outcome& outcome);

  fleet::test::TempFolder folder_;
  crypto::PrivateKey signing_key_;
  std::optional<crypto::Issuer> device_ca_;
  std::unique_ptr<EdcDialect> dialect_;
  std::unique_ptr<Store> store_;
};

// A package as a profile has it; `source` url, file or inline.
Package package(const std::string& name, PackageSource source = PackageSource::kUrl, bool required = true);

// The kinds of messages in their order: "202 CERT-V1 KEYS-V2 KEYS-V1 CONF-V1".
std::string line_of(const std::vector<Heard>& messages);

// The first one of that app; the test fails if there is none.
Heard find(const std::vector<Heard>& messages, const std::string& app);
// All of that app.
std::vector<Heard> all_of(const std::vector<Heard>& messages, const std::string& app);

}  // namespace fleet::provisioner::test
