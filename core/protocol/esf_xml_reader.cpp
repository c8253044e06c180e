#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include <expat.h>

#include "core/protocol/esf_xml.hpp"

namespace fleet::protocol {
namespace {

constexpr std::size_t kMaxXml = 1024 * 1024;
constexpr std::size_t kMaxComponents = 1000;
constexpr std::size_t kMaxProperties = 10'000;

constexpr std::string_view kNamespace = "http://eurotech.com/esf/2.0";
constexpr char kSeparator = '\n';  // between namespace and name as expat gives them; expat refuses URIs that contain it

// A name as expat gives it.
struct QualifiedName {
  std::string_view uri;  // empty: in no namespace
  std::string_view local;

  explicit QualifiedName(std::string_view name) {
    const std::size_t split = name.rfind(kSeparator);
    uri = split == std::string_view::npos ? std::string_view() : name.substr(0, split);
    local = split == std::string_view::npos ? name : name.substr(split + 1);
  }
  bool is_foreign() const { return !uri.empty() && uri != kNamespace; }
  bool is(std::string_view element) const { return uri == kNamespace && local == element; }
};

// For error messages: what a peer sent, cut to a length that a person reads.
std::string shown(std::string_view name) {
  constexpr std::size_t kLimit = 80;
  std::size_t end = std::min(name.size(), kLimit);
  while (end > 0 && end < name.size() && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) --end;
  return fmt::format("{}{}", name.substr(0, end), end < name.size() ? "…" : "");
}

// One pass over a document. The first failure is kept and stops expat.
class Reader {
 public:
  Reader() : parser_(XML_ParserCreateNS(nullptr, kSeparator)) {
    if (!parser_) return;
    XML_SetUserData(parser_.get(), this);
    XML_SetElementHandler(
        parser_.get(),
        [](void* self, const XML_Char* name, const XML_Char** attributes) {
          guarded(self, [&](Reader& reader) { reader.on_start(QualifiedName(name), attributes); });
        },
        [](void* self, const XML_Char*) { guarded(self, [](Reader& reader) { reader.on_end(); }); });
    XML_SetCharacterDataHandler(parser_.get(), [](void* self, const XML_Char* text, int length) {
      guarded(self, [&](Reader& reader) { reader.on_text({text, static_cast<std::size_t>(length)}); });
    });
    // Without a document type there are no entities but the five of XML, and so nothing that expands.
    XML_SetStartDoctypeDeclHandler(
        parser_.get(), [](void* self, const XML_Char*, const XML_Char*, const XML_Char*, int) {
          guarded(self, [](Reader& reader) { reader.refuse("a document type is not allowed"); });
        });
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Result<Configurations> read(std::string_view xml) && {
    if (!parser_) return fail(ErrorCode::kUnavailable, "configuration: out of memory");
    const auto status = XML_Parse(parser_.get(), xml.data(), static_cast<int>(xml.size()), XML_TRUE);
    if (status != XML_STATUS_OK && !error_) refuse(XML_ErrorString(XML_GetErrorCode(parser_.get())));
    if (error_) return fail(std::move(*error_));
    return std::move(configurations_);
  }

 private:
  // Where in the tree the next event happens.
  enum class Place { kOutside, kConfigurations, kConfiguration, kProperties, kProperty, kValue };

  // Calls into C++ from C: no exception may pass, and expat may still send an event after it was stopped.
  template <typename Function>
  static void guarded(void* self, Function function) {
    Reader& reader = *static_cast<Reader*>(self);
    if (reader.error_) return;
    try {
      function(reader);
    } catch (const std::exception& error) {
      reader.error_ = Error{ErrorCode::kUnavailable, error.what()};
      XML_StopParser(reader.parser_.get(), XML_FALSE);
    }
  }

  void refuse(std::string_view why, ErrorCode code = ErrorCode::kMalformed) {
    error_ = Error{code, fmt::format("configuration: line {}, column {}: {}", XML_GetCurrentLineNumber(parser_.get()),
                                     XML_GetCurrentColumnNumber(parser_.get()) + 1, why)};
    XML_StopParser(parser_.get(), XML_FALSE);
  }

  void on_start(QualifiedName name, const XML_Char** attributes) {
    if (foreign_depth_ > 0 || (name.is_foreign() && place_ != Place::kOutside)) {
      ++foreign_depth_;
      return;
    }
    switch (place_) {
      case Place::kOutside:
        if (!name.is("configurations")) return refuse("the root is not configurations of the esf namespace");
        for_each_attribute(attributes, [](auto, auto) { return false; });
        place_ = Place::kConfigurations;
        return;
      case Place::kConfigurations:
        if (!name.is("configuration")) break;
        start_configuration(attributes);
        place_ = Place::kConfiguration;
        return;
      case Place::kConfiguration:
        if (!name.is("properties")) break;
        if (std::exchange(has_properties_, true)) return refuse("properties twice in a configuration");
        for_each_attribute(attributes, [](auto, auto) { return false; });
        place_ = Place::kProperties;
        return;
      case Place::kProperties:
        if (!name.is("property")) break;
        start_property(attributes);
        place_ = Place::kProperty;
        return;
      case Place::kProperty:
        if (!name.is("value")) break;
        for_each_attribute(attributes, [](auto, auto) { return false; });
        value_.clear();
        place_ = Place::kValue;
        return;
      case Place::kValue:
        break;
    }
    refuse(fmt::format("unexpected element {}", shown(name.local)));
  }

  void on_end() {
    if (foreign_depth_ > 0) {
      --foreign_depth_;
      return;
    }
    switch (place_) {
      case Place::kValue:
        end_value();
        break;
      case Place::kProperty:
        if (!property().array && property().values.empty()) {
          return refuse(fmt::format("property {} has no value", shown(property().name)));
        }
        break;
      default:
        break;
    }
    place_ = static_cast<Place>(static_cast<int>(place_) - 1);  // the places are nested in their order
  }

  void on_text(std::string_view text) {
    if (foreign_depth_ > 0) return;
    if (place_ == Place::kValue) {
      value_ += text;
    } else if (text.find_first_not_of(" \t\r\n") != std::string_view::npos) {
      refuse("text outside a value");
    }
  }

  // Calls take(name, value) for each attribute of ours; it answers false for a name it does not know.
  template <typename Take>
  void for_each_attribute(const XML_Char** attributes, Take take) {
    for (; *attributes != nullptr && !error_; attributes += 2) {
      const QualifiedName name{attributes[0]};
      if (name.is_foreign()) continue;
      if (!name.uri.empty() || !take(name.local, std::string_view(attributes[1]))) {
        refuse(fmt::format("unexpected attribute {}", shown(name.local)));
      }
    }
  }

  void start_configuration(const XML_Char** attributes) {
    if (configurations_.size() == kMaxComponents) {
      return refuse(fmt::format("more than {} components", kMaxComponents), ErrorCode::kLimitExceeded);
    }
    std::optional<std::string> pid;
    for_each_attribute(attributes, [&](std::string_view name, std::string_view value) {
      if (name == "pid") pid = value;
      return name == "pid";
    });
    if (error_) return;
    if (!pid) return refuse("a configuration without pid");
    if (!is_pid(*pid)) return refuse("a pid that does not have its form, [A-Za-z0-9._-]{1,128} without a leading dot");
    if (!pids_.insert(*pid).second) return refuse(fmt::format("pid {} twice", *pid));
    configurations_.push_back({std::move(*pid), {}});
    names_.clear();
    has_properties_ = false;
  }

  void start_property(const XML_Char** attributes) {
    if (++property_count_ > kMaxProperties) {
      return refuse(fmt::format("more than {} properties", kMaxProperties), ErrorCode::kLimitExceeded);
    }
    std::optional<std::string> name, type, array, encrypted;
    for_each_attribute(attributes, [&](std::string_view key, std::string_view value) {
      for (const auto& [known, slot] :
           {std::pair{"name", &name}, {"type", &type}, {"array", &array}, {"encrypted", &encrypted}}) {
        if (key == known) {
          *slot = value;
          return true;
        }
      }
      return false;
    });
    if (error_) return;
    if (!name || !type) return refuse("a property without name or type");
    const auto known_type = parse_property_type(*type);
    if (!known_type) return refuse(fmt::format("property {}: {}", shown(*name), known_type.error().message));
    for (const auto& flag : {array, encrypted}) {
      if (flag && *flag != "true" && *flag != "false") {
        return refuse(fmt::format("property {}: array and encrypted are true or false", shown(*name)));
      }
    }
    if (!names_.insert(*name).second) return refuse(fmt::format("property {} twice in a configuration", shown(*name)));
    configurations_.back().properties.push_back(
        {std::move(*name), *known_type, array == "true", encrypted == "true", {}});
  }

  // Never quotes the value: it may be a password.
  void end_value() {
    Property& current = property();
    if (!current.array && !current.values.empty()) {
      return refuse(fmt::format("property {} has several values, but is no array", shown(current.name)));
    }
    if (!is_value_of(current.type, value_)) {
      return refuse(
          fmt::format("property {}: its value is not of type {}", shown(current.name), to_string(current.type)));
    }
    current.values.push_back(std::move(value_));
  }

  Property& property() { return configurations_.back().properties.back(); }

  struct FreeParser {
    void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
  };
  std::unique_ptr<std::remove_pointer_t<XML_Parser>, FreeParser> parser_;
  std::optional<Error> error_;
  Place place_ = Place::kOutside;
  std::size_t foreign_depth_ = 0;  // how deep inside an element of another namespace
  bool has_properties_ = false;    // of the current configuration
  std::size_t property_count_ = 0;
  std::string value_;
  std::unordered_set<std::string> pids_;
  std::unordered_set<std::string> names_;  // of the current configuration
  Configurations configurations_;
};

}  // namespace

Result<Configurations> parse_xml(std::string_view xml) {
  if (xml.size() > kMaxXml) {
    return fail(ErrorCode::kLimitExceeded, "configuration: {} bytes, more than {}", xml.size(), kMaxXml);
  }
  return Reader().read(xml);
}

}  // namespace fleet::protocol
