#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "ddpm/config/field.h"

namespace ddpm::app {

/// The words of `Enum` and what they stand for, as CLI11 takes them.
template <typename Enum>
std::map<std::string, Enum> enum_words() {
  std::map<std::string, Enum> words;
  for (size_t i = 0; i < EnumNames<Enum>::names.size(); ++i) {
    words.emplace(EnumNames<Enum>::names[i], static_cast<Enum>(i));
  }
  return words;
}

/// Lets only the enum's words pass, where CLI11's own transformers take its numbers too.
template <typename Enum>
CLI::Validator one_of_words(const std::string& words) {
  return {[words, numbers = enum_words<Enum>()](std::string& text) -> std::string {
            const auto found = numbers.find(text);
            if (found == numbers.end()) return "expected one of " + words + ", got " + text;
            text = std::to_string(static_cast<int>(found->second));
            return {};
          },
          ""};
}

/// Adds an option whose value is one of the enum's words.
template <typename Enum>
CLI::Option* add_enum_option(CLI::App& command, const std::string& flag, Enum& value,
                             const std::string& help) {
  std::string words;
  for (const char* name : EnumNames<Enum>::names)
    words += (words.empty() ? "" : " | ") + std::string(name);
  return command.add_option(flag, value, help + ": " + words)
      ->transform(one_of_words<Enum>(words))
      ->type_name("WORD");
}

}  // namespace ddpm::app
