// Guessing what somebody meant who mistyped a name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fleet {

// The candidate with the smallest edit distance to `word`, if that is at most a third of its length (at least 1); else
// the only one that ends with it ("password" for "userPassword"); else "".
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace fleet
