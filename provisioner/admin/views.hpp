// What the admin API reads and shows: each a piece of work for the store's reader that makes the body of an answer.
// Private to provisioner/admin.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "core/base/result.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

using View = std::function<Result<std::string>(Transaction&)>;

// {"requests": […], "next": name or null}
Result<View> view_requests(std::string_view query);
// {"total": …, "statuses": {"CREATED": …}, "disabled": …, "expired": …, "notYet": …, "stuck": …, "gone": …,
//  "reasons": [{"cause", "requests", "example"}], "unfinished": [request, …]}; `gone`: names that no request has
Result<View> view_progress(std::string_view body);
// {"certificates": […], "next": … or null}
Result<View> view_certificates(std::string_view query);
// {"certificate": {…}}; kNotFound
View view_certificate(std::string serial);
// {"manifests": […], "next": …}: what apply takes. `kind`: "accounts", "profiles", "requests"; kNotFound for another.
// secrets=true in the query writes what may be secret.
Result<View> view_manifests(std::string_view kind, std::string query);

}  // namespace fleet::provisioner
