#include <algorithm>
#include <optional>
#include <set>
#include <sysexits.h>

#include <boost/json.hpp>

#include "provisioner/cli/call.hpp"
#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/documents.hpp"
#include "provisioner/cli/output.hpp"
#include "provisioner/cli/secrets_file.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

std::string body_of(const std::vector<SourceDocument>& documents, const ApplyArguments& arguments) {
  std::string body = "{\"documents\":[";
  for (const SourceDocument& document : documents) {
    if (body.back() != '[') body += ',';
    body += config::to_json(document.node);
  }
  body += fmt::format("],\"dryRun\":{},\"allowWeak\":{},\"overwrite\":{}}}", arguments.dry_run, arguments.allow_weak,
                      arguments.overwrite);
  return body;
}

int report_problems(const std::vector<config::Problem>& problems) {
  std::set<std::string> files;
  for (const config::Problem& problem : problems) {
    files.insert(problem.file);
    print_error(printable(problem.str()));
  }
  print_error(fmt::format("error: {} problem{} in {} file{}: nothing was applied", problems.size(),
                          problems.size() == 1 ? "" : "s", files.size(), files.size() == 1 ? "" : "s"));
  return EX_DATAERR;
}

// The service knows documents by their number; a person knows files and lines.
std::vector<config::Problem> to_positions(const std::vector<DocumentProblem>& details,
                                          const std::vector<SourceDocument>& documents) {
  std::vector<config::Problem> problems;
  for (const DocumentProblem& detail : details) {
    config::Problem problem{"", {}, detail.path, detail.message};
    if (detail.document < documents.size()) {
      const SourceDocument& document = documents[detail.document];
      problem.file = document.file;
      problem.mark = locate(document.node, detail.path);
    }
    problems.push_back(std::move(problem));
  }
  return problems;
}

std::vector<SecretRow> secrets_of(const json::object& answer) {
  std::vector<SecretRow> rows;
  for (const json::value& value : array_at(answer, "secrets")) {
    const json::object& object = value.as_object();
    rows.push_back({text_at(object, "name"), text_at(object, "clientId"), text_at(object, "username"),
                    Secret(text_at(object, "password")), Secret(text_at(object, "activationKey"))});
  }
  return rows;
}

void print_secrets(const std::vector<SecretRow>& rows) {
  std::vector<std::vector<std::string>> cells;
  for (const SecretRow& row : rows) {
    cells.push_back({row.name, row.client_id, row.username, std::string(row.password.reveal()),
                     std::string(row.activation_key.reveal())});
  }
  print("\nGenerated secrets. They are shown this once and cannot be shown again:\n");
  print_table({"NAME", "CLIENT ID", "USERNAME", "PASSWORD", "ACTIVATION KEY"}, cells);
}

void print_changes(const json::object& answer, bool dry_run) {
  for (const json::value& value : array_at(answer, "applied")) {
    const json::object& item = value.as_object();
    print(printable(fmt::format("{} {}: {}{}", text_at(item, "kind"), text_at(item, "name"), text_at(item, "change"),
                                dry_run ? " (dry run)" : "")) +
          "\n");
  }
}

// The requests among what was applied, also unchanged ones.
std::vector<std::string> requests_of(const json::object& answer) {
  std::vector<std::string> names;
  for (const json::value& value : array_at(answer, "applied")) {
    const json::object& item = value.as_object();
    if (text_at(item, "kind") == "ProvisionRequest") names.push_back(text_at(item, "name"));
  }
  return names;
}

// "a, b, c and 97 more"
std::string names_of(const std::vector<SecretRow>& rows) {
  constexpr std::size_t kNamed = 10;
  std::string names;
  for (std::size_t i = 0; i < std::min(rows.size(), kNamed); ++i) names += (i == 0 ? "" : ", ") + rows[i].name;
  return rows.size() > kNamed ? fmt::format("{} and {} more", names, rows.size() - kNamed) : names;
}

// From here on the secrets exist and are nowhere else: they reach the file or, if that fails, the terminal. Returns the
// exit code.
int hand_over(const std::vector<SecretRow>& rows, std::optional<SecretsFile>& file, const std::filesystem::path& path) {
  if (rows.empty()) return EX_OK;
  int exit_code = EX_OK;
  if (file) {
    auto kept = file->keep(secrets_csv(rows).reveal());
    if (kept) {
      print(fmt::format("{} generated secret{} written to {}: keep it safe, they cannot be shown again\n", rows.size(),
                        rows.size() == 1 ? "" : "s", path.string()));
      return EX_OK;
    }
    exit_code = complain(with_context(std::move(kept).error(), "everything was applied, but the file lacks secrets"),
                         EX_IOERR, "standard output has them all");
  }
  print_secrets(rows);
  auto shown = flush_output();
  if (shown) return exit_code;
  print_error("error: " + shown.error().message);
  return complain(
      {ErrorCode::kIo, fmt::format("everything was applied, but generated secrets did not get out and cannot be shown "
                                   "again; these requests have them: {}",
                                   names_of(rows))},
      EX_IOERR,
      "delete these requests and apply them again with --secrets-out FILE; where only the password was generated, it "
      "is enough to apply a spec.provisionUserPassword with --overwrite");
}

Result<void> upload_packages(const DataLayout& layout, const std::vector<SourceDocument>& documents) {
  for (const SourceDocument& document : documents) {
    for (const PackageFile& file : document.packages) {
      TRY_ASSIGN(const bool uploaded, upload_to_service(layout, file));
      if (uploaded) print(printable(fmt::format("{}: uploaded, {} bytes", file.path.string(), file.size)) + "\n");
    }
  }
  return {};
}

// A source that cannot be read; what is wrong with its content is another matter.
int report_unreadable(const Error& error) {
  const bool content = error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kLimitExceeded;
  return complain(error, content ? EX_DATAERR : EX_NOINPUT);
}

}  // namespace

Result<int> apply_documents(const DataLayout& layout, const ApplyArguments& arguments) {
  const auto read = load_documents(arguments.sources);
  if (!read) return report_unreadable(read.error());
  const LoadedDocuments& loaded = *read;
  if (!loaded.problems.empty()) return report_problems(loaded.problems);
  if (loaded.documents.empty()) return fail(ErrorCode::kInvalidArgument, "there is no document in what -f names");

  std::optional<SecretsFile> file;
  if (!arguments.secrets_out.empty() && !arguments.dry_run) {
    auto created = SecretsFile::create(arguments.secrets_out);
    if (!created) {
      return complain(created.error(), EX_CANTCREAT,
                      created.error().code == ErrorCode::kAlreadyExists
                          ? "--secrets-out makes a new file and replaces none: name another one"
                          : "name a new file for --secrets-out, in a folder that is there and that you may write to");
    }
    file.emplace(std::move(*created));
  }
  if (!arguments.dry_run) TRY(upload_packages(layout, loaded.documents));
  auto answer = post_to_service(layout, "/v1/apply", body_of(loaded.documents, arguments));
  if (!answer) {
    if (!answer.error().details.empty()) return report_problems(to_positions(answer.error().details, loaded.documents));
    return fail(std::move(answer).error().error);
  }
  print_changes(*answer, arguments.dry_run);
  const int exit_code = hand_over(secrets_of(*answer), file, arguments.secrets_out);
  if (!arguments.wait || exit_code != EX_OK) return exit_code;
  print("\n");
  return wait_for_requests(layout, requests_of(*answer), arguments.timeout);
}

}  // namespace fleet::provisioner
