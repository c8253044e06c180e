#include "provisioner/admin/api.hpp"

#include <utility>

#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <fmt/ranges.h>

#include "core/base/log.hpp"
#include "core/config/decoder.hpp"
#include "core/config/node.hpp"
#include "provisioner/admin/json_view.hpp"
#include "provisioner/admin/query.hpp"
#include "provisioner/manifest/apply.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

constexpr std::string_view kLog = "admin";
constexpr std::size_t kTimelineLines = 1000;

}  // namespace

// An apply on its way. A whole fleet takes a while, so that it is decoded on a thread of its own, prepared on that of the store's
// reader while the next one is decoded, and only what is left of it is done where devices wait.
struct AdminApi::Application {
  std::string body;
  Result<void> decoded;
  ApplyOptions options;
  bool dry_run = false;
  bool rolled_back = false;  // all went well, and the dry run undid it
  std::size_t documents = 0;
  std::vector<NumberedManifest> manifests;
  Preparation prepared;
  ApplyReport report;
  std::vector<DocumentProblem> misread;  // what decoding found
  std::vector<DocumentProblem> problems;

  Result<void> run(Transaction& tx, const Executor& executor);
  Result<void> prepare(Transaction& tx, const Executor& executor);
  Result<void> decode();
};

Result<void> AdminApi::Application::decode() {
  TRY_ASSIGN(const config::Node node, config::parse_json(body));
  wipe(body);
  config::Problems envelope_problems;
  config::Object envelope(node, "", envelope_problems);
  envelope.optional("dryRun", dry_run);
  envelope.optional("allowWeak", options.allow_weak);
  envelope.optional("overwrite", options.overwrite);
  const config::Node* list = envelope.require("documents");
  if (list != nullptr && list->kind != config::Node::Kind::kSequence) envelope.problem("documents", "must be a list");
  envelope.finish();
  TRY(envelope_problems.result());

  documents = list->items.size();
  for (std::size_t i = 0; i < list->items.size(); ++i) {
    config::Problems found;
    if (auto manifest = decode_manifest(list->items[i], found)) manifests.push_back({i, std::move(*manifest)});
    for (const config::Problem& problem : found.list()) misread.push_back({i, problem.path, problem.why});
  }
  return {};
}

Result<void> AdminApi::Application::prepare(Transaction& tx, const Executor& executor) {
  if (misread.empty()) {
    TRY_ASSIGN(prepared, provisioner::prepare(tx, executor, manifests, options.verifier_key));
  }
  return {};
}

namespace {

AuditEntry operator_line(std::string kind, std::string by, std::string client_id, std::string text) {
  return {.at = wall_now(),
          .source = AuditSource::kOperator,
          .kind = std::move(kind),
          .who = std::move(by),
          .client_id = std::move(client_id),
          .text = std::move(text)};
}

// "created: Account acme, ProvisionRequest gw-1, … (12); configured: …"; the unchanged are no news.
std::string summary_of(const ApplyReport& report) {
  static constexpr std::size_t kNamed = 10;
  std::string text;
  for (const std::string_view change : {"created", "configured"}) {
    std::vector<std::string> names;
    std::size_t count = 0;
    for (const Applied& applied : report.applied) {
      if (applied.change != change) continue;
      if (count++ < kNamed) names.push_back(applied.kind + " " + applied.name);
    }
    if (count == 0) continue;
    text += fmt::format("{}{}: {}{}", text.empty() ? "" : "; ", change, fmt::join(names, ", "),
                        count > kNamed ? fmt::format(", … ({})", count) : "");
  }
  return text.empty() ? "nothing changed" : text;
}

}  // namespace

