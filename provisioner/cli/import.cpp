#include "provisioner/cli/import.hpp"

#include <algorithm>
#include <deque>
#include <future>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <sysexits.h>
#include <utility>

#include <boost/json.hpp>

#include "provisioner/cli/advice.hpp"
#include "provisioner/cli/call.hpp"
#include "provisioner/cli/import_interrupt.hpp"
#include "provisioner/cli/import_progress.hpp"
#include "provisioner/cli/import_repeats.hpp"
#include "provisioner/cli/import_spool.hpp"
#include "provisioner/cli/output.hpp"
#include "provisioner/cli/progress.hpp"
#include "provisioner/cli/secrets_log.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

// A check delays no device; a batch that is applied holds the store's writer for some 15 ms.
constexpr std::size_t kCheckBatch = 1000;
constexpr std::size_t kApplyBatch = 500;
constexpr std::size_t kBatchBytes = 4 * 1024 * 1024;
// Batches that the service has. It decodes one, looks another up and writes a third at the same time, and it writes what has
// queued up meanwhile with one commit.
constexpr std::size_t kChecksInFlight = 3;
constexpr std::size_t kInFlight = 8;
constexpr std::size_t kProblemsShown = 100;
// Accounts and profiles are held, and may be sent with each batch.
constexpr std::size_t kSharedBytes = 4 * 1024 * 1024;

using Reply = tl::expected<json::object, AdminFailure>;

struct Problems {
  std::vector<config::Problem> shown;
  std::size_t count = 0;

  void add(config::Problem problem) {
    ++count;
    if (shown.size() < kProblemsShown) shown.push_back(std::move(problem));
  }
};

// What became of requests, or would.
struct Counts {
  std::uint64_t created = 0, configured = 0, unchanged = 0;

  void add(std::string_view change) { ++(change == "created" ? created : change == "configured" ? configured : unchanged); }
  std::uint64_t all() const { return created + configured + unchanged; }
  std::string str() const {
    const auto shown = [](std::uint64_t number) { return grouped(static_cast<std::int64_t>(number)); };
    return fmt::format("{} requests: {} created, {} configured, {} unchanged", shown(all()), shown(created),
                       shown(configured), shown(unchanged));
  }
};

std::string quoted(std::string_view text) {
  return json::serialize(json::string(text));
}

config::Node* spec_of(config::Node& document) {
  const auto is_spec = [](const config::Node::Entry& entry) { return entry.key == "spec"; };
  const auto spec = std::find_if(document.entries.begin(), document.entries.end(), is_spec);
  if (spec == document.entries.end()) return nullptr;
  std::rotate(spec, spec + 1, document.entries.end());
  return &document.entries.back().value;
}

// What is spooled of a document; its node loses generateActivationKey, and its spec becomes the last entry.
ImportedRequest imported(SourceDocument& document, const RequestManifest& manifest, std::uint32_t file) {
  ImportedRequest request;
  request.name = manifest.name;
  request.client_id = manifest.client_id;
  request.username = manifest.username;
  if (manifest.password) request.password = std::hash<std::string_view>()(manifest.password->reveal()) | 1U;
  request.wants_key = manifest.generate_activation_key;
  request.file = file;
  request.mark = document.node.mark;
  if (config::Node* const spec = spec_of(document.node)) {
    std::erase_if(spec->entries, [](const config::Node::Entry& entry) { return entry.key == "generateActivationKey"; });
  }
  request.json = config::to_json(document.node);
  return request;
}

class Import {
 public:
  Import(const DataLayout& layout, const ApplyArguments& arguments) : layout_(layout), arguments_(arguments) {}

  Result<int> run(std::vector<DocumentPiece> begun, DocumentStream& stream) {
    TRY_ASSIGN(spool_, ImportSpool::create());
    if (!arguments_.secrets_out.empty()) {
      auto opened = SecretsLog::open(arguments_.secrets_out);
      if (!opened) return complain_of_secrets_file(opened.error());
      secrets_.emplace(std::move(*opened));
    }
    auto read = read_and_check(std::move(begun), stream);
    if (!read) return report(std::move(read).error());
    if (problems_.count > 0) return report_problems(problems_.shown, problems_.count);
    if (arguments_.dry_run) {
      print_changes(shared_answer_, true);
      print(counts_.str() + " (dry run)\n");
      return EX_OK;
    }
    if (!secrets_ && has_secrets_to_make()) {
      return complain({ErrorCode::kInvalidArgument,
                       "passwords or activation keys are to be made, too many for a terminal: nothing was applied"},
                      EX_USAGE, "name a file for them with --secrets-out");
    }
    return apply_all();
  }

