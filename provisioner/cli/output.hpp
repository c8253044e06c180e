// What commands print. Private to provisioner/cli.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "core/base/console.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"

namespace fleet::provisioner {

// Prints an error, one for each line of its message, and below it a hint unless that is empty. Returns `exit_code`.
int complain(const Error& error, int exit_code, std::string_view hint = {});

// `text` without what could steer a terminal: much of what is shown was said by devices.
std::string printable(std::string_view text);

enum class OutputFormat { kTable, kJson, kYaml };

// Columns under their headings, two spaces between them; empty cells become "-". Cells are made printable. Rows may come
// page by page: columns grow, what has been printed stays.
class TablePrinter {
 public:
  explicit TablePrinter(std::vector<std::string> headings) : headings_(std::move(headings)) {}
  void print(const std::vector<std::vector<std::string>>& rows);

 private:
  std::vector<std::string> headings_;
  std::vector<std::size_t> widths_;  // empty: nothing has been printed
};
void print_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows);
// Lines of "name  value", the values under one another; entries with an empty value are left out.
void print_fields(const std::vector<std::pair<std::string, std::string>>& fields);

// A list as JSON (an array, an element a line) or YAML, written as it comes.
class ListPrinter {
 public:
  explicit ListPrinter(OutputFormat format) : format_(format) {}
  void print(const boost::json::value& element);
  void finish();

 private:
  OutputFormat format_;
  bool any_ = false;
};
// All of a list.
void print_list(const boost::json::array& list, OutputFormat format);
// One thing as JSON (a line) or YAML.
void print_value(const boost::json::value& value, OutputFormat format);

// Reading answers of the service, which may be of another version: what is not there is empty.
std::string text_at(const boost::json::object& object, std::string_view key);  // also numbers and booleans, as text
std::int64_t number_at(const boost::json::object& object, std::string_view key);
bool flag_at(const boost::json::object& object, std::string_view key);
const boost::json::object& object_at(const boost::json::object& object, std::string_view key);
const boost::json::array& array_at(const boost::json::object& object, std::string_view key);

// "2026-11-20T10:21:35Z (3 min ago)", "… (in 2 d)"; empty for an empty text.
std::string with_age(const std::string& time, WallTime now);
// "3 min"; empty for an empty text.
std::string age_of(const std::string& time, WallTime now);
// "site=north,rack=2"
std::string join_map(const boost::json::object& map);

}  // namespace fleet::provisioner
