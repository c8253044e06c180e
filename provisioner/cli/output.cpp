#include "provisioner/cli/output.hpp"

#include <algorithm>
#include <utility>

#include <boost/json.hpp>

#include "core/base/bytes.hpp"
#include "core/config/node.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

// Characters, not bytes, so that columns stand under one another.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string padded(std::string text, std::size_t width) {
  const std::size_t has = width_of(text);
  if (has < width) text.append(width - has, ' ');
  return text;
}

std::string line_of(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    line += i + 1 == cells.size() ? cells[i] : padded(cells[i], widths[i] + 2);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

// Values that the service has formed, whose numbers are whole: nothing is lost in them.
std::string yaml_of(const json::value& value) {
  const auto node = config::parse_json(json::serialize(value));
  return node ? config::to_yaml(*node) : node.error().message + "\n";
}

}  // namespace

int complain(const Error& error, int exit_code, std::string_view hint) {
  std::string_view rest = error.message;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    print_error("error: " + printable(rest.substr(0, end)));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  if (!hint.empty()) print_error(fmt::format("hint: {}", printable(hint)));
  return exit_code;
}

std::string printable(std::string_view text) {
  const bool utf8 = is_utf8(text);
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // C1 controls, U+0080..U+009F, steer terminals as ESC does
    const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (byte < 0x20 || byte == 0x7F || c1 || (!utf8 && byte >= 0x80)) {
      result += '?';
      i += c1 && utf8 ? 1 : 0;
    } else {
      result += text[i];
    }
  }
  return result;
}

void TablePrinter::print(const std::vector<std::vector<std::string>>& rows) {
  const bool first = widths_.empty();
  if (first) {
    for (const std::string& heading : headings_) widths_.push_back(width_of(heading));
  }
  std::vector<std::vector<std::string>> shown;
  for (const std::vector<std::string>& row : rows) {
    std::vector<std::string>& cells = shown.emplace_back();
    for (std::size_t i = 0; i < row.size(); ++i) {
      cells.push_back(row[i].empty() ? "-" : printable(row[i]));
      widths_[i] = std::max(widths_[i], width_of(cells.back()));
    }
  }
  if (first) fleet::print(line_of(headings_, widths_));
  for (const std::vector<std::string>& cells : shown) fleet::print(line_of(cells, widths_));
}

void print_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows) {
  TablePrinter(headings).print(rows);
}

void print_fields(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::size_t width = 0;
  for (const auto& [name, value] : fields) width = std::max(width, width_of(name));
  for (const auto& [name, value] : fields) {
    if (!value.empty()) print(padded(name, width + 2) + printable(value) + "\n");
  }
}

void ListPrinter::print(const json::value& element) {
  const bool first = !std::exchange(any_, true);
  if (format_ == OutputFormat::kYaml) return fleet::print(yaml_of(json::array{element}));
  fleet::print((first ? "[\n" : ",\n") + json::serialize(element));
}

void ListPrinter::finish() {
  if (!any_) return fleet::print("[]\n");
  if (format_ != OutputFormat::kYaml) fleet::print("\n]\n");
}

void print_list(const json::array& list, OutputFormat format) {
  ListPrinter printer(format);
  for (const json::value& element : list) printer.print(element);
  printer.finish();
}

void print_value(const json::value& value, OutputFormat format) {
  print(format == OutputFormat::kYaml ? yaml_of(value) : json::serialize(value) + "\n");
}

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null() || value->is_structured()) return "";
  return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}

std::int64_t number_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_int64() ? value->get_int64() : 0;
}

bool flag_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

const json::object& object_at(const json::object& object, std::string_view key) {
  static const json::object kNone;
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_object() ? value->get_object() : kNone;
}

const json::array& array_at(const json::object& object, std::string_view key) {
  static const json::array kNone;
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_array() ? value->get_array() : kNone;
}

std::string age_of(const std::string& time, WallTime now) {
  const auto then = parse_time(time);
  return then ? format_age(std::max(now - *then, Millis(0))) : "";
}

std::string with_age(const std::string& time, WallTime now) {
  const auto then = parse_time(time);
  if (!then) return time;
  if (*then > now) return fmt::format("{} (in {})", time, format_age(*then - now));
  return fmt::format("{} ({} ago)", time, format_age(now - *then));
}

std::string join_map(const json::object& map) {
  std::string text;
  for (const auto& [key, value] : map) {
    if (!text.empty()) text += ',';
    text += std::string(key) + "=" + text_at(map, key);
  }
  return text;
}

}  // namespace fleet::provisioner
