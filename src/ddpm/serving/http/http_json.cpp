#include "ddpm/serving/http/http_json.h"

#include <nlohmann/json.hpp>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/src.hpp>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {
namespace {

using boost::json::string_view;
using boost::system::error_code;

[[noreturn]] void refuse_json(const std::string& message) {
  throw HttpError(400, "invalid_request", message);
}

/// What Boost.JSON's parser calls, building nlohmann's values. Its parser checks depth and UTF-8;
/// names given twice and the number of values are checked here.
class JsonBuilder {
 public:
  constexpr static size_t max_object_size = static_cast<size_t>(-1);
  constexpr static size_t max_array_size = static_cast<size_t>(-1);
  constexpr static size_t max_key_size = static_cast<size_t>(-1);
  constexpr static size_t max_string_size = static_cast<size_t>(-1);

  JsonBuilder() = default;

  void set_max_values(size_t max_values) { max_values_ = max_values; }
  nlohmann::json take() { return std::move(root_); }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_array_begin(error_code&) { return open(nlohmann::json::array()); }
  bool on_array_end(size_t, error_code&) { return close(); }
  bool on_object_begin(error_code&) { return open(nlohmann::json::object()); }
  bool on_object_end(size_t, error_code&) { return close(); }
  bool on_string_part(string_view part, size_t, error_code&) { return append(part); }
  bool on_string(string_view part, size_t, error_code&) {
    append(part);
    return add(std::exchange(text_, {}));
  }
  bool on_key_part(string_view part, size_t, error_code&) { return append(part); }
  bool on_key(string_view part, size_t, error_code&) {
    append(part);
    key_ = std::exchange(text_, {});
    count();
    if (open_.back()->contains(key_)) refuse_json("The JSON gives a name twice in an object.");
    return true;
  }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(int64_t value, string_view, error_code&) { return add(value); }
  bool on_uint64(uint64_t value, string_view, error_code&) { return add(value); }
  bool on_double(double value, string_view, error_code&) {
    if (!std::isfinite(value)) refuse_json("The JSON has a number that is too large.");
    return add(value);
  }
  bool on_bool(bool value, error_code&) { return add(value); }
  bool on_null(error_code&) { return add(nullptr); }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

 private:
  bool append(string_view part) {
    text_.append(part.data(), part.size());
    return true;
  }
  void count() {
    if (++num_values_ > max_values_) refuse_json("The JSON has too many values.");
  }
  nlohmann::json& place(nlohmann::json value) {
    count();
    if (open_.empty()) return root_ = std::move(value);
    nlohmann::json& parent = *open_.back();
    if (parent.is_object()) return parent[key_] = std::move(value);
    parent.push_back(std::move(value));
    return parent.back();
  }
  template <typename Value>
  bool add(Value value) {
    place(nlohmann::json(std::move(value)));
    return true;
  }
  // The pointer stays good: nothing is added to a parent while a child of it is open.
  bool open(nlohmann::json value) {
    open_.push_back(&place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  nlohmann::json root_;
  std::vector<nlohmann::json*> open_;
  std::string key_;
  std::string text_;
  size_t num_values_ = 0;
  size_t max_values_ = 0;
};

}  // namespace

nlohmann::json parse_client_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    throw HttpError(413, "too_large",
                    "The JSON is longer than " + std::to_string(limits.max_bytes) + " bytes.");
  }
  boost::json::parse_options options;
  options.max_depth = limits.max_depth;
  boost::json::basic_parser<JsonBuilder> parser(options);
  parser.handler().set_max_values(limits.max_values);
  error_code error;
  const size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (error == boost::json::error::too_deep) {
    refuse_json("The JSON is nested deeper than " + std::to_string(limits.max_depth) + " levels.");
  }
  if (error)
    refuse_json("The body isn't JSON: " + error.message() + " at byte " + std::to_string(used) +
                ".");
  if (used < text.size()) refuse_json("There is text after the JSON.");
  return parser.handler().take();
}

}  // namespace ddpm
