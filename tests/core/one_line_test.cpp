#include "ddpm/core/one_line.h"

#include <gtest/gtest.h>

namespace ddpm {
namespace {

TEST(OneLineTest, ReplacesControlCharacters) {
  EXPECT_EQ(one_line("a\nb\x1b[31m\x7f \"c\""), "a?b?[31m? \"c\"");
}

TEST(OneLineTest, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(one_line(std::string(60, 'a')), std::string(60, 'a'));
  EXPECT_EQ(one_line(std::string(61, 'a')), std::string(60, 'a') + "...");
  EXPECT_EQ(one_line(std::string(59, 'a') + "\u00e9"), std::string(59, 'a') + "...");
  EXPECT_EQ(one_line(std::string(100, '\x80')), "...");
}

}  // namespace
}  // namespace ddpm
