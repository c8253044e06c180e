// The platform's signed requests: who may ask (edc §4.2, §4.3), what is asked (§4.4 to §4.6), and the reply.
#include <algorithm>
#include <charconv>

#include <boost/json.hpp>

#include "agent/session/owner_connection.hpp"
#include "agent/session/step.hpp"
#include "core/crypto/certificate_brief.hpp"
#include "core/protocol/signature.hpp"

namespace fleet::agent {
namespace {

constexpr std::size_t kMaxOwnerCas = 20;
constexpr Millis kConfirmAtLeast{10'000};  // two repetitions of the reply

protocol::Reply ok() {
  return {.code = 200, .error = {}, .retry_after_s = {}, .body = {}};
}

std::int32_t response_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kIo:
    case ErrorCode::kNoSpace:
    case ErrorCode::kInternal:
      return 500;
    default:
      return 400;
  }
}

Result<void> check_signature(const crypto::Certificate& signer, std::string_view topic,
                             const protocol::KuraPayload& payload) {
  TRY_ASSIGN(const protocol::SignatureParts parts, protocol::signature_of(payload));
  return signer.public_key().verify(parts.algorithm, protocol::signing_input(topic, payload), parts.signature);
}

// The chain that a CERT-V1 carries.
Result<std::vector<crypto::Certificate>> carried_chain(const protocol::KuraPayload& payload) {
  TRY_ASSIGN(const protocol::SigningCertificates message, protocol::parse_signing_certificates(payload));
  return crypto::Certificate::chain_from_pem(message.chain_pem);
}

// The key that pins the platform: of the leaf's issuer, or of the leaf if it comes alone.
Bytes issuer_pin(const std::vector<crypto::Certificate>& chain) {
  return chain[chain.size() > 1 ? 1 : 0].public_key().spki_sha256();
}

// The time at which to verify a chain. A certificate whose time has not come yet tells that our clock is behind:
// whoever issued it lived after its notBefore. So a clock in 1970 and an old build do not lock the platform out.
WallTime not_before_any(WallTime time, const std::vector<crypto::Certificate>& chain) {
  for (const crypto::Certificate& certificate : chain) time = std::max(time, certificate.not_before());
  return time;
}

Result<void> check_keystore(std::string_view pid) {
  if (pid == protocol::kKeystorePid) return {};
  return fail(ErrorCode::kInvalidArgument, "keystore '{}': this device has only {}", printable(pid),
              protocol::kKeystorePid);
}

// "ssl-owner-ca-1" … "ssl-owner-ca-20"
bool is_owner_ca_alias(std::string_view alias) {
  for (std::size_t number = 1; number <= kMaxOwnerCas; ++number) {
    if (alias == protocol::owner_ca_alias(number)) return true;
  }
  return false;
}

}  // namespace

const std::array<Session::Step::Route, 8> Session::Step::kRoutes{{
    {protocol::kAppCert, "PUT", "certificates", &Step::put_certificates},
    {protocol::kAppKeysV2, "POST", "keystores/entries/privatekey", &Step::post_private_key},
    {protocol::kAppKeysV1, "POST", "keystores/entries/certificate", &Step::post_trusted_certificate},
    {protocol::kAppKeysV1, "POST", "keystores/entries/csr", &Step::post_csr},
    {protocol::kAppDeployV2, protocol::kDeployMethod, protocol::kDownloadResource, &Step::exec_download},
    {protocol::kAppDeployV2, protocol::kDeployMethod, protocol::kInstallResource, &Step::exec_install},
    {protocol::kAppDeployV1, protocol::kDeployMethod, protocol::kInstallResource, &Step::exec_inline},
    {protocol::kAppConf, "PUT", "configurations", &Step::put_configurations},
}};

// --- who asks

void Session::Step::drop(std::string_view topic, std::string_view why) {
  live_.last_drop = printable(why);
  problem(fmt::format("dropped a message on {}: {}", printable(topic), live_.last_drop));
}

Result<void> Session::Step::check_nonce(const std::optional<Bytes>& nonce) const {
  if (!nonce) return fail(ErrorCode::kUnauthenticated, "no prov.nonce");
  if (*nonce == state_.attempt->nonce) return {};
  return fail(ErrorCode::kUnauthenticated, "its prov.nonce is not the one of this attempt");
}

// By the leaf of the accepted CERT-V1, which must still be valid.
Result<void> Session::Step::verify_accepted(std::string_view topic, const protocol::KuraPayload& payload) const {
  TRY_ASSIGN(const auto chain, crypto::Certificate::chain_from_pem(state_.attempt->signing_chain_pem));
  if (chain.front().not_after() < verification_time()) {
    return fail(ErrorCode::kExpired, "the platform's signing certificate has expired");
  }
  return check_signature(chain.front(), topic, payload);
}