 private:
  // ---- reading and checking; nothing is changed

  Result<void> read_and_check(std::vector<DocumentPiece> begun, DocumentStream& stream) {
    progress_.begin("checking");
    for (DocumentPiece& piece : begun) TRY(take(std::move(piece)));
    begun.clear();
    while (true) {
      TRY_ASSIGN(std::optional<DocumentPiece> piece, stream.next());
      if (!piece) break;
      TRY(take(std::move(*piece)));
      progress_.show(spool_->size(), stream.bytes_read(), stream.bytes_in_all().value_or(0));
    }
    TRY(send_check());
    while (!checking_.empty()) TRY(finish_check());
    const auto gets_password = [this](std::uint64_t number) { return needs_password_[number]; };
    TRY_ASSIGN(std::vector<config::Problem> repeats, repeats_.find(*spool_, files_, gets_password, kProblemsShown));
    for (config::Problem& problem : repeats) problems_.add(std::move(problem));
    if (secrets_) {
      TRY_ASSIGN(const SecretRow* const left, secrets_->peek());
      if (left != nullptr && problems_.count == 0) {
        return fail(ErrorCode::kAlreadyExists,
                    "{}: holds a secret of '{}', which is not among these documents, or in another place: it is not of this "
                    "import; nothing was applied",
                    arguments_.secrets_out.string(), left->name);
      }
    }
    progress_.end(spool_->size(), 1, 1);
    return {};
  }

  Result<void> take(DocumentPiece piece) {
    for (config::Problem& problem : piece.problems) problems_.add(std::move(problem));
    for (SourceDocument& document : piece.documents) {
      if (files_.empty() || files_.back() != document.file) files_.push_back(document.file);
      for (PackageFile& package : document.packages) packages_.emplace(package.sha256, std::move(package));
      if (!document.manifest) continue;
      if (const auto* const manifest = std::get_if<RequestManifest>(&*document.manifest)) {
        TRY(take_request(document, *manifest));
      } else {
        take_shared(std::move(document));
      }
    }
    return {};
  }

  void take_shared(SourceDocument document) {
    if (spool_->size() > 0) {
      problems_.add(problem_at(document, "kind", fmt::format("stands behind requests: of more than {} documents accounts and "
                                                             "profiles are applied first; move them to the front",
                                                             kImportFrom)));
      return;
    }
    shared_bytes_ += config::to_json(document.node).size();
    if (shared_bytes_ > kSharedBytes) {
      problems_.add(problem_at(document, "", fmt::format("accounts and profiles of more than {} MiB in one apply with so many "
                                                         "requests: apply them first",
                                                         kSharedBytes / (1024 * 1024))));
      return;
    }
    shared_.push_back(std::move(document));
  }

  Result<void> take_request(SourceDocument& document, const RequestManifest& manifest) {
    const ImportedRequest request = imported(document, manifest, static_cast<std::uint32_t>(files_.size() - 1));
    bool has_row = false;
    if (secrets_) {
      TRY_ASSIGN(const SecretRow* const row, secrets_->peek());
      has_row = row != nullptr && row->name == request.name && row->client_id == request.client_id &&
                row->username == request.username;
      if (has_row) secrets_->skip();
    }
    has_row_.push_back(has_row);
    needs_password_.push_back(false);
    needs_key_.push_back(false);
    TRY(repeats_.add(request));
    TRY(spool_->add(request));
    append(batch_body_, with_spec(request.json, request.wants_key ? kMakeKey : ""));
    batch_.push_back(std::move(document));
    if (batch_.size() == kCheckBatch || batch_body_.size() > kBatchBytes) TRY(send_check());
    return {};
  }

