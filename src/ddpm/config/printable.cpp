#include "ddpm/config/printable.h"

#include <algorithm>

namespace ddpm {
namespace {

std::string shortened(std::string text) {
  constexpr size_t kLongest = 60;
  if (text.size() <= kLongest) return text;
  size_t end = kLongest;  // moved to where a UTF-8 character begins
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

bool is_control(char letter) { return (letter >= 0 && letter < ' ') || letter == '\x7f'; }

}  // namespace

std::string describe_json(const nlohmann::json& value) {
  return shortened(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string one_line(std::string text) {
  text = shortened(std::move(text));
  std::replace_if(text.begin(), text.end(), is_control, '?');
  return text;
}

}  // namespace ddpm
