#include "ddpm/serving/http/http_keys.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <stdexcept>

namespace ddpm {
namespace {

constexpr size_t kShortestKey = 16;
constexpr size_t kLongestKey = 256;

bool is_sound_key(const std::string& key) {
  return key.size() >= kShortestKey && key.size() <= kLongestKey &&
         std::all_of(key.begin(), key.end(),
                     [](char letter) { return letter > ' ' && letter < 127; });
}

std::string_view without_bearer(const std::string* value) {
  constexpr std::string_view kScheme = "Bearer ";
  if (value == nullptr || value->size() < kScheme.size()) return {};
  const std::string_view text(*value);
  return equal_ignoring_case(text.substr(0, kScheme.size()), kScheme) ? text.substr(kScheme.size())
                                                                      : std::string_view();
}

}  // namespace

bool equal_secrets(std::string_view a, std::string_view b) {
  std::array<unsigned char, kLongestKey> left{}, right{};
  if (a.size() > kLongestKey || b.size() > kLongestKey) return false;
  std::copy(a.begin(), a.end(), left.begin());
  std::copy(b.begin(), b.end(), right.begin());
  volatile size_t difference = a.size() ^ b.size();
  for (size_t i = 0; i < kLongestKey; ++i) {
    difference = difference | static_cast<size_t>(left[i] ^ right[i]);
  }
  return difference == 0;
}

HttpKeys::HttpKeys(std::vector<std::string> keys) : keys_(std::move(keys)) {
  if (!std::all_of(keys_.begin(), keys_.end(), is_sound_key)) {
    throw std::invalid_argument(
        "[HttpKeys] key: expected 16 to 256 printable letters without blanks, got another");
  }
}

int HttpKeys::find(const HttpHeaders& headers) const {
  const std::string* const plain = find_header(headers, "X-Api-Key");
  const std::string_view shown[] = {
      without_bearer(find_header(headers, "Authorization")),
      plain == nullptr ? std::string_view() : std::string_view(*plain),
      without_bearer(find_header(headers, "x-hf-authorization")),
  };
  int found = -1;
  for (size_t i = 0; i < keys_.size(); ++i) {
    for (const std::string_view key : shown) {
      if (equal_secrets(key, keys_[i])) found = static_cast<int>(i);
    }
  }
  return found;
}

std::vector<std::string> read_key_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<std::string> keys;
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty() && line[0] != '#') keys.push_back(line);
  }
  if (keys.empty()) {
    throw std::runtime_error("[read_key_file] file: expected one with a key, got " + path.string());
  }
  return keys;
}

}  // namespace ddpm