Result<void> AdminApi::Application::run(Transaction& tx, const Executor& executor) {
  rolled_back = false;
  report = {};
  problems = misread;
  if (dry_run || options.only_check) options.has_file = nullptr;  // they are uploaded when it is meant
  ErrorCode code = ErrorCode::kInvalidArgument;
  if (problems.empty()) {
    auto applied = provisioner::apply(tx, executor, manifests, options, wall_now(), report, prepared);
    for (const ApplyProblem& problem : report.problems)
      problems.push_back({problem.document, problem.path, problem.why, problem.code});
    if (!applied && problems.empty()) return fail(std::move(applied).error());
    if (!applied) code = applied.error().code;
  }
  if (!problems.empty()) {
    return fail(code, "{} problem{}; nothing was applied", problems.size(), problems.size() == 1 ? "" : "s");
  }
  if (options.only_check) return {};
  if (!dry_run) {
    TRY(tx.tell_other_cells({.kick = report.outcome.kick, .forgiven = report.outcome.forgiven, .applied = true}));
    return tx.add_audit(operator_line("apply", options.by, "", summary_of(report)));
  }
  rolled_back = true;
  return fail(ErrorCode::kConflict, "a dry run is rolled back");
}

struct AdminApi::Answer {
  json::value body;
  Outcome outcome = {};
};

AdminApi::AdminApi(AdminSettings settings, Store& store, const Executor& executor)
    : settings_(std::move(settings)), store_(store), executor_(executor) {}

void AdminApi::handle(AdminCall call, Respond respond) {
  const std::size_t question = call.target.find('?');
  const std::string path = call.target.substr(0, question);
  const std::string query = question == std::string::npos ? "" : call.target.substr(question + 1);
  const std::vector<std::string_view> parts = split(path, '/');  // "", "v1", noun, name, act

  const auto wrong_method = [&] {
    respond(reply_with(Error{ErrorCode::kUnsupported, fmt::format("{} is not possible on {}", call.method, path)}));
  };
  const auto nowhere = [&] {
    respond(reply_with(Error{ErrorCode::kNotFound, fmt::format("{}: no such address", path)}));
  };
  if (parts.size() < 3 || parts.size() > 5 || !parts[0].empty() || parts[1] != "v1") return nowhere();
  const std::string_view noun = parts[2];
  if (show(call, parts, query, respond)) return;

  if (parts.size() == 3) {
    if (noun == "apply") return call.method == "POST" ? apply(std::move(call), std::move(respond)) : wrong_method();
    if (noun == "check") return call.method == "POST" ? check(std::move(call), std::move(respond)) : wrong_method();
    if (noun == "requests" || noun == "certificates" || noun == "progress") return wrong_method();
    if (noun != "accounts" && noun != "profiles" && noun != "status" && noun != "audit") return nowhere();
    if (call.method != "GET") return wrong_method();
    if (noun == "accounts") return list_accounts(std::move(respond));
    if (noun == "profiles") return list_profiles(std::move(respond));
    if (noun == "audit") return list_audit(query, std::move(respond));
    return status(std::move(respond));
  }
  if (noun == "packages" && parts.size() == 4) {
    return call.method == "GET" ? find_package(std::string(parts[3]), std::move(respond)) : wrong_method();
  }
  if (noun == "certificates" || noun == "manifests") return parts.size() == 4 ? wrong_method() : nowhere();
  if (noun != "requests") return nowhere();
  auto name = percent_decode(parts[3]);
  if (!name) return respond(reply_with(name.error()));
  if (parts.size() == 4) {
    if (call.method == "GET") return describe_request(std::move(*name), std::move(respond));
    if (call.method != "DELETE") return wrong_method();
    return change_request("delete", std::move(*name), std::move(call.by), std::move(respond));
  }
  const std::string act(parts[4]);
  if (act != "retry" && act != "enable" && act != "disable") return nowhere();
  if (call.method != "POST") return wrong_method();
  change_request(act, std::move(*name), std::move(call.by), std::move(respond));
}

Result<PackageUpload> AdminApi::begin_upload(std::string sha256) const {
  if (!settings_.packages) return fail(ErrorCode::kUnsupported, "packages are not kept here");
  return PackageUpload::begin(*settings_.packages, std::move(sha256));
}