Result<void> Session::Step::trust(const std::vector<crypto::Certificate>& chain, WallTime when) const {
  TRY(crypto::check_command_signing_chain(chain));
  if (config_.ca_authentication) {
    const auto verified = crypto::verify_chain(chain, config_.platform_roots, when);
    if (verified) return {};
    return fail(verified.error().code, "checked against platform-root-file of the agent's settings: {}",
                verified.error().message);
  }
  TRY(crypto::verify_chain_unanchored(chain, when));
  if (state_.pinned_issuer && *state_.pinned_issuer != issuer_pin(chain)) {
    return fail(
        ErrorCode::kUnauthenticated,
        "the signing certificate '{}' comes from another issuer than the one that this device was provisioned by",
        chain.front().subject_cn());
  }
  return {};
}

void Session::Step::on_request(const protocol::RequestTopic& topic, std::string_view topic_text,
                               const protocol::KuraPayload& payload) {
  if (topic.account != config_.account || topic.client_id != config_.client_id) {
    return drop(topic_text, "it is for another device");
  }
  const auto head = protocol::parse_head(payload);
  if (!head) return drop(topic_text, head.error().message);
  if (const auto ours = check_nonce(head->nonce); !ours) return drop(topic_text, ours.error().message);

  const Request request{topic_text, topic, payload, *head};
  if (state_.attempt->signing_chain_pem.empty()) return first_certificates(request);
  if (const auto verified = verify_accepted(topic_text, payload); !verified) {
    if (!is_other_trusted_signer(request)) return drop(topic_text, verified.error().message);
    if (!repeat_reply(head->request_id)) {
      refuse(owed_for(request), 400, "another signing certificate than the one accepted in this attempt");
    }
    return;
  }
  handle_request(request);
}

// CERT-V1 opens the conversation: signed by the leaf that it carries, so the leaf is judged after the signature.
void Session::Step::first_certificates(const Request& request) {
  const Route& route = kRoutes.front();
  if (request.topic.app != route.app || request.topic.method != route.method ||
      request.topic.resource != route.resource) {
    return drop(request.topic_text, "a request before an accepted CERT-V1");
  }
  const auto chain = carried_chain(request.payload);
  if (!chain) return drop(request.topic_text, chain.error().message);
  if (const auto signature = check_signature(chain->front(), request.topic_text, request.payload); !signature) {
    return drop(request.topic_text, signature.error().message);
  }
  if (repeat_reply(request.head.request_id)) return;
  if (state_.attempt->refused) return refuse(owed_for(request), 400, std::string(kRefusedBefore));

  const WallTime when = not_before_any(verification_time(), *chain);
  if (const auto trusted = trust(*chain, when); !trusted) {
    const std::string why =
        "the platform's signing certificates are not trusted: " + printable(trusted.error().message);
    refuse(owed_for(request), 400, why);
    return fail_attempt(why, Fault::kPassing);
  }
  SessionState& state = change();
  state.attempt->signing_chain_pem = crypto::to_pem(*chain);
  state.phase = Phase::kInstalling;
  // Anchored certificates that were valid at `when` vouch for it; without an anchor anybody could push our clock ahead.
  if (config_.ca_authentication) state.last_time = when;
  clear(Timer::kRepeat);
  note(fmt::format("the platform has proved itself with the certificate '{}'", chain->front().subject_cn()));
  reply_to(owed_for(request), ok());
}

// True for a CERT-V1 that would have been accepted at the beginning of the attempt: refused, but worth an answer.
bool Session::Step::is_other_trusted_signer(const Request& request) const {
  const Route& route = kRoutes.front();
  if (request.topic.app != route.app || request.topic.method != route.method ||
      request.topic.resource != route.resource) {
    return false;
  }
  if (!config_.ca_authentication) return false;
  const auto chain = carried_chain(request.payload);
  return chain && check_signature(chain->front(), request.topic_text, request.payload) &&
         trust(*chain, not_before_any(verification_time(), *chain));
}

// --- replies

Session::Owed Session::Step::owed_for(const Request& request) const {
  return {request.head.request_id, protocol::ReplyTopic{config_.account, request.head.requester_client_id,
                                                        request.topic.app, request.head.request_id}
                                       .str()};
}

bool Session::Step::repeat_reply(const std::string& request_id) {
  const auto kept = state_.attempt->replies.find(request_id);
  if (kept == state_.attempt->replies.end()) return false;
  act(PublishProvision{kept->second.topic, kept->second.payload});
  if (const PackageJob* job = find_job(request_id); job != nullptr && job->outcome) tell_outcome(*job);
  return true;
}

