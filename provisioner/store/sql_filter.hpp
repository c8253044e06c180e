// The conditions of a RequestFilter as SQL. Private to provisioner/store.
#pragma once

#include <string>

#include "provisioner/store/columns.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// Conditions on `request`, which the query may call by that name only. Their parameters are "?": bind_filter() binds
// them, in the same order. `after` and `limit` are no conditions: they are the list's.
std::string where_of(const RequestFilter& filter);
// kInvalidArgument for a name that is not UTF-8.
Result<void> bind_filter(Binder& binder, const RequestFilter& filter);

}  // namespace fleet::provisioner
