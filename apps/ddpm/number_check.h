#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace ddpm::app {

/// Lets no negative number pass: CLI11 would wrap one around where an unsigned one is wanted.
inline CLI::Validator at_least_zero() {
  return {[](const std::string& text) {
            return text.starts_with('-') ? "expected 0 or more, got " + text : std::string();
          },
          ""};
}

}  // namespace ddpm::app
