// Precompiled for all test programs (tests/CMakeLists.txt): what nearly every test includes, directly or not. Tests still
// include what they use.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <tl/expected.hpp>
