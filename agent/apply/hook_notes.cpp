#include "agent/apply/hook_notes.hpp"

#include <string>

#include "agent/apply/generation.hpp"
#include "core/base/file.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

fs::path announced_file(const fs::path& folder) {
  return folder / "announced";
}
fs::path failures_file(const fs::path& folder) {
  return folder / "failures-told";
}

bool says(const fs::path& file, const std::string& number) {
  const auto noted = read_file(file, 64);
  return noted && *noted == number + "\n";
}

}  // namespace

bool HookNotes::knows_provisioned(std::uint64_t generation) const {
  return says(announced_file(folder_), std::to_string(generation));
}

Result<void> HookNotes::told_provisioned(std::uint64_t generation) const {
  return write_file(announced_file(folder_), std::to_string(generation) + "\n");
}

bool HookNotes::knows_failures(int count) const {
  return count == 0 || says(failures_file(folder_), std::to_string(count));
}

Result<void> HookNotes::told_failures(int count) const {
  return write_file(failures_file(folder_), std::to_string(count) + "\n");
}

bool HookNotes::owes_rollback() const {
  return is_rollback_untold(folder_);
}

Result<void> HookNotes::told_rollback() const {
  return set_rollback_told(folder_);
}

Result<void> HookNotes::forget() const {
  TRY(fleet::remove_all(announced_file(folder_)));
  return fleet::remove_all(failures_file(folder_));
}

}  // namespace fleet::agent