AdminReply AdminApi::finish_upload(PackageUpload upload, const std::string& by) const {
  auto kept = upload.finish();
  log::info(kLog, "package uploaded", {{"by", by}, {"outcome", kept ? "ok" : kept.error().message}});
  return kept ? reply_with(json::object{}) : reply_with(kept.error());
}

void AdminApi::find_package(const std::string& sha256, Respond respond) {
  if (settings_.packages && settings_.packages->has(sha256)) return respond(reply_with(json::object{{"sha256", sha256}}));
  respond(reply_with(Error{ErrorCode::kNotFound, "no such package file"}));
}

bool AdminApi::show(const AdminCall& call, const std::vector<std::string_view>& parts, const std::string& query,
                    const Respond& respond) {
  const std::string_view noun = parts[2];
  if (parts.size() == 3 && noun == "progress" && call.method == "POST") return show(view_progress(call.body), respond), true;
  if (call.method != "GET") return false;
  if (parts.size() == 3 && noun == "requests") return show(view_requests(query), respond), true;
  if (parts.size() == 3 && noun == "certificates") return show(view_certificates(query), respond), true;
  if (parts.size() == 4 && noun == "certificates") return show(view_certificate(std::string(parts[3])), respond), true;
  if (parts.size() == 4 && noun == "manifests") {
    if (query.find("secrets=true") != std::string::npos) {
      log::info(kLog, "secrets shown", {{"by", call.by}, {"of", std::string(parts[3])}});
    }
    return show(view_manifests(parts[3], query), respond), true;
  }
  return false;
}

void AdminApi::show(Result<View> view, Respond respond) {
  if (!view) return respond(reply_with(view.error()));
  auto body = std::make_shared<std::string>();
  store_.read(
      [view = std::move(*view), body](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(*body, view(tx));
        return {};
      },
      [body, respond = std::move(respond)](Result<void> done) {
        respond(done ? AdminReply{200, std::move(*body)} : reply_with(done.error()));
      });
}

void AdminApi::submit(Work work, Respond respond) {
  auto answer = std::make_shared<Answer>();
  store_.submit(
      [work = std::move(work), answer](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(*answer, work(tx));
        const Outcome& outcome = answer->outcome;
        if (outcome.kick.empty() && outcome.forgiven.empty()) return {};
        return tx.tell_other_cells({.kick = outcome.kick, .forgiven = outcome.forgiven});
      },
      [self = shared_from_this(), answer, respond = std::move(respond)](Result<void> done) {
        if (!done) return respond(reply_with(done.error()));
        if (!self->stopped_) self->settings_.deliver(std::move(answer->outcome));
        respond(reply_with(answer->body));
      });
}

void AdminApi::read(Work work, Respond respond) {
  auto answer = std::make_shared<Answer>();
  store_.read(
      [work = std::move(work), answer](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(*answer, work(tx));
        return {};
      },
      [answer, respond = std::move(respond)](Result<void> done) {
        respond(done ? reply_with(answer->body) : reply_with(done.error()));
      });
}

std::shared_ptr<AdminApi::Application> AdminApi::application_of(AdminCall& call) const {
  auto application = std::make_shared<Application>();
  application->body = std::move(call.body);
  application->options.by = call.by;
  application->options.provisioner_id = settings_.provisioner_id;
  application->options.verifier_key = settings_.verifier_key;
  if (settings_.packages) {
    application->options.has_file = [packages = settings_.packages](const std::string& sha256) {
      return packages->has(sha256);
    };
  }
  return application;
}

// `work` and `done`, which hold this, go on to the store as a whole: the decoder's thread never has the last of what waits for it.
void AdminApi::read_decoded(const std::shared_ptr<Application>& application, fleet::provisioner::Work work, Done done) {
  boost::asio::post(decoder_, [&store = store_, application, work = std::move(work), done = std::move(done)]() mutable {
    try {
      application->decoded = application->decode();
    } catch (const std::exception& error) {
      application->decoded = fail(ErrorCode::kInternal, "the documents cannot be read: {}", error.what());
    }
    store.read(std::move(work), std::move(done));
  });
}