  static void append(std::string& list, const std::string& item) {
    if (!list.empty()) list += ',';
    list += item;
  }

  std::future<Reply> post(std::string target, const std::string& documents) const {
    std::string body = fmt::format("{{\"documents\":[{}],\"allowWeak\":{},\"overwrite\":{}}}", documents,
                                   arguments_.allow_weak, arguments_.overwrite);
    return std::async(std::launch::async, [this, target = std::move(target), body = std::move(body)]() mutable {
      return post_to_service(layout_, target, std::move(body));
    });
  }

  // Accounts and profiles alone first: what they would do to the requests that there are is judged once. Those that change
  // something go with each batch of requests, which cannot be judged without them.
  Result<void> check_shared() {
    if (std::exchange(shared_checked_, true) || shared_.empty()) return {};
    for (const SourceDocument& document : shared_) append(shared_body_, config::to_json(document.node));
    Reply reply = post("/v1/check", shared_body_).get();
    if (!reply) return note_problems(reply.error(), shared_);
    for (const json::value& value : array_at(*reply, "applied")) {
      const json::object& item = value.as_object();
      if (text_at(item, "change") == "unchanged") continue;
      const auto number = static_cast<std::size_t>(number_at(item, "document"));
      if (number < shared_.size()) append(changing_body_, config::to_json(shared_[number].node));
    }
    shared_answer_ = std::move(*reply);
    return {};
  }

  struct InCheck {
    std::future<Reply> reply;
    std::vector<SourceDocument> documents;
  };

  Result<void> send_check() {
    TRY(check_shared());
    while (checking_.size() >= kChecksInFlight) TRY(finish_check());
    if (batch_.empty()) return {};
    if (!changing_body_.empty()) append(batch_body_, changing_body_);
    checking_.push_back({post("/v1/check", std::exchange(batch_body_, {})), std::exchange(batch_, {})});
    return {};
  }

  // Of the oldest check on its way.
  Result<void> finish_check() {
    InCheck check = std::move(checking_.front());
    checking_.pop_front();
    const std::vector<SourceDocument>& documents = check.documents;
    const Reply reply = check.reply.get();
    const std::uint64_t first = std::exchange(checked_, checked_ + documents.size());
    if (!reply) return note_problems(reply.error(), documents);
    for (const json::value& value : array_at(*reply, "applied")) {
      const json::object& item = value.as_object();
      if (text_at(item, "kind") == "ProvisionRequest") counts_.add(text_at(item, "change"));
    }
    const json::array& secrets = array_at(*reply, "secrets");
    // in the order of the documents
    std::size_t number = 0;
    for (const json::value& value : secrets) {
      const json::object& secret = value.as_object();
      const std::string name = text_at(secret, "name");
      while (number < documents.size() && name_of(documents[number]) != name) ++number;
      if (number == documents.size()) return fail(ErrorCode::kInternal, "the service answered for '{}', which was not asked", name);
      needs_password_[first + number] = flag_at(secret, "password");
      needs_key_[first + number] = flag_at(secret, "activationKey");
    }
    return {};
  }

  static const std::string& name_of(const SourceDocument& document) {
    return std::get<RequestManifest>(*document.manifest).name;
  }

  // Refused documents are problems; anything else is an error.
  Result<void> note_problems(const AdminFailure& failure, const std::vector<SourceDocument>& documents) {
    if (failure.details.empty()) return fail(failure.error);
    for (const DocumentProblem& detail : failure.details) {
      if (detail.document < documents.size()) {
        problems_.add(problem_at(documents[detail.document], detail.path, detail.message));
      }
    }
    return {};
  }

  bool has_secrets_to_make() const {
    const auto any = [](const std::vector<bool>& flags) { return std::find(flags.begin(), flags.end(), true) != flags.end(); };
    return any(needs_password_) || any(needs_key_);
  }

  int complain_of_secrets_file(const Error& error) const {
    return complain(error, EX_CANTCREAT,
                    error.code == ErrorCode::kAlreadyExists
                        ? "--secrets-out makes a new file, or goes on with that of the same import: name another one"
                        : "name a file for --secrets-out in a folder that is there and that you may write to");
  }

