// What an error means to the person at the prompt: an exit code, and what to do about it. Private to provisioner/cli.
#pragma once

#include <string>

#include "core/base/result.hpp"
#include "provisioner/service/settings.hpp"

namespace fleet::provisioner {

// What was being done. The first three work on the data folder themselves, the others ask the service.
enum class Act { kInit, kRenew, kServe, kApply, kChange, kDescribe, kList };

int exit_code_of(Act act, ErrorCode code);

// "" where nothing is sure to help, or where the error itself says what does.
std::string hint_for(Act act, const Error& error, const DataLayout& layout);

// How to find the right name of a request.
std::string list_names_hint(const DataLayout& layout);

}  // namespace fleet::provisioner