void AdminApi::stop() {
  stopped_ = true;
  decoder_.join();
}

void AdminApi::check(AdminCall call, Respond respond) {
  const std::shared_ptr<Application> application = application_of(call);
  application->options.only_check = true;
  read_decoded(
      application,
      [self = shared_from_this(), application](Transaction& tx) -> Result<void> {
        TRY(application->decoded);
        return application->run(tx, self->executor_);
      },
      [application, respond = std::move(respond)](Result<void> done) {
        if (!done) return respond(reply_with(done.error(), application->problems));
        respond(reply_with(to_json_of_check(application->report)));
      });
}

void AdminApi::apply(AdminCall call, Respond respond) {
  const std::shared_ptr<Application> application = application_of(call);
  read_decoded(
      application,
      [self = shared_from_this(), application](Transaction& tx) -> Result<void> {
        TRY(application->decoded);
        return application->prepare(tx, self->executor_);
      },
      [self = shared_from_this(), application, by = std::move(call.by),
       respond = std::move(respond)](Result<void> prepared) mutable {
        if (!prepared) return self->finish_apply(*application, by, std::move(prepared), respond);
        self->apply_prepared(application, std::move(by), std::move(respond));
      });
}

void AdminApi::apply_prepared(const std::shared_ptr<Application>& application, std::string by, Respond respond) {
  store_.submit(
      [self = shared_from_this(), application](Transaction& tx) { return application->run(tx, self->executor_); },
      [self = shared_from_this(), application, by = std::move(by), respond = std::move(respond)](Result<void> done) {
        self->finish_apply(*application, by, std::move(done), respond);
      });
}

void AdminApi::finish_apply(Application& application, const std::string& by, Result<void> done, const Respond& respond) {
  const bool good = done || application.rolled_back;
  log::info(kLog,
            application.rolled_back ? "apply, dry run"
            : good                  ? "apply"
                                    : "apply refused",
            {{"by", by}, {"documents", application.documents}, {"outcome", good ? "ok" : done.error().message}});
  if (!good) {
    if (!application.dry_run) record(operator_line("apply", by, "", "refused: " + done.error().message));
    return respond(reply_with(done.error(), application.problems));
  }
  if (application.rolled_back) {
    application.report.secrets.clear();
  } else if (!stopped_) {
    settings_.deliver(std::move(application.report.outcome));
    if (settings_.on_applied) settings_.on_applied(std::move(application.report.dropped_files));
  }
  respond(reply_with(to_json(application.report)));
}

void AdminApi::describe_request(std::string name, Respond respond) {
  read(
      [name = std::move(name)](Transaction& tx) -> Result<Answer> {
        TRY_ASSIGN(std::optional<ProvisionRequest> request, tx.find_request_by_name(name));
        if (!request) return fail(ErrorCode::kNotFound, "request {}: no such request", name);
        RequestDescription description;
        description.request = std::move(*request);
        TRY_ASSIGN(description.profile, tx.find_profile(description.request.profile));
        if (description.profile) {
          TRY_ASSIGN(description.account, tx.find_account(description.profile->account));
        }
        TRY_ASSIGN(std::vector<Attempt> attempts, tx.attempts_of(description.request.id));
        for (Attempt& attempt : attempts) {
          TRY_ASSIGN(std::vector<Step> steps, tx.steps_without_messages(attempt.id));
          description.attempts.push_back({std::move(attempt), std::move(steps)});
        }
        TRY_ASSIGN(description.certificates, tx.certificates_of(description.request.client_id));
        TRY_ASSIGN(description.timeline, tx.timeline_of(description.request.id, kTimelineLines));
        return Answer{to_json(description)};
      },
      std::move(respond));
}

