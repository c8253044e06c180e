// fmt itself, compiled once for every program (fmt 9): Debian has no archive of it, and libfmt.so would load the shared
// libstdc++ into the agent, which brings its own (agent/CMakeLists.txt).
#include <fmt/format-inl.h>

// The templates that <fmt/format.h> promises to be compiled elsewhere.
FMT_BEGIN_NAMESPACE
namespace detail {
template auto thousands_sep_impl<char>(locale_ref) -> thousands_sep_result<char>;
template auto decimal_point_impl<char>(locale_ref) -> char;
template auto dragonbox::to_decimal<float>(float) noexcept -> dragonbox::decimal_fp<float>;
template auto dragonbox::to_decimal<double>(double) noexcept -> dragonbox::decimal_fp<double>;
}  // namespace detail
FMT_END_NAMESPACE