  int report(const Error& error) const {
    if (secrets_ && error.message.starts_with(arguments_.secrets_out.string())) return complain_of_secrets_file(error);
    if (error.code == ErrorCode::kMalformed || error.code == ErrorCode::kLimitExceeded) return report_unreadable(error);
    return complain(with_context(error, "nothing was applied"), exit_code_of(Act::kApply, error.code),
                    hint_for(Act::kApply, error, layout_));
  }

  // ---- applying

  struct Batch {
    std::string documents;
    std::vector<SecretRow> secrets;
    std::vector<std::pair<std::uint32_t, config::Mark>> places;
  };
  struct InFlight {
    Batch batch;
    std::future<Reply> reply;
  };

  Result<int> apply_all() {
    const InterruptGuard guard;
    std::vector<PackageFile> packages;
    for (auto& [sha256, package] : packages_) packages.push_back(std::move(package));
    TRY(upload_packages(layout_, packages));
    if (!shared_body_.empty()) {
      Reply reply = post("/v1/apply", shared_body_).get();
      if (!reply) return report(reply.error().error);
      print_changes(*reply, false);
    }
    expected_ = std::exchange(counts_, {}).all();
    TRY(spool_->rewind());
    if (secrets_) secrets_->rewind();
    progress_.begin("applying");
    if (auto applied = apply_batches(); !applied) return report_stop(applied.error());
    if (counts_.all() < expected_) {
      return report_stop({ErrorCode::kUnavailable, "interrupted"});
    }
    progress_.end(counts_.all(), 1, 1);
    print(counts_.str() + "\n");
    print_secrets_place();
    return EX_OK;
  }

  // The next batch is made while the service has others. What goes wrong with one does not keep those behind it from
  // their answers: what is applied is to be known.
  Result<void> apply_batches() {
    std::optional<Error> failure;
    while (!interrupted && !failure) {
      auto batch = next_batch();
      if (batch && batch->places.empty()) break;
      if (batch && secrets_) {
        if (auto kept = secrets_->append(batch->secrets); !kept) batch = fail(std::move(kept).error());
      }
      if (batch) {
        std::future<Reply> reply = post("/v1/apply", batch->documents);
        batch->documents.clear();
        applying_.push_back({std::move(*batch), std::move(reply)});
      } else {
        failure = std::move(batch).error();
      }
      if (applying_.size() < kInFlight && !failure) continue;
      if (auto finished = finish_apply(); !finished && !failure) failure = std::move(finished).error();
    }
    while (!applying_.empty()) {
      if (auto finished = finish_apply(); !finished && !failure) failure = std::move(finished).error();
    }
    if (failure) return fail(*failure);
    return {};
  }

  Result<Batch> next_batch() {
    Batch batch;
    while (batch.places.size() < kApplyBatch && batch.documents.size() < kBatchBytes) {
      TRY_ASSIGN(std::optional<ImportedRequest> request, spool_->next());
      if (!request) break;
      TRY_ASSIGN(const std::string secrets, secrets_for(*request, sent_++, batch));
      append(batch.documents, with_spec(request->json, secrets));
      batch.places.emplace_back(request->file, request->mark);
    }
    return batch;
  }

  // What is put into the document of that number: the secrets that the file has for it, or new ones, also for the file.
  Result<std::string> secrets_for(const ImportedRequest& request, std::uint64_t number, Batch& batch) {
    SecretRow made{request.name, request.client_id, request.username, {}, {}};
    if (has_row_[number]) {
      TRY_ASSIGN(const SecretRow* const row, secrets_->peek());
      if (row == nullptr || row->name != request.name) {
        return fail(ErrorCode::kConflict, "{}: has been changed meanwhile", arguments_.secrets_out.string());
      }
      made = *row;
      secrets_->skip();
    } else {
      if (needs_password_[number]) made.password = random_password();
      if (needs_key_[number]) made.activation_key = random_password();
      if (!made.password.empty() || !made.activation_key.empty()) batch.secrets.push_back(made);
    }
    std::string spec;
    if (!made.password.empty()) append(spec, "\"provisionUserPassword\":" + quoted(made.password.reveal()));
    if (!made.activation_key.empty()) {
      append(spec, "\"activationKey\":" + quoted(made.activation_key.reveal()));
    } else if (request.wants_key) {
      append(spec, kMakeKey);
    }
    return spec;
  }