void AdminApi::change_request(std::string act, std::string name, std::string by, Respond respond) {
  submit(
      [self = shared_from_this(), act, name, by](Transaction& tx) -> Result<Answer> {
        const Executor& executor = self->executor_;
        const WallTime now = wall_now();
        Answer answer{json::object{{"name", name}}};
        TRY_ASSIGN(const auto request, tx.find_request_by_name(name));
        TRY(tx.add_audit(operator_line(act, by, request ? request->client_id : "", "request " + name)));
        if (act == "retry") {
          TRY_ASSIGN(answer.outcome, executor.retry(tx, name, by, now));
        } else if (act == "delete") {
          TRY_ASSIGN(answer.outcome, executor.remove(tx, name, by, now));
        } else {
          TRY_ASSIGN(answer.outcome, executor.set_enabled(tx, name, act == "enable", by, now));
        }
        return answer;
      },
      [self = shared_from_this(), act, name, by, respond = std::move(respond)](AdminReply reply) {
        if (reply.status >= 400) self->record(operator_line(act, by, "", fmt::format("request {}: refused", name)));
        log::info(kLog, act + " request", {{"by", by}, {"request", name}, {"http_status", reply.status}});
        respond(std::move(reply));
      });
}

void AdminApi::list_accounts(Respond respond) {
  read(
      [](Transaction& tx) -> Result<Answer> {
        TRY_ASSIGN(const std::vector<Account> accounts, tx.list_accounts());
        json::array list;
        for (const Account& account : accounts) list.push_back(to_json(account));
        return Answer{json::object{{"accounts", std::move(list)}}};
      },
      std::move(respond));
}

void AdminApi::list_profiles(Respond respond) {
  read(
      [](Transaction& tx) -> Result<Answer> {
        TRY_ASSIGN(const std::vector<Profile> profiles, tx.list_profiles());
        json::array list;
        for (const Profile& profile : profiles) list.push_back(to_json(profile));
        return Answer{json::object{{"profiles", std::move(list)}}};
      },
      std::move(respond));
}

void AdminApi::list_audit(std::string_view query, Respond respond) {
  auto filter = parse_audit_filter(query);
  if (!filter) return respond(reply_with(filter.error()));
  read(
      [filter = std::move(*filter)](Transaction& tx) -> Result<Answer> {
        TRY_ASSIGN(const std::vector<AuditEntry> entries, tx.list_audit(filter));
        return Answer{to_json(entries)};
      },
      std::move(respond));
}

void AdminApi::record(AuditEntry entry) {
  store_.submit([entry = std::move(entry)](Transaction& tx) { return tx.add_audit(entry); },
                [](Result<void> done) {
                  if (!done) log::warn(kLog, "audit line not kept", {{"why", done.error().message}});
                });
}

void AdminApi::status(Respond respond) {
  const std::string broker = settings_.broker_state ? settings_.broker_state() : "unknown";
  const std::size_t backlog = store_.backlog();
  if (const auto trouble = store_.trouble()) {
    // It is a status like any other: the counts are what nobody can tell now.
    return respond(reply_with(json::object{{"version", FLEET_VERSION}, {"broker", broker}, {"store", *trouble}, {"backlog", backlog},
                                           {"total", 0}, {"requests", json::object{}}}));
  }
  read(
      [broker, backlog](Transaction& tx) -> Result<Answer> {
        TRY_ASSIGN(const auto counts, tx.count_requests());
        json::object by_status;
        std::int64_t total = 0;
        for (const auto& [status, count] : counts) {
          by_status[to_string(status)] = count;
          total += count;
        }
        return Answer{json::object{{"version", FLEET_VERSION},
                                   {"broker", broker},
                                   {"store", "ready"},
                                   {"backlog", backlog},
                                   {"total", total},
                                   {"requests", std::move(by_status)}}};
      },
      std::move(respond));
}

}  // namespace fleet::provisioner