// Without a connection the reply waits in the state: the platform's repetition or the next hello fetches it.
void Session::Step::reply_to(const Owed& owed, const protocol::Reply& reply) {
  reply_to(owed, protocol::to_payload(reply, to_unix_millis(now_.wall)));
}

void Session::Step::reply_to(const Owed& owed, const protocol::KuraPayload& reply) {
  SentReply sent{owed.reply_topic, protocol::encode(reply)};
  change().attempt->replies.insert_or_assign(owed.request_id, sent);
  live_.answering = owed;
  if (live_.link == Link::kUp) act(PublishProvision{std::move(sent.topic), std::move(sent.payload)});
}

// The rest of the attempt will be refused too (edc §4, order), so it ends soon.
void Session::Step::refuse(const Owed& owed, std::int32_t code, std::string why) {
  Attempt& attempt = *change().attempt;
  if (!attempt.refused) {
    attempt.refused = true;
    attempt.refusal = why;
    problem(fmt::format("refused a request of the platform ({}): {}", code, why));
    set(Timer::kTimeout, kRefusalLinger);
  }
  reply_to(owed, {.code = code, .error = std::move(why), .retry_after_s = {}, .body = {}});
}

// --- what is asked

void Session::Step::handle_request(const Request& request) {
  if (state_.phase != Phase::kConfirming) clear(Timer::kRepeat);  // the platform is there: no need to repeat PROV
  if (repeat_reply(request.head.request_id)) return;
  if (live_.installing) {
    if (live_.installing->request_id == request.head.request_id) return;  // impatient: the reply comes with Installed
    return drop(request.topic_text, "the configuration is being installed; the platform will repeat it");
  }
  if (live_.held) {
    if (live_.held->owed.request_id == request.head.request_id) return;  // its reply comes when the packages have ended
    // The configuration is always last, so only a package that a restart of this process has lost belongs before it; or
    // the platform begins a new plan.
    if (find_job(request.head.request_id) == nullptr && request.topic.app != protocol::kAppCert) {
      return drop(request.topic_text, "the configuration waits for the packages; the platform will repeat it");
    }
  }
  const Owed owed = owed_for(request);
  if (state_.attempt->refused) return refuse(owed, 400, std::string(kRefusedBefore));

  const protocol::RequestTopic& topic = request.topic;
  const auto route = std::find_if(kRoutes.begin(), kRoutes.end(), [&](const Route& r) {
    return r.app == topic.app && r.method == topic.method && r.resource == topic.resource;
  });
  if (route == kRoutes.end()) {
    return refuse(owed, 404,
                  fmt::format("no such resource: {} {} {}", printable(topic.app), topic.method,
                              printable(topic.resource)));
  }
  const Answer answer = (this->*route->handler)(request);
  if (!answer) return refuse(owed, response_code(answer.error().code), printable(answer.error().message));
  if (*answer) reply_to(owed, **answer);
}

Session::Step::Answer Session::Step::put_certificates(const Request& request) {
  TRY_ASSIGN(const auto chain, carried_chain(request.payload));
  TRY_ASSIGN(const auto accepted, crypto::Certificate::chain_from_pem(state_.attempt->signing_chain_pem));
  if (chain.front().sha256() != accepted.front().sha256()) {
    return fail(ErrorCode::kInvalidArgument, "another signing certificate than the one accepted in this attempt");
  }
  begin_plan();
  return ok();
}

// The platform opens each of its attempts with a CERT-V1 of its own. A second one within ours means that it gave up the
// first, unheard by us, and starts over for the same hello: nothing of the former plan belongs into the new one.
void Session::Step::begin_plan() {
  Attempt& attempt = *change().attempt;
  if (has_running_job()) push(CancelPackages{});
  attempt.jobs.clear();
  attempt.staged = {};
  live_.held.reset();
  live_.told.clear();
}