  // Of the batch that the service has had for longest.
  Result<void> finish_apply() {
    if (applying_.empty()) return {};
    InFlight first = std::move(applying_.front());
    applying_.pop_front();
    const Reply reply = first.reply.get();
    if (!reply) return refused(reply.error(), first.batch);
    for (const json::value& value : array_at(*reply, "applied")) counts_.add(text_at(value.as_object(), "change"));
    progress_.show(counts_.all(), counts_.all(), expected_);
    // only of what was deleted since it was checked
    const std::vector<SecretRow> made_by_service = secrets_of(*reply);
    if (made_by_service.empty()) return {};
    if (!secrets_) return fail(ErrorCode::kConflict, "requests were deleted meanwhile, and made anew with unknown passwords");
    return secrets_->append(made_by_service);
  }

  Result<void> refused(const AdminFailure& failure, const Batch& batch) const {
    if (failure.details.empty()) return fail(failure.error);
    for (const DocumentProblem& detail : failure.details) {
      config::Problem problem{"", {}, detail.path, detail.message};
      if (detail.document < batch.places.size()) {
        problem.file = files_[batch.places[detail.document].first];
        problem.mark = batch.places[detail.document].second;
      }
      print_error(printable(problem.str()));
    }
    return fail(ErrorCode::kConflict, "the service refuses what it accepted a moment ago: somebody else changes requests");
  }

  // What is applied stays.
  int report_stop(const Error& error) {
    const bool passing = interrupted || is_transient(error.code) || error.code == ErrorCode::kIo;
    print_secrets_place();
    return complain(with_context(error, fmt::format("{} of {} requests are applied, the others are not",
                                                    grouped(static_cast<std::int64_t>(counts_.all())),
                                                    grouped(static_cast<std::int64_t>(expected_)))),
                    passing ? EX_TEMPFAIL : EX_DATAERR,
                    secrets_ ? "the same command, with the same --secrets-out, goes on from there"
                             : "the same command goes on from there");
  }

  void print_secrets_place() const {
    if (!secrets_ || secrets_->rows() == 0) return;
    print(fmt::format("{} generated secret{} written to {}: keep it safe, they cannot be shown again\n",
                      grouped(static_cast<std::int64_t>(secrets_->rows())), secrets_->rows() == 1 ? "" : "s",
                      arguments_.secrets_out.string()));
  }

  static inline const std::string kMakeKey = "\"generateActivationKey\":true";

  const DataLayout& layout_;
  const ApplyArguments& arguments_;
  std::optional<ImportSpool> spool_;
  std::optional<SecretsLog> secrets_;
  RepeatFinder repeats_;
  ImportProgress progress_;
  Problems problems_;
  Counts counts_;
  std::vector<std::string> files_;
  std::map<std::string, PackageFile> packages_;  // by SHA-256
  // A bit a request.
  std::vector<bool> has_row_, needs_password_, needs_key_;

  std::vector<SourceDocument> shared_;  // accounts and profiles
  std::size_t shared_bytes_ = 0;
  std::string shared_body_, changing_body_;  // all of them, and those that change something
  json::object shared_answer_;
  bool shared_checked_ = false;
  std::vector<SourceDocument> batch_;
  std::string batch_body_;
  std::uint64_t checked_ = 0;
  std::deque<InCheck> checking_;

  std::uint64_t expected_ = 0, sent_ = 0;
  std::deque<InFlight> applying_;
};

}  // namespace

Result<int> import_documents(const DataLayout& layout, const ApplyArguments& arguments, std::vector<DocumentPiece> begun,
                             DocumentStream& stream) {
  if (arguments.wait) {
    return complain({ErrorCode::kInvalidArgument,
                     fmt::format("--wait is for up to {} documents: nothing was applied", kImportFrom)},
                    EX_USAGE, "apply without it, then `provisioner watch --wait`");
  }
  return Import(layout, arguments).run(std::move(begun), stream);
}

}  // namespace fleet::provisioner
