// What was sent for the steps of an attempt, as one value of a column. Private to provisioner/store.
//
// For each step that has a message "ORDINAL TOPIC-SIZE PAYLOAD-SIZE\n" in decimal, its topic, its payload. Kept together, the
// messages of an attempt take the pages that they fill, instead of at least one page each.
#pragma once

#include <string_view>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {

void append_messages(Bytes& packed, const std::vector<Step>& steps);

// Gives each of `steps` its topic and payload, if there are any for its ordinal; kCorrupt for what was not packed by the above.
Result<void> give_messages(std::string_view packed, std::vector<Step>& steps);

}  // namespace fleet::provisioner
