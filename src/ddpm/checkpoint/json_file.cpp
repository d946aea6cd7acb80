#include "ddpm/checkpoint/json_file.h"

#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 64;

}  // namespace

Json parse_json(const std::string& text, const std::string& where) {
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  const auto check_event = [&](int depth, Json::parse_event_t event, Json& value) {
    check_state(depth < kMaxDepth, "[read_json_file] nesting of '", where, "': expected at most ",
                kMaxDepth, " levels, got more");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    check_state(event != Json::parse_event_t::key ||
                    keys.back().insert(value.get_ref<const std::string&>()).second,
                "[read_json_file] keys of '", where, "': expected each once, got ", value.dump(),
                " twice");
    return true;
  };
  try {
    return Json::parse(text, check_event);
  } catch (const Json::parse_error& error) {
    throw std::runtime_error(c10::str("[read_json_file] '", where,
                                      "': expected JSON, got a syntax error at byte ", error.byte));
  }
}

Json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_text_file(path), path.string());
}

void write_json_file(const std::filesystem::path& path, const Json& json) {
  try {
    write_file_atomic(path, std::string_view(json.dump(/*indent=*/2) + "\n"));
  } catch (const Json::type_error&) {
    throw std::invalid_argument(c10::str("[write_json_file] strings of '", path.string(),
                                         "': expected UTF-8, got another encoding"));
  }
}

}  // namespace ddpm
