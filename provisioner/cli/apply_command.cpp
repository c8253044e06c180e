#include <map>
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
  body += fmt::format("],\"dryRun\":{},\"allowWeak\":{}}}", arguments.dry_run, arguments.allow_weak);
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

// From here on the secrets exist and are nowhere else: they reach the file or, if that fails, the terminal.
Result<void> hand_over(const std::vector<SecretRow>& rows, std::optional<SecretsFile>& file,
                       const std::filesystem::path& path) {
  if (rows.empty()) return {};
  if (!file) {
    print_secrets(rows);
    return {};
  }
  if (auto kept = file->keep(secrets_csv(rows).reveal()); !kept) {
    print_secrets(rows);
    return fail(
        with_context(std::move(kept).error(), "everything was applied, but the secrets above are not in the file"));
  }
  print(fmt::format("{} generated secret{} written to {}: keep it safe, they cannot be shown again\n", rows.size(),
                    rows.size() == 1 ? "" : "s", path.string()));
  return {};
}

}  // namespace

Result<int> apply_documents(const DataLayout& layout, const ApplyArguments& arguments) {
  TRY_ASSIGN(const LoadedDocuments loaded, load_documents(arguments.sources));
  if (!loaded.problems.empty()) return report_problems(loaded.problems);
  if (loaded.documents.empty()) return fail(ErrorCode::kInvalidArgument, "there is no document in what -f names");

  std::optional<SecretsFile> file;
  if (!arguments.secrets_out.empty() && !arguments.dry_run) {
    TRY_ASSIGN(SecretsFile created, SecretsFile::create(arguments.secrets_out));
    file.emplace(std::move(created));
  }
  auto answer = post_to_service(layout, "/v1/apply", body_of(loaded.documents, arguments));
  if (!answer) {
    if (!answer.error().details.empty()) return report_problems(to_positions(answer.error().details, loaded.documents));
    return fail(std::move(answer).error().error);
  }
  print_changes(*answer, arguments.dry_run);
  TRY(hand_over(secrets_of(*answer), file, arguments.secrets_out));
  return EX_OK;
}

}  // namespace fleet::provisioner