Session::Step::Answer Session::Step::post_private_key(const Request& request) {
  TRY_ASSIGN(const protocol::DeviceCertificate message, protocol::parse_device_certificate(request.payload));
  TRY(check_keystore(message.keystore_pid));
  if (message.alias != protocol::kOwnerAlias) {
    return fail(ErrorCode::kInvalidArgument, "alias '{}': the device's certificate belongs under '{}'",
                printable(message.alias), protocol::kOwnerAlias);
  }
  std::vector<crypto::CertificateBrief> chain;
  for (std::size_t i = 0; i < message.chain_pem.size(); ++i) {
    auto certificate = crypto::CertificateBrief::from_pem(message.chain_pem[i]);
    if (!certificate) return fail(with_context(certificate.error(), fmt::format("certificateChain[{}]", i)));
    chain.push_back(std::move(*certificate));
  }
  TRY_ASSIGN(const Bytes own_spki, crypto::Csr::spki_of_own(live_.csr_der));
  const crypto::CertificateBrief& leaf = chain.front();
  if (leaf.spki != own_spki) {
    return fail(ErrorCode::kInvalidArgument, "the certificate '{}' is not for this device's key", leaf.subject_cn);
  }
  if (leaf.subject_cn != config_.client_id) {
    return fail(ErrorCode::kInvalidArgument, "the certificate is for '{}', this device is '{}'", leaf.subject_cn,
                config_.client_id);
  }
  for (const crypto::CertificateBrief& certificate : chain) {
    if (certificate.not_after < verification_time()) {
      return fail(ErrorCode::kExpired, "the certificate '{}' expired on {}", certificate.subject_cn,
                  format_time(certificate.not_after));
    }
  }
  std::vector<std::string>& staged = change().attempt->staged.device_chain_pem;
  staged.clear();
  for (crypto::CertificateBrief& certificate : chain) staged.push_back(std::move(certificate.pem));
  return ok();
}

Session::Step::Answer Session::Step::post_trusted_certificate(const Request& request) {
  TRY_ASSIGN(const protocol::TrustedCertificate message, protocol::parse_trusted_certificate(request.payload));
  TRY(check_keystore(message.keystore_pid));
  if (!is_owner_ca_alias(message.alias)) {
    return fail(ErrorCode::kInvalidArgument, "alias '{}': CAs of the owner's broker belong under '{}' to '{}'",
                printable(message.alias), protocol::owner_ca_alias(1), protocol::owner_ca_alias(kMaxOwnerCas));
  }
  TRY_ASSIGN(const crypto::Certificate certificate, crypto::Certificate::from_pem(message.certificate_pem));
  if (!certificate.is_ca()) {
    return fail(ErrorCode::kInvalidArgument, "the certificate '{}' is not a CA", certificate.subject_cn());
  }
  change().attempt->staged.trusted_pem.insert_or_assign(message.alias, certificate.to_pem());
  return ok();
}

Session::Step::Answer Session::Step::post_csr(const Request&) {
  protocol::Reply reply = ok();
  reply.body = boost::json::serialize(boost::json::object{{"signingRequest", crypto::pem_of("CERTIFICATE REQUEST", live_.csr_der)}});
  return reply;
}

Session::Step::Answer Session::Step::put_configurations(const Request& request) {
  if (!request.payload.body) return fail(ErrorCode::kMalformed, "body is missing");
  TRY_ASSIGN(protocol::Configurations configurations, protocol::parse_xml(*request.payload.body));
  TRY_ASSIGN(const OwnerConnection owner, parse_owner_connection(configurations));
  if (!owner.username && state_.attempt->staged.device_chain_pem.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "the owner connection has neither username and password nor a device certificate (KEYS-V2)");
  }
  if (has_running_job()) {
    live_.held = Held{owed_for(request), std::move(configurations)};
    note("the configuration waits for the packages");
  } else {
    install(owed_for(request), std::move(configurations));
  }
  return std::nullopt;
}

void Session::Step::install(Owed owed, protocol::Configurations configurations) {
  Staged content = state_.attempt->staged;
  content.configurations = std::move(configurations);
  live_.installing = std::move(owed);
  live_.answering = live_.installing;
  // Saved first: it may come into force and be confirmed, and we be killed before we hear of it.
  if (!state_.attempt->generation) change().attempt->generation = state_.generation + 1;
  act(InstallGeneration{*state_.attempt->generation, std::move(content)});
}

void Session::Step::on(const Installed& event) {
  if (!in_attempt() || !live_.installing || event.generation != state_.attempt->generation) return;
  const Owed owed = *std::exchange(live_.installing, std::nullopt);
  if (event.error && event.in_force) change().generation = *event.in_force;
  if (event.error) return refuse(owed, 500, "cannot install the configuration: " + printable(event.error->message));

  SessionState& state = change();
  state.generation = event.generation;
  state.phase = Phase::kConfirming;
  state.attempt->conf_request_id = owed.request_id;
  if (!config_.ca_authentication && !state.pinned_issuer) {
    if (const auto chain = crypto::Certificate::chain_from_pem(state.attempt->signing_chain_pem)) {
      state.pinned_issuer = issuer_pin(*chain);
    }
  }
  note(fmt::format("configuration installed as generation {}", event.generation));
  std::optional<SteadyTime>& end = timer_slot(Timer::kTimeout);
  end = std::max(end.value_or(now_.steady), now_.steady + kConfirmAtLeast);
  if (live_.link == Link::kUp) set(Timer::kRepeat, kConfRepeat);
  reply_to(owed, ok());
}

}  // namespace fleet::agent
