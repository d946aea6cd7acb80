#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "ddpm/serving/http/http_message.h"

namespace ddpm {

/// Whether two secrets are equal, in a time that depends on neither their letters nor where they
/// differ. Secrets longer than 256 bytes are equal to nothing.
bool equal_secrets(std::string_view a, std::string_view b);

/// The keys that open routes of HttpAccess::kKey.
class HttpKeys {
 public:
  /// @throws std::invalid_argument if a key is not 16 to 256 printable ASCII letters without
  /// blanks.
  explicit HttpKeys(std::vector<std::string> keys);

  bool empty() const { return keys_.empty(); }

  /// Which key the request shows in Authorization (Bearer), X-Api-Key or x-hf-authorization
  /// (Bearer, as Gradio's Python client sends it); -1: none of ours.
  int find(const HttpHeaders& headers) const;

 private:
  std::vector<std::string> keys_;
};

/// Keys of a file, one a line; empty lines and those that start with # don't count.
/// @throws std::runtime_error if it can't be read or has no key.
std::vector<std::string> read_key_file(const std::filesystem::path& path);

}  // namespace ddpm
