#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/config/field.h"

namespace ddpm {

enum class Colour { kRed, kDarkGreen };
template <>
struct EnumNames<Colour> {
  static constexpr std::array names{"red", "dark_green"};
};

struct InnerConfig {
  double ratio = 0.1;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("ratio", ratio, "between two fields", between(0, 1));
  }
};

/// Every kind of field, and a section in the middle of the list.
struct EveryTypeConfig {
  bool flag = false;
  InnerConfig inner;
  int64_t integer = -3;
  uint64_t count = 7;
  double number = 2.5;
  std::string text = "plain";
  Colour colour = Colour::kRed;
  std::vector<int64_t> integers{1, 2};
  std::vector<double> numbers{};
  std::vector<Colour> colours{Colour::kDarkGreen};

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("flag", flag, "a flag");
    visit("inner", inner, "a section");
    visit("integer", integer, "an integer");
    visit("count", count, "a count", at_least(0));
    visit("number", number, "a number");
    visit("text", text, "a text");
    visit("colour", colour, "red | dark green");
    visit("integers", integers, "integers", at_least(1));
    visit("numbers", numbers, "numbers");
    visit("colours", colours, "colours");
  }
};

}  // namespace ddpm
