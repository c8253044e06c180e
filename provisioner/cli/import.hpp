// An apply of more documents than one transaction should hold. Private to provisioner/cli.
//
// First everything is read, checked here, and checked by the service against what it has, while nothing is changed; what is
// wrong anywhere keeps all of it from being applied. Then accounts and profiles are applied together, and requests in the
// order of the files, a batch a transaction. Whatever interrupts that, the requests up to there are applied and stay so, it
// is said how many they are, and the same command goes on from there: what is applied is unchanged then.
//
// Passwords and activation keys are made here and written to the secrets file before their requests are applied, so that
// none is ever lost (see secrets_log.hpp).
#pragma once

#include <cstdint>
#include <vector>

#include <boost/json/object.hpp>

#include "core/base/result.hpp"
#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/documents.hpp"
#include "provisioner/cli/secrets_file.hpp"

namespace fleet::provisioner {

// From so many documents, or bytes of sources, on an apply is an import.
inline constexpr std::size_t kImportFrom = 5000;
inline constexpr std::uint64_t kImportFromBytes = 16 * 1024 * 1024;

// `begun` is what came from `stream` already. Returns the exit code of what has been told; prints as an apply does.
Result<int> import_documents(const DataLayout& layout, const ApplyArguments& arguments, std::vector<DocumentPiece> begun,
                             DocumentStream& stream);

// Tells problems, a line each, and that nothing was applied: `count` in all, of which those in `problems` are shown.
int report_problems(const std::vector<config::Problem>& problems, std::size_t count);
// A source that cannot be read, or content that is no good.
int report_unreadable(const Error& error);
// "Account acme: created", a line each; with " (dry run)" behind.
void print_changes(const boost::json::object& answer, bool dry_run);
std::vector<SecretRow> secrets_of(const boost::json::object& answer);
Result<void> upload_packages(const DataLayout& layout, const std::vector<PackageFile>& packages);

}  // namespace fleet::provisioner
