#include "ddpm/core/one_line.h"

#include <algorithm>

namespace ddpm {
namespace {

bool is_control(char letter) { return (letter >= 0 && letter < ' ') || letter == '\x7f'; }

}  // namespace

std::string one_line(std::string text) {
  constexpr size_t kLongest = 60;
  if (text.size() > kLongest) {
    size_t end = kLongest;  // moved to where a UTF-8 character begins
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end) + "...";
  }
  std::replace_if(text.begin(), text.end(), is_control, '?');
  return text;
}

}  // namespace ddpm
